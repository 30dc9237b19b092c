"""A device profile says only what its source says, and a wrong one is told with file, key and remedy."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from edge.field.docs import renewed
from edge.field.profile import PROFILES, ProfileError, load_profile
from edge.field.schema import FOLDER, MODELS, schema_text

METER = """\
profile: acme-m1
kind: meter
verified: document
source: "ACME M1 register list, 2.0, page 3"
transport: modbus
refresh_ms: 500
reply_ms: 100
gap_ms: 5
tables: {holding: [0, 99]}
liveness: {signal: energy_import_wh, kind: counter}
registers:
  - {signal: power_w, table: holding, address: 52, type: float32, words: big, unit: W, scale: 1, invalid: nan}
  - {signal: energy_import_wh, address: 60, type: uint32, unit: kWh, scale: 0.01}
  - {signal: voltage_l1_v, address: 62, type: int16, unit: V, scale: 0.1, invalid: [0x8000, 0xFFFF]}
"""
EVSE = """\
profile: acme-e1
kind: evse
verified: simulator
source: "ACME E1 register list, 1.0, page 9"
transport: modbus
refresh_ms: 500
registers:
  - {signal: power_w, address: 10, type: int32, unit: W}
  - {signal: state, address: 12, type: uint16, codes: {A: [0], B: [1, 2], C: [3]}}
setpoint: {address: 20, type: uint16, unit: kW, scale: 0.1, min: 1400,
  never_write: [0], stop: {address: 21, value: 2, type: uint16}}
