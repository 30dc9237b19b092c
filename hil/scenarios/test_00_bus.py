"""Scenario 00: the bus that all other scenarios use is a real one of a Linux kernel."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path

import can
import pytest

pytestmark = pytest.mark.kernel

ARPHRD_CAN = 280
"""Hardware type of a CAN interface (linux/if_arp.h)."""


def test_the_interface_is_a_can_interface_of_the_kernel(channel: str) -> None:
    assert int(Path(f"/sys/class/net/{channel}/type").read_text()) == ARPHRD_CAN
    with socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW) as raw:
        raw.bind((channel,))


def test_a_frame_sent_by_one_node_is_received_by_another(channel: str) -> None:
    with can.Bus(channel, interface="socketcan") as sender, can.Bus(channel, interface="socketcan") as receiver:
        sender.send(can.Message(arbitration_id=0x201, data=bytes(range(8)), is_extended_id=False))
        frame = receiver.recv(timeout=5)
        assert frame is not None
        assert (frame.arbitration_id, bytes(frame.data)) == (0x201, bytes(range(8)))
        assert sender.recv(timeout=0.2) is None, "a node must not hear its own frame"


def test_a_burst_of_a_hundred_frames_arrives_complete_and_in_order(channel: str, figure: Callable[[str, object], None]) -> None:
    with can.Bus(channel, interface="socketcan") as sender, can.Bus(channel, interface="socketcan") as receiver:
        began = time.monotonic()
        for number in range(100):
            sender.send(can.Message(arbitration_id=0x301, data=[number], is_extended_id=False))
        frames = [receiver.recv(timeout=5) for _ in range(100)]
        figure("burst_of_100_frames_ms", round((time.monotonic() - began) * 1000, 1))
    assert [frame.data[0] for frame in frames if frame is not None] == list(range(100))


def test_programs_on_this_kernel_reach_each_other_over_loopback() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        accepted, _ = server.accept()
        with accepted:
            client.sendall(b"setpoint")
            assert accepted.recv(16) == b"setpoint"
