"""Everything that can happen to a gateway's link, broker, disk, clock and certificate, one after the other on one uplink.

All the time events are recorded, commands are sent three times each, and a ticker stands for the plan's renewal on the event
loop. After each phase the cause is taken away; at the end every event must be at the aggregator once and no command was
carried out twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

import edge.uplink.history as history_module
import edge.uplink.uplink as uplink_module
from aggregator.devbroker import DevBroker
from aggregator.link import Link
from aggregator.settings import Broker
from aggregator.store import Store
from aggregator.worker import SUBSCRIPTIONS, Worker
from edge.model import Outcome
from edge.uplink import Clock, CommandHandler, Outbox, SqliteLedger, Storage, Uplink, UplinkSettings, running
from edge.uplink.pki import Identity, make_client_cert, make_development_pki
from tests.chaos.proxy import BadLink
from tests.uplink.conftest import Dispatcher, Gateway, Orders

HOUR_NS = 3_600_000_000_000
TICK_S = 0.05
HEAL_S = 90.0
"""How long a phase may take to heal; only a failure needs it."""


@dataclass
class World:
    """What the phases may spoil."""

    directory: Path
    pki: Path
    broker: DevBroker
    link: BadLink
    uplink: Uplink
    outbox: Outbox
    ledger: SqliteLedger
    offset_ns: list[int]
    synchronised: list[bool]
    outcomes: Counter[Outcome]
    figures: dict[str, int] = field(default_factory=dict)


async def heal(condition: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + HEAL_S
    while not condition():
        assert time.monotonic() < deadline_s, f"not healed within {HEAL_S:g} s: {what}"
        await asyncio.sleep(0.02)


# ---- The phases: each spoils something for `hold_s`, takes it back and waits until it is seen to be well ----


async def delayed(world: World, hold_s: float) -> None:
    world.link.delay_s = 0.6
    await asyncio.sleep(hold_s)
    world.link.delay_s = 0.0


async def lossy(world: World, hold_s: float) -> None:
    """What a lost segment does to a TCP stream: everything behind it waits for the repeat."""
    for _ in range(max(2, int(hold_s / 0.4))):
        world.link.hole = True
        await asyncio.sleep(0.2)
        world.link.hole = False
        await asyncio.sleep(0.2)


async def reset(world: World, hold_s: float) -> None:
    for _ in range(3):
        world.link.reset()
        await asyncio.sleep(hold_s / 3)


async def slow_loris(world: World, hold_s: float) -> None:
    world.link.trickle = True
    world.link.reset()
    await asyncio.sleep(hold_s)
    world.link.trickle = False
    world.link.reset()


async def half_open(world: World, hold_s: float) -> None:
    world.link.hole = True
    await heal(lambda: not world.uplink.status().connected, "half-open connection noticed")
    world.link.hole = False


async def broker_killed(world: World, hold_s: float) -> None:
    process = world.broker._process
    assert process is not None
    process.send_signal(signal.SIGKILL)
    process.wait()
    await asyncio.sleep(hold_s)
    await asyncio.to_thread(world.broker.start)


def fill_up(filler: Path) -> bool:
    """Take all room of a file system of its own; False: there is none, and nobody else's is filled."""
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while os.path.ismount(filler.parent):
            file.write(bytes(65536))
    return os.path.ismount(filler.parent)


async def disk_full(world: World, hold_s: float) -> None:
    """A real full file system where a tmpfs could be mounted, else SQLite's own limit."""
    filler = world.directory / "state" / "filler"
    limited = not await asyncio.to_thread(fill_up, filler)
    if limited:
        world.outbox._db.execute("PRAGMA max_page_count = 1")
    for number in range(400):  # more than the rest of the last page holds
        world.uplink.record("agg60", {"evse": "evse-1", "filler": f"{number}" * 100})
    await heal(lambda: bool(world.outbox.error), "full disk noticed")
    world.figures["disk_full_alarms"] = sum(code == "OUTBOX" for code, *_ in world.uplink.status().alarms)
    await asyncio.sleep(hold_s)
    filler.unlink()
    if limited:
        world.outbox._db.execute("PRAGMA max_page_count = 1073741823")
    await heal(lambda: not world.outbox.error, "room again")


