"""72 hours without a broker, in compressed time, at 64 EVSEs; then it is back: is every record there, is telemetry live?"""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

from aggregator.devbroker import DevBroker
from aggregator.link import Link
from aggregator.settings import Broker
from aggregator.store import HistoryRecord, Store
from aggregator.worker import SUBSCRIPTIONS, Worker
from edge import wire
from edge.arbiter import Arbiter
from edge.model import EvseModel, FeederModel, SiteModel
from edge.uplink import Clock, CommandHandler, MemoryLedger, Outbox, Storage, Uplink, UplinkSettings, running
from edge.uplink.pki import make_development_pki
from tests.uplink.conftest import Dispatcher, Gateway

EVSES = 64


class _Site(Gateway):
    """64 EVSEs that all charge."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        evses = tuple(EvseModel(f"evse-{n}", "main", -10_000, 22_000) for n in range(EVSES))
        self.arbiter = Arbiter(SiteModel("site-1", evses, (FeederModel("main", None, -500_000, 600_000),)))
        self.power_w = {evse.id: 7_000 for evse in evses}


def fill(outbox: Outbox, hours: float, now_ms: int) -> int:
    """What an outage of `hours` leaves in the outbox; returns the number of records."""
    start_ms = now_ms - round(hours * 3_600_000)
    count = 0
    for minute in range(round(hours * 60)):
        ts_ms = start_ms + minute * 60_000
        for n in range(EVSES):
            values = {
                "evse": f"evse-{n}",
                "n": 60,
                "p": [7000, 6900, 7100],
                "soc": [5000, 4990, 5010],
                "t_connector": [412, 400, 420],
            }
            outbox.add("agg60", ts_ms, values)
            count += 1
            if minute % 15 == 0:
                outbox.add(
                    "energy15", ts_ms, {"evse": f"evse-{n}", "import_wh": minute * 116, "export_wh": 0, "source": "register"}
                )
                count += 1
        if minute % 60 == 59:
            outbox.flush(now_ms)
    outbox.flush(now_ms)
    return count


async def _drain(directory: Path, port: int, pki: Path, records: int, store: Store, outbox: Outbox) -> dict[str, float]:
    clock = Clock()
    gateway = _Site(clock)
    storage = Storage()
    settings = UplinkSettings("site-1", "localhost", pki / "ca.crt", pki / "site-1.crt", pki / "site-1.key", port=port)
    handler = CommandHandler("site-1", {}, MemoryLedger(), gateway, clock)
    uplink = Uplink(settings, handler, "boot-1", gateway.birth, gateway.telemetry, clock, storage, outbox)
    watcher = Dispatcher(port, pki)
    ages_ms: list[int] = []

    def age(client: object, userdata: object, message: object) -> None:
        topic, payload = message.topic, message.payload  # type: ignore[attr-defined]
        if topic.startswith("v2g/fleet/"):
            ages_ms.append(time.time_ns() // 1_000_000 - wire.Telemetry.decode(payload).ts)

    watcher.client.on_message = age
    started_s = time.monotonic()
    async with running(uplink):
        while store.count(HistoryRecord) < records and time.monotonic() < started_s + 600:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
        drain_s = time.monotonic() - started_s
    watcher.close()
    storage.close()
    ages_ms.sort()
    return {
        "drain_s": round(drain_s, 1),
        "telemetry_messages": len(ages_ms),
        "telemetry_age_p99_ms": ages_ms[int(len(ages_ms) * 0.99)],
        "telemetry_age_max_ms": ages_ms[-1],
    }


def after_an_outage(directory: Path, hours: float) -> dict[str, float]:
    """Returns the figures of the summary."""
    pki = directory / "pki"
    pki.mkdir(parents=True)
    make_development_pki(pki, ["site-1"])
    now_ms = time.time_ns() // 1_000_000
    outbox = Outbox(directory / "outbox.db", now_ms)
    records = fill(outbox, hours, now_ms)
    size = sum(path.stat().st_size for path in directory.glob("outbox.db*"))
    store = Store(f"sqlite:///{directory}/aggregator.db")
    stopping = threading.Event()
    with DevBroker(directory / "broker", pki, {"site-1": [f"evse-{n}" for n in range(EVSES)]}).running() as broker:
        certificates = {
            name: pki / f"{file}" for name, file in (("ca", "ca.crt"), ("cert", "aggregator.crt"), ("key", "aggregator.key"))
        }
        link = Link(Broker(host="localhost", port=broker.port, **certificates), "v2g-aggregator", SUBSCRIPTIONS, session_s=60)
        link.wait_subscribed()
        worker = threading.Thread(target=Worker(link, store, authorize_new=True).run, args=(stopping.is_set,))
        worker.start()
        figures = asyncio.run(_drain(directory, broker.port, pki, records, store, outbox))
        stopping.set()
        worker.join()
        link.close()
    lost = store.history_lost("site-1") + sum(outbox.dropped.values()) + max(0, records - store.count(HistoryRecord))
    outbox.close()
    store.close()
    return {
        "outage_hours": hours,
        "outage_records": records,
        "outbox_mb": round(size / 1e6, 1),
        "records_lost": lost,
        **figures,
    }
