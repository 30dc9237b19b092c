"""A backlog reaches the aggregator's database through the real broker: whole, once, and without delaying live telemetry."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aggregator.link import Link
from aggregator.settings import Broker
from aggregator.store import HistoryRecord, Store
from aggregator.worker import SUBSCRIPTIONS, Worker
from edge.uplink import Outbox, Storage, Uplink, running
from edge.wire import topics
from tests.uplink.conftest import until


@pytest.fixture
def aggregator_store(broker, pki: Path, tmp_path: Path) -> Iterator[Store]:
    """The aggregator's worker at the broker; what it stored."""
    settings = Broker(
        host="localhost", port=broker.port, ca=pki / "ca.crt", cert=pki / "aggregator.crt", key=pki / "aggregator.key"
    )
    link = Link(settings, "v2g-aggregator", SUBSCRIPTIONS, session_s=60)
    link.wait_subscribed()
    store = Store(f"sqlite:///{tmp_path}/aggregator.db")
    stopping = threading.Event()
    thread = threading.Thread(target=Worker(link, store, authorize_new=True).run, args=(stopping.is_set,))
    thread.start()
    yield store
    stopping.set()
    thread.join()
    link.close()
    store.close()


@pytest.fixture
def storage() -> Iterator[Storage]:
    storage = Storage()
    yield storage
    storage.close()


@pytest.fixture
def recording(settings, handler, gateway, clock, storage, tmp_path) -> Iterator[Uplink]:
    outbox = Outbox(tmp_path / "outbox.db", clock.unix_ms())
    yield Uplink(settings, handler, "boot-1", gateway.birth, gateway.telemetry, clock, storage, outbox)
    outbox.close()


async def test_an_event_reaches_the_aggregator_and_is_then_deleted_here(recording, aggregator_store) -> None:
    async with running(recording):
        recording.record("event", {"event": "SOC_FLOOR", "evse": "evse-1"})
        await until(lambda: aggregator_store.count(HistoryRecord) >= 1)
        await until(lambda: recording.history.outbox.stored() == 0)
    assert ("event", {"event": "SOC_FLOOR", "evse": "evse-1"}) in [(k, d) for _, k, d in aggregator_store.records("site-1")]


async def test_the_backlog_of_an_outage_arrives_whole_and_once_while_telemetry_stays_live(
    recording, aggregator_store, dispatcher, gateway
) -> None:
    """The backlog grows until three telemetries came between its batches: a fast machine drains any fixed one too soon."""
    gateway.power_w["evse-1"] = 7_000
    added = 0

    def lengthen() -> None:
        nonlocal added
        for n in range(added, added + 5_000):
            recording.history.add("agg60", {"evse": f"evse-{n % 8}", "number": n, "p": [1, 2, 3]})
        added += 5_000
        recording.history.outbox.flush(int(time.time() * 1000))

    def live_between_batches() -> int:
        topics_seen = [m.topic for m in list(dispatcher.messages)]
        batches = [n for n, topic in enumerate(topics_seen) if topic == topics.history("site-1")]
        return topics_seen[batches[0] : batches[-1]].count(topics.telemetry("evse-1")) if batches else 0

    def seen_or_longer() -> bool:
        if live_between_batches() >= 3:
            return True
        if aggregator_store.count(HistoryRecord) > added - 5_000:
            lengthen()
            recording.history.on_connected()  # it may just have found the outbox empty
        return False

    for _ in range(4):
        lengthen()
    async with running(recording):
        await until(seen_or_longer, 60)
        await until(lambda: aggregator_store.count(HistoryRecord) >= added, 100)
    numbers = [details["number"] for _, _, details in aggregator_store.records("site-1") if "number" in details]
    assert numbers == list(range(added))
    assert aggregator_store.history_lost("site-1") == 0


async def test_records_of_the_time_without_a_broker_are_sent_when_it_is_back(recording, aggregator_store, broker) -> None:
    async with running(recording):
        await until(lambda: recording.status().connected)
        broker.stop()
        await until(lambda: not recording.status().connected)
        recording.record("session", {"evse": "evse-1", "import_wh": 12_000})
        broker.start()
        await until(lambda: "session" in [kind for _, kind, _ in aggregator_store.records("site-1")])
