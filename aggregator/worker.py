"""`v2g-aggregator run`: takes in what the fleet reports, keeps it, and tells each gateway how far its history is stored."""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable

from aggregator.decode import decode
from aggregator.link import Link
from aggregator.store import Store
from edge import wire
from edge.wire import WireError, topics

SUBSCRIPTIONS = (
    topics.telemetry("+"),
    topics.birth("+"),
    topics.death("+"),
    topics.ack("+"),
    topics.history("+"),
)

FLUSH_S = 1.0
"""Telemetry is written together this often: the newest of each EVSE counts."""

_LOG = logging.getLogger("v2g.aggregator")


class Worker:
    """Works until `stopping` says so. One thread; whatever a message holds, the next one is taken."""

    def __init__(self, link: Link, store: Store, *, authorize_new: bool) -> None:
        self._link = link
        self._store = store
        self.authorize_new = authorize_new
        self._latest: dict[str, wire.Telemetry] = {}
        self.unreadable = 0

    def run(self, stopping: Callable[[], bool]) -> None:
        next_flush_s = time.monotonic() + FLUSH_S
        while not stopping():
            try:
                message = self._link.inbox.get(timeout=0.2)
                self._take(message.topic, bytes(message.payload))
            except queue.Empty:
                pass
            except WireError as error:
                self.unreadable += 1
                if self.unreadable & (self.unreadable - 1) == 0:  # the 1st, 2nd, 4th, 8th …: a flood fills no disk
                    _LOG.warning("unreadable message %d: %s", self.unreadable, error)
            if time.monotonic() >= next_flush_s:
                self.flush()
                next_flush_s = time.monotonic() + FLUSH_S
        self.flush()

    def flush(self) -> None:
        """Write the telemetry that came since the last time."""
        self._store.telemetry(self._latest.values())
        self._latest.clear()

    def _take(self, topic: str, payload: bytes) -> None:
        ident, message = decode(topic, payload)
        match message:
            case wire.Telemetry():
                self._latest[ident] = message
            case wire.Birth():
                self._store.birth(ident, message, authorize_new=self.authorize_new)
                self._send_watermark(ident, self._store.watermark(ident))
                _LOG.info("site %s is up: boot %s, %d EVSEs", ident, message.boot, len(message.evses))
            case wire.Death():
                self._store.death(ident, message.boot)
                _LOG.info("site %s is gone: boot %s", ident, message.boot)
            case None if topic == topics.death(ident):
                self._store.death(ident, None)
            case wire.Ack():
                self._store.ack(message)
            case wire.History():
                self._send_watermark(ident, self._store.history(ident, message))

    def _send_watermark(self, site_id: str, seq: int) -> None:
        self._link.publish(topics.watermark(site_id), wire.Watermark(seq=seq).encode(), retain=True)
