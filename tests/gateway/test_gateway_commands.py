"""A signed command at a real broker moves a simulated EVSE, and the ack says when it was adopted, sent and confirmed."""

from __future__ import annotations

import ssl
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from core_site import CoreSite, wait_until
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from gateway_process import GatewayProcess
from paho.mqtt.enums import CallbackAPIVersion

from aggregator.devbroker import DevBroker
from edge import wire
from edge.model import Outcome
from edge.uplink.pki import make_development_pki
from edge.wire import topics

UPLINK = """
uplink: {{host: localhost, port: {port}, ca: pki/ca.crt, cert: pki/site-1.crt, key: pki/site-1.key,
  command_keys: [{{kid: dev, key: pki/dev.pub}}]}}
"""


class Dispatcher:
    """The aggregator's end of the broker."""

    def __init__(self, port: int, pki: Path) -> None:
        self.acks: list[wire.Ack] = []
        self.telemetry: list[wire.Telemetry] = []
        self._key = load_pem_private_key((pki / "dev.key").read_bytes(), None)
        self._seq = int(time.time() * 1000)
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="test-aggregator", protocol=paho.MQTTv5)
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        context.load_cert_chain(pki / "aggregator.crt", pki / "aggregator.key")
        self._client.tls_set_context(context)
        self._client.on_message = self._take
        self._client.on_connect = lambda client, *rest: client.subscribe("v2g/#", 1)
        self._client.connect("localhost", port, 15)
        self._client.loop_start()

    def _take(self, client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        if message.topic == topics.ack("site-1"):
            self.acks.append(wire.Ack.decode(message.payload))
        elif message.topic == topics.telemetry("evse-1"):
            self.telemetry.append(wire.Telemetry.decode(message.payload))

    def order(self, target_w: int) -> str:
        assert isinstance(self._key, Ed25519PrivateKey)
        self._seq += 1
        now_ms = int(time.time() * 1000)
        scope = wire.CommandScope(evse="evse-1")
        body = wire.CommandBody(
            id=str(uuid.uuid4()),
            site="site-1",
            seq=self._seq,
            issued=now_ms,
            accept_until=now_ms + 2000,
            constraints=[wire.CommandConstraint(scope=scope, quantity="p_w", target_w=target_w)],
        )
        self._client.publish(topics.command("site-1"), wire.sign(body, "dev", self._key).encode(), 1)
        return body.id

    def final_ack(self, command_id: str) -> wire.Ack | None:
        return next((a for a in self.acks if a.id == command_id and a.stamps.confirmed is not None), None)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def dispatcher(core_site: CoreSite) -> Iterator[Dispatcher]:
    pki = core_site.folder / "pki"
    make_development_pki(pki, ["site-1"])
    with DevBroker(core_site.folder / "broker", pki, {"site-1": ["evse-1", "evse-2"]}).running() as broker:
        core_site.path.write_text(core_site.path.read_text() + UPLINK.format(port=broker.port))
        dispatcher = Dispatcher(broker.port, pki)
        yield dispatcher
        dispatcher.close()


def test_a_signed_command_is_followed_and_acknowledged(dispatcher: Dispatcher, gateway: GatewayProcess):
    wait_until(lambda: gateway.ask("/v1/status")["uplink"]["state"] == "connected", "connected")
    wait_until(lambda: gateway.power_w("evse-1") > 5000, "the EVSE is ready")
    command_id = dispatcher.order(-8000)
    wait_until(lambda: dispatcher.final_ack(command_id) is not None, "confirmed by the EVSE's own measurement")
    ack = dispatcher.final_ack(command_id)
    assert ack is not None
    assert ack.outcome is Outcome.APPLIED
    stamps = ack.stamps
    assert stamps.received <= stamps.adopted <= stamps.on_bus <= stamps.confirmed
    assert [(e.id, e.target_w) for e in ack.evses] == [("evse-1", -8000)]
    wait_until(lambda: gateway.power_w("evse-1") == pytest.approx(-8000, abs=600), "it settles there")
    wait_until(lambda: any(t.power_w is not None and t.power_w < -7000 for t in dispatcher.telemetry), "telemetry shows it")
    status = gateway.ask("/v1/status")["uplink"]
    assert status["tls_version"] == "TLSv1.3"
    assert status["outcomes"] == {"applied": 1}
