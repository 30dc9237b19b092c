"""A gateway with its broker, its bus and somebody who means it ill: how long commands take, and what an attack changes."""

from __future__ import annotations

import contextlib
import os
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from paho.mqtt.enums import CallbackAPIVersion
from v2g_sim.settings import BusSettings

from aggregator.devbroker import DevBroker
from edge import wire
from edge.uplink.pki import make_development_pki
from edge.wire import topics
from hil.oracle import Oracle
from tests.uplink.conftest import Orders

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "core")]

from core_site import CoreSite, wait_until  # noqa: E402
from gateway_process import GatewayProcess  # noqa: E402

UPLINK = """
uplink: {{host: localhost, port: {port}, ca: pki/ca.crt, cert: pki/site-1.crt, key: pki/site-1.key,
  command_keys: [{{kid: dev, key: pki/dev.pub}}]}}
"""


class Client:
    """An MQTT client with the certificate of `name`; keeps the acks that it sees."""

    def __init__(self, port: int, pki: Path, name: str = "aggregator") -> None:
        self.acks: list[wire.Ack] = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"{name}-{os.urandom(4).hex()}", protocol=paho.MQTTv5)
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        context.load_cert_chain(pki / f"{name}.crt", pki / f"{name}.key")
        self._client.tls_set_context(context)
        self._client.max_queued_messages_set(0)
        self._client.on_message = lambda client, userdata, message: self.acks.append(wire.Ack.decode(message.payload))
        subscribed = threading.Event()
        self._client.on_connect = lambda client, *rest: client.subscribe(topics.ack("site-1"), 1)
        self._client.on_subscribe = lambda *rest: subscribed.set()
        self._client.connect("localhost", port, 15)
        self._client.loop_start()
        assert subscribed.wait(30)

    def send(self, payload: bytes, *, site: str = "site-1", retain: bool = False, qos: int = 1) -> None:
        self._client.publish(topics.command(site), payload, qos, retain)

    def outcomes(self) -> dict[str, int]:
        found = [str(ack.outcome) for ack in self.acks]
        return {outcome: found.count(outcome) for outcome in sorted(set(found))}

    def ack(self, command_id: str) -> wire.Ack | None:
        return next((ack for ack in self.acks if ack.id == command_id), None)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@dataclass(slots=True)
class Site:
    """Everything that runs; `orders` makes signed commands."""

    gateway: GatewayProcess
    oracle: Oracle
    broker: DevBroker
    pki: Path
    orders: Orders
    aggregator: Client

    def charge(self, target_w: int) -> wire.CommandBody:
        """Send a signed command to evse-1."""
        scope = wire.CommandScope(evse="evse-1")
        wish = wire.CommandConstraint(scope=scope, quantity="p_w", target_w=target_w, valid_for_ms=3_600_000)
        body = self.orders.body(constraints=[wish])
        self.aggregator.send(self.orders.signed(body))
        return body

    def lateness(self) -> Lateness:
        document: Any = self.gateway.ask("/v1/rt")["lateness_us"]
        return Lateness(dict(zip([*document["bounds"], float("inf")], document["counts"], strict=True)))


@dataclass(frozen=True, slots=True)
class Lateness:
    """A histogram of the cycle's lateness: upper bound in µs to count."""

    counts: dict[float, int]

    def __sub__(self, other: Lateness) -> Lateness:
        bounds = set(self.counts) | set(other.counts)
        return Lateness({bound: self.counts.get(bound, 0) - other.counts.get(bound, 0) for bound in bounds})

    def percentile_us(self, share: float) -> float:
        left = share * sum(self.counts.values())
        for bound, count in sorted(self.counts.items()):
            left -= count
            if left <= 0:
                return bound
        return max(self.counts)


@contextlib.contextmanager
def running_site(folder: Path) -> Iterator[Site]:
    """A site of two simulated EVSEs on a hub, charging, with its gateway connected to a mosquitto."""
    with contextlib.ExitStack() as stack:
        core = CoreSite(folder)
        stack.callback(core.close)
        pki = folder / "pki"
        make_development_pki(pki, ["site-1", "site-2"])
        broker = stack.enter_context(
            DevBroker(folder / "broker", pki, {"site-1": ["evse-1", "evse-2"], "site-2": []}).running()
        )
        core.path.write_text(core.path.read_text() + UPLINK.format(port=broker.port))
        oracle = Oracle(core.path, "can0", BusSettings(interface="v2ghub", channel=str(core.hub_path)))
        oracle.start()
        stack.callback(oracle.stop)
        gateway = GatewayProcess(core)
        gateway.start()
        stack.callback(gateway.close)
        aggregator = Client(broker.port, pki)
        stack.callback(aggregator.close)
        key = load_pem_private_key((pki / "dev.key").read_bytes(), None)
        assert isinstance(key, Ed25519PrivateKey)
        wait_until(lambda: gateway.ask("/v1/status")["uplink"]["state"] == "connected", "connected")
        wait_until(lambda: oracle.power_w("evse-1") > 8000, "the EVSE charges", 60)
        yield Site(gateway, oracle, broker, pki, Orders(key), aggregator)


def command_to_frame_ms(site: Site, commands: int) -> list[float]:
    """From the sender's publish to the first frame on the bus that carries the new setpoint, each a step towards 0."""
    taken = []
    target_w = 8000
    for _ in range(commands):
        target_w -= 50
        began = time.time()
        site.charge(target_w)
        frame: list[float] = []

        def seen(target_w: int = target_w, began: float = began, frame: list[float] = frame) -> bool:
            frame[:] = [c.time for c in site.oracle.commands("evse-1", began) if c.target_w == target_w][:1]
            return bool(frame)

        wait_until(seen, f"{target_w} W on the bus", 10)
        taken.append((frame[0] - began) * 1e3)
    return taken


def flood(site: Site, seconds: float, per_s: int) -> int:
    """Garbage on the command topic; returns how many payloads were handed to the broker."""
    intruder = Client(site.broker.port, site.pki)
    sent, began = 0, time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        for _ in range(min(500, int(passed * per_s) - sent)):
            intruder.send(os.urandom(sent % 64 + 1), qos=0)
            sent += 1
        time.sleep(0.005)
    intruder.close()
    return sent
