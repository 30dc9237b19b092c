"""SIGKILL at random points: whatever instant the gateway dies at, no command is carried out twice and no safe event is lost.

Each life of the gateway is a fork that opens the same ledger and outbox, takes commands from a pipe, appends the id of what it
carries out to a file and reports acks and safe events. The parent kills it after a random time and compares the books.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import select
import signal
import struct
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgpack
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge import wire
from edge.arbiter import Arbiter
from edge.model import Constraint, EvseModel, FeederModel, Outcome, Plan, SiteModel
from edge.uplink import Clock, CommandHandler, Outbox, Progress, Reception, SqliteLedger

SITE = SiteModel("site-1", (EvseModel("evse-1", "main", -10_000, 22_000),), (FeederModel("main", None, -50_000, 60_000),))
WINDOW_MS = 10**9
MAX_LIFE_S = 0.02


@dataclass
class Books:
    """What the parent knows for sure."""

    commands: dict[str, bytes] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    changed_outcomes: int = 0
    safe_events: set[int] = field(default_factory=set)
    confirmed: set[int] = field(default_factory=set)


class _Sink:
    """The rest of the gateway; carrying out a command is one line in a file."""

    def __init__(self, clock: Clock, applied: int) -> None:
        self._arbiter = Arbiter(SITE)
        self._clock = clock
        self._applied = applied

    def preview(self, constraints: Sequence[Constraint]) -> Plan:
        return self._arbiter.preview(constraints, self._clock.monotonic_ns())

    def apply(self, constraints: Sequence[Constraint]) -> Plan:
        os.write(self._applied, f"{constraints[0].name}\n".encode())
        self._arbiter.put(constraints)
        return self._arbiter.renew(self._clock.monotonic_ns())

    async def follow(self, plan: Plan, evse_ids: Sequence[str]) -> AsyncIterator[Progress]:
        now_ms = self._clock.unix_ms()
        yield Progress(adopted=now_ms, on_bus=now_ms, confirmed=now_ms)


async def _live(directory: Path, key: Ed25519PrivateKey, inlet: int, outlet: int) -> None:
    """One life: until the pipe ends or somebody kills it."""
    clock = Clock()
    applied = os.open(directory / "applied", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    ledger = SqliteLedger(directory / "ledger.db")
    outbox = Outbox(directory / "outbox.db", clock.unix_ms())
    keys = {"k": key.public_key()}
    handler = CommandHandler("site-1", keys, ledger, _Sink(clock, applied), clock, window_ms=WINDOW_MS)
    while header := os.read(inlet, 4):
        payload = os.read(inlet, struct.unpack("<I", header)[0])
        async for ack in handler.handle(Reception(payload, False, clock.monotonic_ns(), clock.unix_ms())):
            _tell(outlet, {"ack": ack.encode()})
        number = random.getrandbits(48)
        outbox.add("event", clock.unix_ms(), {"number": number})
        outbox.flush(clock.unix_ms())
        _tell(outlet, {"safe": number})
        if random.random() < 0.1:
            history = outbox.batch(2000)
            assert history is not None
            _tell(outlet, {"stored": [record.details()["number"] for record in history.records]})
            outbox.confirm(history.records[-1].seq)


def _tell(outlet: int, message: dict[str, object]) -> None:
    data = msgpack.packb(message)
    os.write(outlet, struct.pack("<I", len(data)) + data)


def _one_life(directory: Path, key: Ed25519PrivateKey, payloads: Sequence[bytes], life_s: float, books: Books) -> None:
    inlet_child, inlet = os.pipe()
    outlet, outlet_child = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            os.close(inlet)
            os.close(outlet)
            random.seed(os.getpid() ^ time.time_ns())
            asyncio.run(_live(directory, key, inlet_child, outlet_child))
            os._exit(0)
        os._exit(1)
    os.close(inlet_child)
    os.close(outlet_child)
    for payload in payloads:
        os.write(inlet, struct.pack("<I", len(payload)) + payload)
    said = b""
    deadline = time.monotonic() + life_s + 10
    killed_at = None
    while True:
        ready, _, _ = select.select([outlet], [], [], 0.001 if killed_at is None and said else 0.05)
        if ready:
            part = os.read(outlet, 65536)
            if not part:
                break
            if killed_at is None and not said:
                killed_at = time.monotonic() + life_s  # it has begun to work: from here on it may die at any instant
            said += part
        if time.monotonic() > min(deadline, killed_at or deadline):
            os.kill(child, signal.SIGKILL)
            killed_at = deadline = float("inf")
    os.waitpid(child, 0)
    os.close(inlet)
    os.close(outlet)
    _enter(said, books)


def _enter(said: bytes, books: Books) -> None:
    """Enter what a life reported whole; a message that was cut off doesn't count."""
    while len(said) >= 4:
        size = struct.unpack("<I", said[:4])[0]
        if len(said) < 4 + size:
            return
        message = msgpack.unpackb(said[4 : 4 + size])
        said = said[4 + size :]
        if "ack" in message:
            ack = wire.Ack.decode(message["ack"])
            before = books.outcomes.setdefault(ack.id, ack.outcome)
            books.changed_outcomes += before is not ack.outcome
        elif "safe" in message:
            books.safe_events.add(message["safe"])
        else:
            books.confirmed.update(message["stored"])


def kill_often(directory: Path, kills: int, seed: int = 1) -> dict[str, int]:
    """Let `kills` lives end by SIGKILL; returns the figures of the summary."""
    rng = random.Random(seed)
    key = Ed25519PrivateKey.generate()
    books = Books()
    for life in range(kills):
        for n in range(4):
            command_id = str(uuid.UUID(int=rng.getrandbits(128)))
            books.commands[command_id] = _command(key, command_id, seq=1 + life * 4 + n)
        again = rng.choices(list(books.commands), k=4)
        payloads = [books.commands[command_id] for command_id in [*list(books.commands)[-4:], *again]]
        _one_life(directory, key, payloads, rng.uniform(0, MAX_LIFE_S), books)
    return _compare(directory, books, kills)


def _command(key: Ed25519PrivateKey, command_id: str, seq: int) -> bytes:
    now_ms = time.time_ns() // 1_000_000
    constraint = wire.CommandConstraint(scope=wire.CommandScope(evse="evse-1"), quantity="p_w", target_w=-5000)
    body = wire.CommandBody(
        id=command_id, site="site-1", seq=seq, issued=now_ms, accept_until=now_ms + WINDOW_MS, constraints=[constraint]
    )
    return wire.sign(body, "k", key).encode()


def _compare(directory: Path, books: Books, kills: int) -> dict[str, int]:
    applied = Counter((directory / "applied").read_text().split())
    outbox = Outbox(directory / "outbox.db", time.time_ns() // 1_000_000)
    ledger = SqliteLedger(directory / "ledger.db")
    history = outbox.batch(10**9)
    stored = {record.details()["number"] for record in history.records} if history else set()
    obeyed = {command_id for command_id, outcome in books.outcomes.items() if outcome in (Outcome.APPLIED, Outcome.CLIPPED)}
    figures = {
        "kills": kills,
        "commands": len(books.commands),
        "applied": len(applied),
        "applied_twice": sum(count > 1 for count in applied.values()),
        "acked_not_remembered": sum(ledger.find(command_id) is None for command_id in obeyed),
        "acks_that_changed": books.changed_outcomes,
        "events_safe": len(books.safe_events),
        "events_lost": len(books.safe_events - stored - books.confirmed),
        "damaged_files": len(list(directory.glob("*.damaged-*"))),
    }
    outbox.close()
    ledger.close()
    return figures
