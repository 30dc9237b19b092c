"""The same broker and gateway as the uplink's tests, behind a link of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from edge.uplink import Uplink
from tests.chaos.proxy import BadLink
from tests.uplink.conftest import (  # noqa: F401
    broker,
    clock,
    dispatcher,
    gateway,
    handler,
    ledger,
    orders,
    pki,
    settings,
)


@pytest.fixture
async def link(broker) -> AsyncIterator[BadLink]:  # noqa: F811
    async with BadLink(broker.port).running() as link:
        yield link


@pytest.fixture
def keep_alive_s() -> int:
    return 2


@pytest.fixture
async def uplink(link, settings, handler, gateway, clock, keep_alive_s) -> Uplink:  # noqa: F811
    behind = replace(settings, port=link.port, keep_alive_s=keep_alive_s)
    return Uplink(behind, handler, "boot-1", gateway.birth, gateway.telemetry, clock)
