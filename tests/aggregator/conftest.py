"""The aggregator meets the same broker and gateway as the uplink's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.aggregator.postgresql_server import PostgresServer
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
    uplink,
)


@pytest.fixture
def config(tmp_path: Path, pki: Path, request: pytest.FixtureRequest) -> Path:  # noqa: F811
    port = request.getfixturevalue("broker").port
    path = tmp_path / "config.yaml"
    path.write_text(
        f"broker: {{host: localhost, port: {port}, ca: {pki}/ca.crt, cert: {pki}/aggregator.crt, key: {pki}/aggregator.key}}\n"
        f"command_key: {{kid: dev, key: {pki}/dev.key}}\n"
        f"database: sqlite:///{tmp_path}/aggregator.db\n"
        f"dispatch_log: {tmp_path}/v2g-dispatch.log\n"
    )
    return path


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.stop()
