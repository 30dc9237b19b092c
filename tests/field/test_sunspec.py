"""A device that describes itself becomes a plain profile; its registers were packed by another implementation."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

sys.path.insert(0, str(Path(__file__).parent))

import sunspec_device as device

from edge.field import sunspec, sunspec_grid
from edge.field.modbus_client import Excepted, raw_value
from edge.field.profile import Profile, load_profile


def reader(memory: dict[int, int]) -> sunspec.Read:
    def read(address: int, count: int) -> list[int]:
        try:
            return [memory[address + i] for i in range(count)]
        except KeyError:
            raise Excepted(2) from None

    return read


def loaded(folder: Path, profile: dict[str, object]) -> Profile:
    """As the config would load it: written to a file, read back through every check."""
    path = folder / f"{profile['profile']}.yaml"
    YAML(typ="safe").dump(profile, path)
    return load_profile(str(path))


def value(memory: dict[int, int], profile: Profile, signal: str) -> float:
    register = profile.signal(signal)
    assert register is not None
    words = [memory[register.address + i] for i in range(register.count)]
    return float(raw_value(register, words) * register.core_scale)


@pytest.mark.parametrize("base", sunspec.BASES)
@pytest.mark.parametrize("number", sunspec.METERS_INT)
def test_a_meter_is_found_at_every_base_and_read_as_its_maker_packed_it(tmp_path, base, number):
    memory = device.memory(base, [device.common(), device.model(number, device.METER)])
    found, models = sunspec.discover(reader(memory))
    assert (found, [m.id for m in models]) == (base, [1, number])
    profile = loaded(tmp_path, sunspec.meter_profile(reader(memory), "found"))
    assert profile.source.startswith("read from ACME V2G 11 1.2 by discovery")
    assert value(memory, profile, "power_w") == -12340
    assert value(memory, profile, "current_l1_a") == 15500
    assert value(memory, profile, "voltage_l1_v") == 2301
    assert value(memory, profile, "frequency_hz") == 49980
    assert value(memory, profile, "energy_import_wh") == 123_456
    assert profile.signal("power_l2_w") is None, "not implemented, so left out"


@pytest.mark.parametrize("number", sunspec.METERS_FLOAT)
def test_a_float_meter_needs_no_scale_factor(tmp_path, number):
    values = {"W": -1234.5, "AphA": 15.5, "Hz": 49.98, "TotWhImp": 2000.0}
    memory = device.memory(40000, [device.common(), device.model(number, values)])
    profile = loaded(tmp_path, sunspec.meter_profile(reader(memory), "found"))
    assert value(memory, profile, "power_w") == -1234.5
    assert value(memory, profile, "current_l1_a") == 15500
    assert profile.requires == ()


def test_a_meter_that_counts_export_positive_is_turned(tmp_path):
    memory = device.memory(40000, [device.common(), device.model(203, device.METER)])
    profile = loaded(tmp_path, sunspec.meter_profile(reader(memory), "found", export_positive=True))
    assert value(memory, profile, "power_w") == 12340
    assert value(memory, profile, "voltage_l1_v") == 2301


def test_a_bidirectional_charger_gets_a_setpoint_with_a_reversion_timer(tmp_path):
    memory = device.memory(40000, device.charger())
    profile = loaded(tmp_path, sunspec.der_profile(reader(memory), "charger"))
    assert value(memory, profile, "power_w") == 3700, "absorbing is charging"
    assert value(memory, profile, "current_l1_a") == 5300
    assert value(memory, profile, "soc_percent") == 5570
    assert value(memory, profile, "capacity_wh") == 60_000
    assert (value(memory, profile, "max_charge_w"), value(memory, profile, "max_discharge_w")) == (11_000, 10_000)
    assert value(memory, profile, "charger_c") == 412
    assert value(memory, profile, "bidirectional") != 0
    state = profile.signal("state")
    assert state is not None
    assert memory[state.address] in state.codes["C"]
    _, models = sunspec.discover(reader(memory))
    controls = next(m.address for m in models if m.id == 704)
    assert profile.setpoint is not None
    assert profile.setpoint.address == controls + 24
    assert profile.setpoint.core_scale == -1, "positive is generation there, charging here"
    assert profile.fallback is not None
    assert profile.fallback.timeout.address == controls + 31
    assert {r.address for r in profile.requires} >= {controls + 23, controls + 30}


def test_a_charger_without_an_ev_port_is_refused():
    models = [m for m in device.charger() if m[0] != 714]
    with pytest.raises(sunspec.SunSpecError, match="model 714 is missing"):
        sunspec.der_profile(reader(device.memory(40000, models)), "charger")


def test_a_charger_that_wants_a_heartbeat_gets_one(tmp_path):
    memory = device.memory(40000, device.charger())
    profile = loaded(tmp_path, sunspec.der_profile(reader(memory), "charger"))
    _, models = sunspec.discover(reader(memory))
    at = {m.id: m.address for m in models}
    assert profile.heartbeat is not None
    assert (profile.heartbeat.address, profile.heartbeat.type, profile.heartbeat.period_ms) == (at[715] + 5, "uint32", 1000)
    wanted = {r.address: r.value for r in profile.requires}
    assert (wanted[at[715] + 2], wanted[at[703] + 2]) == (0, 1), "control is remote, and it may enter service"
    without = [m for m in device.charger() if m[0] != 715]
    assert loaded(tmp_path, sunspec.der_profile(reader(device.memory(0, without)), "other")).heartbeat is None


def functions(*models: list[int]) -> dict[int, sunspec_grid.GridFunction]:
    read = reader(device.memory(40000, [device.common(), *models]))
    return sunspec_grid.read_functions(read, sunspec.discover(read)[1])


def test_grid_functions_as_the_profile_wants_them_differ_in_nothing():
    found = functions(*device.ieee1547_cat2())
    assert sunspec_grid.compare(found, "ieee1547-cat2") == []
    assert sunspec_grid.compare(found, "none") == []
    assert found[707].stages == ((0.45, 0.16), (0.7, 10.0))
    assert found[709].stages == ((56.5, 0.16), (58.5, 300.0))
    assert found[703].values["delay_s"] == 300


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        (device.enter_service(ESDlyTms=60), "703 enter service: delay_s is 60, not 300"),
        (device.enter_service(ESHzHi=6020), "703 enter service: high_hz is 60.2, not 60.1"),
        (device.enter_service(ES=0), "703 enter service: off, ieee1547-cat2 wants it on"),
        (
            device.trip(707, [(450, 16), (700, 200)]),
            "707 low-voltage trip: trips at 0.45 after 0.16 s, 0.7 after 2 s; 0.7 after",
        ),
        (device.trip(709, [(5650, 16), (5850, 3000)], on=False), "709 low-frequency trip: off, ieee1547-cat2 wants it on"),
        (device.droop(DbUf=17), "711 frequency droop: deadband_under_hz is 0.017, not 0.036"),
        (device.function(705, True), "705 volt-var: on, ieee1547-cat2 wants it off"),
        ([708, 1, 1], "708 high-voltage trip: model 708 ends after 1 registers"),
    ],
)
def test_every_difference_of_a_grid_function_is_named(changed: list[int], line: str):
    models = [m for m in device.ieee1547_cat2() if m[0] != changed[0]]
    lines = sunspec_grid.compare(functions(*models, changed), "ieee1547-cat2")
    assert len(lines) == 1
    assert lines[0].startswith(line)


def test_a_missing_grid_function_is_named():
    assert "708 high-voltage trip: not there, ieee1547-cat2 needs it" in sunspec_grid.compare(functions(), "ieee1547-cat2")
    assert sunspec_grid.compare(functions(), "ieee1547-cat3")[0].startswith("703 enter service: not there")


@pytest.mark.parametrize(
    ("memory", "why"),
    [
        ({}, "no SunSpec marker"),
        ({0: 1, 1: 2}, "no SunSpec marker"),
        ({40000: 0x5375, 40001: 0x6E53, 40002: 1, 40003: 60_000}, "length of 60000"),
        ({40000: 0x5375, 40001: 0x6E53, **{40002 + i: 0 for i in range(400)}}, "the chain doesn't end"),
    ],
)
def test_what_is_no_sunspec_device_is_told(memory, why):
    with pytest.raises(sunspec.SunSpecError, match=why):
        sunspec.discover(reader(memory))
