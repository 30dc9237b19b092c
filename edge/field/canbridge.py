"""A CAN bus that only python-can can open (PCAN, slcan, gs_usb …), served on a socket as the core reads any bus. Not real-time.

    python -m edge.field.canbridge --socket PATH --interface slcan --channel /dev/ttyACM0 --bitrate 500000

A process of its own: a driver that blocks or crashes costs only its bus. Frames cross an AF_UNIX SOCK_SEQPACKET socket as
`struct can_frame` or `struct canfd_frame`, one a packet, so that the core's path is the same as for a kernel's bus. Of commands
that came together only the newest of each identifier is sent, and one that the adapter refuses is dropped: the next cycle has a
newer one.
It ends when the gateway (and the guard, which holds the same socket) has left.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import can

LOG = logging.getLogger("v2g.canbridge")

_CLASSIC = struct.Struct("=IB3x8s")
_FD = struct.Struct("=IBB2x64s")
_EFF, _RTR, _ERR = 0x8000_0000, 0x4000_0000, 0x2000_0000
_EFF_MASK, _SFF_MASK = 0x1FFF_FFFF, 0x7FF
_BRS = 0x01
_CLASS_CONTROLLER, _CLASS_BUS_OFF, _CLASS_RESTARTED = 0x004, 0x040, 0x100
_CONTROLLER_PASSIVE, _CONTROLLER_ACTIVE = 0x30, 0x40
"""linux/can/error.h: what the core reads bus states from."""

STATE_S = 0.2
"""How often the adapter's state is asked for."""
FIRST_CLIENT_S = 30.0
"""Nobody has connected for so long: nobody will."""


def encode(message: can.Message) -> bytes:
    """The packet of a received message."""
    can_id = message.arbitration_id | (_EFF if message.is_extended_id else 0) | (_RTR if message.is_remote_frame else 0)
    if message.is_error_frame:
        can_id |= _ERR
    if message.is_fd:
        return _FD.pack(can_id, len(message.data), _BRS if message.bitrate_switch else 0, bytes(message.data))
    return _CLASSIC.pack(can_id, len(message.data), bytes(message.data))


def decode(packet: bytes) -> can.Message | None:
    """The message in a packet of the core; None: it is none."""
    fd = len(packet) == _FD.size
    if fd:
        can_id, length, flags, data = _FD.unpack(packet)
    elif len(packet) == _CLASSIC.size:
        can_id, length, data = _CLASSIC.unpack(packet)
        flags = 0
    else:
        return None
    extended = bool(can_id & _EFF)
    return can.Message(
        arbitration_id=can_id & (_EFF_MASK if extended else _SFF_MASK),
        is_extended_id=extended,
        is_fd=fd,
        bitrate_switch=bool(flags & _BRS),
        data=data[:length],
    )


def state_frame(before: can.BusState, now: can.BusState) -> bytes:
    """The error frame that tells the core of a change of the adapter's state."""
    if now is can.BusState.ERROR:
        return _CLASSIC.pack(_ERR | _CLASS_BUS_OFF, 8, bytes(8))
    if before is can.BusState.ERROR:
        return _CLASSIC.pack(_ERR | _CLASS_RESTARTED, 8, bytes(8))
    controller = _CONTROLLER_PASSIVE if now is can.BusState.PASSIVE else _CONTROLLER_ACTIVE
    return _CLASSIC.pack(_ERR | _CLASS_CONTROLLER, 8, bytes((0, controller, 0, 0, 0, 0, 0, 0)))


class Bridge:
    """Carries frames between one python-can bus and the one connection at `path`."""

    def __init__(self, bus: can.BusABC, path: Path) -> None:
        self._bus = bus
        self._path = path
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        self._listener.bind(str(path))
        path.chmod(0o600)
        self._listener.listen(1)
        self._connection: socket.socket | None = None
        self._ended = threading.Event()
        self.lost_to_core = 0
        self.refused_by_adapter = 0

    def run(self) -> None:
        """Until the core has left; it may come back on a new connection while it lives (it does after a restart of the bus)."""
        receiver = threading.Thread(target=self._receive, daemon=True)
        receiver.start()
        try:
            patience_s = FIRST_CLIENT_S
            while select.select([self._listener], [], [], patience_s)[0]:
                connection, _ = self._listener.accept()
                self._connection = connection
                self._serve(connection)
                self._connection = None
                connection.close()
                patience_s = 2.0
        finally:
            self._ended.set()
            receiver.join(1)
            self._listener.close()
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()

    def _serve(self, connection: socket.socket) -> None:
        while True:
            newest: dict[int, can.Message] = {}
            packet = connection.recv(_FD.size)
            while packet:
                message = decode(packet)
                if message is not None:
                    newest[message.arbitration_id] = message
                try:
                    packet = connection.recv(_FD.size, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    break
            for message in newest.values():
                self._send(message)
            if not packet:
                return

    def _send(self, message: can.Message) -> None:
        try:
            self._bus.send(message, timeout=0)
        except (can.CanError, OSError) as error:
            self.refused_by_adapter += 1
            if self.refused_by_adapter == 1:
                LOG.warning("%s: a command was refused, others are only counted: %s", self._bus.channel_info, error)

    def _receive(self) -> None:
        state = can.BusState.ACTIVE
        asked_s = time.monotonic()
        while not self._ended.is_set():
            try:
                message = self._bus.recv(0.05)
            except (can.CanError, OSError) as error:
                LOG.error("%s: %s", self._bus.channel_info, error)
                os._exit(1)  # the adapter is gone: the gateway starts another bridge and meanwhile sees the bus down
            if message is not None:
                self._to_core(encode(message))
            if time.monotonic() - asked_s >= STATE_S:
                asked_s, before = time.monotonic(), state
                state = self._state()
                if state is not before:
                    self._to_core(state_frame(before, state))

    def _state(self) -> can.BusState:
        """ACTIVE where the interface can't say; one that fails to say it is in error."""
        try:
            return self._bus.state
        except NotImplementedError:
            return can.BusState.ACTIVE
        except (can.CanError, OSError):
            return can.BusState.ERROR

    def _to_core(self, packet: bytes) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            connection.send(packet, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError:
            self.lost_to_core += 1


def _option(text: str) -> tuple[str, object]:
    key, _, value = text.partition("=")
    words: dict[str, object] = {"True": True, "False": False}
    return key, words.get(value, int(value) if value.lstrip("-").isdigit() else value)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m edge.field.canbridge")
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--interface", required=True)
    parser.add_argument("--channel", required=True)
    parser.add_argument("--bitrate", type=int, required=True)
    parser.add_argument("--fd", action="store_true")
    parser.add_argument("--option", type=_option, action="append", default=[], metavar="KEY=VALUE")
    given = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s")
    options: dict[str, Any] = {"bitrate": given.bitrate, **({"fd": True} if given.fd else {}), **dict(given.option)}
    try:
        bus = can.Bus(interface=given.interface, channel=given.channel, **options)
    except (can.CanError, OSError, ImportError, ValueError, TypeError) as error:
        print(f"{given.interface} {given.channel}: {error}", file=sys.stderr)
        return 1
    try:
        Bridge(bus, given.socket).run()
    finally:
        bus.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
