"""Sends the outbox's backlog, oldest first, one batch at a time, so slowly that live telemetry never waits behind it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from edge.uplink.clock import Clock
from edge.uplink.errors import UplinkError
from edge.uplink.outbox import Outbox
from edge.uplink.recorder import Recorder
from edge.uplink.worker import Storage
from edge.wire import Telemetry

FLUSH_S = 10.0
"""How long a record may wait in memory: bounds the disk writes to 8640 a day (our choice)."""

URGENT_S = 1.0
"""How long an event or a session may wait."""

RECEIPT_S = 30.0
"""A batch whose watermark didn't come within this time is sent again."""

BATCH_S = 0.5
"""What one batch may take on the way: its size follows the link (live telemetry must be less than 2 s old)."""

MIN_BATCH_BYTES, MAX_BATCH_BYTES = 4 * 1024, 128 * 1024

_LOG = logging.getLogger("v2g.uplink.history")


class HistorySender:
    """Owns the outbox on the event loop. `publish` hands a batch to the connection; False: there is none."""

    def __init__(self, outbox: Outbox, storage: Storage, clock: Clock, publish: Callable[[bytes], bool]) -> None:
        self.outbox = outbox
        self._storage = storage
        self._clock = clock
        self._publish = publish
        self._watermark = 0
        self._news = asyncio.Event()
        self._urgent = asyncio.Event()
        self._batch_bytes = MIN_BATCH_BYTES
        self.recorder = Recorder()
        self.recorder.restore(outbox.load("recorder"))
        self.batches = 0
        """Batches sent since the start."""

    def add(self, kind: str, details: Mapping[str, object], *, ts_ms: int | None = None) -> None:
        """Take a record. Never waits."""
        self.outbox.add(kind, self._clock.unix_ms() if ts_ms is None else ts_ms, details)
        if kind in ("event", "session"):
            self._urgent.set()

    def observe(self, all_evses: Sequence[Telemetry]) -> None:
        """One look at every EVSE: takes the sessions, minutes and quarters that it finished."""
        now_ns = self._clock.monotonic_ns()
        for telemetry in all_evses:
            for kind, ts_ms, details in self.recorder.observe(telemetry, now_ns):
                self.add(kind, details, ts_ms=ts_ms)

    def on_watermark(self, seq: int) -> None:
        """The aggregator stored everything up to `seq`."""
        self._watermark = seq
        self._news.set()

    def on_connected(self) -> None:
        """Look again whether something is to be sent."""
        self._news.set()

    async def run(self) -> None:
        """Flush and send until cancelled; a last flush saves what still waits."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._flush_all(), name="outbox flush")
                tasks.create_task(self._send_all(), name="outbox send")
        finally:
            await asyncio.shield(self._flush())

    async def _flush_all(self) -> None:
        while True:
            try:
                async with asyncio.timeout(FLUSH_S):
                    await self._urgent.wait()
                await asyncio.sleep(URGENT_S)  # collects what comes with it
            except TimeoutError:
                pass
            self._urgent.clear()
            await self._flush()
            self._news.set()

    async def _flush(self) -> None:
        now_ms, state = self._clock.unix_ms(), {"recorder": self.recorder.state()}
        if not self._clock.distrust:
            state["trusted_ms"] = str(now_ms).encode()
        try:
            await self._storage.run(lambda: self.outbox.flush(now_ms, state))
        except UplinkError:
            return  # told once by the outbox; the records wait in memory and the next flush tries again

    async def _send_all(self) -> None:
        while True:
            self._news.clear()
            try:
                await self._send_backlog()
            except UplinkError as error:
                _LOG.debug("history waits: %s", error)
            try:
                async with asyncio.timeout(RECEIPT_S):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def _send_backlog(self) -> None:
        """Send until everything is confirmed, the connection is gone or an answer stays out."""
        while True:
            watermark = self._watermark
            await self._storage.run(partial(self.outbox.confirm, watermark))
            history = await self._storage.run(partial(self.outbox.batch, self._batch_bytes))
            if history is None or not self._publish(history.encode()):
                return
            self.batches += 1
            took_s = await self._receipt(history.records[-1].seq)
            if took_s is None:
                self._batch_bytes = MIN_BATCH_BYTES
                return
            factor = min(2.0, max(0.5, BATCH_S / max(took_s, 1e-3)))
            self._batch_bytes = round(min(MAX_BATCH_BYTES, max(MIN_BATCH_BYTES, self._batch_bytes * factor)))
            await asyncio.sleep(min(took_s, BATCH_S) / 4)  # leaves the link to live telemetry for a part of the time

    async def _receipt(self, seq: int) -> float | None:
        """How long the watermark took to reach `seq`, s; None: it didn't come in time."""
        loop = asyncio.get_running_loop()
        sent_s = loop.time()
        try:
            async with asyncio.timeout(RECEIPT_S):
                while self._watermark < seq:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return None
        return loop.time() - sent_s
