"""python-can interface `v2ghub`: a member of the AF_UNIX hub `v2g-hub`, the stand-in for a bus on kernels without CAN.

    bus = can.Bus(interface="v2ghub", channel="/run/v2g/can0.sock", start=True)

Packets are `struct can_frame` (16 bytes) or `struct canfd_frame` (72 bytes) of <linux/can.h>, native byte order.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import can
from can.typechecking import CanFilters

_CLASSIC = struct.Struct("=IB3x8s")
_FD = struct.Struct("=IBB2x64s")
_EFF_FLAG, _RTR_FLAG, _ERR_FLAG = 0x80000000, 0x40000000, 0x20000000
_EFF_MASK, _SFF_MASK, _ERR_MASK = 0x1FFFFFFF, 0x7FF, 0x1FFFFFFF
_FD_BRS, _FD_ESI = 0x01, 0x02
_START_TIMEOUT_S = 5.0
_SO_TIMESTAMPNS = 35  # asm-generic/socket.h; Python's socket module doesn't name it
_TIMESPEC = struct.Struct("@qq")
_CONTROL_BYTES = socket.CMSG_SPACE(_TIMESPEC.size)


def find_hub() -> str:
    """Path of the program v2g-hub: $V2G_HUB, else this checkout's build, else beside this Python, else on PATH.

    CanInitializationError when there is none.
    """
    installed = Path(sys.executable).parent / "v2g-hub"
    built = Path(__file__).resolve().parents[2] / "build/native/native/hub/v2g-hub"
    for candidate in (os.environ.get("V2G_HUB"), str(built), str(installed), shutil.which("v2g-hub")):
        if candidate and os.access(candidate, os.X_OK):
            return candidate
    raise can.CanInitializationError("v2g-hub not found: run `make build`, or name the program in $V2G_HUB")


def _connect(channel: str) -> socket.socket | None:
    """A connection to the hub at `channel`, or None when nobody serves that path."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        sock.connect(channel)
    except (FileNotFoundError, ConnectionRefusedError):
        sock.close()
        return None
    except OSError:
        sock.close()
        raise
    return sock


