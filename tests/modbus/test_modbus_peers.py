"""The engine against servers that others have written: every function code, every type."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from modbus_peers import Libmodbus, Loop, Pymodbus
from modbus_rig import Rig, eventually


def float_words(value: float) -> list[int]:
    return list(struct.unpack(">2H", struct.pack(">f", value)))


@pytest.fixture
def pymodbus_port(loop: Loop) -> Iterator[int]:
    holding = [0] * 100
    holding[10:12] = float_words(-2504.4)
    holding[12:14] = float_words(230.16)
    holding[14:18] = [0, 0, 0, 77]
    holding[18:20] = float_words(float("nan"))
    server = Pymodbus(loop, holding, [500 + i for i in range(100)], [i % 3 == 0 for i in range(16)], [True, False] * 8)
    yield server.port
    server.stop()


@pytest.fixture
def libmodbus_port(tmp_path: Path) -> Iterator[int]:
    server = Libmodbus(tmp_path)
    yield server.port
    server.stop()


def test_values_of_every_table_and_type_arrive(rig: Rig, pymodbus_port: int) -> None:
    meter = rig.device("127.0.0.1", pymodbus_port)
    power = rig.register(meter, "holding", 10, "F32")
    voltage = rig.register(meter, "holding", 12, "F32", multiplier=10)
    energy = rig.register(meter, "holding", 14, "U64")
    broken = rig.register(meter, "holding", 18, "F32")
    current = rig.register(meter, "input", 7, "U16", multiplier=100)
    coil = rig.register(meter, "coil", 3, "BIT")
    alarm = rig.register(meter, "discrete", 1, "BIT")
    rig.start()
    eventually(lambda: rig.stats(meter).polls > 2)
    assert [rig.read(c).value for c in (power, voltage, energy, current, coil, alarm)] == [-2504, 2302, 77, 50700, 1, 0]
    assert {rig.read(c).quality for c in (power, voltage, energy, current, coil, alarm)} == {"good"}
    assert rig.read(broken).quality == "none" or rig.read(broken).quality == "invalid"
    assert rig.read(broken).count == 0


@pytest.mark.parametrize("function", [6, 16, 23])
def test_a_setpoint_is_written_and_read_back(rig: Rig, pymodbus_port: int, function: int) -> None:
    charger = rig.device("127.0.0.1", pymodbus_port, poll_ms=3_000_000)
    shown = rig.register(charger, "holding", 40, "U16", multiplier=100)
    limit = rig.write(charger, function, 40, "U16", multiplier=100, read_back=shown)
    rig.start()
    eventually(lambda: rig.state(charger) == "up")
    rig.ask(limit, 16_000)
    eventually(lambda: rig.result(limit).value == 16_000)
    eventually(lambda: rig.read(shown).value == 16_000)


@pytest.mark.parametrize("function", [5, 15])
def test_a_coil_is_written(rig: Rig, pymodbus_port: int, function: int) -> None:
    relay = rig.device("127.0.0.1", pymodbus_port)
    shown = rig.register(relay, "coil", 5, "BIT")
    switch = rig.write(relay, function, 5, "BIT", coils=1 if function == 15 else 0)
    rig.start()
    rig.ask(switch, 1)
    eventually(lambda: rig.read(shown).value == 1)
    rig.ask(switch, 0)
    eventually(lambda: rig.read(shown).value == 0)


def test_an_address_that_the_device_lacks_costs_only_its_own_registers(rig: Rig, pymodbus_port: int) -> None:
    meter = rig.device("127.0.0.1", pymodbus_port)
    good = rig.register(meter, "input", 7)
    missing = rig.register(meter, "input", 4000)
    rig.start()
    eventually(lambda: rig.read(missing).quality == "exception" and rig.read(good).count > 3)
    assert rig.read(good).quality == "good"
    assert rig.stats(meter).last_exception == 2
    assert rig.stats(meter).timeouts == 0


def test_libmodbus_and_the_engine_understand_each_other(rig: Rig, libmodbus_port: int) -> None:
    device = rig.device("127.0.0.1", libmodbus_port)
    holding = rig.register(device, "holding", 20)
    written = rig.register(device, "holding", 50, "F32")
    inputs = rig.register(device, "input", 99)
    coil = rig.register(device, "coil", 3, "BIT")
    discrete = rig.register(device, "discrete", 8, "BIT")
    setpoint = rig.write(device, 16, 50, "F32", read_back=1)
    rig.start()
    rig.ask(setpoint, -7400)
    eventually(lambda: rig.read(written).value == -7400 and rig.stats(device).polls > 1)
    assert [rig.read(c).value for c in (holding, inputs, coil, discrete)] == [1020, 1099, 1, 0]
    assert rig.stats(device).bad_frames == 0
