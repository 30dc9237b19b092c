"""A TCP proxy between gateway and broker that makes the link as bad as we like."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator


class BadLink:
    """Forwards to `target_port`. Change the attributes while it runs."""

    def __init__(self, target_port: int) -> None:
        self.port = 0
        self.delay_s = 0.0
        """One way."""
        self.hole = False
        """Half-open: connections stand, nothing gets through."""
        self.trickle = False
        """One byte at a time, ten a second, towards the gateway."""
        self.to_broker_bytes = 0
        self._target_port = target_port
        self._writers: set[asyncio.StreamWriter] = set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[BadLink]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.reset()

    def reset(self) -> None:
        """Break every connection with a TCP reset."""
        for writer in list(self._writers):
            sock: socket.socket = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        broker_reader, broker_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        self._writers |= {writer, broker_writer}
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await asyncio.gather(self._pump(reader, broker_writer), self._pump(broker_reader, writer, to_gateway=True))
        self._writers -= {writer, broker_writer}
        for end in (writer, broker_writer):
            end.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, to_gateway: bool = False) -> None:
        """Forward one direction; each part is late by the delay, but doesn't wait for the part before it."""
        on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def read() -> None:
            while data := await reader.read(65536):
                self.to_broker_bytes += 0 if to_gateway else len(data)
                on_the_way.put_nowait((asyncio.get_running_loop().time() + self.delay_s, data))
            on_the_way.put_nowait((0.0, b""))

        reading = asyncio.create_task(read())
        try:
            while True:
                due_s, data = await on_the_way.get()
                await asyncio.sleep(due_s - asyncio.get_running_loop().time())
                while self.hole:  # noqa: ASYNC110 (a test switches it)
                    await asyncio.sleep(0.02)
                if not data:
                    break
                await self._write(writer, data, slowly=self.trickle and to_gateway)
        finally:
            reading.cancel()
        writer.close()

    @staticmethod
    async def _write(writer: asyncio.StreamWriter, data: bytes, *, slowly: bool) -> None:
        for part in [data[i : i + 1] for i in range(len(data))] if slowly else [data]:
            writer.write(part)
            await writer.drain()
            if slowly:
                await asyncio.sleep(0.1)