def start_hub(channel: str, options: Sequence[str] = ()) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start v2g-hub at `channel`; return it and a first connection. When another hub won the race, that one is used."""
    process = subprocess.Popen([find_hub(), *options, channel], start_new_session=True, stdin=subprocess.DEVNULL)
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        sock = _connect(channel)
        if sock is not None:
            return process, sock
        if process.poll() not in (None, 2):
            break
        time.sleep(0.005)
    process.kill()
    raise can.CanInitializationError(f"v2g-hub did not start at {channel} (exit code {process.wait()})")


def encode_frame(msg: can.Message) -> bytes:
    """One packet for the hub from a python-can message."""
    can_id = msg.arbitration_id
    if msg.is_extended_id:
        can_id |= _EFF_FLAG
    if msg.is_remote_frame:
        can_id |= _RTR_FLAG
    if msg.is_error_frame:
        can_id |= _ERR_FLAG
    if msg.is_fd:
        flags = (_FD_BRS if msg.bitrate_switch else 0) | (_FD_ESI if msg.error_state_indicator else 0)
        return _FD.pack(can_id, len(msg.data), flags, bytes(msg.data))
    return _CLASSIC.pack(can_id, msg.dlc if msg.is_remote_frame else len(msg.data), bytes(msg.data))


def decode_frame(packet: bytes, timestamp: float, channel: str) -> can.Message:
    """The python-can message in one packet of the hub; ValueError when it is no frame."""
    fd = len(packet) == _FD.size
    if fd:
        can_id, length, flags, data = _FD.unpack(packet)
    elif len(packet) == _CLASSIC.size:
        can_id, length, data = _CLASSIC.unpack(packet)
        flags = 0
    else:
        raise ValueError(f"packet of {len(packet)} bytes is no CAN frame")
    extended, error = bool(can_id & _EFF_FLAG), bool(can_id & _ERR_FLAG)
    return can.Message(
        timestamp=timestamp,
        arbitration_id=can_id & (_ERR_MASK if error else _EFF_MASK if extended else _SFF_MASK),
        is_extended_id=extended,
        is_remote_frame=bool(can_id & _RTR_FLAG),
        is_error_frame=error,
        is_fd=fd,
        bitrate_switch=bool(flags & _FD_BRS),
        error_state_indicator=bool(flags & _FD_ESI),
        dlc=length,
        data=None if can_id & _RTR_FLAG else data[:length],
        channel=channel,
    )


def _arrival(control: list[tuple[int, int, bytes]]) -> float:
    """Unix time in s at which the kernel took the packet from the hub."""
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            return float(seconds + nanoseconds * 1e-9)
    return time.time()


class HubBus(can.BusABC):
    """A python-can bus on the hub's socket `channel`.

    `start=True` starts a hub when nobody serves `channel`; that hub ends when its last member leaves. `hub_options` are
    given to it (`("--bitrate", "500000")`). Frames carry the time at which the hub delivered them (Unix time, s).
    """

    def __init__(
        self,
        channel: str | os.PathLike[str],
        can_filters: CanFilters | None = None,
        *,
        start: bool = False,
        hub_options: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        self._path = os.fspath(channel)
        sock = _connect(self._path)
        if sock is None and start:
            self._hub, sock = start_hub(self._path, ("--exit-when-empty", *hub_options))
        if sock is None:
            raise can.CanInitializationError(f"no v2g-hub at {self._path}: start one, or give start=True")
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._sock = sock
        self._closed = False
        self.channel_info = f"v2ghub {self._path}"
        super().__init__(channel=self._path, can_filters=can_filters, **kwargs)

    def fileno(self) -> int:
        return self._sock.fileno()

    def _recv_internal(self, timeout: float | None) -> tuple[can.Message | None, bool]:
        if timeout != 0 and not select.select([self._sock], [], [], timeout)[0]:
            return None, False
        try:
            packet, control, _, _ = self._sock.recvmsg(_FD.size, _CONTROL_BYTES)
        except BlockingIOError:
            return None, False
        except OSError as error:
            raise can.CanOperationError(f"hub at {self._path}: {error.strerror}") from error
        if not packet:
            raise can.CanOperationError(f"hub at {self._path} has ended")
        return decode_frame(packet, _arrival(control), self._path), False

    def send(self, msg: can.Message, timeout: float | None = None) -> None:
        """Send, waiting at most `timeout` s for room (None: not at all); CanOperationError when the buffer stays full."""
        packet = encode_frame(msg)
        deadline = time.monotonic() + (timeout or 0)
        while True:
            try:
                self._sock.send(packet)
                return
            except BlockingIOError:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise can.CanOperationError(f"hub at {self._path}: send buffer is full") from None
                select.select([], [self._sock], [], left)
            except OSError as error:
                raise can.CanOperationError(f"hub at {self._path}: {error.strerror}") from error

    def shutdown(self) -> None:
        super().shutdown()
        if not self._closed:
            self._closed = True
            self._sock.close()


class HubControl:
    """Sends control commands to the hub at `channel` (see `v2g-hub --help`)."""

    def __init__(self, channel: str | os.PathLike[str], timeout_s: float = 2.0) -> None:
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind("")  # an abstract address of its own, so that the hub can answer
        self._sock.connect(f"{os.fspath(channel)}.ctl")
        self._sock.settimeout(timeout_s)

    def command(self, line: str) -> dict[str, Any]:
        """The hub's answer to one command line; ValueError when it refuses."""
        self._sock.send(line.encode())
        answer: dict[str, Any] = json.loads(self._sock.recv(65536))
        if not answer["ok"]:
            raise ValueError(f"v2g-hub refuses {line!r}: {answer.get('error', 'no such member')}")
        return answer

    def close(self) -> None:
        self._sock.close()