write: {min_interval_ms: 1000, refresh_ms: 5000}
fallback: {address: 30, type: uint16, unit: W, timeout: {address: 31, type: uint16, unit: s}}
"""


@pytest.fixture
def written(tmp_path):
    def of(text: str, old: str = "", new: str = "") -> str:
        assert old in text
        name = "acme-m1" if "acme-m1" in text else "acme-e1"
        path = tmp_path / f"{name}.yaml"
        path.write_text(text.replace(old, new, 1))
        return str(path)

    return of


def test_a_meter_profile_is_read(written):
    profile = load_profile(written(METER))
    power, energy, voltage = profile.registers
    assert (power.count, power.core_scale, power.invalid) == (2, 1, ("nan",))
    assert energy.core_scale == Fraction(10)
    assert voltage.core_scale == Fraction(1)
    assert voltage.invalid == (0x8000, 0xFFFF)
    assert not profile.writes_verified
    assert profile.liveness_ns(10_000_000) == 60_000_000_000


def test_an_evse_profile_is_read(written):
    profile = load_profile(written(EVSE))
    assert profile.setpoint is not None
    assert profile.setpoint.core_scale == 100
    assert profile.setpoint.stop is not None
    assert profile.fallback is not None
    assert profile.writable
    assert profile.writes_verified


@pytest.mark.parametrize("path", sorted(PROFILES.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_packaged_profile_is_accepted(path: Path):
    assert load_profile(path.stem).profile == path.stem


@pytest.mark.parametrize(
    ("text", "old", "new", "expected"),
    [
        (
            METER,
            "address: 52",
            "address: 99",
            "12: registers[0].address: 99: outside the holding table, which holds 0 to 99; correct",
        ),
        (METER, "address: 52", "address: 65536", "12: registers[0].address: 65536: must be at most 65535; change the value"),
        (EVSE, "address: 10", "address: 65535", "8: registers[0]: holding registers end at 65535; a int32 needs 2"),
        (
            METER,
            "signal: power_w",
            "signal: power",
            "12: registers[0]: 'power' is no known signal; use one of power_w",
        ),
        (METER, "unit: W,", "unit: VA,", "12: registers[0].unit: 'VA': known units are W, kW"),
        (METER, "unit: W,", "unit: V,", "12: registers[0]: power_w can't be in V; write `unit:` with one of W, kW"),
        (
            METER,
            "signal: energy_import_wh, kind",
            "signal: sample_count, kind",
            "10: liveness.signal: 'sample_count': no register has",
        ),
        (METER, "acme-m1", "acme-m2", "1: profile: 'acme-m2': the file is named acme-m1.yaml; give both the same name"),
        (METER, "signal: voltage_l1_v", "signal: power_w", "14: registers[2]: power_w can't be in V"),
        (METER, "type: int16", "type: int24", "14: registers[2].type: 'int24': must be 'bit', 'int16', 'uint16'"),
        (METER, "invalid: nan", "invalid: none", "12: registers[0].invalid"),
        (
            METER,
            "type: int16, unit: V, scale: 0.1, invalid: [0x8000, 0xFFFF]",
            "type: int16, unit: V, invalid: nan",
            "14: registers[2]: a int16 is never nan; give the raw code",
        ),
        (METER, "scale: 0.01", "scale: 0", "13: registers[1]: a scale of 0 leaves nothing"),
        (METER, "gap_ms: 5", "gap_ms: 5\ngap: 1", "9: gap: 1: no such key here; did you mean gap_ms?"),
        (
            EVSE,
            ", stop: {address: 21, value: 2, type: uint16}",
            "",
            "10: setpoint: 0 is never written and there is no `stop`",
        ),
        (
            EVSE,
            "refresh_ms: 5000",
            "refresh_ms: 5000, nonvolatile: true",
            "12: write: a register in nonvolatile memory is never written cyclically; remove refresh_ms",
        ),
        (
            EVSE,
            "setpoint: {address",
            "setpoint: {table: input, address",
            "10: setpoint: input registers can't be written",
        ),
        (EVSE, "signal: state, ", "signal: contactor, ", "9: registers[1]: `codes` belong to the signal state"),
        (EVSE, ", codes: {A: [0], B: [1, 2], C: [3]}", "", "9: registers[1]: `codes` belong to the signal state"),
        (EVSE, "B: [1, 2]", "B: [0, 2]", "9: registers[1]: each code has one meaning"),
        (EVSE, "type: int32", "type: bit, table: discrete, bit: 1", "8: registers[0]: coils and discrete inputs hold one bit"),
        (
            EVSE,
            "address: 20, type: uint16, unit: kW",
            "address: 20, type: uint16, unit: V",
            "10: setpoint: a setpoint can't be in V",
        ),
        (EVSE, "value: 2", "value: 2, table: input", "11: setpoint.stop: a input can't be written"),
        (EVSE, "type: uint16, unit: s}", "type: uint16, unit: W}", "13: fallback: the time-out's unit is s or ms"),
        (
            EVSE,
            "unit: s}",
            "unit: s, value: 8}",
            "12: write.refresh_ms: 5000: the device falls back after 8000 ms without a write",
        ),
        (EVSE, "kind: evse", "kind: meter", "10: setpoint: 20: a meter takes no setpoint; change kind or remove it"),
    ],
)
def test_a_wrong_profile_names_line_key_and_remedy(written, text, old, new, expected):
    path = written(text, old, new)
    with pytest.raises(ProfileError) as refused:
        load_profile(path)
    lines = [line.removeprefix(f"{path}:") for line in str(refused.value).splitlines()]
    assert any(line.startswith(expected) for line in lines), lines


def test_an_unknown_name_is_refused():
    with pytest.raises(ProfileError, match="no packaged profile has this name; packaged profiles: "):
        load_profile("acme-unknown")


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_schemas_in_the_package_are_current(name):
    assert (FOLDER / name).read_text() == schema_text(name), "run python -m edge.field.schema"


def test_the_docs_list_every_packaged_profile():
    page = (Path(__file__).parents[2] / "docs/profiles.md").read_text()
    assert page == renewed(page)


def test_a_value_longer_than_a_request_is_refused(written):
    with pytest.raises(ProfileError, match="power_w takes 2 registers"):
        load_profile(written(METER, "gap_ms: 5\n", "gap_ms: 5\nmax_words: 1\n"))
