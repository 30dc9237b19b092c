"""While the gateway runs, commissioning stays away from its lines and from registers that it writes."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from edge.config import Settings, load
from edge.field.canmap import load_can_device
from edge.field.canraw import documents, frame_of, listen, refuse_owned, send
from edge.field.commission import CommissionError
from edge.gateway.commission import in_full, refuse_what_is_in_use
from edge.local.view import LocalError

CONFIG = """
site: {id: site-1}
feeders: [{id: main, rating_a: 400}]
buses: [{id: net, kind: modbus-tcp}, {id: rs485, kind: modbus-rtu, port: /dev/ttyRS485}]
meters: [{id: grid, bus: net, host: 127.0.0.1, port: 1502, profile: sim-meter}]
evses:
  - {id: evse-1, bus: net, host: 10.0.0.8, profile: sim-evse, feeder: main, rating_w: 22000, reaction_time: 2s}
  - {id: evse-2, bus: rs485, unit: 2, profile: sim-evse, feeder: main, rating_w: 22000, reaction_time: 2s}
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "config.yaml").write_text(CONFIG)
    return load(tmp_path / "config.yaml")


@pytest.mark.parametrize(
    ("step", "arguments", "why"),
    [
        ("read", {"place": "/dev/ttyRS485"}, "is bus rs485 of the running gateway"),
        ("read", {"place": "/dev/../dev/ttyRS485"}, "is bus rs485 of the running gateway"),
        ("verify", {"place": "10.0.0.8", "write": True}, "is EVSE evse-1: the running gateway writes its registers"),
        ("verify", {"place": "10.0.0.8:502", "unit": 1, "write": True}, "is EVSE evse-1"),
    ],
)
def test_what_the_gateway_uses_is_refused(settings: Settings, step: str, arguments: dict[str, Any], why: str):
    with pytest.raises(LocalError, match=why):
        refuse_what_is_in_use(settings, Path(), step, arguments)


@pytest.mark.parametrize(
    ("address", "kind", "what"),
    [(100, "int32", "setpoint"), (99, "int32", "setpoint"), (101, "uint16", "setpoint"), (102, "uint16", "stop")],
)
def test_a_raw_write_to_a_register_that_commands_an_evse_is_refused(settings: Settings, address: int, kind: str, what: str):
    """Whatever profile and unit the caller names: unit 255 is what many devices listen to as well."""
    for unit in (1, 255):
        arguments = {"place": "10.0.0.8", "unit": unit, "address": address, "type": kind, "profile": "sim-meter"}
        with pytest.raises(CommissionError, match=f"carries the {what} of sim-evse.*edgectl test"):
            refuse_what_is_in_use(settings, Path(), "write", arguments)


def test_a_raw_write_to_a_device_that_nobody_knows_needs_its_profile(settings: Settings):
    arguments = {"place": "10.0.0.9", "address": 1}
    with pytest.raises(CommissionError, match="name its --profile"):
        refuse_what_is_in_use(settings, Path(), "write", arguments)
    assert refuse_what_is_in_use(settings, Path(), "write", arguments | {"profile": "sim-evse"}) == []


def test_the_same_device_under_another_name_is_found(settings: Settings):
    (found,) = refuse_what_is_in_use(settings, Path(), "write", {"place": "localhost:1502", "address": 7, "type": "uint16"})
    assert found.id == "grid"


def test_reading_and_other_devices_are_not(settings: Settings):
    for arguments in ({"place": "10.0.0.8"}, {"place": "10.0.0.8", "unit": 2, "write": True}, {"place": "/dev/ttyUSB0"}):
        refuse_what_is_in_use(settings, Path(), "verify", arguments)


def test_a_device_of_the_config_is_named_by_its_id(settings: Settings, tmp_path: Path):
    found = in_full(settings, tmp_path, {"place": "evse-1", "address": 5})
    assert found == {"profile": "sim-evse", "folder": str(tmp_path), "place": "10.0.0.8:502", "address": 5, "unit": 1}
    assert in_full(settings, tmp_path, {"place": "evse-2"})["place"] == "/dev/ttyRS485"
    assert in_full(settings, tmp_path, {"place": "10.0.0.8"}) == {"place": "10.0.0.8"}


def test_no_identifier_of_an_evse_is_sent_by_hand():
    nodes = {"evse-1": load_can_device("evse-generic").node(1, 230, 10_000_000)}
    for can_id, name in ((0x201, "Cmd"), (0x301, "StatusA"), (0x601, "Limits")):
        with pytest.raises(CommissionError, match=f"identifier {can_id:#x} is evse-1 .*{name}"):
            refuse_owned(frame_of(can_id, False, bytes(8)), nodes)
    refuse_owned(frame_of(0x201, True, bytes(8)), nodes)  # an extended one is another identifier
    refuse_owned(frame_of(0x701, False, bytes(8)), nodes)
    assert [d["of"] for d in documents([frame_of(0x701, False, b""), frame_of(0x301, False, bytes(8))], nodes)] == [
        "",
        "evse-1 StatusA",
    ]


@pytest.mark.parametrize(
    ("can_id", "extended", "length"), [(0x800, False, 8), (-1, False, 8), (1 << 29, True, 8), (1, False, 9)]
)
def test_what_is_no_frame_is_not_sent(can_id: int, extended: bool, length: int):
    with pytest.raises(CommissionError):
        frame_of(can_id, extended, bytes(length))


def test_a_bus_that_went_away_is_named() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        theirs.close()
        with pytest.raises(CommissionError, match="bus can0 has ended"):
            listen(ours, "can0", 1.0, 1)
        with pytest.raises(CommissionError, match="bus can0 takes no frame: Broken pipe: see edgectl status"):
            send(ours, "can0", frame_of(0x7FF, False, b"\x01"))
