"""The local API over real sockets."""

import asyncio
import json
import os
import pwd
import socket
import stat
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from edge.local import server as server_module
from edge.local.server import LocalServer, LocalSettings, RateLimit, host_allowed
from edge.local.stream import QUEUE_MESSAGES, Stream
from edge.local.view import Event, LocalError
from tests.local.conftest import Api, free_port
from tests.local.fake_gateway import TS_MS, FakeGateway

ME = pwd.getpwuid(os.getuid()).pw_name
READ = ["status", "evses/evse-1", "evses/evse-1/explain", "evses/evse-1/history", "events", "doctor", "rt", "sessions"]


@pytest.mark.parametrize("path", READ)
async def test_socket_and_page_serve_the_same_documents(api: Api, path: str) -> None:
    for client in (api.unix, api.page):
        async with client.get(f"/v1/{path}") as response:
            assert response.status == 200
            document = await response.json()
            assert document["schema"].startswith("v2g.")
            assert document["boot"] == api.gateway.snapshot.boot


async def test_only_owner_and_group_may_use_the_socket(api: Api) -> None:
    assert stat.S_IMODE(api.settings.socket.stat().st_mode) == 0o660


async def test_every_response_forbids_foreign_scripts_and_caching(api: Api) -> None:
    for path in ("/", "/page/app.js", "/v1/status", "/no-such-page"):
        async with api.page.get(path) as response:
            assert response.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
            assert response.headers["Cache-Control"] == "no-store"


async def test_an_unknown_evse_is_refused_with_those_that_exist(api: Api) -> None:
    async with api.unix.get("/v1/evses/evse-9") as response:
        assert response.status == 404
        assert "no EVSE 'evse-9' here; there are: evse-1, evse-2" in (await response.json())["error"]


async def test_events_since_a_number_are_those_after_it(api: Api) -> None:
    async with api.unix.get("/v1/events?since=4") as response:
        document = await response.json()
    assert [event["seq"] for event in document["events"]] == [5, 6]
    assert document["last"] == 6


async def test_since_that_is_no_number_is_refused(api: Api) -> None:
    async with api.unix.get("/v1/events?since=yesterday") as response:
        assert response.status == 400
        assert "'yesterday'" in (await response.json())["error"]


async def test_a_lock_is_set_in_the_name_the_kernel_tells_and_released_by_the_same(api: Api) -> None:
    async with api.unix.post("/v1/locks", json={"evse": "evse-1", "locked": True, "reason": "new cable"}) as response:
        assert (await response.json())["by"] == ME
    async with api.unix.get("/v1/evses/evse-1") as response:
        assert (await response.json())["evse"]["locks"][0]["reason"] == "new cable"
    async with api.unix.post("/v1/locks", json={"evse": "evse-1", "locked": False}) as response:
        assert response.status == 200


async def test_nobody_releases_the_lock_of_another(api: Api) -> None:
    async with api.unix.post("/v1/locks", json={"evse": "evse-6", "locked": False}) as response:
        assert response.status == 409
        assert "only anna can unlock it" in (await response.json())["error"]


@pytest.mark.parametrize(
    "body", [[], {}, {"evse": "evse-1"}, {"evse": "evse-1", "locked": True, "reason": " "}, {"evse": 1, "locked": True}]
)
async def test_a_lock_without_evse_or_reason_is_refused(api: Api, body: object) -> None:
    async with api.unix.post("/v1/locks", json=body) as response:
        assert response.status == 400


async def test_nothing_can_be_done_over_the_network(api: Api) -> None:
    for path in ("/v1/reload", "/v1/commission/probe"):
        async with api.page.post(path, json={}) as response:
            assert response.status == 404
    async with api.page.get("/v1/page-token") as response:
        assert response.status == 404, "the token is told on the socket only"


