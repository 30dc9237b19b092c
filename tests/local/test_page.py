"""The local page in a real browser, at the sizes of a technician's phone and laptop."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from edge.cli.client import Client
from edge.local.server import LocalSettings
from edge.model import Reason
from tests.local.browser import Browser, browser
from tests.local.conftest import free_port
from tests.local.fake_gateway import TS_MS, Event, FakeGateway, reading, setpoint, site
from tests.local.running import Running, running

PICTURES = Path(__file__).parent.parent.parent / "build" / "test" / "page"
READY = "document.querySelectorAll('.card').length === 6 && document.querySelectorAll('figure').length === 2"
SIZES = {"phone": (390, 844, False), "desktop": (1280, 900, False), "desktop-dark": (1280, 900, True)}


def bench() -> FakeGateway:
    """A live site that says loudly that it is a bench."""
    core = replace(site().core, realtime=False, scheduling="other", guard="off")
    return FakeGateway(replace(site(), lab=True, core=core, buses=[replace(site().buses[0], transport="hub")]), live=True)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Running]:
    settings = LocalSettings(tmp_path / "local.sock", ("127.0.0.1",), free_port(), tmp_path, stream_period_s=0.2)
    with running(bench(), settings) as api:
        yield api


@pytest.fixture
async def page(api: Running, tmp_path: Path) -> AsyncIterator[Browser]:
    async with browser(tmp_path / "browser") as page:
        yield page


def address(settings: LocalSettings) -> str:
    return f"http://127.0.0.1:{settings.port}/"


def card(evse: str, part: str) -> str:
    return f"document.querySelector('article[aria-label={evse}] {part}').textContent"


@pytest.mark.parametrize("size", list(SIZES))
async def test_the_page_fits_its_screen_and_asks_nobody_else(api: Running, page: Browser, size: str) -> None:
    width, height, dark = SIZES[size]
    await page.open(address(api.settings), width, height, dark)
    await page.until(READY)
    await page.picture(PICTURES / f"{size}.png")
    assert await page.run("document.documentElement.scrollWidth") == width, "nothing sticks out sideways"
    assert [url for url in page.requests if not url.startswith(address(api.settings))] == []
    assert page.errors == []


@pytest.mark.parametrize("size", list(SIZES))
async def test_the_page_can_be_used_without_seeing_it_well(api: Running, page: Browser, size: str) -> None:
    width, height, dark = SIZES[size]
    await page.open(address(api.settings), width, height, dark)
    await page.until(READY)
    await page.run("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
    await page.until("document.querySelectorAll('table').length === 7")
    await page.run((resources.files("axe_core_python") / "axe.min.js").read_text() + "; true")
    found: list[dict[str, Any]] = await page.run("axe.run().then((result) => result.violations)")
    serious = [(rule["id"], rule["nodes"][0]["html"]) for rule in found if rule["impact"] in ("serious", "critical")]
    assert serious == []


async def test_each_card_says_what_binds_how_old_and_what_next(api: Running, page: Browser) -> None:
    await page.open(address(api.settings))
    await page.until(READY)
    text = await page.run(card("evse-3", "dl"))
    assert text.startswith("bindsSOC floormaydischarge 11.0 kW (SOC floor), charge 22.0 kW (rating)ageheard ")
    assert text.endswith("nextdischarge again at SOC 32.0 % (now 30.4 %)")
    assert await page.run(card("evse-2", ".power")) == "8.0 kW discharging"
    assert await page.run(card("evse-6", ".pill")) == "LOCKED", "not simply OK"


async def test_an_old_power_of_a_feeder_is_not_shown_as_if_it_were_known(api: Running, page: Browser) -> None:
    snapshot = api.gateway.snapshot
    old = [replace(m, readings={"p_total": reading(14910, 13_000, limit_ms=800)}) for m in snapshot.meters]
    feeders = [replace(f, lost=True) for f in snapshot.feeders]
    api.do(lambda: setattr(api.gateway, "snapshot", replace(snapshot, meters=old, feeders=feeders)))
    await page.open(address(api.settings))
    await page.until(READY)
    assert await page.run("document.querySelector('#feeders .amount').textContent") == "? of 69.0 kW"
    text = await page.run("document.querySelector('#feeders .source').textContent")
    assert text == "meter grid LOST – fallback; 14.9 kW was 13.0 s ago"


async def test_a_bench_is_announced_loudly(api: Running, page: Browser) -> None:
    await page.open(address(api.settings))
    await page.until(READY)
    assert await page.run("[...document.querySelectorAll('#notices strong')].map((node) => node.textContent)") == [
        "LAB",
        "NOT_REALTIME",
        "HUB",
    ]


async def test_a_fault_appears_with_its_reason_while_one_watches(api: Running, page: Browser) -> None:
    await page.open(address(api.settings))
    await page.until(READY)
    stop = setpoint(0, Reason.E_STOP, Reason.E_STOP, Reason.E_STOP)
    api.do(lambda: api.gateway.change_evse("evse-1", setpoint=stop))
    api.do(lambda: api.gateway.happen(Event(7, TS_MS, "reason", "evse-1", "E_STOP", "emergency stop pressed", "fault")))
    await page.until(f"{card('evse-1', 'dd')} === 'emergency stop'")
    assert await page.run("document.getElementById('level').textContent") == "FAULT"
    await page.until("document.querySelector('#events li').textContent.includes('emergency stop pressed')")


async def press(page: Browser, key: str, code: int, text: str = "") -> None:
    for kind in ("keyDown", "keyUp"):
        await page.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, text=text)


async def test_a_curve_has_axes_and_is_read_out_by_keyboard_and_mouse(api: Running, page: Browser) -> None:
    await page.open(address(api.settings))
    await page.until(READY)
    readout = card("evse-2", ".readout")
    await page.run("document.querySelector('#card-evse-2 .plot').scrollIntoView({block: 'center'})")
    await page.until(f"{readout}.startsWith('now: measured −8.0 kW · told −8.0 kW · allowed −11.0 kW … 22.0 kW')")
    numbers = await page.run("[...document.querySelectorAll('#card-evse-2 .chart text')].map((node) => node.textContent)")
    assert {"−10", "0", "10", "20"} <= set(numbers)
    assert "power, kW (charging is positive)" in numbers
    await page.until("document.querySelector('#card-evse-2 .plot').getAttribute('aria-valuemax') > 3")
    await page.run("document.querySelector('#card-evse-2 .plot').focus()")
    await press(page, "Home", 36)
    await page.until(f"/^\\d\\d:\\d\\d:\\d\\d: measured/.test({readout})")
    assert await page.run("document.querySelector('#card-evse-2 .plot').getAttribute('aria-valuenow')") == "0"
    await press(page, "Escape", 27)
    await page.until(f"{readout}.startsWith('now: ')")
    place = await page.run(
        "(({x, y, width}) => [x + width - 8, y + 40])(document.querySelector('#card-evse-2 svg.chart').getBoundingClientRect())"
    )
    await page.call("Input.dispatchMouseEvent", type="mouseMoved", x=place[0], y=place[1])
    await page.until("document.querySelector('#card-evse-2 .cursor')")


async def test_more_curves_show_the_state_of_charge_with_its_floor_and_the_temperatures(api: Running, page: Browser) -> None:
    await page.open(address(api.settings))
    await page.until(READY)
    await page.run("document.querySelector('#card-evse-4 details').open = true")
    await page.until("document.querySelectorAll('#card-evse-4 svg.chart').length === 2")
    await page.until("document.querySelector('#card-evse-4 details .readout').textContent.includes('connector 79 °C')")
    shown = await page.run("[...document.querySelectorAll('#card-evse-4 details text')].map((node) => node.textContent)")
    assert {"floor 30 %", "connector derates from 70 °C"} <= set(shown)
    await page.picture(PICTURES / "curves.png")


async def test_only_faults_are_listed_when_one_wants_only_those(api: Running, page: Browser) -> None:
    await page.open(address(api.settings))
    await page.until(READY)
    await page.until("document.querySelectorAll('#events li').length > 2")
    await page.run("document.getElementById('faults-only').click()")
    await page.until("[...document.querySelectorAll('#events li')].every((line) => line.querySelector('.pill'))")
    assert await page.run("document.querySelectorAll('#events li').length") > 0


async def test_the_doctor_shows_what_wants_a_look_without_being_asked(api: Running, page: Browser) -> None:
    await page.open(address(api.settings))
    await page.until("document.querySelectorAll('#doctor-bad li').length > 0")
    assert "EVSE evse-4" in await page.run("document.getElementById('doctor-bad').textContent")


async def test_the_chain_opens_by_keyboard_and_shows_what_binds(api: Running, page: Browser) -> None:
    await page.open(address(api.settings))
    await page.until(READY)
    await page.run("document.querySelectorAll('article[aria-label=evse-4] summary')[1].focus()")
    await press(page, "Enter", 13, "\r")
    await page.until("document.querySelector('article[aria-label=evse-4] td.binds')")
    assert await page.run(card("evse-4", "td.binds")) == "▸ 14.0 kW"
    await page.picture(PICTURES / "chain.png")


async def test_when_the_gateway_stops_the_page_is_loudly_stale_and_then_live_again(
    page: Browser, api: Running, tmp_path: Path
) -> None:
    settings = replace(api.settings, socket=tmp_path / "other.sock", port=free_port())
    with running(bench(), settings):
        await page.open(address(settings))
        await page.until(READY)
        assert await page.run("document.getElementById('stale').hidden")
    await page.until("document.getElementById('stale').textContent.startsWith('STALE – no data from the gateway')")
    assert await page.run("document.getElementById('level').textContent") == "STALE", "no OK beside data that are old"
    await page.picture(PICTURES / "stale.png", full=False)
    with running(bench(), settings):
        await page.until("document.getElementById('stale').hidden")
        assert await page.run("document.getElementById('level').textContent") == "DEGRADED"


async def test_text_from_the_site_is_never_taken_for_html(api: Running, page: Browser) -> None:
    evil = "<img src=x onerror=alert(1)>"
    api.do(lambda: api.gateway.happen(Event(8, TS_MS, "reason", "evse-1", "NONE", evil)))
    await page.open(address(api.settings))
    await page.until(READY)
    await page.until("document.querySelector('#events li').textContent.includes('onerror')")
    assert await page.run("document.querySelectorAll('img').length") == 0


async def test_an_evse_is_locked_from_the_page_only_with_the_token_of_the_gateway(api: Running, page: Browser) -> None:
    async def send(token: str) -> None:
        await page.run(f"""(() => {{
            const lock = document.querySelector('article[aria-label=evse-1] .lock');
            lock.open = true;
            lock.querySelector('[name=reason]').value = 'new cable';
            lock.querySelector('[name=token]').value = '{token}';
            lock.querySelector('button').click();
        }})()""")

    await page.open(address(api.settings))
    await page.until(READY)
    await send("GUESS")
    await page.until(f"{card('evse-1', '.lock [role=status]')}.includes('not the token of this page')")
    assert await page.run(card("evse-1", ".lock button")) == "Lock"
    await send(Client(str(api.settings.socket)).get("/v1/page-token")["token"])
    await page.until(f"{card('evse-1', '.lock button')} === 'Unlock'")
    await page.until(f"{card('evse-1', '.lock p')} === 'locked by page: new cable'")
