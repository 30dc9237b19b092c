"""A small blocking Modbus client for commissioning: one request, one answer. The cycle never uses it.

MODBUS Application Protocol V1.1b3; RTU frames also over TCP. Every wait is bounded by `timeout_s`.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time
from collections.abc import Iterator
from typing import Protocol

from edge.field.profile import Register

READ_FUNCTIONS = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
MAX_WORDS = 125
EXCEPTIONS = {
    1: "illegal function",
    2: "illegal address",
    3: "illegal value",
    4: "device failure",
    5: "accepted, takes longer",
    6: "busy",
    10: "gateway path unavailable",
    11: "gateway: the device behind it doesn't answer",
}


class ModbusError(Exception):
    """No connection, no answer, or one that makes no sense; one line."""


class Excepted(ModbusError):
    """The device answered, and refused. `code` is Modbus's."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exception {code}: {EXCEPTIONS.get(code, 'unknown')}")
        self.code = code


class Link(Protocol):
    """Takes a request to a device and brings its answer."""

    def exchange(self, unit: int, request: bytes) -> bytes:
        """The answer's PDU; ModbusError when there is none in time."""

    def close(self) -> None: ...


def crc(data: bytes) -> bytes:
    """CRC-16 of an RTU frame, as it is sent: low byte first."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return value.to_bytes(2, "little")


def _connect(host: str, port: int, timeout_s: float) -> socket.socket:
    try:
        return socket.create_connection((host, port), timeout_s)
    except OSError as error:
        raise ModbusError(f"{host}:{port}: {error.strerror or error}") from None


class TcpLink:
    """Modbus/TCP. `pipeline` sends several requests before it waits: only a probe does that."""

    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        self._socket = _connect(host, port, timeout_s)
        self._timeout_s = timeout_s
        self._transaction = 0

    def exchange(self, unit: int, request: bytes) -> bytes:
        return self.pipeline(unit, [request])[0]

    def pipeline(self, unit: int, requests: list[bytes]) -> list[bytes]:
        """All requests at once; their answers in the order of the requests."""
        wanted = {}
        frames = b""
        for index, request in enumerate(requests):
            self._transaction = self._transaction % 65535 + 1
            wanted[self._transaction] = index
            frames += struct.pack(">HHHB", self._transaction, 0, len(request) + 1, unit) + request
        deadline_s = time.monotonic() + self._timeout_s
        try:
            self._socket.sendall(frames)
            found: dict[int, bytes] = {}
            while len(found) < len(requests):
                transaction, answer = self._frame(deadline_s)
                if transaction in wanted:  # else a late one, of a request that was given up
                    found[wanted[transaction]] = answer
        except OSError as error:
            raise ModbusError(f"connection: {error.strerror or error}") from None
        return [found[i] for i in range(len(requests))]

    def _frame(self, deadline_s: float) -> tuple[int, bytes]:
        transaction, protocol, length, _ = struct.unpack(">HHHB", self._take(7, deadline_s))
        if protocol != 0 or not 2 <= length <= 254:
            raise ModbusError("the answer is not Modbus/TCP")
        return transaction, self._take(length - 1, deadline_s)

    def _take(self, count: int, deadline_s: float) -> bytes:
        data = b""
        while len(data) < count:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not select.select([self._socket], [], [], left_s)[0]:
                raise ModbusError(f"no answer within {self._timeout_s:g} s")
            part = self._socket.recv(count - len(data))
            if not part:
                raise ModbusError("the device closed the connection")
            data += part
        return data

    def close(self) -> None:
        self._socket.close()


class RtuLink:
    """Modbus RTU on a serial port (`/dev/…`) or behind a serial server (`tcp:HOST:PORT`)."""

    def __init__(self, port: str, baud: int, parity: str, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        bits = 10 + (parity != "none")
        self._silence_s = 0.00175 if baud > 19200 else 3.5 * bits / baud
        self._char_s = bits / baud
        self._socket: socket.socket | None = None
        if port.startswith("tcp:"):
            _, host, number = port.split(":")
            self._socket = _connect(host, int(number), timeout_s)
            return
        import serial

        stop_bits = 2 if parity == "none" else 1
        try:
            self._port = serial.Serial(port, baud, parity=parity[0].upper(), stopbits=stop_bits, timeout=0, exclusive=True)
        except (OSError, ValueError) as error:
            raise ModbusError(f"{port}: {error}") from None

    def exchange(self, unit: int, request: bytes) -> bytes:
        frame = bytes([unit]) + request
        frame += crc(frame)
        time.sleep(self._silence_s)
        self._read()  # whatever came unasked
        self._write(frame)
        deadline_s = time.monotonic() + self._timeout_s + 260 * self._char_s
        answer = b""
        while time.monotonic() < deadline_s:
            answer += self._read()
            if len(answer) >= 5 and answer[0] == unit and crc(answer[:-2]) == answer[-2:]:
                return answer[1:-2]
            time.sleep(0.001)
        raise ModbusError("the answer is damaged" if answer else f"no answer within {self._timeout_s:g} s")

    def _write(self, frame: bytes) -> None:
        try:
            if self._socket is not None:
                self._socket.sendall(frame)
            else:
                self._port.write(frame)
                self._port.flush()
        except OSError as error:
            raise ModbusError(f"line: {error}") from None

    def _read(self) -> bytes:
        if self._socket is None:
            data: bytes = self._port.read(512)
            return data
        return self._socket.recv(512) if select.select([self._socket], [], [], 0)[0] else b""

    def close(self) -> None:
        (self._port if self._socket is None else self._socket).close()


def _check(request: bytes, answer: bytes) -> bytes:
    """The answer's data; Excepted or ModbusError when it is none."""
    if answer[0] == request[0] | 0x80 and len(answer) > 1:
        raise Excepted(answer[1])
    if answer[0] != request[0]:
        raise ModbusError(f"asked with function {request[0]}, answered with {answer[0]}")
    return answer[1:]


