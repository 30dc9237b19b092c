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
    gateway.power_w["evse-1"] = 7_000
    for n in range(20_000):
        recording.history.add("agg60", {"evse": f"evse-{n % 8}", "number": n, "p": [1, 2, 3]})
    recording.history.outbox.flush(int(time.time() * 1000))
    async with running(recording):
        await until(lambda: aggregator_store.count(HistoryRecord) >= 20_000, 100)
        sequence = [m.topic for m in list(dispatcher.messages)]
    numbers = [details["number"] for _, _, details in aggregator_store.records("site-1") if "number" in details]
    assert numbers == list(range(20_000))
    assert aggregator_store.history_lost("site-1") == 0
    first, last = sequence.index(topics.history("site-1")), len(sequence) - sequence[::-1].index(topics.history("site-1"))
    assert sequence[first:last].count(topics.telemetry("evse-1")) >= 3


async def test_records_of_the_time_without_a_broker_are_sent_when_it_is_back(recording, aggregator_store, broker) -> None:
    async with running(recording):
        await until(lambda: recording.status().connected)
        broker.stop()
        await until(lambda: not recording.status().connected)
        recording.record("session", {"evse": "evse-1", "import_wh": 12_000})
        broker.start()
        await until(lambda: "session" in [kind for _, kind, _ in aggregator_store.records("site-1")])
