"""A running local API in front of a fake gateway, with clients for the socket and the page."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from edge.local.server import LocalServer, LocalSettings
from tests.local.fake_gateway import FakeGateway


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Api:
    gateway: FakeGateway
    settings: LocalSettings
    server: LocalServer
    unix: aiohttp.ClientSession
    page: aiohttp.ClientSession


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    gateway = FakeGateway()
    settings = LocalSettings(tmp_path / "local.sock", ("127.0.0.1",), free_port(), tmp_path, stream_period_s=0.05)
    server = LocalServer(gateway, gateway, settings)
    await server.start()
    connector = aiohttp.UnixConnector(str(settings.socket))
    async with (
        aiohttp.ClientSession("http://localhost", connector=connector) as unix,
        aiohttp.ClientSession(f"http://127.0.0.1:{settings.port}") as page,
    ):
        yield Api(gateway, settings, server, unix, page)
    await server.stop()