@pytest.mark.parametrize("token", [None, "", "AAAAAAAAAAAAAAAA"])
async def test_without_the_token_the_page_locks_nothing(api: Api, token: str | None) -> None:
    headers = {} if token is None else {"X-Page-Token": token}
    async with api.page.post("/v1/locks", json={"evse": "evse-1", "locked": True, "reason": "x"}, headers=headers) as response:
        assert response.status == 403
        assert "edgectl page-token" in (await response.json())["error"]
    async with api.unix.get("/v1/evses/evse-1") as response:
        assert (await response.json())["evse"]["locks"] == []


async def test_with_the_token_the_page_locks_in_its_own_name_and_releases_nobody_elses_lock(api: Api) -> None:
    async with api.unix.get("/v1/page-token") as response:
        headers = {"X-Page-Token": (await response.json())["token"]}
    async with api.page.post("/v1/locks", json={"evse": "evse-1", "locked": True, "reason": "x"}, headers=headers) as response:
        assert (await response.json())["by"] == "page"
    async with api.page.post("/v1/locks", json={"evse": "evse-6", "locked": False}, headers=headers) as response:
        assert response.status == 409


async def test_a_refused_reload_says_why(api: Api) -> None:
    api.gateway.reload_error = "config.yaml line 12: evses[0].rating_w: -5 is below 0"
    async with api.unix.post("/v1/reload") as response:
        assert response.status == 409
        assert "line 12" in (await response.json())["error"]


async def test_a_commissioning_step_gets_the_body_and_an_unknown_one_is_named(api: Api) -> None:
    async def probe(body: object) -> dict[str, object]:
        return {"saw": body}

    api.gateway.commission = {"probe": probe}
    async with api.unix.post("/v1/commission/probe", json={"evse": "evse-1"}) as response:
        assert (await response.json())["result"] == {"saw": {"evse": "evse-1"}}
    async with api.unix.post("/v1/commission/dance", json={}) as response:
        assert response.status == 404
        assert "no commissioning step 'dance'; there are: probe" in (await response.json())["error"]


async def test_the_stream_starts_with_the_status_and_carries_an_event_at_once(api: Api) -> None:
    async with api.page.get("/v1/stream") as response:
        assert response.content_type == "text/event-stream"
        assert (await response.content.readline()) == b"event: status\n"
        status = json.loads((await response.content.readline()).removeprefix(b"data: "))
        assert status["schema"] == "v2g.status/1"
        api.gateway.happen(Event(7, TS_MS, "reason", "evse-1", "E_STOP", "emergency stop", "fault"))
        line = b""
        while line != b"event: event\n":
            line = await asyncio.wait_for(response.content.readline(), 5)
        event = json.loads((await response.content.readline()).removeprefix(b"data: "))
        assert event["code"] == "E_STOP"


def test_a_slow_client_is_dropped_and_the_others_go_on() -> None:
    stream = Stream(max_clients=2)
    slow, quick = stream.join(), stream.join()
    assert slow is not None and quick is not None
    for _ in range(QUEUE_MESSAGES + 1):
        stream.publish(b"data: x\n\n")
        quick.queue.get_nowait()
    assert (len(stream), stream.dropped) == (1, 1)
    assert slow.queue.get_nowait() is None


def test_only_so_many_clients_may_watch() -> None:
    stream = Stream(max_clients=1)
    first = stream.join()
    assert first is not None and stream.join() is None
    stream.leave(first)
    assert stream.join() is not None


async def test_a_full_house_is_told_so(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stream, "join", lambda self: None)
    async with api.page.get("/v1/stream") as response:
        assert response.status == 503
        assert response.headers["Retry-After"] == "5"


def test_one_address_can_ask_only_so_often() -> None:
    limit = RateLimit(per_s=10)
    assert [limit.allow("10.0.0.9", 0.0) for _ in range(41)].count(True) == 40
    assert limit.allow("10.0.0.10", 0.0)
    assert limit.allow("10.0.0.9", 0.1)


def test_the_rate_limit_remembers_a_bounded_number_of_addresses() -> None:
    limit = RateLimit(per_s=10)
    for number in range(RateLimit.MAX_ADDRESSES + 10):
        limit.allow(str(number), 0.0)
    assert len(limit._buckets) == RateLimit.MAX_ADDRESSES


