"""DBC files, profiles and buses that the config names are tried before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from edge.config import load
from edge.config.check import check
from edge.config.devices import ACTIVATION_MS, SERVICE_HZ, load_devices
from edge.config.gridcode import SERVICES
from edge.config.settings import Service

SITE = """\
site: {id: site-1}
feeders: [{id: main, rating_a: 400, meter: grid}]
buses: [{id: can0, kind: can, channel: vcan0}, {id: net, kind: modbus-tcp}, {id: line, kind: modbus-rtu, port: /dev/ttyS0}]
meters: [{id: grid, bus: net, host: 10.0.0.5, profile: sim-meter}]
evses:
"""
CAN_EVSE = "  - {{id: evse-{n}, bus: can0, dbc: evse-generic, node: {n}, feeder: main, rating_w: 11000}}\n"
WALLBOX = """\
profile: wallbox
kind: evse
verified: document
source: "a register list"
transport: modbus
refresh_ms: 500
registers:
  - {signal: power_w, address: 10, type: int32, unit: W}
  - {signal: state, address: 12, type: uint16, codes: {A: [0], B: [1], C: [2]}}
setpoint: {address: 20, type: uint16, unit: W}
"""


def evses(count: int) -> str:
    return "".join(CAN_EVSE.format(n=n) for n in range(1, count + 1))


@pytest.fixture
def lines(tmp_path: Path):
    def of(text: str) -> list[str]:
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return [str(p).removeprefix(f"{path}:") for p in check(path)]

    return of


def test_the_runtime_gets_the_tables_that_were_checked(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(SITE + evses(2))
    devices = load_devices(load(path), tmp_path)
    assert {key: hex(node.tx[0].can_id) for key, node in devices.can.items()} == {"evse-1": "0x201", "evse-2": "0x202"}
    assert devices.profiles["grid"].profile == "sim-meter"


def test_fourteen_evses_fit_a_bus_and_fifteen_do_not(lines):
    assert lines(SITE + evses(14)) == []
    (line,) = lines(SITE + evses(15))
    expected = "3: buses[0]: load 71.7 % of 500000 bit/s with 15 EVSEs and worst-case stuffing: more than 70 %; move EVSEs"
    assert line.startswith(expected)


def test_two_devices_with_one_identifier_are_refused(lines):
    folder = Path(__file__).parents[2] / "edge" / "field" / "dbc"
    other = evses(2).replace("dbc: evse-generic, node: 2", f"dbc: {folder}/evse-generic.dbc, node: 1")
    found = lines(SITE + other)
    assert any(
        "7: evses[1]: identifier 0x301 of StatusA: is used by evse-1 on can0; change node or bus" in line for line in found
    ), found


def test_a_longer_cycle_makes_room_on_the_bus(lines):
    assert lines(SITE + evses(15) + "cycle: {period: 20ms}\n") == []


def test_a_hub_has_no_wire_so_on_a_bench_its_load_is_only_told(lines):
    (line,) = lines(SITE.replace("channel: vcan0", "channel: 'hub:/run/hub.sock'") + evses(20) + "lab: true\n")
    assert line.startswith("3: warning: buses[0]: load ")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "dbc: evse-generic",
            "dbc: evse-generik",
            "6: evses[0].dbc: 'evse-generik': no packaged DBC has this name; packaged ones",
        ),
        ("dbc: evse-generic", "dbc: ./none.dbc", "6: evses[0].dbc: './none.dbc': "),
        (
            "profile: sim-meter",
            "profile: acme",
            "4: meters[0].profile: 'acme': no packaged profile has this name; packaged profiles:",
        ),
        (
            "profile: sim-meter",
            "profile: ./wallbox.yaml",
            "4: meters[0].profile: 'wallbox': is the profile of a evse; name a profile",
        ),
    ],
)
def test_a_device_file_that_is_wrong_is_told_at_the_key_that_names_it(lines, tmp_path, old, new, expected):
    (tmp_path / "wallbox.yaml").write_text(WALLBOX)
    found = lines((SITE + evses(1)).replace(old, new, 1))
    assert found[0].startswith(expected), found


def test_a_problem_inside_a_profile_names_its_own_line_too(lines, tmp_path):
    (tmp_path / "wallbox.yaml").write_text(WALLBOX.replace("address: 20", "address: 70000"))
    (line,) = lines(
        SITE + evses(1) + "  - {id: w, bus: net, host: h, profile: ./wallbox.yaml, feeder: main, rating_w: 11000}\n"
    )
    assert line.startswith("7: evses[1].profile: './wallbox.yaml': ")
    assert "wallbox.yaml:10: setpoint.address: 70000: must be at most 65535; change the value" in line


@pytest.mark.parametrize(
    ("profile", "key", "expected"),
    [
        (WALLBOX, "", "was only read in a document, and its writes were never tried; try it, or set accept_unverified: true"),
        (WALLBOX.replace("setpoint", "#"), "", "has no setpoint, so the EVSE can't be controlled; use another profile"),
        (
            WALLBOX + "write: {nonvolatile: true}\n",
            ", accept_unverified: true",
            "its setpoint lies in nonvolatile memory, and control",
        ),
    ],
)
def test_an_evse_that_must_not_be_written_is_refused(lines, tmp_path, profile, key, expected):
    (tmp_path / "wallbox.yaml").write_text(profile)
    evse = f"  - {{id: w, bus: net, host: h, profile: ./wallbox.yaml, feeder: main, rating_w: 11000, reaction_time: 2s{key}}}\n"
    (line,) = lines(SITE + evse)
    assert line.startswith(f"6: evses[0].profile: 'wallbox': {expected}")


def test_an_accepted_unverified_profile_may_write(lines, tmp_path):
    (tmp_path / "wallbox.yaml").write_text(WALLBOX)
    evse = "  - {id: w, bus: net, host: h, profile: ./wallbox.yaml, feeder: main, rating_w: 11000, accept_unverified: true, "
    assert lines(SITE + evse + "reaction_time: 2s}\n") == []


@pytest.mark.parametrize(
    ("fallback", "expected"),
    [
        ("", "a write 1000 ms + a poll 10 ms + its refresh 500 ms = 1510 ms; set it to 1510ms or more"),
        (
            "write: {refresh_ms: 1000}\n"
            "fallback: {address: 30, type: uint16, unit: W, timeout: {address: 31, type: uint16, unit: s, value: 10}}\n",
            "its fallback comes after 10000 ms, seen 10 ms later = 10010 ms; set it to 10010ms or more",
        ),
    ],
)
def test_an_evse_is_not_freed_before_it_can_have_followed(lines, tmp_path, fallback, expected):
    (tmp_path / "wallbox.yaml").write_text(WALLBOX.replace("document", "simulator") + fallback)
    evse = "  - {id: w, bus: net, host: h, profile: ./wallbox.yaml, feeder: main, rating_w: 11000}\n"
    assert lines(SITE + evse) == [f"6: evses[0].reaction_time: 500ms: {expected}"]


@pytest.mark.parametrize(
    ("services", "level", "expected"),
    [
        ("[nordic-ffr-0.7s]", "", "must act in"),
        ("[ercot-ffr]", "", "is a service of 60 Hz grids"),
    ],
)
def test_a_service_that_meter_and_evse_are_too_slow_for_is_refused(lines, services, level, expected):
    reaction = "response: 900ms"
    text = SITE.replace("site: {id: site-1}", f"site: {{id: site-1, grid: {{services: {services}}}}}")
    text += evses(1).replace("rating_w: 11000", f"rating_w: 11000, {reaction}")
    assert any(line.startswith(f"1: {level}site.grid.services[0]: ") and expected in line for line in lines(text)), lines(text)


def test_every_service_is_a_known_answer_with_its_activation_time():
    assert set(SERVICES) == set(ACTIVATION_MS) == set(SERVICE_HZ) == set(get_args(Service))


@pytest.mark.parametrize("name", [name for name in SERVICES if name.startswith("nordic")])
def test_the_nordic_reserve_is_held_long_or_given_back_slowly(name):
    """5 s with at most 20 % a second on the way back, else 30 s; again within 15 min. [S: Fingrid, Fast Frequency Reserve]"""
    step = SERVICES[name]
    assert step.hold_s >= (5 if step.back_s >= 5 else 30)
    assert step.hold_s + step.back_s + step.rearm_s <= 900
