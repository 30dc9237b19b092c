"""The aggregator's connection to the broker: MQTT 5 over TLS 1.3, both sides with certificates."""

from __future__ import annotations

import queue
import socket
import ssl
from collections.abc import Iterable
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from aggregator.settings import Broker
from edge.wire import topics

COMMAND_EXPIRY_S = 2
"""The broker forgets a command that it couldn't deliver for this long (numbers.md)."""


class LinkError(RuntimeError):
    """The broker can't be used; the message names the file or address and why."""


class Link:
    """Messages come out of `inbox` in the order in which they came in; the connection returns by itself."""

    def __init__(self, broker: Broker, client_id: str, subscriptions: Iterable[str], session_s: int = 0) -> None:
        """`session_s` > 0: the broker keeps the session, and with it QoS 1 messages, for this long while we are away."""
        self.inbox: queue.Queue[paho.MQTTMessage] = queue.Queue(maxsize=10_000)
        self.subscribed: queue.Queue[str] = queue.Queue()
        self._broker = broker
        self._topics = list(subscriptions)
        self._pending = 0
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=paho.MQTTv5)
        self._client.tls_set_context(_tls(broker))
        self._client.reconnect_delay_set(1, 30)
        self._client.on_socket_open = lambda client, userdata, sock: _no_delay(sock)
        self._client.on_connect = self._connected
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = lambda client, userdata, message: self.inbox.put(message)
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = session_s
        try:
            self._client.connect(broker.host, broker.port, keepalive=15, clean_start=session_s == 0, properties=properties)
        except OSError as error:
            raise LinkError(f"broker {broker.host}:{broker.port} can't be reached: {error}") from error
        self._client.loop_start()

    def _connected(self, client: paho.Client, userdata: object, flags: object, reason: ReasonCode, properties: object) -> None:
        if reason.is_failure:
            self.subscribed.put(f"broker {self._broker.host}:{self._broker.port} refused the connection: {reason}")
        elif self._topics:
            options = [(topic, SubscribeOptions(qos=1, retainAsPublished=True)) for topic in self._topics]
            client.subscribe(options)

    def _on_subscribe(
        self, client: paho.Client, userdata: object, mid: int, reasons: list[ReasonCode], properties: object
    ) -> None:
        refused = [topic for topic, reason in zip(self._topics, reasons, strict=False) if reason.is_failure]
        self.subscribed.put(f"the broker's access list refuses {', '.join(refused)}" if refused else "")

    def wait_subscribed(self, timeout_s: float = 10.0) -> None:
        """Wait until every subscription stands. Raises LinkError."""
        try:
            error = self.subscribed.get(timeout=timeout_s)
        except queue.Empty:
            raise LinkError(f"broker {self._broker.host}:{self._broker.port} doesn't answer within {timeout_s:g} s") from None
        if error:
            raise LinkError(error)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, expiry_s: int | None = None) -> None:
        """Send with QoS 1."""
        properties: Any = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.ContentType = topics.CONTENT_TYPE
        if expiry_s is not None:
            properties.MessageExpiryInterval = expiry_s
        self._client.publish(topic, payload, 1, retain, properties)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def _no_delay(sock: Any) -> None:
    """A command must not wait for the acknowledgement of the packet before (Nagle and delayed ACK: 40 ms)."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _tls(broker: Broker) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    for path in (broker.ca, broker.cert, broker.key):
        try:
            path.read_bytes()
        except OSError as error:
            raise LinkError(f"broker: {path} can't be read: {error.strerror}") from error
    try:
        context.load_verify_locations(broker.ca)
        context.load_cert_chain(broker.cert, broker.key)
    except ssl.SSLError as error:
        raise LinkError(
            f"broker: {broker.ca}, {broker.cert}, {broker.key} are no usable certificates: {error.reason}"
        ) from error
    return context
