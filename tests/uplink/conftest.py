"""A real mosquitto with TLS 1.3, a gateway of one site without its core, and somebody at the aggregator's end."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import paho.mqtt.client as paho
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.subscribeoptions import SubscribeOptions

from aggregator.devbroker import DevBroker
from edge import wire
from edge.arbiter import Arbiter
from edge.model import Constraint, EvseModel, FeederModel, Outcome, Plan, SiteModel
from edge.uplink import Clock, CommandHandler, CommandLedger, MemoryLedger, Progress, Uplink, UplinkSettings
from edge.uplink.pki import make_development_pki
from edge.wire import topics

SITE = SiteModel(
    id="site-1",
    evses=(EvseModel("evse-1", "main", -10_000, 22_000), EvseModel("evse-2", "main", -10_000, 22_000)),
    feeders=(FeederModel("main", None, -50_000, 60_000),),
)


class Gateway:
    """The rest of a gateway as the uplink sees it: an arbiter, and a core that adopts and confirms at once."""

    def __init__(self, clock: Clock) -> None:
        self.arbiter = Arbiter(SITE)
        self.clock = clock
        self.applied: list[tuple[Constraint, ...]] = []
        self.power_w = {evse.id: 0 for evse in SITE.evses}
        self.soc: int | None = None

    def preview(self, constraints: Sequence[Constraint]) -> Plan:
        return self.arbiter.preview(constraints, self.clock.monotonic_ns())

    def apply(self, constraints: Sequence[Constraint]) -> Plan:
        self.arbiter.put(constraints)
        self.applied.append(tuple(constraints))
        return self.arbiter.renew(self.clock.monotonic_ns())

    async def follow(self, plan: Plan, evse_ids: Sequence[str]) -> AsyncIterator[Progress]:
        now_ms = self.clock.unix_ms()
        evses = tuple(
            wire.AckEvse(
                id=evse_id,
                min_w=plan.evses[evse_id].min_w,
                max_w=plan.evses[evse_id].max_w,
                target_w=plan.evses[evse_id].target_w,
                reason="NONE",
            )
            for evse_id in evse_ids
        )
        yield Progress(adopted=now_ms, on_bus=now_ms, evses=evses)
        yield Progress(adopted=now_ms, on_bus=now_ms, confirmed=now_ms, evses=evses)

    def birth(self) -> wire.Birth:
        ratings = wire.Ratings(charge_w=22_000, discharge_w=10_000)
        evses = [wire.BirthEvse(id=evse.id, capability="bidirectional", phases=3, ratings=ratings) for evse in SITE.evses]
        return wire.Birth(
            boot="boot-1", ts=self.clock.unix_ms(), sw="0", config_hash="0", evses=evses, feeders=[], clock="trusted"
        )

    def telemetry(self) -> list[wire.Telemetry]:
        plan = self.arbiter.renew(self.clock.monotonic_ns())
        return [
            wire.Telemetry(
                site=SITE.id,
                evse=evse_id,
                boot="boot-1",
                ts=self.clock.unix_ms(),
                state="transfer",
                power_w=self.power_w[evse_id],
                setpoint=wire.Setpoint(min_w=p.min_w, max_w=p.max_w, target_w=p.target_w),
                reason="NONE",
                soc=self.soc,
            )
            for evse_id, p in plan.evses.items()
        ]


class Dispatcher:
    """The aggregator's end of the broker: sees every message, sends any bytes."""

    def __init__(self, port: int, pki: Path, name: str = "aggregator") -> None:
        self.messages: list[paho.MQTTMessage] = []
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"test-{name}", protocol=paho.MQTTv5)
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        context.load_cert_chain(pki / f"{name}.crt", pki / f"{name}.key")
        self.client.tls_set_context(context)
        self.client.on_message = lambda client, userdata, message: self.messages.append(message)
        self.client.on_connect = lambda client, *rest: client.subscribe(
            "v2g/#", options=SubscribeOptions(qos=1, retainAsPublished=True)
        )
        self.client.on_socket_open = lambda client, userdata, sock: sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        subscribed = threading.Event()
        self.client.on_subscribe = lambda *_: subscribed.set()
        self.client.reconnect_delay_set(1, 1)
        self.client.connect("127.0.0.1", port, 15)
        self.client.loop_start()
        assert subscribed.wait(30)  # else a birth may come twice, live and as the retained message

    def send(self, payload: bytes, site: str = "site-1", *, retain: bool = False, qos: int = 1) -> None:
        self.client.publish(topics.command(site), payload, qos, retain)

    def acks(self) -> list[wire.Ack]:
        return [wire.Ack.decode(m.payload) for m in list(self.messages) if m.topic == topics.ack("site-1")]

    async def ack(self, command_id: str, *, final: bool = False) -> wire.Ack:
        """The first ack of a command; the one with every stamp when `final`."""

        def find() -> wire.Ack | None:
            mine = [a for a in self.acks() if a.id == command_id and (a.stamps.confirmed is not None or not final)]
            return mine[0] if mine else None

        return await until(find)

    async def message(self, topic: str, *, count: int = 1, nonempty: bool = True) -> paho.MQTTMessage:
        def find() -> paho.MQTTMessage | None:
            mine = [m for m in list(self.messages) if m.topic == topic and (m.payload or not nonempty)]
            return mine[count - 1] if len(mine) >= count else None

        return await until(find)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


