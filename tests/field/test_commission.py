"""Commissioning finds, reads, measures and checks a device, and writes only when told to."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import sunspec_device as device
from register_server import RegisterServer

from edge.cli.main import main
from edge.field.commission import CommissionError, run
from edge.field.profile import PROFILES, load_profile

NO_DAEMON = ["--socket", "/nonexistent/local.sock"]


@pytest.fixture
def evse() -> Iterator[RegisterServer]:
    """The registers of profile sim-evse: state C, 60 s until a fallback of 6 kW."""
    registers = dict.fromkeys([*range(26), *range(100, 103), 110, 111], 0)
    server = RegisterServer(registers | {0: 2, 1: 8, 110: 6000, 111: 60_000}, window=4)
    yield server
    server.close()


def test_a_scan_finds_the_device_and_says_what_it_is(capsys):
    server = RegisterServer(device.memory(40000, device.charger()))
    assert main([*NO_DAEMON, "modbus", "scan", server.place, "--units", "1-2"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == f"{server.place} unit 1  SunSpec 1, 701, 702, 703, 704, 709, 713, 714, 715  ACME V2G 11"
    server.close()


def test_a_network_that_is_too_large_is_not_scanned():
    with pytest.raises(CommissionError, match="65536 addresses, at most 256"):
        run("scan", {"place": "10.0.0.0/16"})


def test_registers_are_read_as_they_stand(evse, capsys):
    assert main([*NO_DAEMON, "modbus", "read", evse.place, "--address", "110", "--count", "2"]) == 0
    assert capsys.readouterr().out == "6000 60000   (0x1770 0xea60)\n"


def test_a_refused_read_is_told_in_one_line(evse, capsys):
    assert main([*NO_DAEMON, "modbus", "read", evse.place, "--address", "500"]) == 64
    assert "exception 2: illegal address" in capsys.readouterr().err


def test_a_probe_raises_the_window_only_as_far_as_the_device_bears(evse, monkeypatch):
    monkeypatch.setattr("edge.field.commission.PROBE_REFRESH_S", 0.05)
    found = run("probe", {"place": evse.place, "profile": "sim-evse"})
    assert found["window"] == 4
    assert found["reply_ms"]["reads"] == 50
    assert found["refresh_ms"] is None, "nothing moves here"
    assert found["fallback"] == {"power_w": 6000, "after_ms": 60_000}
    assert evse.writes == []


def test_a_setting_is_written_but_nothing_that_commands_the_device(evse):
    arguments = {"place": evse.place, "profile": "sim-evse", "address": 111, "value": 2000}
    assert run("write", arguments) == {"table": "holding", "address": 111, "type": "uint16", "before": 60_000, "after": 2000}
    for address, kind, what in (
        (100, "int32", "setpoint"),
        (99, "int32", "setpoint"),
        (101, "uint16", "setpoint"),
        (102, "uint16", "stop"),
    ):
        with pytest.raises(CommissionError, match=f"carries the {what} of sim-evse.*edgectl test"):
            run("write", arguments | {"address": address, "type": kind})
    assert evse.writes == [(111, [2000])]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"address": 111, "value": 70_000}, "70000: a uint16 holds 0 to 65535"),
        ({"address": 111, "value": -1}, "-1: a uint16 holds"),
        ({"address": 111, "value": 1, "type": "float32"}, "write an integer"),
        ({"address": 111, "value": 1, "table": "coil"}, "type bit to a coil"),
    ],
)
def test_a_value_that_does_not_fit_is_not_written(evse, arguments, why):
    with pytest.raises(CommissionError, match=why):
        run("write", {"place": evse.place, "profile": "sim-evse", **arguments})
    assert evse.writes == []


def test_raw_writes_go_through_the_gateway_alone(evse, capsys):
    """Only it knows what carries a setpoint."""
    assert main([*NO_DAEMON, "modbus", "write", evse.place, "--address", "111", "--value", "1"]) == 3
    assert "no gateway answers" in capsys.readouterr().err
    assert evse.writes == []


def test_verify_compares_and_writes_only_when_told_to(evse):
    found = run("verify", {"place": evse.place, "profile": "sim-evse"})
    wrong = [(line["what"], line["value"]) for line in found["lines"] if not line["ok"]]
    assert wrong == [("fallback: 0 W when nobody writes", 6000), ("fallback: its time-out", 60_000)]
    assert evse.writes == []
    assert run("verify", {"place": evse.place, "profile": "sim-evse", "write": True})["ok"]
    assert evse.writes == [(110, [0]), (111, [1000])]


def test_a_register_that_is_not_there_is_named(evse, tmp_path):
    text = (PROFILES / "sim-evse.yaml").read_text().replace("profile: sim-evse", "profile: other")
    (tmp_path / "other.yaml").write_text(text.replace("address: 10, type: uint32", "address: 50, type: uint32"))
    found = run("verify", {"place": evse.place, "profile": str(tmp_path / "other.yaml")})
    line = next(line for line in found["lines"] if line["what"] == "max_charge_w")
    assert (line["ok"], line["why"]) == (False, "exception 2: illegal address")


def test_a_sunspec_charger_becomes_a_profile_that_verifies(tmp_path, capsys):
    server = RegisterServer(device.memory(40000, device.charger()))
    path = tmp_path / "charger.yaml"
    command = [*NO_DAEMON, "sunspec", "scan", server.place, "--make", "charger", "--output", str(path)]
    assert main([*command, "--grid-profile", "ieee1547-cat2"]) == 2, "trips are missing"
    out = capsys.readouterr().out
    assert "  709 low-frequency trip on  stages 56.5/0.16s 58.5/300s" in out
    assert "differs: 709" not in out
    assert "differs: 708 high-voltage trip: not there" in out
    assert load_profile(str(path)).kind == "evse"
    found = run("verify", {"place": server.place, "profile": str(path), "write": True})
    assert found["ok"], json.dumps([line for line in found["lines"] if not line["ok"]])
    server.registers[server.writes[0][0]] = 1  # somebody changes the fallback
    assert not run("verify", {"place": server.place, "profile": str(path)})["ok"]
    server.close()


def test_nobody_there_is_one_clear_line(capsys):
    assert main([*NO_DAEMON, "verify", "127.0.0.1:1", "--profile", "sim-evse"]) == 64
    assert "127.0.0.1:1: Connection refused" in capsys.readouterr().err
