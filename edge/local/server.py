"""The local API: everything on a UNIX socket, the read-only part on TCP for the page, Prometheus and the technician's phone.

The socket's file mode decides who may act (lock, reload, commission). TCP can only read, and lock with a token that only the
socket tells. No response on TCP holds a secret: documents name certificates and brokers, never keys or passwords.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import itertools
import json
import logging
import os
import pwd
import secrets
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web
from prometheus_client.exposition import choose_encoder

from edge.local import builders, host, metrics
from edge.local.doctor import doctor_doc
from edge.local.history import PERIOD_MS, History
from edge.local.stream import Stream, encode
from edge.local.view import Actions, EvseFacts, GatewayView, LocalError, Snapshot

log = logging.getLogger(__name__)

PAGE = Path(__file__).parent / "page"
MAX_BODY_BYTES = 64 * 1024
WRITE_TIMEOUT_S = 5.0
"""A client whose connection takes nothing for this long is dropped."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

PAGE_NAME = "page"
"""In whose name somebody locks who showed the page's token."""
TOKEN_HEADER = "X-Page-Token"
TOKEN_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
"""Nothing that looks like something else: the token is typed on a phone."""
TOKEN_LENGTH = 16

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """Where to listen. `bind` empty: no page at all."""

    socket: Path = Path("/run/v2g-edge/local.sock")
    bind: tuple[str, ...] = ("127.0.0.1",)
    port: int = 8088
    state_dir: Path = Path("/var/lib/v2g-edge")
    max_streams: int = 64
    """Pages that may watch at the same time."""
    requests_per_s: float = 50.0
    """Of one address; four seconds' worth may come at once."""
    stream_period_s: float = 0.5


class RateLimit:
    """A token bucket per address; remembers a bounded number of addresses."""

    MAX_ADDRESSES = 1024

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._burst = 4 * per_s
        self._buckets: dict[str, tuple[float, float]] = {}

    def allow(self, address: str, now_s: float) -> bool:
        tokens, seen_s = self._buckets.pop(address, (self._burst, now_s))
        tokens = min(self._burst, tokens + (now_s - seen_s) * self._per_s)
        allowed = tokens >= 1
        self._buckets[address] = (tokens - 1 if allowed else tokens, now_s)
        if len(self._buckets) > self.MAX_ADDRESSES:
            del self._buckets[next(iter(self._buckets))]
        return allowed


