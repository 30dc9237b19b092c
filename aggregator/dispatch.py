"""`v2g-aggregator dispatch`: one signed command and its fate."""

from __future__ import annotations

import queue
import time
import uuid
from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from aggregator.link import COMMAND_EXPIRY_S, Link
from aggregator.settings import CommandKey, SettingsError
from aggregator.store import Store
from edge import wire
from edge.wire import WireError, topics

ACCEPT_MS = 2000
"""A command is received at most this long after it was issued (contracts.md)."""


def load_key(settings: CommandKey | None) -> tuple[str, Ed25519PrivateKey]:
    """The key id and the key that signs. Raises SettingsError."""
    if settings is None:
        raise SettingsError("command_key is missing: without it nothing can be dispatched")
    try:
        key = load_pem_private_key(settings.key.read_bytes(), None)
    except OSError as error:
        raise SettingsError(f"command_key.key: {settings.key} can't be read: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise SettingsError(f"command_key.key: {settings.key} holds no unencrypted private key in PEM form") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError(f"command_key.key: {settings.key} holds no Ed25519 key")
    return settings.kid, key


class Dispatcher:
    """Signs commands and waits for their acks. `link` is subscribed to the ack topics of the sites."""

    def __init__(self, link: Link, store: Store, kid: str, key: Ed25519PrivateKey) -> None:
        self._link = link
        self._store = store
        self._kid = kid
        self._key = key

    def send(self, site_id: str, constraints: Sequence[wire.CommandConstraint]) -> wire.CommandBody:
        """Sign and send; the command is in the store before it leaves."""
        now_ms = time.time_ns() // 1_000_000
        body = wire.CommandBody(
            id=str(uuid.uuid4()),
            site=site_id,
            seq=self._store.next_seq(site_id, now_ms),
            issued=now_ms,
            accept_until=now_ms + ACCEPT_MS,
            constraints=list(constraints),
        )
        self._store.command(body)
        self._link.publish(topics.command(site_id), wire.sign(body, self._kid, self._key).encode(), expiry_s=COMMAND_EXPIRY_S)
        return body

    def wait(self, body: wire.CommandBody, timeout_s: float) -> wire.Ack | None:
        """The fullest ack that came within the time: at once when it refuses or is confirmed. None: no answer."""
        return self.wait_all([body], timeout_s).get(body.id)

    def wait_all(self, bodies: Sequence[wire.CommandBody], timeout_s: float) -> dict[str, wire.Ack]:
        """By command id the fullest ack that came within the time; ends early when each refuses or is confirmed."""
        deadline = time.monotonic() + timeout_s
        open_ = {body.id for body in bodies}
        acks: dict[str, wire.Ack] = {}
        while open_ and (left_s := deadline - time.monotonic()) > 0:
            try:
                message = self._link.inbox.get(timeout=left_s)
                ack = wire.Ack.decode(bytes(message.payload))
            except queue.Empty:
                break
            except WireError:
                continue
            if ack.id not in open_:
                continue
            acks[ack.id] = ack
            self._store.ack(ack)
            if ack.code is not None or ack.stamps.confirmed is not None:
                open_.remove(ack.id)
        return acks


def trip_ms(ack: wire.Ack) -> dict[str, int]:
    """How long each section of the way took, ms, as far as it is known. The first compares two machines' clocks."""
    stamps = ack.stamps
    sections = {
        "issued_to_received": (stamps.issued, stamps.received),
        "received_to_adopted": (stamps.received, stamps.adopted),
        "adopted_to_on_bus": (stamps.adopted, stamps.on_bus),
        "on_bus_to_confirmed": (stamps.on_bus, stamps.confirmed),
        "issued_to_on_bus": (stamps.issued, stamps.on_bus),
        "issued_to_confirmed": (stamps.issued, stamps.confirmed),
    }
    return {name: end - start for name, (start, end) in sections.items() if start is not None and end is not None}
