"""The hub stands in for a CAN bus: what one member sends, all others get; impairments on command."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

import can
import pytest
from v2g_sim.canhub import HubBus, find_hub


def frame(can_id: int, data: bytes = bytes(8), **options: bool) -> can.Message:
    return can.Message(arbitration_id=can_id, data=data, is_extended_id=options.pop("extended", False), **options)


def receive(bus: can.BusABC, count: int) -> list[can.Message]:
    """The next `count` frames, however long they take; then no further one."""
    messages = [bus.recv(10) for _ in range(count)]
    assert None not in messages
    assert bus.recv(0.05) is None
    return messages


def test_a_frame_reaches_every_other_member_and_not_its_sender(make_hub):
    hub = make_hub()
    sender, *others = (hub.member() for _ in range(3))
    sender.send(frame(0x201, b"\x01\x02\x03"))
    for other in others:
        got = other.recv(10)
        assert (got.arbitration_id, bytes(got.data), got.is_extended_id) == (0x201, b"\x01\x02\x03", False)
    assert sender.recv(0.05) is None


def test_all_kinds_of_frames_pass_unchanged(make_hub):
    hub = make_hub()
    sender, receiver = hub.member(), hub.member()
    sent = [
        frame(0x12345678, b"\xaa", extended=True),
        can.Message(arbitration_id=0x7FF, is_extended_id=False, is_remote_frame=True, dlc=4),
        frame(0x10, bytes(range(64)), is_fd=True, bitrate_switch=True),
        frame(0x11, b""),
    ]
    for message in sent:
        sender.send(message)
    for message in sent:
        assert receiver.recv(10).equals(message, timestamp_delta=None, check_channel=False, check_direction=False)


def test_a_frame_carries_the_time_of_its_delivery_not_of_its_reading(make_hub):
    hub = make_hub()
    sender, receiver = hub.member(), hub.member()
    before = time.time()
    sender.send(frame(0x201))
    receiver.recv(10)
    sender.send(frame(0x202))
    while sum(member["delivered"] for member in hub.control.command("stats")["members"]) < 2:
        pass
    sent_by = time.time()
    time.sleep(0.1)
    assert before <= receiver.recv(10).timestamp <= sent_by


def test_filters_hide_foreign_frames(make_hub):
    hub = make_hub()
    sender, receiver = hub.member(), hub.member()
    receiver.set_filters([{"can_id": 0x300, "can_mask": 0x700}])
    for can_id in (0x201, 0x301, 0x401, 0x3FF):
        sender.send(frame(can_id))
    assert [message.arbitration_id for message in receive(receiver, 2)] == [0x301, 0x3FF]


def test_a_packet_that_is_no_frame_is_counted_and_goes_nowhere(make_hub):
    hub = make_hub()
    receiver = hub.member()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as raw:
        raw.connect(str(hub.path))
        for packet in (b"x", bytes(15), bytes(17), bytes(200), b"\0\0\0\0\x09" + bytes(11)):
            raw.send(packet)
        assert receiver.recv(0.1) is None
        assert sum(member["malformed"] for member in hub.control.command("stats")["members"]) == 5


def test_a_slow_member_loses_its_oldest_frames_and_blocks_nobody(make_hub):
    hub = make_hub()
    sender, fast, slow = hub.member(), hub.member(), hub.member()
    total = 3000
    got = 0
    for i in range(total):
        sender.send(frame(0x100, i.to_bytes(8, "big")), timeout=5)
        while fast.recv(0) is not None:
            got += 1
    receive(fast, total - got)
    received = []
    while not received or received[-1] < total - 1:
        received.append(int.from_bytes(slow.recv(10).data, "big"))
    dropped = sum(member["dropped_oldest"] for member in hub.control.command("stats")["members"])
    assert dropped > 0
    assert dropped + len(received) == total
    assert received == sorted(received)


def wire_bits(can_id: int, data: bytes) -> int:
    """Length of a standard frame with its stuff bits and interframe space: another way to count than the hub's."""
    bits = f"0{can_id:011b}000{len(data):04b}" + "".join(f"{byte:08b}" for byte in data)
    crc = 0
    for bit in bits:
        crc = ((crc << 1) & 0x7FFF) ^ (0x4599 if (crc >> 14) ^ int(bit) else 0)
    bits += f"{crc:015b}"
    stuffed = ""
    for bit in bits:
        stuffed += bit
        if stuffed.endswith(("00000", "11111")):
            stuffed += "1" if bit == "0" else "0"
    return len(stuffed) + 13