def read_request(table: str, address: int, count: int) -> bytes:
    """PDU that reads registers or bits."""
    return struct.pack(">BHH", READ_FUNCTIONS[table], address, count)


def read_words(link: Link, unit: int, table: str, address: int, count: int) -> list[int]:
    """Registers; `count` at most 125. Excepted: the device refused, ModbusError: it did not answer."""
    request = read_request(table, address, count)
    data = _check(request, link.exchange(unit, request))
    if len(data) != 1 + 2 * count:
        raise ModbusError(f"asked for {count} registers, got {len(data) - 1} bytes")
    return list(struct.unpack(f">{count}H", data[1:]))


def read_bit(link: Link, unit: int, table: str, address: int) -> int:
    request = read_request(table, address, 1)
    data = _check(request, link.exchange(unit, request))
    return data[1] & 1 if len(data) > 1 else 0


def write_words(link: Link, unit: int, address: int, words: list[int]) -> None:
    """Holding registers: function 6 for one, 16 for more."""
    if len(words) == 1:
        request = struct.pack(">BHH", 6, address, words[0])
    else:
        request = struct.pack(f">BHHB{len(words)}H", 16, address, len(words), 2 * len(words), *words)
    _check(request, link.exchange(unit, request))


def write_coil(link: Link, unit: int, address: int, on: bool) -> None:
    request = struct.pack(">BHH", 5, address, 0xFF00 if on else 0)
    _check(request, link.exchange(unit, request))


def raw_value(register: Register, words: list[int]) -> int | float:
    """What the registers hold, before scale and invalid codes."""
    ordered = words if register.words == "big" else words[::-1]
    data = struct.pack(f">{len(ordered)}H", *ordered)
    if register.type == "bit":
        return words[0] >> register.bit & 1
    if register.type.startswith("float"):
        number: float = struct.unpack(">f" if register.type == "float32" else ">d", data)[0]
        return number
    return int.from_bytes(data, "big", signed=register.type.startswith("int"))


def read_register(link: Link, unit: int, register: Register) -> int | float:
    """The raw value of a profile's register."""
    if register.table in ("coil", "discrete"):
        return read_bit(link, unit, register.table, register.address)
    return raw_value(register, read_words(link, unit, register.table, register.address, register.count))


def is_invalid(register: Register, raw: int | float) -> bool:
    """Whether the raw value is one of the profile's codes for "no value"."""
    if raw != raw:
        return True
    mask = (1 << 16 * register.count) - 1
    return any(code != "nan" and int(code) & mask == int(raw) & mask for code in register.invalid)


@contextlib.contextmanager
def opened(link: Link) -> Iterator[Link]:
    try:
        yield link
    finally:
        link.close()
