"""The uplink of one site: birth, telemetry, commands and their acks, history. Runs on the event loop, off the control path."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import paho.mqtt.client as paho

from edge.model import Outcome
from edge.uplink.backhaul import PROBE_PERIOD_S, Backhaul
from edge.uplink.certificates import CertificateInfo, read_certificates
from edge.uplink.clock import Clock
from edge.uplink.commands import CommandHandler, Reception
from edge.uplink.errors import UplinkError
from edge.uplink.history import HistorySender
from edge.uplink.mqtt import Incoming, MqttLink, UplinkSettings
from edge.uplink.outbox import Outbox
from edge.uplink.quietlog import QuietLog
from edge.uplink.telemetry import TelemetryPacer
from edge.uplink.volume import VolumeMeter
from edge.uplink.worker import Storage
from edge.wire import Ack, Birth, Death, Telemetry, Watermark, WireError, topics

REFUSALS_PER_S = 10
"""Most acks a second for what is refused: a flood of garbage must not become a flood of acks."""

CERTIFICATE_CHECK_S = 60.0
"""How often the certificate files are looked at: renewed ones are taken, an end is announced 30 days ahead."""

DAY_MS = 86_400_000

MAX_FOLLOWED = 32
"""Commands whose progress is followed at the same time; the oldest is let go."""

_LOG = logging.getLogger("v2g.uplink")


@dataclass(frozen=True, slots=True)
class UplinkStatus:
    """What the uplink knows of itself. `connected_ns`, `command_ns`: CLOCK_MONOTONIC."""

    connected: bool
    broker: str
    tls_version: str
    connected_ns: int | None
    last_error: str
    published: int
    bytes_out: int
    telemetry_skipped: int
    dropped: int
    outcomes: dict[str, int]
    command_ns: int | None
    round_trip_ms: float | None
    slow_link: bool
    """Above `max_round_trip`: commands are damped."""
    loss: float | None
    budget_mb_per_day: float
    clock_distrust: str
    """Why no command is obeyed; empty: the wall clock is trusted."""
    alarms: tuple[tuple[str, str, str], ...]
    """(code, text, remedy) of what needs somebody: clock, data budget, outbox."""
    mb_per_day: float | None
    """What the uplink would send in a day at the rate of the last hour, MB; None in the first minute."""
    outbox_pending: int
    """Records that are not on the disk yet."""
    outbox_dropped: dict[str, int]
    outbox_error: str


class Uplink:
    """Connects the gateway with its broker. `run` works until it is cancelled; UplinkError at construction is a start-up error.

    `birth` and `telemetry` are asked on the event loop whenever they are needed and must only read a snapshot.
    """

    def __init__(
        self,
        settings: UplinkSettings,
        handler: CommandHandler,
        boot: str,
        birth: Callable[[], Birth],
        telemetry: Callable[[], Sequence[Telemetry]],
        clock: Clock,
        storage: Storage | None = None,
        outbox: Outbox | None = None,
        lost: Sequence[str] = (),
    ) -> None:
        """`outbox` needs `storage`, whose thread does its disk writes; without an outbox there is no history. `lost`: what of
        the disk can't be used, for the alarm."""
        self._lost = tuple(lost)
        self._settings = settings
        self._handler = handler
        self._boot = boot
        self._birth = birth
        self._telemetry = telemetry
        self._clock = clock
        self._pacer = TelemetryPacer(settings.telemetry_active_s, settings.telemetry_idle_s)
        self._unsent: dict[str, paho.MQTTMessageInfo] = {}
        self._telemetry_skipped = 0
        self._messages = asyncio.Event()
        self._followers: dict[asyncio.Task[None], None] = {}
        self._refusal_tokens = float(REFUSALS_PER_S)
        self._refusal_ns = clock.monotonic_ns()
        self._log = QuietLog(_LOG)
        self._files = self._certificate_files()
        self._warnings: list[str] = []
        self._volume = VolumeMeter()
        self._day = clock.unix_ms() // DAY_MS
        self._day_began_bytes = 0
        self._over_budget = False
        self.backhaul = Backhaul(settings.max_round_trip_ms)
        self.history = (
            HistorySender(outbox, storage, clock, self._publish_history) if outbox is not None and storage is not None else None
        )
        self._link = MqttLink(
            settings,
            will=Death(boot=boot).encode(),
            stamp=lambda: (clock.monotonic_ns(), clock.unix_ms()),
            on_connected=self._connected,
            on_messages=self._messages.set,
            on_suback=lambda probe: self.backhaul.answered(probe, clock.monotonic_ns()),
        )

    def status(self) -> UplinkStatus:
        link = self._link
        outbox = None if self.history is None else self.history.outbox
        return UplinkStatus(
            connected=link.connected,
            broker=f"{self._settings.host}:{self._settings.port}",
            tls_version=link.tls_version,
            connected_ns=link.connected_ns,
            last_error=link.last_error,
            published=link.published,
            bytes_out=link.sent().wire_bytes,
            telemetry_skipped=self._telemetry_skipped,
            dropped=link.dropped,
            outcomes={str(outcome): count for outcome, count in self._handler.outcomes.items()},
            command_ns=self._handler.last_good_ns,
            round_trip_ms=self.backhaul.round_trip_ms,
            slow_link=self.backhaul.slow,
            budget_mb_per_day=self._settings.budget_mb_per_day,
            clock_distrust=self._clock.distrust,
            alarms=tuple(self._alarms()),
            loss=self._volume.loss,
            mb_per_day=self._volume.mb_per_day,
            outbox_pending=0 if outbox is None else outbox.pending,
            outbox_dropped={} if outbox is None else dict(outbox.dropped),
            outbox_error="" if outbox is None else outbox.error,
        )

    def _alarms(self) -> Iterator[tuple[str, str, str]]:
        outbox = None if self.history is None else self.history.outbox
        if self._clock.distrust:
            text = f"commands are refused (clock_untrusted): {self._clock.distrust}"
            yield "CLOCK_UNTRUSTED", text, "set the clock and let chrony or systemd-timesyncd keep it"
        if self._over_budget:
            text = f"more than {self._settings.budget_mb_per_day:g} MB sent today (uplink.budget_mb_per_day)"
            yield "DATA_BUDGET", text, "raise the budget, or the telemetry periods uplink.telemetry_active and _idle"
        for why in self._lost:
            yield "STORAGE", why, "free or repair the disk of local.state_dir, then systemctl restart v2g-edge"
        if outbox is not None and outbox.error:
            text = f"history waits in memory, {outbox.pending} records: {outbox.error}"
            yield "OUTBOX", text, "free or repair the disk of local.state_dir"

    def certificates(self) -> list[CertificateInfo]:
        """The gateway's own chain and the authorities that it believes, own certificate first; empty when unreadable."""
        now_ms = self._clock.unix_ms()
        try:
            return [*read_certificates(self._settings.cert, now_ms), *read_certificates(self._settings.ca, now_ms)]
        except UplinkError as error:
            self._log.warning("certificate", str(error))
            return []

    def reload_certificates(self) -> str:
        """Use renewed certificate files from the next connection on. Returns why they can't be used; empty: they are."""
        try:
            self._link.reload_certificates()
        except UplinkError as error:
            self._log.warning("certificate", f"renewal refused, the old one stays in use: {error}")
            return str(error)
        return ""

    def _certificate_files(self) -> tuple[int, ...]:
        """When each file was last written."""
        paths = (self._settings.ca, self._settings.cert, self._settings.key)
        return tuple(path.stat().st_mtime_ns for path in paths if path.exists())

    def _check_certificates(self) -> None:
        """Take renewed files by themselves and warn before an end, once a day."""
        files = self._certificate_files()
        if files != self._files:
            self._files = files
            self.reload_certificates()
        warnings = [certificate.warning for certificate in self.certificates() if certificate.warning]
        for warning in warnings:
            if warning not in self._warnings:
                _LOG.warning("certificate: %s", warning)
        self._warnings = warnings

    async def _watch_certificates(self) -> None:
        while True:
            await asyncio.to_thread(self._check_certificates)
            await asyncio.sleep(CERTIFICATE_CHECK_S)

    async def run(self) -> None:
        """Keep the site connected; on cancellation say goodbye (the death message) and close the connection."""
        self._link.start(asyncio.get_running_loop())
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._receive(), name="uplink commands")
                tasks.create_task(self._send_telemetry(), name="uplink telemetry")
                tasks.create_task(self._probe(), name="uplink probe")
                tasks.create_task(self._watch_certificates(), name="uplink certificates")
                if self.history is not None:
                    tasks.create_task(self.history.run(), name="uplink history")
        finally:
            for follower in self._followers:
                follower.cancel()
            if self._link.connected:
                self._publish(topics.death(self._settings.site_id), Death(boot=self._boot).encode(), qos=1, retain=True)
            await self._link.stop()

    def announce(self) -> None:
        """Publish the birth message: at each connection, and by the gateway when the config or a capability changed."""
        if self._link.connected:
            site = self._settings.site_id
            self._publish(topics.death(site), b"", qos=1, retain=True)  # an old death beside a new birth would mislead
            rate = self._volume.mb_per_day
            birth = self._birth().model_copy(update={"uplink_mb_per_day": None if rate is None else round(rate, 1)})
            self._publish(topics.birth(site), birth.encode(), qos=1, retain=True)

    def _connected(self) -> None:
        site = self._settings.site_id
        self.backhaul.reset()
        self._unsent.clear()
        # Retained commands are asked for so that they are seen, refused and reported instead of lying in wait.
        self._link.subscribe(topics.command(site), send_retained=True)
        self._link.subscribe(topics.watermark(site), send_retained=True)
        self.announce()
        if self.history is not None:
            self.history.on_connected()

    def record(self, kind: str, details: Mapping[str, object]) -> None:
        """Put a record of the contract's kinds (`event`, `agg60`, `energy15`, `session`) into the outbox, if there is one."""
        if self.history is not None:
            self.history.add(kind, details)

    def _publish_history(self, payload: bytes) -> bool:
        if not self._link.connected:
            return False
        self._publish(topics.history(self._settings.site_id), payload, qos=1)
        return True

    def _publish(self, topic: str, payload: bytes, qos: int = 0, retain: bool = False) -> paho.MQTTMessageInfo:
        return self._link.publish(topic, payload, qos, retain)

    # Commands

    async def _receive(self) -> None:
        while True:
            await self._messages.wait()
            self._messages.clear()
            for message in self._link.take():
                if message.topic == topics.command(self._settings.site_id):
                    await self._handle(Reception(message.payload, message.retained, message.monotonic_ns, message.unix_ms))
                elif self.history is not None:
                    self._take_watermark(message)
                await asyncio.sleep(0)  # a flood must not keep the event loop from renewing the plan

    def _take_watermark(self, message: Incoming) -> None:
        assert self.history is not None
        if not message.payload:
            return  # the aggregator cleared it
        try:
            self.history.on_watermark(Watermark.decode(message.payload).seq)
        except WireError as error:
            self._log.warning("watermark", str(error))

    async def _handle(self, reception: Reception) -> None:
        """Take one command after the other up to its first ack; the further stamps come in beside the next commands."""
        acks = self._handler.handle(reception)
        try:
            first = await anext(acks)
        except Exception as error:  # a defect behind the sink must not cut the site off from its aggregator
            self._log.warning("command failed", repr(error))
            return
        if first.code is None or self._may_refuse(reception.monotonic_ns):
            self._send_ack(first)
        if first.outcome not in (Outcome.APPLIED, Outcome.CLIPPED):
            return
        if len(self._followers) >= MAX_FOLLOWED:
            next(iter(self._followers)).cancel()
        follower = asyncio.create_task(self._follow(acks), name=f"follow {first.id}")
        self._followers[follower] = None
        follower.add_done_callback(self._followed)

    def _followed(self, follower: asyncio.Task[None]) -> None:
        self._followers.pop(follower, None)
        if not follower.cancelled() and follower.exception() is not None:
            self._log.warning("follow", f"{follower.get_name()}: {follower.exception()!r}; its further stamps are missing")

    async def _follow(self, acks: AsyncIterator[Ack]) -> None:
        async for ack in acks:
            self._send_ack(ack)

    def _send_ack(self, ack: Ack) -> None:
        self._publish(topics.ack(self._settings.site_id), ack.encode(), qos=1)

    def _may_refuse(self, now_ns: int) -> bool:
        passed_s = (now_ns - self._refusal_ns) / 1e9
        self._refusal_ns = now_ns
        self._refusal_tokens = min(REFUSALS_PER_S, self._refusal_tokens + passed_s * REFUSALS_PER_S)
        if self._refusal_tokens < 1:
            return False
        self._refusal_tokens -= 1
        return True

    # Telemetry and probes

    async def _send_telemetry(self) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(random.Random(self._settings.site_id).random())  # spreads a fleet over the second
        next_s = loop.time()
        while True:
            telemetry = self._telemetry()
            if self._link.connected:
                self.send_telemetry(telemetry, loop.time())
            if self.history is not None:
                self.history.observe(telemetry)
            self._clock.check()
            next_s = max(next_s + self._settings.telemetry_active_s, loop.time())
            await asyncio.sleep(next_s - loop.time())

    def send_telemetry(self, all_evses: Sequence[Telemetry], now_s: float) -> None:
        """Publish what is due. What a slow link hasn't taken yet is not followed by more: live telemetry is never queued."""
        with self._link.together():
            for telemetry in all_evses:
                if _is_waiting(self._unsent.get(telemetry.evse)):
                    self._telemetry_skipped += 1
                elif self._pacer.due(telemetry, now_s):
                    self._unsent[telemetry.evse] = self._publish(topics.telemetry(telemetry.evse), telemetry.encode())

    def _check_budget(self) -> None:
        """One alarm a day (UTC) when more was sent than the budget allows."""
        sent = self._link.sent()
        self._volume.take(self._clock.monotonic_ns(), sent)
        day = self._clock.unix_ms() // DAY_MS
        if day != self._day:
            self._day, self._day_began_bytes, self._over_budget = day, sent.wire_bytes, False
        sent_mb = (sent.wire_bytes - self._day_began_bytes) / 1e6
        budget_mb = self._settings.budget_mb_per_day
        if sent_mb > budget_mb and not self._over_budget:
            self._over_budget = True
            text = f"{sent_mb:.0f} MB sent today, the budget is {budget_mb:g} MB"
            _LOG.warning("data budget: %s", text)
            self.record("event", {"event": "DATA_BUDGET", "text": text})

    async def _probe(self) -> None:
        """Measure the round trip: a renewed subscription is answered by the broker and changes nothing."""
        while True:
            if self._link.connected:
                probe = self._link.subscribe(topics.watermark(self._settings.site_id), send_retained=False)
                if probe is not None:
                    self.backhaul.sent(probe, self._clock.monotonic_ns())
            self._check_budget()
            await asyncio.sleep(PROBE_PERIOD_S)


def _is_waiting(sent: paho.MQTTMessageInfo | None) -> bool:
    """Whether a message still waits for the link; one that was lost with its connection doesn't."""
    try:
        return sent is not None and not sent.is_published()
    except (ValueError, RuntimeError):  # paho's way to say that it won't be sent any more
        return False


@contextlib.asynccontextmanager
async def running(uplink: Uplink) -> AsyncIterator[Uplink]:
    """Run the uplink for the time of an `async with` block."""
    task = asyncio.create_task(uplink.run(), name="uplink")
    try:
        yield uplink
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
