#!/usr/bin/env python3
"""Uplink at a real mosquitto on the loopback, gateway and aggregator in one process: build/bench/uplink.json.

A command's time runs from the sender's publish to the sender's receipt of the ack: broker twice, signature, durable ledger,
arbiter. The core's part (plan to frame) is measured with the core.
"""

from __future__ import annotations

import asyncio
import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from aggregator.devbroker import DevBroker
from edge import wire
from edge.uplink import (
    Clock,
    CommandHandler,
    MemoryLedger,
    Outbox,
    SqliteLedger,
    Storage,
    Uplink,
    UplinkSettings,
    running,
)
from edge.uplink.history import FLUSH_S
from edge.uplink.ledger import Entry
from edge.uplink.pki import Identity, make_client_cert, make_development_pki
from edge.uplink.recorder import Recorder
from edge.wire import topics
from tests.chaos.outage import after_an_outage
from tests.uplink.conftest import Dispatcher, Gateway, Orders
from tests.uplink.tpm import running_tpm

OUT = Path("build/bench/uplink.json")
COMMANDS = 300
HANDSHAKES = 50
OUTAGE_H = 6
LOOKS = 20
MOVING_H = 1
DAY_BEGAN_MS = 1_764_028_800_000


def spread(values_ms: list[float]) -> dict[str, float]:
    ordered = sorted(values_ms)
    return {"p50": round(statistics.median(ordered), 2), "p99": round(ordered[int(len(ordered) * 0.99)], 2)}


def timed_ms(function: Callable[[], object], times: int) -> list[float]:
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        function()
        taken.append((time.perf_counter() - start) * 1e3)
    return taken


async def commands(directory: Path, pki: Path, port: int) -> dict[str, object]:
    clock = Clock()
    gateway = Gateway(clock)
    storage = Storage()
    ledger = SqliteLedger(directory / "ledger.sqlite")
    key = load_pem_private_key((pki / "dev.key").read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey)
    handler = CommandHandler("site-1", {"dev": key.public_key()}, ledger, gateway, clock, run_blocking=storage.run)
    settings = UplinkSettings("site-1", "localhost", pki / "ca.crt", pki / "site-1.crt", pki / "site-1.key", port=port)
    uplink = Uplink(settings, handler, "boot-1", gateway.birth, gateway.telemetry, clock)
    dispatcher, orders = Dispatcher(port, pki), Orders(key)
    taken = []
    async with running(uplink):
        await dispatcher.message(topics.birth("site-1"))
        for number in range(COMMANDS):
            body = orders.body()
            payload = orders.signed(body)
            acked = asyncio.Event()
            watch(dispatcher, body.id, acked)
            start = time.perf_counter()
            dispatcher.send(payload)
            async with asyncio.timeout(30):
                await acked.wait()
            if number >= 20:  # the first ones warm caches up
                taken.append((time.perf_counter() - start) * 1e3)
    dispatcher.close()
    storage.close()
    ledger.close()
    return {"commands": len(taken), "command_to_ack_ms": spread(taken)}


def watch(dispatcher: Dispatcher, command_id: str, acked: asyncio.Event) -> None:
    """Set `acked` at the first ack of a command, without polling."""
    loop = asyncio.get_running_loop()

    def arrived(client: object, userdata: object, message: object) -> None:
        if message.topic == topics.ack("site-1") and wire.Ack.decode(message.payload).id == command_id:  # type: ignore[attr-defined]
            loop.call_soon_threadsafe(acked.set)
        dispatcher.messages.append(message)  # type: ignore[arg-type]

    dispatcher.client.on_message = arrived


def handshakes(directory: Path, pki: Path, port: int) -> dict[str, dict[str, float]]:
    """A client key in a file, a large one, and one in a TPM (swtpm behind tpm2-abrmd: a real TPM is slower)."""
    ca = Identity.read(pki, "ca")
    make_client_cert(ca, "rsa", "rsa4096").write(pki, "rsa")
    with running_tpm(directory / "tpm") as tpm:
        tpm.make_identity(pki, "tpm")
        arms = {"p256_file": ("site-1", None), "rsa4096_file": ("rsa", None), "p256_tpm": ("tpm", tpm.environment)}
        return {arm: spread(handshake_ms(pki, name, port, environment)) for arm, (name, environment) in arms.items()}


def handshake_ms(pki: Path, name: str, port: int, environment: dict[str, str] | None) -> list[float]:
    command = [sys.executable, "-m", "tests.uplink.handshake", str(pki), name, str(port), str(HANDSHAKES)]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    taken: list[float] = json.loads(done.stdout)
    return taken


def looks(evses: int, power_w: int) -> list[wire.Telemetry]:
    """As the gateway tells a generic CAN EVSE: no voltages and no energy registers."""
    golden = wire.Telemetry.decode(Path("tests/wire/golden/telemetry.msgpack").read_bytes())
    unknown = {"voltages_dv": None, "import_wh": None, "export_wh": None}
    example = golden.model_copy(update=unknown | {"boot": "0123456789abcdef", "power_w": power_w})
    return [example.model_copy(update={"evse": f"evse-{n}"}) for n in range(evses)]