async def test_asking_too_often_is_refused_over_the_network(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RateLimit, "allow", lambda *_: False)
    async with api.page.get("/v1/status") as response:
        assert response.status == 429


@pytest.mark.parametrize(
    "header", ["127.0.0.1:8088", "[::1]:8088", "[::1]", "localhost", "10.0.0.2", socket.gethostname() + ":8088"]
)
def test_the_page_answers_under_its_own_addresses(header: str) -> None:
    assert host_allowed(header)


async def test_a_foreign_name_that_points_here_gets_nothing(api: Api) -> None:
    async with api.page.get("/v1/status", headers={"Host": "evil.example"}) as response:
        assert response.status == 421


def settings(folder: Path, **changes: object) -> LocalSettings:
    known = {"socket": folder / "local.sock", "bind": ("127.0.0.1",), "port": free_port(), "state_dir": folder}
    return LocalSettings(**(known | changes))  # type: ignore[arg-type]


async def start_failing(wanted: LocalSettings) -> str:
    gateway = FakeGateway()
    with pytest.raises(LocalError) as error:
        await LocalServer(gateway, gateway, wanted).start()
    return str(error.value)


async def test_a_port_in_use_is_named_with_address_and_remedy(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        message = await start_failing(settings(tmp_path, port=port))
    assert f"127.0.0.1 port {port}: already in use" in message
    assert f"ss -ltnp sport = :{port}" in message
    assert not (tmp_path / "local.sock").exists(), "a gateway that can't start leaves nothing behind"


async def test_an_address_that_is_not_ours_is_named(tmp_path: Path) -> None:
    assert "no interface of this machine has this address" in await start_failing(settings(tmp_path, bind=("192.0.2.1",)))


async def test_what_a_dead_gateway_left_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "local.sock"))
    gateway = FakeGateway()
    server = LocalServer(gateway, gateway, settings(tmp_path, bind=()))
    await server.start()
    await server.stop()


async def test_a_second_gateway_on_the_same_socket_is_refused(api: Api) -> None:
    message = await start_failing(settings(api.settings.socket.parent))
    assert "another v2g-edge answers" in message


async def test_fifty_pages_watch_at_once_and_each_hears_everything(api: Api) -> None:
    async with aiohttp.ClientSession(api.page._base_url, connector=aiohttp.TCPConnector(limit=0)) as many:
        streams = [await many.get("/v1/stream") for _ in range(50)]
        api.gateway.happen(Event(7, TS_MS, "reason", "evse-1", "E_STOP", "emergency stop", "fault"))

        async def hears(stream: aiohttp.ClientResponse) -> None:
            while await stream.content.readline() != b"event: event\n":
                pass

        async with asyncio.timeout(30):
            await asyncio.gather(*(hears(stream) for stream in streams))
        for stream in streams:
            stream.close()


async def test_metrics_can_be_read_by_prometheus_and_hold_no_secret(api: Api) -> None:
    async with api.page.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}) as response:
        text = await response.text()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    power = {sample.labels["evse"]: sample.value for sample in families["v2g_evse_power_watts"].samples}
    assert power["evse-2"] == -7980
    assert families["v2g_cycle_lateness_seconds"].type == "histogram"
    assert families["v2g_level"].samples[0].value == 1


async def test_metrics_in_the_older_format_are_understood_too(api: Api) -> None:
    async with api.unix.get("/metrics") as response:
        assert 'v2g_commands_total{outcome="applied"} 118.0' in await response.text()


async def test_stopping_ends_the_streams(api: Api) -> None:
    async with api.page.get("/v1/stream") as response:
        await response.content.readline()
        await api.server.stop()
        await asyncio.wait_for(response.content.read(), 5)


async def test_the_page_needs_nothing_from_outside() -> None:
    for path in server_module.PAGE.iterdir():
        text = path.read_text()
        outside = [word for word in ("http://", "https://", "//cdn") if word in text.replace("http://www.w3.org/2000/svg", "")]
        assert outside == [], path.name