@pytest.mark.parametrize("stuffing", ["worst", "actual"])
def test_a_paced_wire_takes_the_computed_bit_time(make_hub, stuffing):
    hub = make_hub("--bitrate", "50000", "--stuffing", stuffing)
    sender, receiver = hub.member(), hub.member()
    contents = [
        (0x555, bytes.fromhex("ff00ff00ff00ff00")),
        (0, bytes(8)),
        (0x7FF, b"\xff" * 8),
        (0x201, b"\x12\x34\x56"),
        (3, b""),
    ]
    bits = sum(34 + 8 * len(data) + (33 + 8 * len(data)) // 4 + 13 for _, data in contents)
    if stuffing == "actual":
        bits = sum(wire_bits(can_id, data) for can_id, data in contents)
    start = time.monotonic()
    for can_id, data in contents:
        sender.send(frame(can_id, data), timeout=2)
    assert [message.arbitration_id for message in receive(receiver, len(contents))] == [can_id for can_id, _ in contents]
    assert time.monotonic() - start >= bits / 50000
    assert hub.control.command("stats")["busy_ns"] == bits * 20000


def test_a_long_can_fd_frame_takes_about_four_tenths_of_a_millisecond(make_hub):
    """64 bytes at 500 kbit/s and 2 Mbit/s: the project's figure, worst stuffing included."""
    hub = make_hub("--bitrate", "500000", "--data-bitrate", "2000000")
    sender, receiver = hub.member(), hub.member()
    sender.send(frame(0x201, bytes(64), is_fd=True, bitrate_switch=True))
    assert receiver.recv(10) is not None
    assert 0.35e6 < hub.control.command("stats")["busy_ns"] < 0.43e6


def test_the_lowest_id_wins_the_wire(make_hub):
    """Four controllers queue at once: whichever is first on the wire, the order afterwards is that of the ids."""
    hub = make_hub("--bitrate", "5000", "--fill")
    *controllers, receiver = (hub.member() for _ in range(5))
    for bus, can_id in zip(controllers, (0x700, 0x400, 0x201, 0x300), strict=True):
        bus.send(frame(can_id))
    hub.control.command("fill off")
    _, *rest = (message.arbitration_id for message in receive(receiver, 4))
    assert len(rest) == 3
    assert rest == sorted(rest)


def test_a_full_send_buffer_is_refused_until_the_hub_reads_again(make_hub):
    hub = make_hub("--fill")
    sender, receiver = hub.member(), hub.member()
    sent = 0
    with pytest.raises(can.CanOperationError, match="send buffer is full"):
        while True:
            sender.send(frame(0x201))
            sent += 1
    assert receiver.recv(0.05) is None
    hub.control.command("fill off")
    receive(receiver, sent)


def test_error_frames_tell_warning_and_passive(make_hub):
    hub = make_hub()
    bus = hub.member()
    hub.control.command("error warning")
    hub.control.command("error passive")
    for bits in (0x0C, 0x30):
        message = bus.recv(10)
        assert message.is_error_frame
        assert message.arbitration_id & 0x04  # CAN_ERR_CRTL
        assert message.data[1] == bits


def test_a_bus_off_member_neither_sends_nor_receives_until_restarted(make_hub):
    hub = make_hub()
    gateway, evse = hub.member(), hub.member()
    slot = hub.control.command("stats")["members"][0]["slot"]
    hub.control.command(f"bus-off {slot}")
    off = gateway.recv(10)
    assert off.is_error_frame
    assert off.arbitration_id & 0x40  # CAN_ERR_BUSOFF
    gateway.send(frame(0x201))
    evse.send(frame(0x301))
    assert evse.recv(0.1) is None
    assert gateway.recv(0.1) is None
    hub.control.command(f"restart {slot}")
    assert gateway.recv(10).arbitration_id & 0x100  # CAN_ERR_RESTARTED
    gateway.send(frame(0x202))
    assert evse.recv(10).arbitration_id == 0x202


def test_frames_are_dropped_and_corrupted_on_command(make_hub):
    hub = make_hub()
    sender, receiver = hub.member(), hub.member()
    hub.control.command("drop 0x301 2")
    hub.control.command("corrupt 0x302 1")
    for _ in range(3):
        sender.send(frame(0x301))
    sender.send(frame(0x302, bytes(8)))
    sender.send(frame(0x302, bytes(8)))
    one, bad, good = receive(receiver, 3)
    assert one.arbitration_id == 0x301
    assert bytes(bad.data) != bytes(8)
    assert bytes(good.data) == bytes(8)
    with pytest.raises(ValueError, match="refuses"):
        hub.control.command("drop nonsense")


def test_a_bus_starts_its_hub_and_the_hub_ends_with_its_last_member(tmp_path):
    path = tmp_path / "own.sock"
    with pytest.raises(can.CanInitializationError, match="start=True"):
        HubBus(path)
    with can.Bus(interface="v2ghub", channel=str(path), start=True) as one, HubBus(path, start=True) as other:
        one.send(frame(0x201))
        assert other.recv(10).arbitration_id == 0x201
    deadline = time.monotonic() + 5
    while path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not path.exists()


def test_a_second_hub_on_the_same_path_is_refused(make_hub):
    hub = make_hub()
    second = subprocess.run([find_hub(), str(hub.path)], capture_output=True, text=True, check=False, timeout=5)
    assert second.returncode == 2
    assert "another hub serves" in second.stderr
    a, b = hub.member(), hub.member()
    a.send(frame(1))
    assert b.recv(10) is not None


def test_a_socket_left_by_a_killed_hub_is_replaced(make_hub):
    hub = make_hub()
    hub.process.kill()
    hub.process.wait(5)
    assert Path(hub.path).exists()
    with HubBus(hub.path, start=True) as one, HubBus(hub.path) as other:
        one.send(frame(5))
        assert other.recv(10).arbitration_id == 5


def test_help_says_that_it_is_a_stand_in():
    text = subprocess.run([find_hub(), "--help"], capture_output=True, text=True, check=True).stdout
    assert "stand-in for a CAN bus" in text
    assert "not a CAN bus" in text
