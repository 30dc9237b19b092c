"""Locks, events and notifications of the gateway, without a process."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from edge.core import CoreEvent, EventKind
from edge.core.snapshot import Ids
from edge.gateway.errors import GatewayError
from edge.gateway.events import EventLog, words
from edge.gateway.locks import Lock, Locks
from edge.gateway.notify import notify
from edge.model import Reason

IDS = Ids(("evse-1",), ("grid",), ("main",), ("can0",))


def event(kind: EventKind, *values: int, index: int = 0) -> CoreEvent:
    return CoreEvent(0, 0, kind, index, (*values, *[0] * (6 - len(values))))


def test_every_kind_of_event_has_words():
    for kind in EventKind:
        if kind not in (EventKind.NONE, EventKind.PLAN_TAKEN, EventKind.LATCH):
            said = words(event(kind), IDS)
            assert said is not None, kind
            assert said[2]


def test_a_reason_names_the_evse_and_both_powers():
    said = words(event(EventKind.REASON, Reason.NONE, Reason.ERR_V2G_LIMIT_REACHED, 0, 0, 0, -5000), IDS)
    assert said is not None
    subject, code, text, level = said
    assert (subject, code, level) == ("evse-1", "ERR_V2G_LIMIT_REACHED", "ok")
    assert "-5000 W" in text


def test_latches_that_concern_nobody_are_not_told():
    assert words(event(EventKind.LATCH, 0, 512), IDS) is None
    assert words(event(EventKind.LATCH, 0, 4), IDS) == ("evse-1", "LATCH", "latch THERMAL connector set", "degraded")


async def test_a_subscriber_hears_of_events_from_now_on_until_the_end():
    log = EventLog()
    log.add("lock", "evse-1", "LOCKOUT", "before")
    heard = []
    stream = log.subscribe()
    task = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    log.add("lock", "evse-1", "LOCKOUT", "after")
    heard.append((await task).text)
    log.close()
    heard += [e.text async for e in stream]
    assert heard == ["after"]
    assert [e.text for e in log.since(1)] == ["after"]


def test_locks_survive_and_belong_to_who_set_them(tmp_path: Path):
    locks = Locks(tmp_path / "state")
    locks.add(Lock("evse-1", "anna", "cable", 5))
    locks.add(Lock("evse-1", "ben", "test", 6))
    again = Locks(tmp_path / "state")
    assert [lock.by for lock in again.of("evse-1")] == ["anna", "ben"]
    assert not again.remove("evse-1", "carl")
    assert again.remove("evse-1", "anna")
    assert [lock.by for lock in Locks(tmp_path / "state").all()] == ["ben"]


def test_a_lock_file_that_cant_be_read_is_not_overwritten(tmp_path: Path):
    (tmp_path / "locks.json").write_text("{ damaged")
    locks = Locks(tmp_path)
    assert "every EVSE stays locked" in locks.unreadable
    with pytest.raises(GatewayError, match="repair or remove it"):
        locks.add(Lock("evse-1", "anna", "cable", 5))
    assert (tmp_path / "locks.json").read_text() == "{ damaged"


def test_systemd_is_notified_where_it_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        monkeypatch.setitem(os.environ, "NOTIFY_SOCKET", str(path))
        notify("READY=1")
        assert listener.recv(100) == b"READY=1"
    monkeypatch.delitem(os.environ, "NOTIFY_SOCKET")
    notify("READY=1")
