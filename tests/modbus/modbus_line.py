"""A serial line with slaves on it, over a pseudo-terminal.

A pseudo-terminal has no baud rate, so the line paces itself: every frame takes the time of its characters, a slave answers only
after it has heard 3.5 characters of silence, and a request that comes sooner than 3.5 characters after the last frame is not
understood by anybody, as on the wire.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
import tty
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

BITS = 11
POLYNOMIAL = 0xA001


def crc(data: bytes) -> bytes:
    """Bit by bit, as the specification describes it; the engine uses a table."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (POLYNOMIAL if value & 1 else 0)
    return value.to_bytes(2, "little")


@dataclass
class Slave:
    """A slave with registers; `manner` decides what becomes of its next answers."""

    registers: dict[int, int]
    manner: str = "good"
    requests: list[bytes] = field(default_factory=list)

    def answer(self, request: bytes) -> bytes:
        self.requests.append(request)
        address, count = int.from_bytes(request[2:4], "big"), int.from_bytes(request[4:6], "big")
        body = request[:6]
        if request[1] in (3, 4):
            words = b"".join(self.registers.get(a, 0).to_bytes(2, "big") for a in range(address, address + count))
            body = request[:2] + bytes([2 * count]) + words
        elif request[1] == 6:
            self.registers[address] = count
        return body + crc(body)


class Line:
    """Runs in a thread until closed. `path` is a link to the port, so that it can vanish and come back."""

    def __init__(self, path: Path, baud: int = 19200, late_s: float = 0.15) -> None:
        self.path, self.baud, self.late_s = path, baud, late_s
        self.char_s = BITS / baud
        self.silence_s = 0.00175 if baud > 19200 else 3.5 * self.char_s
        self.slaves: dict[int, Slave] = {}
        self.too_soon = 0
        self.frames = 0
        self._quiet_since = 0.0
        self._late: list[tuple[float, bytes]] = []
        self._ending = threading.Event()
        self._master = -1
        self.plug()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def add(self, unit: int, registers: dict[int, int]) -> Slave:
        slave = self.slaves[unit] = Slave(registers)
        return slave

    def plug(self) -> None:
        master, port = os.openpty()
        tty.setraw(port)
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(os.ttyname(port))
        self._port, self._master = port, master

    def unplug(self) -> None:
        """The adapter is pulled out of the USB socket."""
        master, self._master = self._master, -1
        self.path.unlink()
        os.close(self._port)
        os.close(master)

    def close(self) -> None:
        self._ending.set()
        self._thread.join()
        if self._master >= 0:
            self.unplug()

    def _run(self) -> None:
        while not self._ending.is_set():
            with contextlib.suppress(OSError):
                self._turn()

    def _turn(self) -> None:
        master = self._master
        if master < 0:
            time.sleep(0.01)
            return
        due = [late for late in self._late if late[0] <= time.monotonic()]
        for late in due:
            self._late.remove(late)
            self._send(master, late[1])
        if select.select([master], [], [], 0.005)[0]:
            self._hear(master, os.read(master, 512))

    def _hear(self, master: int, frame: bytes) -> None:
        begin = time.monotonic()
        self.frames += 1
        too_soon = begin - self._quiet_since < self.silence_s
        self._sleep_until(begin + len(frame) * self.char_s)
        self._quiet_since = time.monotonic()
        slave = self.slaves.get(frame[0])
        if too_soon:
            self.too_soon += 1
        elif slave is not None and crc(frame[:-2]) == frame[-2:]:
            self._sleep_until(self._quiet_since + self.silence_s)
            MANNERS[slave.manner](self, master, slave.answer(frame))

    def _send(self, master: int, frame: bytes, piece: int = 512) -> None:
        for at in range(0, len(frame), piece):
            part = frame[at : at + piece]
            self._sleep_until(time.monotonic() + len(part) * self.char_s)
            os.write(master, part)
        self._quiet_since = time.monotonic()

    @staticmethod
    def _sleep_until(moment: float) -> None:
        while (rest := moment - time.monotonic()) > 0:
            time.sleep(rest)


def _silent(line: Line, master: int, answer: bytes) -> None:
    pass


def _good(line: Line, master: int, answer: bytes) -> None:
    line._send(master, answer)


def _bytewise(line: Line, master: int, answer: bytes) -> None:
    line._send(master, answer, 1)


def _late(line: Line, master: int, answer: bytes) -> None:
    line._late.append((time.monotonic() + line.late_s, answer))


def _disturbed(line: Line, master: int, answer: bytes) -> None:
    line._send(master, answer[:4] + bytes([answer[4] ^ 0x10]) + answer[5:])


def _disturbed_once(line: Line, master: int, answer: bytes) -> None:
    _disturbed(line, master, answer)
    for slave in line.slaves.values():
        slave.manner = "good"


def _dribbling(line: Line, master: int, answer: bytes) -> None:
    for byte in answer:
        line._send(master, bytes([byte]))
        time.sleep(0.03)  # six pauses are well beyond the 100 ms a test grants, on the fastest machine too


def _chatter(line: Line, master: int, answer: bytes) -> None:
    line._send(master, b"\x55" * 40)


MANNERS: dict[str, Callable[[Line, int, bytes], None]] = {
    "good": _good,
    "silent": _silent,
    "bytewise": _bytewise,
    "late": _late,
    "disturbed": _disturbed,
    "disturbed-once": _disturbed_once,
    "chatter": _chatter,
    "dribbling": _dribbling,
}


class Wire:
    """Two pseudo-terminals joined end to end: for a peer that opens a port of its own."""

    def __init__(self) -> None:
        pairs = [os.openpty() for _ in range(2)]
        for _, port in pairs:
            tty.setraw(port)
        self._masters = [master for master, _ in pairs]
        self._ports = [port for _, port in pairs]
        self.ends = [os.ttyname(port) for port in self._ports]
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        a, b = self._masters
        while not self._ending.is_set():
            for ready in select.select([a, b], [], [], 0.02)[0]:
                os.write(b if ready == a else a, os.read(ready, 512))

    def close(self) -> None:
        self._ending.set()
        self._thread.join()
        for descriptor in (*self._masters, *self._ports):
            os.close(descriptor)
