"""A local API that runs beside a test: in a thread with its own event loop, as the gateway beside edgectl and a browser."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from edge.local.server import LocalServer, LocalSettings
from tests.local.fake_gateway import FakeGateway


@dataclass
class Running:
    gateway: FakeGateway
    settings: LocalSettings
    loop: asyncio.AbstractEventLoop

    def do(self, action: Callable[[], None]) -> None:
        """Change the fake gateway in its own thread."""

        async def run() -> None:
            action()

        asyncio.run_coroutine_threadsafe(run(), self.loop).result(5)


@contextmanager
def running(gateway: FakeGateway, settings: LocalSettings) -> Iterator[Running]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = LocalServer(gateway, gateway, settings)
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
        yield Running(gateway, settings, loop)
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
