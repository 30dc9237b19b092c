"""Frames of a CAN bus as they are: listened to and sent on a socket of its own, beside the cycle's. For commissioning only.

A packet is a `struct can_frame` or `struct canfd_frame` (linux/can.h), the same from the kernel and from the hub.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge.field.canmap import EXTENDED_ID_MAX, FD_LENGTHS, STANDARD_ID_MAX, CanNode, RxMessage, TxMessage
from edge.field.commission import CommissionError

MAX_SECONDS = 60.0
MAX_FRAMES = 5000
SEND_S = 0.5
"""A bus that doesn't take a frame for so long is off or full."""

_CLASSIC = struct.Struct("=IB3x8s")
_FD = struct.Struct("=IBB2x64s")
_EFF, _RTR, _ERR = 0x8000_0000, 0x4000_0000, 0x2000_0000
_BRS = 0x01
_SO_TIMESTAMPNS = 35  # asm-generic/socket.h; Python's socket module doesn't name it
_TIMESPEC = struct.Struct("@qq")


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame: its identifier without flag bits, 11 bits or (`extended`) 29; 0 to 8 bytes, on CAN FD (`fd`) up to 64."""

    can_id: int
    extended: bool
    data: bytes
    fd: bool = False
    kind: str = "data"
    """Or `error` (from the controller), `remote`."""
    time_s: float = 0.0
    """Unix time; the kernel's stamp."""


def _parse(packet: bytes, time_s: float) -> Frame:
    fd = len(packet) == _FD.size
    if fd:
        raw, length, _, data = _FD.unpack(packet)
    else:
        raw, length, data = _CLASSIC.unpack(packet)
    kind = "error" if raw & _ERR else "remote" if raw & _RTR else "data"
    extended = bool(raw & _EFF)
    return Frame(raw & (EXTENDED_ID_MAX if extended else STANDARD_ID_MAX), extended, data[:length], fd, kind, time_s)


def _stamp(control: Sequence[tuple[int, int, bytes]]) -> float:
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            return float(seconds + nanoseconds * 1e-9)
    return time.time()


def listen(raw: socket.socket, bus: str, seconds: float, count: int) -> list[Frame]:
    """What comes within `seconds`, at most `count` frames. CommissionError, with the bus's id: it went away."""
    frames: list[Frame] = []
    end_s = time.monotonic() + seconds
    while len(frames) < count and (left_s := end_s - time.monotonic()) > 0:
        if not select.select([raw], [], [], left_s)[0]:
            break
        try:
            packet, control, _, _ = raw.recvmsg(_FD.size, socket.CMSG_SPACE(_TIMESPEC.size))
        except OSError as error:
            raise CommissionError(f"bus {bus}: {error.strerror}: see edgectl status for its state") from None
        if len(packet) not in (_CLASSIC.size, _FD.size):
            raise CommissionError(f"bus {bus} has ended: see edgectl status for its state")
        frames.append(_parse(packet, _stamp(control)))
    return frames


def frame_of(can_id: int, extended: bool, data: bytes) -> Frame:
    """A frame to send; CommissionError when there is no such one."""
    most = EXTENDED_ID_MAX if extended else STANDARD_ID_MAX
    if not 0 <= can_id <= most:
        raise CommissionError(f"identifier {can_id:#x}: 0 to {most:#x}; one of 8 digits is extended")
    if len(data) not in (0, *FD_LENGTHS):
        raise CommissionError(f"{len(data)} bytes: a frame has 0 to 8, on CAN FD up to 64 in steps")
    return Frame(can_id, extended, data, fd=len(data) > 8)


def send(raw: socket.socket, bus: str, frame: Frame) -> None:
    """Hand one frame to the bus. CommissionError, with the bus's id, when it isn't taken within SEND_S."""
    word = frame.can_id | (_EFF if frame.extended else 0)
    length = len(frame.data)
    packet = _FD.pack(word, length, _BRS, frame.data) if frame.fd else _CLASSIC.pack(word, length, frame.data)
    if not select.select([], [raw], [], SEND_S)[1]:
        raise CommissionError(f"bus {bus} takes no frame: see edgectl status for its state")
    try:
        raw.send(packet)
    except OSError as error:
        raise CommissionError(f"bus {bus} takes no frame: {error.strerror}: see edgectl status for its state") from None


def _owner(can_id: int, extended: bool, nodes: Mapping[str, CanNode]) -> str:
    """EVSE and message of an identifier; empty: nobody's."""
    for evse_id, node in nodes.items():
        messages: tuple[RxMessage | TxMessage, ...] = (*node.rx, *node.tx)
        for message in messages:
            if (message.can_id, message.extended) == (can_id, extended):
                return f"{evse_id} {message.name}"
    return ""


def refuse_owned(frame: Frame, nodes: Mapping[str, CanNode]) -> None:
    """CommissionError when the identifier carries a setpoint, or a value that the gateway believes."""
    owner = _owner(frame.can_id, frame.extended, nodes)
    if owner:
        raise CommissionError(
            f"identifier {frame.can_id:#x} is {owner}: what commands an EVSE or is believed of it is never sent by hand: "
            "use edgectl test"
        )


def documents(frames: Sequence[Frame], nodes: Mapping[str, CanNode]) -> list[dict[str, Any]]:
    """Frames as plain JSON, each with the EVSE and message that its identifier belongs to."""
    return [
        {
            "time_s": round(frame.time_s, 6),
            "id": f"{frame.can_id:08X}" if frame.extended else f"{frame.can_id:03X}",
            "kind": frame.kind,
            "fd": frame.fd,
            "data": frame.data.hex(),
            "of": _owner(frame.can_id, frame.extended, nodes) if frame.kind == "data" else "",
        }
        for frame in frames
    ]
