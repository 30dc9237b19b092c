"""evse-generic.dbc and the simulator's hand-made frames say the same: two independent writings of contracts.md section 3."""

from __future__ import annotations

from pathlib import Path

import cantools
import pytest
from hypothesis import given
from hypothesis import strategies as st
from v2g_sim import frames
from v2g_sim.e2e import COUNTER_MODULO, crc8_j1850, frame_crc
from v2g_sim.frames import Flag, State

ROOT = Path(__file__).resolve().parents[2]
DBC = cantools.database.load_file(ROOT / "edge/field/dbc/evse-generic.dbc", strict=True)
COUNTERS = st.integers(0, COUNTER_MODULO - 1)


def decode(name: str, data: bytes) -> dict:
    message = DBC.get_message_by_name(name)
    assert data[0] == frame_crc(message.frame_id, data)
    return message.decode(data, decode_choices=False)


def test_the_crc_is_that_of_sae_j1850():
    assert crc8_j1850(b"123456789") == 0x4B
    assert crc8_j1850(bytes(4)) == 0x59  # AUTOSAR SWS CRC Library, CRC8 test vectors
    assert crc8_j1850(bytes.fromhex("f20183")) == 0x37


def test_identifiers_and_cycle_times_are_those_of_the_contract():
    assert {m.name: (m.frame_id, m.length, m.cycle_time) for m in DBC.messages} == {
        "Cmd": (0x201, 8, 10),
        "StatusA": (0x301, 8, 20),
        "StatusB": (0x401, 8, 50),
        "StatusC": (0x501, 8, 200),
        "Limits": (0x601, 8, 500),
    }


@given(COUNTERS, st.sampled_from(frames.Mode), *[st.integers(-32768, 32767)] * 3)
def test_cmd(counter, mode, target, high, low):
    values = {"counter": counter, "mode": mode, "target_w": target * 10, "max_w": high * 10, "min_w": low * 10}
    data = frames.encode_cmd(1, counter, mode, target * 10, high * 10, low * 10)
    assert decode("Cmd", data) == values | {"crc": data[0]}
    cmd = frames.decode_cmd(0x201, data)
    assert cmd == frames.Cmd(counter, mode, target * 10, high * 10, low * 10, crc_ok=True)


@given(
    COUNTERS,
    st.sampled_from(State),
    st.integers(-32768, 32767),
    st.integers(0, 10000),
    st.integers(-40, 214),
    st.integers(0, 127),
)
def test_status_a(counter, state, power, soc, connector, flags):
    got = decode("StatusA", frames.encode_status_a(1, counter, state, power * 10, soc / 100, connector, Flag(flags)))
    assert (got["counter"], got["state"], got["power_w"], got["connector_c"]) == (counter, state, power * 10, connector)
    assert got["soc_percent"] == pytest.approx(soc / 100)
    names = ["fault", "bidirectional", "contactor", "ev_present", "following", "e_stop", "fail_safe_active"]
    assert sum(got[name] << bit for bit, name in enumerate(names)) == flags


@given(COUNTERS, st.tuples(*[st.integers(-32768, 32767)] * 3))
def test_status_b(counter, tenths):
    got = decode("StatusB", frames.encode_status_b(1, counter, tuple(value / 10 for value in tenths)))
    assert [got[f"current_l{phase}_a"] for phase in (1, 2, 3)] == pytest.approx([value / 10 for value in tenths])


@given(COUNTERS, st.tuples(*[st.integers(-40, 214)] * 4), st.integers(0, 100), st.integers(0, 100))
def test_status_c(counter, temperatures, duty, health):
    got = decode("StatusC", frames.encode_status_c(1, counter, *temperatures, duty, health))
    assert [got[name] for name in ("cable_c", "charger_c", "cell_max_c", "cell_min_c")] == list(temperatures)
    assert (got["pilot_duty_percent"], got["state_of_health_percent"], got["counter"]) == (duty, health, counter)


@given(COUNTERS, st.integers(0, 65535), st.integers(0, 65535), st.integers(0, 65535))
def test_limits(counter, charge, discharge, capacity):
    got = decode("Limits", frames.encode_limits(1, counter, charge * 10, discharge * 10, capacity * 100))
    assert (got["max_charge_w"], got["max_discharge_w"], got["capacity_wh"]) == (charge * 10, discharge * 10, capacity * 100)


def test_unknown_values_have_the_invalid_codes():
    status_a = frames.encode_status_a(1, 0, State.A_NO_VEHICLE, 0, None, None, Flag(0))
    assert status_a[4:7] == b"\xff\xff\xff"
    assert frames.encode_status_c(1, 0, None, None, None, None, 0, 0)[2:6] == b"\xff" * 4
    choices = DBC.get_message_by_name("StatusA").decode(status_a)
    assert (str(choices["soc_percent"]), str(choices["connector_c"])) == ("unknown", "invalid")


def test_limits_are_never_rounded_up():
    assert decode("Limits", frames.encode_limits(1, 0, 10999, 4999, 60099))["max_charge_w"] == 10990
