"""The simulated meters show the simulated site: base load plus the EVSEs below, with the faults of real meters."""

from __future__ import annotations

import asyncio
import math
import socket
import struct
from pathlib import Path

import pytest
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusIOException
from ruamel.yaml import YAML
from v2g_sim.meters import REGISTER_COUNT, Meter, MeterError, MeterSpec
from v2g_sim.modbus_server import ModbusServer, ServerError
from v2g_sim.site import Feeder, Flow, Site

PROFILE = YAML(typ="safe").load(Path(__file__).resolve().parents[2] / "edge/field/profiles/sim-meter.yaml")
FORMATS = {"float32": (">f", 2), "uint32": (">I", 2), "uint16": (">H", 1)}
FLOW = Flow((1000.0, -500.0, 3000.0), (230.0, 231.0, 229.0), 50.02)


def small_site() -> Site:
    feeders = [Feeder("main", None, (100, 200, 300)), Feeder("row-a", "main", (10, 10, 10)), Feeder("row-b", "main")]
    return Site({feeder.id: feeder for feeder in feeders}, {"evse-1": "row-a", "evse-2": "row-b"})


def by_profile(registers: list[int]) -> dict[str, float]:
    """Decode a block with nothing but the published profile."""
    data = struct.pack(f">{len(registers)}H", *registers)
    values = {}
    for entry in PROFILE["registers"]:
        layout, _ = FORMATS[entry["type"]]
        (values[entry["signal"]],) = struct.unpack_from(layout, data, entry["address"] * 2)
    return values


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_power_adds_up_along_the_fuse_tree():
    site = small_site()
    evses = {"evse-1": (1000.0, 0.0, 0.0), "evse-2": (-300.0, -300.0, -300.0)}
    assert site.flow("row-a", evses, 0).powers_w == (1010, 10, 10)
    assert site.flow("row-b", evses, 0).powers_w == (-300, -300, -300)
    assert site.flow("main", evses, 0).powers_w == (810, -90, 10)


def test_a_base_load_follows_its_profile_and_repeats():
    feeder = Feeder("main")
    feeder.set_profile([(0, 3000), (10, 6000)])
    assert [sum(feeder.base_at(second)) for second in (0, 5, 15)] == [3000, 4500, 4500]
    with pytest.raises(ValueError, match="rising"):
        feeder.set_profile([(0, 1), (0, 2)])


def test_a_wrong_tree_is_refused():
    with pytest.raises(ValueError, match="loop"):
        Site({"a": Feeder("a", "b"), "b": Feeder("b", "a")}, {})
    with pytest.raises(ValueError, match="no feeder 'x'"):
        Site({"a": Feeder("a")}, {"evse-1": "x"})


def test_a_meter_shows_what_flows_in_the_registers_of_its_profile():
    meter = Meter(MeterSpec("grid", "main"))
    meter.refresh(0.0, FLOW)
    meter.refresh(3600.0, FLOW)
    assert max(entry["address"] + FORMATS[entry["type"]][1] for entry in PROFILE["registers"]) == REGISTER_COUNT
    values = by_profile(meter.read())
    assert values["power_w"] == 3500
    assert [values[f"power_l{n}_w"] for n in (1, 2, 3)] == [1000, -500, 3000]
    assert values["current_l2_a"] == pytest.approx(500 / 231)
    assert values["frequency_hz"] == pytest.approx(50.02)
    assert (values["energy_import_wh"], values["energy_export_wh"], values["sample_count"]) == (3500, 0, 2)


def test_a_meter_renews_its_registers_only_at_its_refresh_period_and_after_its_delay():
    meter = Meter(MeterSpec("grid", "main", refresh_s=0.5, delay_s=0.2))
    for step in range(11):
        meter.refresh(step / 10, FLOW)
        expected = 0 if step < 2 else 1 if step < 7 else 2
        assert by_profile(meter.read())["sample_count"] == expected


def test_a_frozen_meter_stops_its_liveness_counter():
    meter = Meter(MeterSpec("grid", "main"))
    meter.refresh(0, FLOW)
    meter.set_fault("frozen")
    meter.refresh(1, FLOW)
    assert PROFILE["liveness"]["signal"] == "sample_count"
    assert by_profile(meter.read())["sample_count"] == 1
    with pytest.raises(MeterError, match="known: frozen"):
        meter.set_fault("melted")


async def test_meters_answer_modbus_clients_and_fail_on_command():
    port = free_port()
    one, two = Meter(MeterSpec("one", "main", port=port, unit=1)), Meter(MeterSpec("two", "main", port=port, unit=2))
    for meter in (one, two):
        meter.refresh(0, FLOW)
    server = ModbusServer("127.0.0.1", port, [one, two])
    await server.start()
    client = AsyncModbusTcpClient("127.0.0.1", port=port, timeout=0.3, retries=0)
    try:
        await client.connect()

        async def read(unit: int) -> dict[str, float]:
            return by_profile((await client.read_holding_registers(0, count=REGISTER_COUNT, device_id=unit)).registers)

        assert (await read(1))["power_w"] == (await read(2))["power_w"] == 3500
        one.set_fault("nan")
        assert math.isnan((await read(1))["power_w"])
        one.clear_fault("all")
        one.set_fault("silent")
        with pytest.raises(ModbusIOException):
            await read(1)
        assert (await read(2))["power_w"] == 3500
        one.clear_fault("silent")
        one.set_fault("slow", delay_s=0.1)
        before = asyncio.get_running_loop().time()
        assert (await read(1))["power_w"] == 3500
        assert asyncio.get_running_loop().time() - before >= 0.1
        outside = await client.read_holding_registers(REGISTER_COUNT, count=1, device_id=2)
        assert outside.isError()
    finally:
        client.close()
        await server.shutdown()


async def test_a_meter_port_in_use_is_one_clear_error():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=f"grid: can't listen on 127.0.0.1:{port}"):
            await ModbusServer("127.0.0.1", port, [Meter(MeterSpec("grid", "main", port=port))]).start()
