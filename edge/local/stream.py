"""Server-sent events to a bounded number of clients.

A message is encoded once. A client that doesn't keep up is dropped, so that it costs neither memory nor anybody else's time; a
dropped page reconnects by itself.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

QUEUE_MESSAGES = 8
"""Messages that may wait for one client: four seconds of status."""


def encode(kind: str, document: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(document, separators=(',', ':'))}\n\n".encode()


class Client:
    """One reader: what waits for it, and whether it was dropped."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[bytes | None] = asyncio.Queue(QUEUE_MESSAGES + 1)

    async def messages(self) -> AsyncIterator[bytes]:
        """What is published, until the client is dropped or the server stops."""
        while (message := await self.queue.get()) is not None:
            yield message


class Stream:
    def __init__(self, max_clients: int) -> None:
        self._max_clients = max_clients
        self._clients: set[Client] = set()
        self.dropped = 0
        """Clients dropped because they were too slow, since start."""

    def __len__(self) -> int:
        return len(self._clients)

    def join(self) -> Client | None:
        """A new client, or None when all places are taken."""
        if len(self._clients) >= self._max_clients:
            return None
        client = Client()
        self._clients.add(client)
        return client

    def leave(self, client: Client) -> None:
        self._clients.discard(client)

    def publish(self, message: bytes) -> None:
        for client in tuple(self._clients):
            if client.queue.qsize() >= QUEUE_MESSAGES:
                self.dropped += 1
                self._end(client)
            else:
                client.queue.put_nowait(message)

    def close(self) -> None:
        for client in tuple(self._clients):
            self._end(client)

    def _end(self, client: Client) -> None:
        """Takes its place away at once; what waits for it is thrown away."""
        self._clients.discard(client)
        while not client.queue.empty():
            client.queue.get_nowait()
        client.queue.put_nowait(None)
