"""Buses that only python-can can open reach the core through a bridge, as if they were a kernel's."""

from __future__ import annotations

import os
import pty
import socket
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import can
import pytest
from v2g_sim.canhub import encode_frame

from edge.core import CoreError
from edge.core._native import ffi, lib
from edge.field.canbridge import Bridge, decode, encode, state_frame
from edge.field.canpath import bridge_command
from edge.gateway.bridges import Bridges


def eventually(condition: Callable[[], object], seconds: float = 20) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "did not happen"
        time.sleep(0.01)
    return found


def connect(path: Path) -> socket.socket:
    eventually(path.exists)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(str(path))
    connection.settimeout(10)
    return connection


def frame(can_id: int, data: bytes, **kind: Any) -> can.Message:
    return can.Message(arbitration_id=can_id, data=data, is_extended_id=can_id > 0x7FF, **kind)


@pytest.fixture
def bridged(tmp_path: Path) -> Iterator[tuple[can.BusABC, socket.socket, Bridge]]:
    """An EVSE's end of a virtual bus, and the core's end of its bridge."""
    name = str(tmp_path)
    far = can.Bus(interface="virtual", channel=name)
    near = can.Bus(interface="virtual", channel=name)
    bridge = Bridge(near, tmp_path / "can.sock")
    thread = threading.Thread(target=bridge.run, daemon=True)
    thread.start()
    connection = connect(tmp_path / "can.sock")
    eventually(lambda: bridge._connection)
    yield far, connection, bridge
    connection.close()
    thread.join(10)
    assert not thread.is_alive()
    far.shutdown()
    near.shutdown()


@pytest.mark.parametrize(
    "message",
    [
        frame(0x301, b"\x01\x02\x03"),
        frame(0x18FF50E5, bytes(8)),
        frame(0x301, bytes(range(64)), is_fd=True, bitrate_switch=True),
    ],
    ids=["standard", "extended", "fd"],
)
def test_a_frame_has_the_bytes_that_the_kernel_gives_it(message: can.Message):
    packet = encode(message)
    assert packet == encode_frame(message)  # the hub's plug-in, which the core is tested with
    back = decode(packet)
    assert back is not None
    assert (back.arbitration_id, back.is_extended_id, back.is_fd, bytes(back.data)) == (
        message.arbitration_id,
        message.is_extended_id,
        message.is_fd,
        bytes(message.data),
    )


def test_frames_cross_both_ways(bridged):
    far, core, _ = bridged
    far.send(frame(0x301, b"status"))
    assert core.recv(72) == encode(frame(0x301, b"status"))
    core.send(encode(frame(0x201, b"command")))
    received = far.recv(10)
    assert received is not None
    assert (received.arbitration_id, bytes(received.data)) == (0x201, b"command")


def test_of_commands_that_waited_only_the_newest_of_each_evse_is_sent(bridged, monkeypatch):
    _, core, bridge = bridged
    held, sent = threading.Event(), []

    def slow(message: can.Message, timeout: float | None = None) -> None:
        held.wait(10)
        sent.append((message.arbitration_id, bytes(message.data)))

    monkeypatch.setattr(bridge._bus, "send", slow)
    core.send(encode(frame(0x201, b"\x00")))
    time.sleep(0.1)
    for count in range(1, 20):
        core.send(encode(frame(0x201 + count % 2, bytes((count,)))))
    held.set()
    eventually(lambda: len(sent) >= 3)
    assert sent[0] == (0x201, b"\x00")
    assert sorted(sent[1:]) == [(0x201, b"\x12"), (0x202, b"\x13")]


def test_a_command_that_the_adapter_refuses_is_dropped(bridged, monkeypatch):
    far, core, bridge = bridged

    def refuse(message: can.Message, timeout: float | None = None) -> None:
        raise can.CanOperationError("transmit queue full")

    monkeypatch.setattr(bridge._bus, "send", refuse)
    core.send(encode(frame(0x201, b"old")))
    eventually(lambda: bridge.refused_by_adapter == 1)
    monkeypatch.undo()
    core.send(encode(frame(0x201, b"new")))
    assert bytes(eventually(lambda: far.recv(0.1)).data) == b"new"


def test_the_adapters_state_reaches_the_core_as_error_frames():
    states = (can.BusState.ACTIVE, can.BusState.PASSIVE, can.BusState.ERROR, can.BusState.ACTIVE)
    wanted = (lib.V2G_BUS_PASSIVE, lib.V2G_BUS_OFF, lib.V2G_BUS_UP)
    for before, now, state in zip(states, states[1:], wanted, strict=False):
        packet = state_frame(before, now)
        assert len(packet) == 16
        can_id = int.from_bytes(packet[:4], sys.byteorder)
        assert can_id & 0x2000_0000
        if state == lib.V2G_BUS_PASSIVE:
            assert packet[9] & 0x30


def test_the_cores_own_opening_works_on_a_bridge(bridged, tmp_path):
    fd = lib.v2g_can_open(f"hub:{tmp_path}/can.sock".encode())
    assert fd >= 0  # it waits in the listener's queue until the present one has left
    os.close(fd)
    assert ffi is not None


def test_slcan_on_a_serial_port_is_carried_by_a_process_of_its_own(tmp_path: Path):
    master, slave = pty.openpty()
    tty.setraw(master)
    tty.setraw(slave)
    path = tmp_path / "slcan.sock"
    command = bridge_command(path, "slcan", os.ttyname(slave), 500_000, False, {"sleep_after_open": 0})
    process = subprocess.Popen(command)
    core = connect(path)
    core.send(encode(frame(0x201, b"\x12\x34")))
    text = b""
    while b"t20121234\r" not in text:
        text += os.read(master, 256)
    os.write(master, b"t3013ABCDEF\r")
    assert core.recv(72) == encode(frame(0x301, b"\xab\xcd\xef"))
    core.close()
    assert process.wait(20) == 0
    assert not path.exists()
    os.close(master)
    os.close(slave)


def test_an_adapter_that_is_not_there_is_named_with_its_bus():
    from edge.config.settings import CanBus

    bus = CanBus.model_validate({"id": "can9", "kind": "python-can", "interface": "slcan", "channel": "/dev/ttyNOTHERE"})
    with pytest.raises(CoreError, match=r"bus can9: slcan /dev/ttyNOTHERE: .*: correct `interface`, `channel` or `options`"):
        Bridges().start([bus])


def test_an_adapter_that_fails_to_tell_its_state_is_not_called_healthy(bridged, monkeypatch):
    _, _, bridge = bridged

    def fail(bus: can.BusABC) -> can.BusState:
        raise can.CanOperationError("device gone")

    monkeypatch.setattr(type(bridge._bus), "state", property(fail))
    assert bridge._state() is can.BusState.ERROR
