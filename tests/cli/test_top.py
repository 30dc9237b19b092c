"""The live screen of `edgectl top`, driven without a terminal."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from textual.widgets import DataTable, Static

from edge.cli.client import Client
from edge.cli.top import Top
from edge.local.server import LocalSettings
from tests.local.fake_gateway import FakeGateway
from tests.local.running import Running, running

PICTURE = Path(__file__).parent.parent.parent / "build" / "test" / "top.svg"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Running]:
    with running(FakeGateway(), LocalSettings(tmp_path / "local.sock", bind=(), state_dir=tmp_path)) as api:
        yield api


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1500):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("did not happen within 30 s")


def text(app: Top, where: str) -> str:
    return str(app.query_one(where, Static).render())


async def test_the_screen_shows_every_evse_and_explains_the_chosen_one(api: Running) -> None:
    app = Top(Client(str(api.settings.socket)))
    async with app.run_test(size=(100, 40)) as keys:
        await until(lambda: app.query_one(DataTable).row_count == 6)
        await until(lambda: "LEFT AFTER ROW" in text(app, "#why"))
        await keys.press("down", "down")
        await until(lambda: "evse-3" in text(app, "#why") and "SOC floor" in text(app, "#why"))
        PICTURE.parent.mkdir(parents=True, exist_ok=True)
        PICTURE.write_text(app.export_screenshot())


async def test_a_gateway_that_doesnt_answer_makes_the_screen_stale_and_keeps_what_was_seen(tmp_path: Path) -> None:
    settings = LocalSettings(tmp_path / "local.sock", bind=(), state_dir=tmp_path)
    app = Top(Client(str(settings.socket)))
    async with app.run_test(size=(80, 24)):
        with running(FakeGateway(), settings):
            await until(lambda: app.query_one(DataTable).row_count == 6)
        await until(lambda: "STALE" in text(app, "#stale"))
        assert app.query_one(DataTable).row_count == 6
        with running(FakeGateway(), settings):
            await until(lambda: not app.query_one("#stale").has_class("on"))
