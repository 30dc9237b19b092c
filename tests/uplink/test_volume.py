"""What goes over the mobile link costs money: it is counted by the kernel, kept small, and told."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace

from edge import wire
from edge.uplink import Uplink, running
from edge.uplink.backhaul import Backhaul
from edge.uplink.telemetry import TelemetryPacer
from edge.uplink.volume import Sent, VolumeMeter, sent_by
from edge.wire import topics
from tests.chaos.proxy import BadLink
from tests.uplink.conftest import until

S = 1_000_000_000
STEADY = wire.Telemetry(
    site="site-1",
    evse="evse-1",
    boot="boot-1",
    ts=1_764_000_000_000,
    state="transfer",
    power_w=11_000,
    setpoint=wire.Setpoint(min_w=0, max_w=22_000, target_w=11_000),
    reason="NONE",
    soc=5000,
    temperature=wire.Temperatures(connector=412),
)


def sent_in_a_minute(*looks: wire.Telemetry) -> int:
    """How many of a minute's looks, one a second, in turn, are told."""
    pacer = TelemetryPacer(1.0, 5.0)
    return sum(pacer.due(looks[second % len(looks)], float(second)) for second in range(60))


def test_a_vehicle_that_charges_evenly_is_told_every_five_seconds() -> None:
    flicker = STEADY.model_copy(update={"power_w": 11_060, "soc": 5003})
    assert sent_in_a_minute(STEADY, flicker) == 12


def test_a_vehicle_whose_power_moves_is_told_every_second() -> None:
    assert sent_in_a_minute(STEADY, STEADY.model_copy(update={"power_w": 10_800})) == 60


def test_whatever_a_reader_must_know_is_told_within_a_second() -> None:
    news: list[dict[str, object]] = [
        {"state": "A"},
        {"reason": "THERMAL_DERATE"},
        {"setpoint": wire.Setpoint(min_w=0, max_w=16_000, target_w=11_000)},
        {"soc": 5020},
        {"soc": None},
        {"temperature": wire.Temperatures(connector=420)},
    ]
    for what in news:
        pacer = TelemetryPacer(1.0, 5.0)
        assert pacer.due(STEADY, 0.0) and not pacer.due(STEADY, 1.0)
        assert pacer.due(STEADY.model_copy(update=what), 2.0), what


def test_the_kernel_counts_what_a_connection_sends() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with socket.create_connection(server.getsockname()) as client:
            client.sendall(bytes(5000))
            sent = sent_by(client)
            assert sent.payload_bytes == 5000 and 5000 < sent.wire_bytes < 6000
        assert sent_by(client) == Sent()


def test_the_rate_is_that_of_the_last_hour_and_repeats_are_loss() -> None:
    meter = VolumeMeter()
    meter.take(0, Sent())
    assert meter.mb_per_day is None
    meter.take(100 * S, Sent(1_000_000, 900_000, 9_000))
    assert meter.mb_per_day is not None and round(meter.mb_per_day) == 864
    assert meter.loss == 0.01
    for minutes in range(10, 140, 10):
        meter.take(minutes * 60 * S, Sent(1_000_000, 900_000, 9_000))
    assert meter.mb_per_day == 0


def test_a_probe_that_is_never_answered_counts_as_a_slow_one() -> None:
    backhaul = Backhaul()
    for probe in range(8):
        backhaul.sent(probe, probe * 11 * S)
    assert backhaul.slow


async def test_eight_evses_stay_inside_the_budget_on_the_wire(settings, handler, gateway, clock, broker, dispatcher) -> None:
    """A typical day: four hours of power a vehicle, one of them moving. Bytes are those that pass a proxy, headers added."""
    ids = [f"evse-{n}" for n in range(1, 9)]
    full = wire.Telemetry.model_validate(
        STEADY.model_dump()
        | {
            "soc_source": "evse",
            "boot": "0123456789abcdef",
            "currents_ma": [15_900, 15_800, 16_000],
            "temperature": {"connector": 412, "cable": 380, "charger": 455, "cell_max": 291},
            "capacity": {"up_w": 11_000, "down_w": 11_000, "up_wh": 12_000, "down_wh": 24_000},
            "age_ms": 12,
        }
    )
    async with BadLink(broker.port).running() as link:
        uplink = Uplink(
            replace(settings, port=link.port, telemetry_active_s=1000.0), handler, "boot-1", gateway.birth, list, clock
        )
        async with running(uplink):
            await dispatcher.message(topics.birth("site-1"))
            before, sent_before = link.to_broker_bytes, uplink.status().bytes_out
            looks = 20
            for look in range(looks):
                uplink.send_telemetry([full.model_copy(update={"evse": evse_id}) for evse_id in ids], look * 2000.0)
                await asyncio.sleep(0.05)
            await until(lambda: sum(m.topic.startswith("v2g/fleet/") for m in dispatcher.messages) >= looks * len(ids) // 4)
            proxy_bytes = link.to_broker_bytes - before
            wire_bytes = uplink.status().bytes_out - sent_before
    assert proxy_bytes < wire_bytes < 1.25 * proxy_bytes  # the kernel's count is what passes the proxy, and few headers
    message_bytes = wire_bytes / (looks * len(ids))
    moving_s, quiet_s = 1 * 3600, 23 * 3600
    telemetry_mb = len(ids) * message_bytes * (moving_s + quiet_s / 5) / 1e6
    assert telemetry_mb < 58, f"{message_bytes:.0f} bytes a message"