async def telemetry_bytes(pki: Path, port: int, evses: int) -> float:
    """What one look at every EVSE costs on the wire, bytes, as the kernel counts it."""
    clock = Clock()
    gateway = Gateway(clock)
    settings = UplinkSettings(
        "site-1",
        "localhost",
        pki / "ca.crt",
        pki / "site-1.crt",
        pki / "site-1.key",
        port=port,
        telemetry_active_s=0.01,
    )
    handler = CommandHandler("site-1", {}, MemoryLedger(), gateway, clock)
    uplink = Uplink(settings, handler, "0123456789abcdef", gateway.birth, list, clock)
    dispatcher = Dispatcher(port, pki)
    async with running(uplink):
        await dispatcher.message(topics.birth("site-1"))
        before = uplink.status().bytes_out
        for look in range(LOOKS):
            uplink.send_telemetry(looks(evses, 1000 * look), look * 10.0)
            await asyncio.sleep(0.1)
        sent = uplink.status().bytes_out - before
    dispatcher.close()
    return sent / LOOKS


def a_day_of_history(directory: Path, evses: int) -> tuple[float, float]:
    """MB that an hour of looks leaves in the outbox and MB that are written to the disk for it, both times 24."""
    directory.mkdir()
    outbox, recorder = Outbox(directory / "outbox.db", DAY_BEGAN_MS), Recorder()
    written = written_bytes()
    for second in range(3600):
        now_ms = DAY_BEGAN_MS + second * 1000
        for look in looks(evses, 7000 + second % 60):
            for kind, ts_ms, details in recorder.observe(look.model_copy(update={"ts": now_ms}), second * 10**9):
                outbox.add(kind, ts_ms, details)
        if second % int(FLUSH_S) == 0:
            outbox.flush(now_ms, {"recorder": recorder.state()})
    outbox.flush(DAY_BEGAN_MS + 3_600_000)
    written = written_bytes() - written
    history = outbox.batch(10**9)
    assert history is not None
    size = sum(len(part) for part in encoded(history))
    outbox.close()
    return size * 24 / 1e6, written * 24 / 1e6


def encoded(history: wire.History) -> Iterator[bytes]:
    for i in range(0, len(history.records), 500):
        yield wire.History(first=history.first, records=history.records[i : i + 500]).encode()


def written_bytes() -> int:
    """What this process handed to write system calls."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["wchar"])


def a_day(pki: Path, port: int, directory: Path, evses: int) -> dict[str, float]:
    """A typical day: each vehicle draws or gives power for four hours, one of them changing; the rest is quiet."""
    per_look = asyncio.run(telemetry_bytes(pki, port, evses))
    history_mb, disk_mb = a_day_of_history(directory, evses)
    telemetry_mb = per_look * (MOVING_H * 3600 + (24 - MOVING_H) * 720) / 1e6
    return {
        "bytes_per_message": round(per_look / evses),
        "telemetry_mb": round(telemetry_mb, 1),
        "history_mb": round(history_mb, 1),
        "sent_mb": round(telemetry_mb + history_mb, 1),
        "sent_mb_when_every_value_moves_all_day": round(per_look * 86_400 / 1e6 + history_mb, 1),
        "disk_written_mb": round(disk_mb, 1),
    }


def main() -> None:
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory(dir="build") as name:
        directory = Path(name)
        pki = directory / "pki"
        make_development_pki(pki, ["site-1"])
        with DevBroker(directory / "broker", pki, {"site-1": ["evse-1", "evse-2"]}).running() as broker:
            figures = asyncio.run(commands(directory, pki, broker.port))
            figures["tls13_handshake_ms"] = handshakes(directory, pki, broker.port)
        ledger = SqliteLedger(directory / "l.sqlite")
        numbers = iter(range(10**6))

        def accept() -> None:
            number = next(numbers)
            ledger.accept(str(number), number, Entry(bytes(32), bytes(200)), 0)

        figures["ledger_accept_ms"] = spread(timed_ms(accept, 300))
        ledger.close()
        key = Ed25519PrivateKey.generate()
        orders = Orders(key)
        envelope = wire.Envelope.decode(orders.signed(orders.body()))
        figures["verify_signature_us"] = round(
            statistics.median(timed_ms(lambda: wire.signature_is_good(envelope, key.public_key()), 500)) * 1e3, 1
        )
        outage = after_an_outage(directory / "outage", OUTAGE_H)
        figures["history_records_per_s"] = round(outage["outage_records"] / outage["drain_s"])
        figures["telemetry_age_p99_ms_while_draining"] = outage["telemetry_age_p99_ms"]
        sites = {"site-1": [f"evse-{n}" for n in range(64)]}
        with DevBroker(directory / "broker-2", pki, sites).running() as broker:
            figures["day"] = {f"{evses}_evses": a_day(pki, broker.port, directory / f"day-{evses}", evses) for evses in (8, 64)}
    OUT.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
