"""The connection to the broker: MQTT 5 over TLS 1.3 with certificates on both sides, kept alive by a thread of its own.

paho's thread does the blocking parts (name resolution, handshake, encryption), so that neither the control cycle nor the plan's
renewal on the event loop ever waits for the network. What comes in is handed to the event loop in a bounded queue.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import logging
import socket
import ssl
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge.uplink.errors import UplinkError
from edge.uplink.quietlog import QuietLog
from edge.uplink.volume import Sent, sent_by
from edge.wire import topics

STOP_S = 2.0
"""How long a disconnection in order may take."""

INBOX_MESSAGES = 64
"""Messages that may wait for the event loop; more are dropped and counted (a flood must not grow the memory)."""

MAX_PACKET_BYTES = 64 * 1024
"""Largest packet that the broker may send us; it drops larger ones."""

TOGETHER_S = 0.02
"""How long messages of one look wait for each other, so that they share TCP segments."""


@dataclass(frozen=True, slots=True)
class UplinkSettings:
    """Where the broker is and how to talk to it. Defaults: numbers.md part 2."""

    site_id: str
    host: str
    ca: Path
    cert: Path
    key: Path
    port: int = 8883
    keep_alive_s: int = 15
    session_expiry_s: int = 86_400
    telemetry_active_s: float = 1.0
    telemetry_idle_s: float = 5.0
    reconnect_min_s: int = 1
    reconnect_max_s: int = 30
    max_round_trip_ms: float = 1000.0
    """Above this round trip a dispatch is damped."""
    server_name: str | None = None
    """Name that the broker's certificate must have; None: `host`."""
    pins: tuple[str, ...] = ()
    """SHA-256 of the broker's public key (SPKI) in base64; one must fit. Empty: any certificate of `ca`."""
    budget_mb_per_day: float = 60.0
    """What may be sent in a day (UTC) before an alarm is raised (numbers.md: at most 60 MB for 8 EVSEs on a typical day)."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message as the broker delivered it."""

    topic: str
    payload: bytes
    retained: bool
    monotonic_ns: int
    unix_ms: int


class _Context(ssl.SSLContext):
    """A context that also knows which name and which public keys the broker must have."""

    server_name: str | None = None
    pins: frozenset[bytes] = frozenset()

    def wrap_socket(self, sock: socket.socket, *args: Any, **more: Any) -> ssl.SSLSocket:
        more["server_hostname"] = self.server_name or more.get("server_hostname")
        return super().wrap_socket(sock, *args, **more)


class _PinnedSocket(ssl.SSLSocket):
    """Ends a handshake with a broker whose public key none of the pins names."""

    def do_handshake(self, block: bool = False) -> None:
        super().do_handshake(block)
        pins = self.context.pins if isinstance(self.context, _Context) else frozenset()
        certificate = self.getpeercert(binary_form=True)
        if pins and (certificate is None or key_digest(certificate) not in pins):
            raise ssl.SSLCertVerificationError("the broker's public key fits none of uplink.pins")


def key_digest(certificate_der: bytes) -> bytes:
    """SHA-256 of a certificate's public key (SubjectPublicKeyInfo), as RFC 7469 pins it."""
    key = x509.load_der_x509_certificate(certificate_der).public_key()
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


def tls_context(settings: UplinkSettings) -> ssl.SSLContext:
    """TLS 1.3 and nothing else, both sides with certificates. Raises UplinkError: a missing key is a start-up error."""
    context = _Context(ssl.PROTOCOL_TLS_CLIENT)
    context.sslsocket_class = _PinnedSocket
    context.server_name = settings.server_name
    context.pins = frozenset(base64.b64decode(pin) for pin in settings.pins)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = True
    context.verify_mode = ssl.CERT_REQUIRED
    for name in ("ca", "cert", "key"):
        path: Path = getattr(settings, name)
        try:
            path.read_bytes()
        except OSError as error:
            raise UplinkError(f"uplink.{name}: {path} can't be read: {error.strerror}; the play enrol.yml makes it") from error
    try:
        context.load_verify_locations(settings.ca)
    except ssl.SSLError as error:
        raise UplinkError(f"uplink.ca: {settings.ca} holds no certificate in PEM form: {error.reason}") from error
    try:
        context.load_cert_chain(settings.cert, settings.key)
    except ssl.SSLError as error:
        raise UplinkError(
            f"uplink.cert, uplink.key: {settings.cert} and {settings.key} are no certificate with its key: {error.reason}"
            + _tpm_hint(settings.key)
        ) from error
    return context


