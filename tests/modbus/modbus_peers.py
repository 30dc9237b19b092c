"""Modbus/TCP devices for tests: a good one whose manners can be spoilt while it runs, and two real servers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import subprocess
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

Send = Callable[[bytes], Awaitable[None]]


class Loop:
    """An asyncio loop in a thread of its own, where all peers of a test live."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def close(self) -> None:
        self.run(self._cancel_all())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    @staticmethod
    async def _cancel_all() -> None:
        tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Device:
    """A meter with holding registers. `manner` decides how it behaves from the next request on."""

    def __init__(self, loop: Loop, registers: dict[int, int] | None = None) -> None:
        self.registers = dict(registers or {})
        self.manner = "good"
        self.requests: list[bytes] = []
        self.open = 0
        self.most_open = 0
        self.connections = 0
        self._loop = loop
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0
        self.start()

    def start(self) -> None:
        self._loop.run(self._start())

    def kill(self) -> None:
        """Closes the port and resets every connection, as a device that loses power and comes back later."""
        self._loop.run(self._kill())

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _kill(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        answers: set[asyncio.Task[None]] = set()
        with contextlib.suppress(asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            while True:
                header = await reader.readexactly(7)
                request = header + await reader.readexactly(struct.unpack(">H", header[4:6])[0] - 1)
                self.requests.append(request)
                self.open += 1
                self.most_open = max(self.most_open, self.open)
                if self.manner == "pipelined":
                    task = asyncio.create_task(self._answer(request, writer))
                    answers.add(task)
                    task.add_done_callback(answers.discard)
                else:
                    await self._answer(request, writer)
        self._writers.discard(writer)
        writer.close()

    async def _answer(self, request: bytes, writer: asyncio.StreamWriter) -> None:
        try:
            await MANNERS[self.manner](self.reply(request), writer)
        finally:
            self.open -= 1

    def reply(self, request: bytes) -> bytes:
        """The right answer."""
        transaction, _, _, unit, function = struct.unpack(">HHHBB", request[:8])
        body = self._perform(function, request[8:])
        if body is None:
            function, body = function | 0x80, b"\x02"
        return struct.pack(">HHHBB", transaction, 0, 2 + len(body), unit, function) + body

    def _perform(self, function: int, body: bytes) -> bytes | None:
        address, count = struct.unpack(">HH", body[:4])
        if function == 3:
            if any(a not in self.registers for a in range(address, address + count)):
                return None
            words = [self.registers[a] for a in range(address, address + count)]
            return bytes([2 * count]) + struct.pack(f">{count}H", *words)
        if function == 6:
            self.registers[address] = count
            return body
        if function == 16:
            self.registers.update(zip(range(address, address + count), struct.unpack(f">{count}H", body[5:]), strict=True))
            return body[:4]
        return None

    def writes(self) -> list[tuple[int, int]]:
        """(address, value) of every write of one register received so far, oldest first."""
        return [struct.unpack(">HH", r[8:12]) for r in self.requests if r[7] == 6]


async def _send(data: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(data)
    await writer.drain()


async def _good(reply: bytes, writer: asyncio.StreamWriter) -> None:
    await _send(reply, writer)


async def _pipelined(reply: bytes, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(0.02 if reply[1] % 2 else 0.01)  # answers overtake one another
    await _send(reply, writer)


async def _silent(reply: bytes, writer: asyncio.StreamWriter) -> None:
    pass


async def _late(reply: bytes, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(0.15)
    await _send(reply, writer)


async def _fragmented(reply: bytes, writer: asyncio.StreamWriter) -> None:
    for byte in reply:
        await _send(bytes([byte]), writer)
        await asyncio.sleep(0.001)


async def _slow_loris(reply: bytes, writer: asyncio.StreamWriter) -> None:
    for byte in reply:
        await _send(bytes([byte]), writer)
        await asyncio.sleep(0.2)


async def _garbage(reply: bytes, writer: asyncio.StreamWriter) -> None:
    await _send(b"\xde\xad\xbe\xef" * 100, writer)


async def _flood(reply: bytes, writer: asyncio.StreamWriter) -> None:
    for _ in range(200):
        await _send(reply, writer)


async def _wrong_transaction(reply: bytes, writer: asyncio.StreamWriter) -> None:
    await _send(struct.pack(">H", (struct.unpack(">H", reply[:2])[0] + 7000) & 0xFFFF) + reply[2:], writer)


async def _wrong_unit(reply: bytes, writer: asyncio.StreamWriter) -> None:
    await _send(reply[:6] + bytes([reply[6] ^ 1]) + reply[7:], writer)


async def _wrong_length(reply: bytes, writer: asyncio.StreamWriter) -> None:
    await _send(reply[:4] + struct.pack(">H", struct.unpack(">H", reply[4:6])[0] - 2) + reply[6:-2], writer)


async def _reset(reply: bytes, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def _exception(reply: bytes, writer: asyncio.StreamWriter) -> None:
    await _send(reply[:4] + b"\x00\x03" + reply[6:7] + bytes([reply[7] | 0x80, 4]), writer)


MANNERS: dict[str, Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]] = {
    "good": _good,
    "pipelined": _pipelined,
    "silent": _silent,
    "late": _late,
    "fragmented": _fragmented,
    "slow-loris": _slow_loris,
    "garbage": _garbage,
    "flood": _flood,
    "wrong-transaction": _wrong_transaction,
    "wrong-unit": _wrong_unit,
    "wrong-length": _wrong_length,
    "reset": _reset,
    "exception": _exception,
}


class Pymodbus:
    """pymodbus's own server: coils 0…15, discrete inputs 0…15, holding registers 0…99, input registers 0…99."""

    def __init__(self, loop: Loop, holding: list[int], inputs: list[int], coils: list[bool], discrete: list[bool]) -> None:
        self._loop = loop
        tables = (
            [SimData(0, values=list(coils), datatype=DataType.BITS)],
            [SimData(0, values=list(discrete), datatype=DataType.BITS)],
            [SimData(0, values=list(holding), datatype=DataType.REGISTERS)],
            [SimData(0, values=list(inputs), datatype=DataType.REGISTERS)],
        )
        self._server = loop.run(self._start(SimDevice(id=1, simdata=tables)))
        self.port: int = self._server.transport.sockets[0].getsockname()[1]

    @staticmethod
    async def _start(device: SimDevice) -> ModbusTcpServer:
        server = ModbusTcpServer(device, address=("127.0.0.1", 0))
        await server.serve_forever(background=True)
        return server

    def stop(self) -> None:
        self._loop.run(self._server.shutdown())


class Libmodbus:
    """A server made of libmodbus (Debian's libmodbus-dev), in a process of its own; unit 1, 100 of everything."""

    SOURCE = Path(__file__).with_name("libmodbus_server.c")

    def __init__(self, folder: Path) -> None:
        program = folder / "libmodbus_server"
        flags = subprocess.run(["pkg-config", "--cflags", "--libs", "libmodbus"], check=True, capture_output=True, text=True)
        subprocess.run(["gcc", "-O1", "-o", str(program), str(self.SOURCE), *flags.stdout.split()], check=True)
        self._process = subprocess.Popen([str(program)], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


class BlackHole:
    """An address whose connection requests are never answered: a listening queue that is full."""

    def __init__(self) -> None:
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(0)
        self.port: int = self._listener.getsockname()[1]
        self._fillers = [socket.socket() for _ in range(4)]
        for filler in self._fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", self.port))

    def close(self) -> None:
        for sock in (*self._fillers, self._listener):
            sock.close()