def host_allowed(header: str) -> bool:
    """Whether a Host header names this machine by address or as itself: a foreign name would be DNS rebinding."""
    name = header.rsplit(":", 1)[0] if not header.endswith("]") else header
    if name in ("localhost", socket.gethostname()):
        return True
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def peer_name(request: web.Request) -> str:
    """Who is at the other end of the UNIX socket, as the kernel says: nobody can lock or unlock in another's name."""
    assert request.transport is not None
    wrapped = request.transport.get_extra_info("socket")
    with socket.socket(fileno=os.dup(wrapped.fileno())) as own:
        _, uid, _ = struct.unpack("3i", own.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _json(document: Any, status: int = 200) -> web.Response:
    return web.json_response(document, status=status, dumps=lambda value: json.dumps(value, ensure_ascii=False))


def _refuse(status: int, text: str) -> web.Response:
    return _json({"error": text}, status)


@web.middleware
async def _answer_in_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Security headers on everything, and one line of JSON for every refusal."""
    try:
        response = await handler(request)
    except LocalError as error:
        response = _refuse(409, str(error))
    except web.HTTPException as error:
        if error.status < 400:
            raise
        response = _refuse(error.status, f"{request.method} {request.path}: {error.reason}")
    if not response.prepared:
        response.headers.update(HEADERS)
    return response


class LocalServer:
    """Serves documents of a view. Start and stop belong to the event loop that runs the gateway."""

    def __init__(self, view: GatewayView, actions: Actions, settings: LocalSettings) -> None:
        self._view = view
        self._actions = actions
        self._settings = settings
        self._registry = metrics.registry(view)
        self._stream = Stream(settings.max_streams)
        self._history = History()
        self._rate = RateLimit(settings.requests_per_s)
        self._runners: list[web.AppRunner] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._owns_socket = False
        self._token = "".join(secrets.choice(TOKEN_ALPHABET) for _ in range(TOKEN_LENGTH))
        """80 bits, new with each start."""

    async def start(self) -> None:
        """Listen on the socket and on every address. LocalError names the address or path, and what to do."""
        try:
            await self._listen_unix()
            if self._settings.bind:
                await self._listen_tcp()
        except BaseException:
            await self.stop()
            raise
        self._tasks = [asyncio.create_task(self._publish_status()), asyncio.create_task(self._publish_events())]
        for task in self._tasks:
            task.add_done_callback(_log_failure)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        self._stream.close()
        for runner in self._runners:
            await runner.cleanup()
        self._runners = []
        if self._owns_socket:
            self._settings.socket.unlink(missing_ok=True)
            self._owns_socket = False

    # ---- listening ---------------------------------------------------------------------------------------------------

    def _reading_routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/status", self._status),
            web.get("/v1/evses/{id}", self._evse),
            web.get("/v1/evses/{id}/explain", self._explain),
            web.get("/v1/evses/{id}/history", self._history_of),
            web.get("/v1/events", self._events),
            web.get("/v1/stream", self._serve_stream),
            web.get("/v1/doctor", self._doctor),
            web.get("/v1/rt", self._rt),
            web.get("/v1/sessions", self._sessions),
            web.get("/metrics", self._metrics),
        ]

    def _acting_routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/page-token", self._page_token),
            web.post("/v1/locks", self._lock),
            web.post("/v1/reload", self._reload),
            web.post("/v1/commission/{step}", self._commission),
        ]

    async def _listen_unix(self) -> None:
        path = self._settings.socket
        app = web.Application(middlewares=[_answer_in_json], client_max_size=MAX_BODY_BYTES)
        app.add_routes([*self._reading_routes(), *self._acting_routes()])
        _remove_stale_socket(path)
        runner = await self._runner(app)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            await web.UnixSite(runner, path).start()
            self._owns_socket = True
            path.chmod(0o660)
        except OSError as error:
            remedy = "start v2g-edge by its unit file (RuntimeDirectory=v2g-edge), or name another socket"
            raise LocalError(f"local API: cannot listen on {path}: {error.strerror}; {remedy}") from error

    async def _listen_tcp(self) -> None:
        app = web.Application(middlewares=[self._limit, _answer_in_json], client_max_size=MAX_BODY_BYTES)
        app.add_routes(self._reading_routes())
        app.add_routes([web.post("/v1/locks", self._lock_from_page), web.get("/", _index), web.static("/page", PAGE)])
        runner = await self._runner(app)
        for address in self._settings.bind:
            try:
                await web.TCPSite(runner, address, self._settings.port).start()
            except OSError as error:
                raise LocalError(_listen_error(address, self._settings.port, error)) from error

    async def _runner(self, app: web.Application) -> web.AppRunner:
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        self._runners.append(runner)
        return runner

    @web.middleware
    async def _limit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """TCP only: reading at a bounded rate, under a name that is ours."""
        if not host_allowed(request.host):
            return _refuse(421, f"this gateway is not called {request.host}: use its address")
        if not self._rate.allow(request.remote or "", time.monotonic()):
            return _refuse(429, f"more than {self._settings.requests_per_s:.0f} requests a second from {request.remote}")
        return await handler(request)

    # ---- reading -----------------------------------------------------------------------------------------------------

    def _find(self, request: web.Request) -> tuple[EvseFacts, Snapshot]:
        snapshot = self._view.status()
        evse_id = request.match_info["id"]
        evse = builders.find_evse(snapshot, evse_id)
        if evse is None:
            known = ", ".join(evse.id for evse in snapshot.evses)
            raise web.HTTPNotFound(reason=f"no EVSE {evse_id!a} here; there are: {known}")
        return evse, snapshot

    async def _status(self, request: web.Request) -> web.Response:
        return _json(builders.status_doc(self._view.status()))

    async def _evse(self, request: web.Request) -> web.Response:
        return _json(builders.evse_doc(*self._find(request)))

    async def _explain(self, request: web.Request) -> web.Response:
        evse, snapshot = self._find(request)
        return _json(builders.explain_doc(evse, self._view.explain(evse.id), snapshot))

    async def _history_of(self, request: web.Request) -> web.Response:
        evse, snapshot = self._find(request)
        return _json(self._history.document(evse.id, snapshot))

    async def _events(self, request: web.Request) -> web.Response:
        text = request.query.get("since", "0")
        if not text.isdecimal():
            raise web.HTTPBadRequest(reason=f"since={text!a} is not an event number: 0, 1, 2, ...")
        since = int(text)
        return _json(builders.events_doc(self._view.events(since), since, self._view.status()))

    async def _doctor(self, request: web.Request) -> web.Response:
        facts = await asyncio.to_thread(host.probe, self._settings.state_dir)
        return _json(doctor_doc(self._view.status(), facts))

    async def _rt(self, request: web.Request) -> web.Response:
        return _json(builders.rt_doc(self._view.rt(), self._view.status()))

    async def _sessions(self, request: web.Request) -> web.Response:
        return _json(builders.sessions_doc(self._view.sessions(), self._view.status()))

    async def _metrics(self, request: web.Request) -> web.Response:
        encoder, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encoder(self._registry), headers={"Content-Type": content_type})

    # ---- watching ----------------------------------------------------------------------------------------------------

    async def _serve_stream(self, request: web.Request) -> web.StreamResponse:
        client = self._stream.join()
        if client is None:
            response = _refuse(503, f"all {self._settings.max_streams} places for watching are taken; close a page")
            response.headers["Retry-After"] = "5"
            return response
        stream = web.StreamResponse(headers={**HEADERS, "Content-Type": "text/event-stream"})
        try:
            await stream.prepare(request)
            await stream.write(encode("status", builders.status_doc(self._view.status())))
            async for message in client.messages():
                await asyncio.wait_for(stream.write(message), WRITE_TIMEOUT_S)
        except (ConnectionError, TimeoutError):
            pass
        finally:
            self._stream.leave(client)
        return stream

    async def _publish_status(self) -> None:
        """Twice a second for whoever watches; once a second into the history."""
        rounds_per_sample = max(1, round(PERIOD_MS / 1000 / self._settings.stream_period_s))
        for count in itertools.count():
            if count % rounds_per_sample == 0:
                self._history.add(self._view.status())
            if len(self._stream):
                self._stream.publish(encode("status", builders.status_doc(self._view.status())))
            await asyncio.sleep(self._settings.stream_period_s)

    async def _publish_events(self) -> None:
        async for event in self._view.subscribe():
            if len(self._stream):
                self._stream.publish(encode("event", builders.event_body(event)))

    # ---- acting (UNIX socket; locking with a token on TCP, too) ----------------------------------------------------------

    async def _page_token(self, request: web.Request) -> web.Response:
        return _json({**builders.envelope("page-token", self._view.status()), "token": self._token})

    async def _lock(self, request: web.Request) -> web.Response:
        return await self._change_lock(request, peer_name(request))

    async def _lock_from_page(self, request: web.Request) -> web.Response:
        if not secrets.compare_digest(request.headers.get(TOKEN_HEADER, "").encode(), self._token.encode()):
            raise web.HTTPForbidden(reason="not the token of this page: `edgectl page-token` on the gateway prints it")
        return await self._change_lock(request, PAGE_NAME)

    async def _change_lock(self, request: web.Request, by: str) -> web.Response:
        body = await _object(request)
        evse_id, locked, reason = body.get("evse"), body.get("locked"), body.get("reason", "")
        if not isinstance(evse_id, str) or not isinstance(locked, bool) or not isinstance(reason, str):
            raise web.HTTPBadRequest(reason='expected {"evse": id, "locked": true|false, "reason": text}')
        if locked and not reason.strip():
            raise web.HTTPBadRequest(reason="a lock needs a reason, for the next person at the cabinet")
        snapshot = self._view.status()
        if builders.find_evse(snapshot, evse_id) is None:
            raise web.HTTPNotFound(reason=f"no EVSE {evse_id!a} here; there are: {', '.join(e.id for e in snapshot.evses)}")
        if locked:
            await self._actions.lock(evse_id, by, reason.strip())
        else:
            await self._actions.unlock(evse_id, by)
        return _json({**builders.envelope("lock", self._view.status()), "evse": evse_id, "locked": locked, "by": by})

    async def _reload(self, request: web.Request) -> web.Response:
        config_hash = await self._actions.reload()
        return _json({**builders.envelope("reload", self._view.status()), "config_hash": config_hash})

    async def _commission(self, request: web.Request) -> web.Response:
        step = request.match_info["step"]
        action = self._actions.commission.get(step)
        if action is None:
            known = ", ".join(sorted(self._actions.commission)) or "none in this version"
            raise web.HTTPNotFound(reason=f"no commissioning step {step!a}; there are: {known}")
        result = await action(await _object(request))
        return _json({**builders.envelope("commission", self._view.status()), "step": step, "result": dict(result)})


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("local API: publishing ended, pages will show STALE: %r", error, exc_info=error)


async def _index(request: web.Request) -> web.FileResponse:
    return web.FileResponse(PAGE / "index.html")


async def _object(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError as error:
        raise web.HTTPBadRequest(reason="the body is not JSON") from error
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(reason="the body is not a JSON object")
    return body


def _remove_stale_socket(path: Path) -> None:
    """Remove what a dead gateway left; refuse when a living one still answers."""
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0.5)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except OSError as error:
            raise LocalError(f"local API: {path} is in the way: {error.strerror}; remove it") from error
    raise LocalError(f"local API: another v2g-edge answers on {path}; stop it first: systemctl stop v2g-edge")


def _listen_error(address: str, port: int, error: OSError) -> str:
    what = f"local page: cannot listen on {address} port {port}"
    if error.errno == errno.EADDRINUSE:
        return f"{what}: already in use; `ss -ltnp sport = :{port}` shows by whom; stop that program or set local.page.port"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{what}: no interface of this machine has this address; correct local.page.bind (`ip address` lists them)"
    return f"{what}: {os.strerror(error.errno) if error.errno else error}; correct local.page.bind or local.page.port"