T = TypeVar("T")


async def until(find: Callable[[], T | None], timeout_s: float = 30.0) -> T:
    """Wait for something to be there; the time-out is generous because only a failure needs it."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = find()
        if found:
            return found
        await asyncio.sleep(0.01)
    raise AssertionError("didn't come")


class Orders:
    """Makes signed commands."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self.key = key
        self.seq = int(time.time() * 1000)

    def body(self, **other: object) -> wire.CommandBody:
        self.seq += 1
        now_ms = int(time.time() * 1000)
        scope = wire.CommandScope(evse="evse-1")
        said: dict[str, object] = {
            "id": str(uuid.uuid4()),
            "site": "site-1",
            "seq": self.seq,
            "issued": now_ms,
            "accept_until": now_ms + 2000,
            "constraints": [wire.CommandConstraint(scope=scope, quantity="p_w", target_w=-5000)],
        }
        return wire.CommandBody(**(said | other))  # type: ignore[arg-type]

    def signed(self, body: wire.CommandBody, kid: str = "dev", key: Ed25519PrivateKey | None = None) -> bytes:
        return wire.sign(body, kid, key or self.key).encode()


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory: Path = tmp_path_factory.mktemp("pki")
    make_development_pki(directory, ["site-1", "site-2"])
    return directory


@pytest.fixture
def broker(tmp_path: Path, pki: Path) -> Iterator[DevBroker]:
    with DevBroker(tmp_path / "broker", pki, {"site-1": ["evse-1", "evse-2"], "site-2": []}).running() as broker:
        yield broker


@pytest.fixture
def orders(pki: Path) -> Orders:
    key = load_pem_private_key((pki / "dev.key").read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey)
    return Orders(key)


@pytest.fixture
def clock() -> Clock:
    return Clock(synchronised=lambda: False)


@pytest.fixture
def gateway(clock: Clock) -> Gateway:
    return Gateway(clock)


@pytest.fixture
def ledger() -> CommandLedger:
    return MemoryLedger()


@pytest.fixture
def handler(orders: Orders, gateway: Gateway, clock: Clock, ledger: CommandLedger) -> CommandHandler:
    return CommandHandler("site-1", {"dev": orders.key.public_key()}, ledger, gateway, clock)


@pytest.fixture
def settings(pki: Path, request: pytest.FixtureRequest) -> UplinkSettings:
    port = request.getfixturevalue("broker").port
    return UplinkSettings(
        "site-1",
        "localhost",
        pki / "ca.crt",
        pki / "site-1.crt",
        pki / "site-1.key",
        port=port,
        telemetry_active_s=0.1,
        telemetry_idle_s=0.5,
        reconnect_max_s=1,
    )


@pytest.fixture
def uplink(settings: UplinkSettings, handler: CommandHandler, gateway: Gateway, clock: Clock) -> Uplink:
    return Uplink(settings, handler, "boot-1", gateway.birth, gateway.telemetry, clock)


@pytest.fixture
def dispatcher(broker: DevBroker, pki: Path) -> Iterator[Dispatcher]:
    dispatcher = Dispatcher(broker.port, pki)
    yield dispatcher
    dispatcher.close()


OBEYED = (Outcome.APPLIED, Outcome.CLIPPED)