async def read_only(world: World, hold_s: float) -> None:
    world.outbox._db.execute("PRAGMA query_only = ON")
    world.ledger._db.execute("PRAGMA query_only = ON")
    before = world.outcomes[Outcome.UNSUPPORTED]
    await heal(lambda: bool(world.outbox.error), "read-only disk noticed")
    await heal(lambda: world.outcomes[Outcome.UNSUPPORTED] > before, "commands refused without a ledger")
    await asyncio.sleep(hold_s)
    world.outbox._db.execute("PRAGMA query_only = OFF")
    world.ledger._db.execute("PRAGMA query_only = OFF")
    await heal(lambda: not world.outbox.error, "writable again")


async def _clock_steps(world: World, offset_ns: int) -> None:
    before = world.outcomes[Outcome.CLOCK_UNTRUSTED]
    world.synchronised[0] = False
    world.offset_ns[0] = offset_ns
    await heal(lambda: world.outcomes[Outcome.CLOCK_UNTRUSTED] > before, "commands refused with clock_untrusted")
    world.offset_ns[0] = 0
    world.synchronised[0] = True
    await heal(lambda: not world.uplink.status().clock_distrust, "clock trusted again")


async def clock_ahead(world: World, hold_s: float) -> None:
    await _clock_steps(world, HOUR_NS)


async def clock_behind(world: World, hold_s: float) -> None:
    await _clock_steps(world, -HOUR_NS)


async def certificate_expired(world: World, hold_s: float) -> None:
    """It ends while the session stands: the session goes on, no new one begins, a renewed one is taken without a restart."""
    ca = Identity.read(world.pki, "ca")
    make_client_cert(ca, "site-1", days=3 / 86_400).write(world.pki, "site-1")
    world.uplink.reload_certificates()
    world.link.reset()
    connects = world.uplink._link.connects
    await heal(lambda: world.uplink._link.connects > connects, "connected with a certificate that ends soon")
    await heal(lambda: any(c.not_after_ms < time.time() * 1000 for c in world.uplink.certificates()[:1]), "it ended")
    still = world.uplink.status().connected
    world.figures["sessions_ended_by_expiry"] = int(not still)
    world.link.reset()
    await heal(lambda: "certificate" in world.uplink.status().last_error or not world.uplink.status().connected, "turned away")
    make_client_cert(ca, "site-1").write(world.pki, "site-1")
    await heal(lambda: world.uplink.status().connected, "the renewed certificate is taken")


PHASES = (
    delayed,
    lossy,
    reset,
    slow_loris,
    half_open,
    broker_killed,
    disk_full,
    read_only,
    clock_ahead,
    clock_behind,
    certificate_expired,
)


# ---- The world ----


@contextlib.contextmanager
def small_disk(path: Path) -> Iterator[Path]:
    """A file system of 8 MiB where this process may mount one, else a plain folder."""
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", path], capture_output=True).returncode == 0
    try:
        yield path
    finally:
        if mounted:
            subprocess.run(["umount", path], check=True)


@contextlib.contextmanager
def aggregator(directory: Path, pki: Path, port: int) -> Iterator[Store]:
    store = Store(f"sqlite:///{directory}/aggregator.db")
    files = {name: pki / file for name, file in (("ca", "ca.crt"), ("cert", "aggregator.crt"), ("key", "aggregator.key"))}
    link = Link(Broker(host="localhost", port=port, **files), "v2g-aggregator", SUBSCRIPTIONS, session_s=3600)
    link.wait_subscribed()
    stopping = threading.Event()
    worker = threading.Thread(target=Worker(link, store, authorize_new=True).run, args=(stopping.is_set,))
    worker.start()
    try:
        yield store
    finally:
        stopping.set()
        worker.join()
        link.close()
        store.close()


@contextlib.asynccontextmanager
async def _ticking(worst_s: list[float]) -> AsyncIterator[None]:
    """The longest time that the event loop kept a renewal waiting."""

    async def tick() -> None:
        while True:
            began_s = time.monotonic()
            await asyncio.sleep(TICK_S)
            worst_s[0] = max(worst_s[0], time.monotonic() - began_s - TICK_S)

    task = asyncio.create_task(tick())
    try:
        yield
    finally:
        task.cancel()


async def _load(world: World, dispatcher: Dispatcher, orders: Orders, recorded: list[int]) -> None:
    """Events and commands, all the time."""
    while True:
        recorded.append(len(recorded))
        world.uplink.record("event", {"number": recorded[-1]})
        payload = orders.signed(orders.body())
        for _ in range(3):
            dispatcher.send(payload)
        await asyncio.sleep(0.1)