TPM_GONE = "; the key lives in a TPM: when it or tpm2-abrmd was restarted, restart v2g-edge (control goes on until then)"
"""tpm2-openssl 1.1 can't open a TPM anew within a process: its connection stays in an error state."""


def is_tpm_key(key: Path) -> bool:
    """Whether a file holds a key that only a TPM can use (wrapped by it; worthless elsewhere)."""
    try:
        return b"TSS2 PRIVATE KEY" in key.read_bytes()
    except OSError:
        return False


def _tpm_hint(key: Path) -> str:
    """A key that only a TPM can use looks like any unreadable key to an OpenSSL without its provider."""
    if not is_tpm_key(key):
        return ""
    return "; it is a TPM's key: OPENSSL_CONF must name a file that activates the tpm2 provider, and the TPM must answer"


class MqttLink:
    """One broker connection that comes back by itself. Methods are called on the event loop, `on_…` run there too."""

    def __init__(
        self,
        settings: UplinkSettings,
        will: bytes,
        stamp: Callable[[], tuple[int, int]],
        on_connected: Callable[[], None],
        on_messages: Callable[[], None],
        on_suback: Callable[[int], None],
    ) -> None:
        """`stamp` gives (CLOCK_MONOTONIC ns, Unix ms) and is called on paho's thread the moment a message comes in."""
        self.settings = settings
        self._stamp = stamp
        self._on_connected = on_connected
        self._on_messages = on_messages
        self._on_suback = on_suback
        self._loop: asyncio.AbstractEventLoop | None = None
        self._log = QuietLog(logging.getLogger("v2g.uplink.mqtt"))
        self._inbox: deque[Incoming] = deque()
        self._woken = False
        self.connected = False
        self.connected_ns: int | None = None
        self.tls_version = ""
        self.last_error = ""
        self.connects = 0
        self.published = 0
        self._sent_before = Sent()
        """By the connections that have ended."""
        self.dropped = 0
        """Messages that found the inbox full."""
        self._tls = tls_context(settings)
        self._client = self._make_client(will)

    def reload_certificates(self) -> None:
        """Take renewed files for the next connection; the present one goes on. Raises UplinkError and changes nothing when
        they don't fit. An authority that was taken out of the file is believed until the restart."""
        tls_context(self.settings)  # tried on a context of its own: a half-changed pair must not reach the one in use
        self._tls.load_verify_locations(self.settings.ca)
        self._tls.load_cert_chain(self.settings.cert, self.settings.key)

    def _make_client(self, will: bytes) -> paho.Client:
        settings = self.settings
        client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=f"v2g-{settings.site_id}", protocol=paho.MQTTv5, reconnect_on_failure=True
        )
        client.tls_set_context(self._tls)
        client.will_set(
            topics.death(settings.site_id), will, qos=1, retain=True, properties=self._properties(PacketTypes.WILLMESSAGE)
        )
        client.reconnect_delay_set(settings.reconnect_min_s, settings.reconnect_max_s)
        client.connect_timeout = 10.0
        client.max_queued_messages_set(200)
        client.on_socket_open = self._paho_socket_open
        client.on_socket_close = self._paho_socket_close
        client.on_connect = self._paho_connected
        client.on_connect_fail = self._paho_connect_failed
        client.on_disconnect = self._paho_disconnected
        client.on_message = self._paho_message
        client.on_subscribe = self._paho_subscribed
        return client

    @staticmethod
    def _properties(packet: int) -> Properties:
        properties = Properties(packet)  # type: ignore[no-untyped-call]
        if packet != PacketTypes.CONNECT:
            properties.ContentType = topics.CONTENT_TYPE
        return properties

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to connect; goes on trying until `stop`."""
        self._loop = loop
        connect = self._properties(PacketTypes.CONNECT)
        connect.SessionExpiryInterval = self.settings.session_expiry_s
        connect.ReceiveMaximum = 16
        connect.MaximumPacketSize = MAX_PACKET_BYTES
        self._client.connect_async(
            self.settings.host, self.settings.port, self.settings.keep_alive_s, clean_start=False, properties=connect
        )
        self._client.loop_start()

    async def stop(self) -> None:
        """Disconnect in order and end the thread; a broker that keeps it in a handshake is not waited for."""
        stopped = asyncio.Event()

        def stop() -> None:
            self._client.disconnect()
            self._client.loop_stop()
            self._call(stopped.set)

        threading.Thread(target=stop, name="uplink stop", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                await stopped.wait()
        self.connected = False

    def publish(self, topic: str, payload: bytes, qos: int = 0, retain: bool = False) -> paho.MQTTMessageInfo:
        """Hand a message to paho's thread; never waits."""
        self.published += 1
        if qos:
            self._cork(False)  # an ack doesn't wait for telemetry
        return self._client.publish(topic, payload, qos, retain, self._properties(PacketTypes.PUBLISH))

    def subscribe(self, topic: str, *, send_retained: bool) -> int | None:
        """Subscribe with QoS 1; live messages keep their retain flag. Returns the packet id; None: not connected."""
        handling = SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE if send_retained else SubscribeOptions.RETAIN_DO_NOT_SEND
        options = SubscribeOptions(qos=1, retainAsPublished=True, retainHandling=handling)
        error, packet_id = self._client.subscribe(topic, options=options)
        return packet_id if error == paho.MQTT_ERR_SUCCESS else None

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """What is published inside shares TCP segments: each would cost 52 bytes of headers."""
        self._cork(True)
        try:
            yield
        finally:
            asyncio.get_running_loop().call_later(TOGETHER_S, self._cork, False)

    def _socket(self) -> socket.socket | None:
        sock = self._client.socket()
        return sock if isinstance(sock, socket.socket) else None

    def _cork(self, on: bool) -> None:
        sock = self._socket()
        if sock is not None:
            with contextlib.suppress(OSError):  # closed by paho's thread in this moment
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, on)

    def sent(self) -> Sent:
        """What was sent since the start, as the kernel counted it."""
        sock = self._socket()
        return self._sent_before if sock is None else self._sent_before + sent_by(sock)

    def take(self) -> list[Incoming]:
        """What came in since the last call, oldest first."""
        self._woken = False
        taken = []
        while self._inbox:
            taken.append(self._inbox.popleft())
        return taken

    # From here on: callbacks on paho's thread. They touch nothing but the inbox and hand over to the event loop.

    def _call(self, function: Callable[..., None], *args: Any) -> None:
        assert self._loop is not None
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *args)

    @staticmethod
    def _paho_socket_open(client: paho.Client, userdata: object, sock: object) -> None:
        # Small messages must not wait for the acknowledgement of the one before (Nagle and delayed ACK: 40 ms each way).
        assert isinstance(sock, socket.socket)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _paho_socket_close(self, client: paho.Client, userdata: object, sock: object) -> None:
        assert isinstance(sock, socket.socket)
        self._sent_before += sent_by(sock)

    def _paho_connected(
        self, client: paho.Client, userdata: object, flags: object, reason: ReasonCode, properties: object
    ) -> None:
        if reason.is_failure:
            self._call(self._lost, f"the broker refused the connection: {reason}")
            return
        sock = client.socket()
        version = sock.version() or "" if isinstance(sock, ssl.SSLSocket) else ""
        self._call(self._come, version, self._stamp()[0])

    def _paho_connect_failed(self, client: paho.Client, userdata: object) -> None:
        error = sys.exc_info()[1]  # paho calls this while it handles the exception, but doesn't pass it on
        hint = TPM_GONE if isinstance(error, ssl.SSLError) and is_tpm_key(self.settings.key) else ""
        self._call(self._lost, f"no connection to {self.settings.host}:{self.settings.port}: {error or 'unknown cause'}{hint}")

    def _paho_disconnected(
        self, client: paho.Client, userdata: object, flags: object, reason: ReasonCode, properties: object
    ) -> None:
        self._call(self._lost, f"connection lost: {reason}")

    def _paho_message(self, client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        if len(self._inbox) >= INBOX_MESSAGES:
            self.dropped += 1
            return
        self._inbox.append(Incoming(message.topic, bytes(message.payload), message.retain, *self._stamp()))
        if not self._woken:
            self._woken = True
            self._call(self._on_messages)

    def _paho_subscribed(self, client: paho.Client, userdata: object, mid: int, reasons: object, properties: object) -> None:
        self._call(self._on_suback, mid)

    # On the event loop again.

    def _come(self, tls_version: str, now_ns: int) -> None:
        self.connected, self.connected_ns, self.tls_version, self.last_error = True, now_ns, tls_version, ""
        self.connects += 1
        logging.getLogger("v2g.uplink.mqtt").info(
            "connected to %s:%d with %s", self.settings.host, self.settings.port, tls_version
        )
        self._on_connected()

    def _lost(self, why: str) -> None:
        self.connected, self.last_error = False, why
        self._log.warning("uplink lost", why)