async def _weather(world: World, store: Store, orders: Orders, gateway: Gateway, hold_s: float) -> dict[str, object]:
    dispatcher = Dispatcher(world.broker.port, world.pki)
    recorded: list[int] = []
    worst_s, took_s = [0.0], {}
    async with running(world.uplink), _ticking(worst_s):
        await heal(lambda: world.uplink.status().connected, "first connection")
        load = asyncio.create_task(_load(world, dispatcher, orders, recorded))
        for phase in PHASES:
            began_s = time.monotonic()
            await phase(world, hold_s)
            await heal(lambda: world.uplink.status().connected, f"connected after {phase.__name__}")
            applied = len(gateway.applied)
            await heal(lambda applied=applied: len(gateway.applied) > applied, f"commands obeyed after {phase.__name__}")  # type: ignore[misc]
            took_s[phase.__name__] = round(time.monotonic() - began_s, 1)
        load.cancel()
        await heal(lambda: len(_stored(store)) == len(recorded), "every event is at the aggregator")
    dispatcher.close()
    applied_ids = Counter(batch[0].name for batch in gateway.applied)
    stored = _stored(store)
    return {
        "phases_s": took_s,
        "storm_commands_applied": len(applied_ids),
        "storm_applied_twice": sum(count > 1 for count in applied_ids.values()),
        "storm_events": len(recorded),
        "storm_events_lost": len(set(recorded) - stored.keys()),
        "storm_events_twice": sum(count > 1 for count in stored.values()),
        "event_loop_held_up_ms": round(worst_s[0] * 1e3),
        "refused": {str(outcome): count for outcome, count in sorted(world.outcomes.items())},
        **world.figures,
    }


def _stored(store: Store) -> Counter[int]:
    return Counter(details["number"] for _, kind, details in store.records("site-1") if kind == "event" and "number" in details)


def storm(directory: Path, hold_s: float) -> dict[str, object]:
    """Run every phase for about `hold_s`; returns the figures of the summary."""
    pki = directory / "pki"
    pki.mkdir(parents=True)
    make_development_pki(pki, ["site-1"])
    key = load_pem_private_key((pki / "dev.key").read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey)
    offset_ns, synchronised = [0], [True]
    clock = Clock(wall_ns=lambda: time.time_ns() + offset_ns[0], synchronised=lambda: synchronised[0])
    gateway = Gateway(clock)
    before = uplink_module.CERTIFICATE_CHECK_S, history_module.FLUSH_S
    uplink_module.CERTIFICATE_CHECK_S, history_module.FLUSH_S = 0.5, 0.5
    try:
        with contextlib.ExitStack() as stack:
            broker = stack.enter_context(DevBroker(directory / "broker", pki, {"site-1": ["evse-1", "evse-2"]}).running())
            state = stack.enter_context(small_disk(directory / "state"))
            store = stack.enter_context(aggregator(directory, pki, broker.port))
            storage, ledger_storage = Storage(), Storage()
            outbox = Outbox(state / "outbox.db", clock.unix_ms())
            ledger = SqliteLedger(state / "ledger.db")
            for thing in (ledger_storage, storage, outbox, ledger):
                stack.callback(thing.close)
            handler = CommandHandler(
                "site-1", {"dev": key.public_key()}, ledger, gateway, clock, run_blocking=ledger_storage.run
            )

            async def run() -> dict[str, object]:
                async with BadLink(broker.port).running() as link:
                    settings = UplinkSettings(
                        "site-1",
                        "localhost",
                        pki / "ca.crt",
                        pki / "site-1.crt",
                        pki / "site-1.key",
                        port=link.port,
                        keep_alive_s=2,
                        reconnect_max_s=1,
                    )
                    uplink = Uplink(settings, handler, "boot-1", gateway.birth, gateway.telemetry, clock, storage, outbox)
                    world = World(
                        directory, pki, broker, link, uplink, outbox, ledger, offset_ns, synchronised, handler.outcomes
                    )
                    return await _weather(world, store, Orders(key), gateway, hold_s)

            figures = asyncio.run(run())
            figures["damaged_files_in_storm"] = len(list(state.glob("*.damaged-*")))
            return figures
    finally:
        uplink_module.CERTIFICATE_CHECK_S, history_module.FLUSH_S = before
        shutil.rmtree(directory / "broker", ignore_errors=True)


MUST_BE_ZERO = (
    "storm_applied_twice",
    "storm_events_lost",
    "storm_events_twice",
    "sessions_ended_by_expiry",
    "damaged_files_in_storm",
)
