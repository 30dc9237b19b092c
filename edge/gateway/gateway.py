"""The composition root: builds everything from the config, runs it, reloads it, stops it.

The core comes first, at 0 W; what takes long to import (web server, MQTT, certificates) is imported while it already runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.config import ConfigError, Settings, load
from edge.config.change import Effect, diff
from edge.config.devices import Devices, load_devices
from edge.core import Core, CoreError, RtReport, Snapshot
from edge.core.core import KeptLatches
from edge.core.guard import GuardLink
from edge.field.canmap import EvseField, EvseFlag
from edge.gateway.bridges import Bridges, can_buses
from edge.gateway.buses import BusKeeper
from edge.gateway.energy import PERIOD_S as ENERGY_S
from edge.gateway.energy import EnergyPlanner
from edge.gateway.errors import GatewayError
from edge.gateway.events import EventLog
from edge.gateway.faults import Faults
from edge.gateway.identity import Identity
from edge.gateway.inputs import PERIOD_S as INPUTS_S
from edge.gateway.inputs import Inputs
from edge.gateway.latches import Latches
from edge.gateway.locks import UNREADABLE, Lock, Locks
from edge.gateway.model import governor_settings, site_model
from edge.gateway.noticewatch import NoticeWatch
from edge.gateway.notify import Watchdog, notify
from edge.gateway.planner import Planner
from edge.gateway.segment import SegmentWatch, late_signals
from edge.gateway.sessions import Sessions
from edge.gateway.view import View
from edge.gateway.windows import Windows
from edge.local.documents import Notice
from edge.local.host import clock_synchronised
from edge.local.notices import notices
from edge.local.view import Event, LocalError
from edge.model import Constraint, Quantity, Scope, ScopeKind, Source

if TYPE_CHECKING:
    from edge.gateway.commission import Commissioning
    from edge.gateway.uplink import UplinkService
    from edge.local.server import LocalServer

LOG = logging.getLogger("v2g.gateway")
EVENTS_S = 0.05
SESSIONS_S = 0.5
BUSES_S = 0.1
GUARD_S = 0.5
NOTICES_S = 2.0


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _lock_constraint(lock: Lock) -> Constraint:
    return Constraint(Source.TECHNICIAN, Scope(ScopeKind.EVSE, lock.evse), Quantity.PERMIT, name=lock.by)


def read_config(path: Path) -> tuple[Settings, Devices, str]:
    """Settings, compiled device tables, and a short hash of the file. ConfigError with every problem."""
    settings = load(path)
    config_hash = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    return settings, load_devices(settings, path.parent), config_hash


def _rest() -> None:
    """What was made while starting stays: the collector never walks over it again, and runs on what comes from now on."""
    gc.collect()
    gc.freeze()
    gc.enable()


class Gateway:
    """One running gateway. `start`, then `run` until `stop_requested`, then `stop`."""

    def __init__(self, path: Path) -> None:
        """ConfigError or GatewayError when the config or the state directory doesn't let it start."""
        self._path = path
        self.settings, self._devices, config_hash = read_config(path)
        boot_id = secrets.randbits(63) | 1
        self._boot = f"{boot_id:016x}"
        self._started_ns = time.monotonic_ns()
        self._identity = Identity(self._boot, self._started_ns, config_hash)
        self._state_dir = path.parent / self.settings.local.state_dir
        self.locks = Locks(self._state_dir)
        self._latches = Latches(self._state_dir)
        self._windows = Windows(self._state_dir)
        self._unproven = self._windows.unproven(self.settings)
        self.settings = self._windows.granted(self.settings)
        self._faults = Faults(self._state_dir)
        self._log = EventLog(self._record_event, self._faults.events, self._faults.first_seq)
        self.sessions = Sessions()
        self.core = Core(boot_id, self._guard_link())
        self._watchdog = Watchdog(lambda: self.core.heartbeat_ns)
        governor = governor_settings(self.settings)
        plan = self.settings.plan
        self._planner = Planner(self.core, site_model(self.settings), plan.lease_ns, governor, plan.renew_ns)
        self._planner.arbiter.put(self._lock_constraints())
        self._energy = EnergyPlanner(self._planner.arbiter, self.settings, self._clock_trusted)
        self._uplink: UplinkService | None = None
        self._segments = SegmentWatch()
        self._notices = NoticeWatch(self._tell_notice)
        self._stalls = 0
        self._buses = BusKeeper(self.core)
        self._inputs = self._make_inputs()
        self._bridges = Bridges()
        self.stop_requested = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._reloading = asyncio.Lock()
        self.view = View(
            self.core,
            self._planner,
            self._log,
            self.sessions,
            self.locks,
            lambda: self._identity,
            lambda: None if self._uplink is None else self._uplink.uplink,
            lambda: self._segments.text,
        )
        self._local: LocalServer | None = None
        self._commissioning: Commissioning | None = None

    def _make_inputs(self) -> Inputs:
        arbiter = self._planner.arbiter
        return Inputs(
            self.settings.inputs,
            lambda: [evse.id for evse in self.settings.evses],
            next(feeder.id for feeder in self.settings.feeders if feeder.parent is None),
            self._planner.put,
            lambda c: arbiter.withdraw(c.source, c.scope, c.quantity, c.name),
            lambda name, code, text, level: self._log.add("input", name, code, text, level),
        )

    def _guard_link(self) -> GuardLink | None:
        """A bench without a guard does without; everybody else waits for one, without power."""
        path = self._path.parent / self.settings.guard.socket
        return GuardLink(str(path)) if not self.settings.lab or path.exists() else None

    def _make_local(self) -> LocalServer:
        from edge.local.server import LocalServer, LocalSettings

        own = self.settings.local
        settings = LocalSettings(
            socket=self._path.parent / own.socket, bind=own.page.bind, port=own.page.port, state_dir=self._state_dir
        )
        return LocalServer(self.view, self, settings)

    def _lock_constraints(self) -> list[Constraint]:
        """The locks that hold; a lock file that can't be read locks every EVSE."""
        ids = [evse.id for evse in self.settings.evses]
        if self.locks.unreadable:
            return [_lock_constraint(Lock(evse_id, UNREADABLE, self.locks.unreadable, 0)) for evse_id in ids]
        return [_lock_constraint(lock) for lock in self.locks.all() if lock.evse in ids]

    # ---- Start and stop ----

    async def start(self) -> None:
        """Bring everything up, the core first and at 0 W; CoreError, LocalError or GatewayError: nothing runs."""
        self._bridges.start(can_buses(self.settings))
        report = self.core.start(self.settings, self._devices, kept=self._latches.kept)
        try:
            if self.settings.uplink is not None:
                self._uplink = self._make_uplink()
            self._local = self._make_local()
            await self._local.start()
        except (LocalError, GatewayError):
            self.core.stop()
            raise
        self._say_what_was_granted(report)
        self._plan_energy()  # the first plan already says what the local modes want
        self._tasks = [
            asyncio.create_task(self._planner.run(), name="plan"),
            asyncio.create_task(self._every(EVENTS_S, self._take_events), name="events"),
            asyncio.create_task(self._every(SESSIONS_S, self._take_snapshot), name="sessions"),
            asyncio.create_task(self._every(NOTICES_S, self._watch_notices), name="notices"),
            asyncio.create_task(self._every(ENERGY_S, self._plan_energy), name="energy"),
            asyncio.create_task(self._every(BUSES_S, self._keep_buses), name="buses"),
            asyncio.create_task(self._every(GUARD_S, self._keep_guard), name="guard"),
        ]
        if self.settings.inputs:
            self._tasks.append(asyncio.create_task(self._every(INPUTS_S, self._inputs.take), name="inputs"))
        if (feed_s := self._watchdog.period_s) is not None:
            self._tasks.append(asyncio.create_task(self._every(feed_s, self._feed_watchdog), name="watchdog"))
        if self._uplink is not None:
            self._tasks.append(self._uplink.start())
        for task in self._tasks:
            task.add_done_callback(self._task_ended)
        notify("READY=1\nSTATUS=running")
        _rest()
        LOG.info("site %s runs: %d EVSEs, boot %s", self.settings.site.id, len(self.settings.evses), self._boot)

    def _say_what_was_granted(self, report: RtReport) -> None:
        """Never pretend: what the kernel refused is said once, loudly."""
        if not report.fifo:
            discharge = "" if self.settings.lab else ", so no EVSE may discharge"
            text = f"SCHED_FIFO was refused ({report.fifo_error}){discharge}: give the service CAP_SYS_NICE or LimitRTPRIO=95"
            self._log.add("start", "site", "NOT_REALTIME", text, "fault")
        elif not report.preempt_rt:
            text = "SCHED_FIFO was granted, but the kernel is not PREEMPT_RT: latencies are not bounded"
            self._log.add("start", "site", "NOT_PREEMPT_RT", text, "degraded")
        if not report.memory_locked:
            text = f"memory is not locked ({report.lock_error}): set LimitMEMLOCK=infinity"
            self._log.add("start", "site", "NOT_LOCKED", text, "degraded")
        if self.settings.guard.required and not self.settings.lab and not self.core.keep_guard():
            text = f"guard {self.settings.guard.socket}: not there, so no power flows: start it (systemctl start v2g-guard)"
            self._log.add("start", "site", "GUARD_LOST", text, "fault")
        if self.settings.lab:
            self._log.add("start", "site", "LAB", "lab: true: a bench, not a site; no guard is needed", "degraded")
        self._say_what_was_not_proven()
        if self.locks.unreadable:
            self._log.add("start", "site", "LOCKOUT", self.locks.unreadable, "fault")
        grid = self.settings.site.grid
        text = f"grid profile {grid.profile}" + "".join(f", {service}" for service in grid.services)
        if grid.profile == "none":
            text += ": no trip, droop or entering of service by this gateway; the certified inverter protects the grid"
        self._log.add("start", "site", "GRID_PROFILE", text)

    def _say_what_was_not_proven(self) -> None:
        for device, text in self._unproven:
            self._log.add("start", device, "WINDOW_UNPROVEN", text, "degraded")

    def _make_uplink(self) -> UplinkService:
        from edge.gateway.uplink import UplinkService
        from edge.uplink import UplinkError

        try:
            service = UplinkService(
                self.settings,
                self._path.parent,
                self._state_dir,
                self._planner,
                self.core,
                lambda: self._identity,
                lambda: self._energy.flexibilities,
            )
        except UplinkError as err:
            raise GatewayError(str(err)) from err
        self._planner.round_trip_ms = lambda: service.uplink.backhaul.round_trip_ms
        return service

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        """A part that dies takes the process with it: a supervisor starts it anew, the core's leases cover the time."""
        if not task.cancelled() and (error := task.exception()) is not None:
            LOG.error("%s ended: %r: stopping", task.get_name(), error, exc_info=error)
            self.stop_requested.set()

    async def stop(self) -> None:
        """Everything to 0 W, safe frames, then nothing runs any more."""
        notify("STOPPING=1\nSTATUS=bringing every EVSE to 0 W")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._latches.keep(KeptLatches.of(self.core.snapshot()))  # one may have been released a moment ago
        followed = await asyncio.to_thread(self.core.stop)
        self._take_events()
        if followed:
            text = "stopped: every EVSE is at 0 W and was told so"
        else:
            text = "stopped: every EVSE was told 0 W, but not all have confirmed it; their own time-outs hold"
        LOG.log(logging.INFO if followed else logging.WARNING, text)
        notify(f"STATUS={text}")
        if self._uplink is not None:
            await self._uplink.stop()
        self._log.close()
        if self._local is not None:
            await self._local.stop()
        self.core.close()

    # ---- What runs beside the plan ----

    @staticmethod
    async def _every(period_s: float, action: Callable[[], None]) -> None:
        while True:
            action()
            await asyncio.sleep(period_s)

    def _take_events(self) -> None:
        self._log.take(self.core.events(), self.core.ids, time.monotonic_ns())

    def _feed_watchdog(self) -> None:
        if not self._watchdog.feed():
            LOG.error("the cycle's heartbeat stands still: the watchdog is not fed")

    def _keep_guard(self) -> None:
        self.core.keep_guard()

    def _take_snapshot(self) -> None:
        snapshot = self.core.snapshot()
        self._forget_left(snapshot)
        self._latches.keep(KeptLatches.of(snapshot))
        self.sessions.take(snapshot)
        self._watch_signals(snapshot)

    def _plan_energy(self) -> None:
        self._energy.update(self.core.snapshot())
        self._planner.sharing_needs = self._energy.sharing_needs

    def _clock_trusted(self) -> bool:
        """Wall time counts for departures and tariffs; without an uplink nobody watches the clock but the kernel."""
        if self._uplink is not None:
            return not self._uplink.uplink.status().clock_distrust
        return self.settings.lab or clock_synchronised() is not False

    def _watch_signals(self, snapshot: Snapshot) -> None:
        """Tell which segment a late signal is stuck on, once when it begins and once when it is over."""
        status = None if self._uplink is None else self._uplink.uplink.status()
        late = late_signals(snapshot, self._planner.arbiter.store.all(), status, time.monotonic_ns())
        for code, text in self._segments.take(late):
            self._log.add("signal", "site", code, text, "degraded" if code == "ERR_SIG_TIMEOUT" else "ok")
        if self._planner.stalls != self._stalls:
            self._stalls = self._planner.stalls
            text = f"gateway: Python renewed no plan for {self._planner.stall_ns / 1e9:.1f} s; the core held its own bounds"
            self._log.add("signal", "site", "ERR_SIG_TIMEOUT", text, "degraded")

    def _watch_notices(self) -> None:
        self._notices.look(notices(self.view.status()))

    def _tell_notice(self, notice: Notice, over: bool) -> None:
        text = f"over: {notice['text']}" if over else notice["text"]
        self._log.add("notice", "site", notice["code"], text, "ok" if over else notice["level"])

    def _forget_left(self, snapshot: Snapshot) -> None:
        """A vehicle that left takes its wishes with it."""
        for evse in snapshot.evses:
            flags = evse.inputs.value(EvseField.FLAGS)
            if flags is not None and not flags & EvseFlag.EV_PRESENT and self.sessions.runs(evse.id):
                self._planner.arbiter.store.forget_session(evse.id)

    def _keep_buses(self) -> None:
        self._bridges.keep()
        self._buses.keep(self.core.snapshot(), self.core.config.buses, time.monotonic_ns())

    def _record_event(self, event: Event) -> None:
        self._faults.add(event)
        if self._uplink is not None:
            details = {"kind": event.kind, "subject": event.subject, "code": event.code, "level": event.level}
            self._uplink.uplink.record("event", details | {"text": event.text})

    # ---- Reload ----

    async def apply_config(self) -> str:
        """Apply the file whole or not at all; returns the hash of what now holds.

        ConfigError, GatewayError or CoreError: nothing has changed."""
        async with self._reloading:
            notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
            try:
                # Reading takes as long as the file is large: off the event loop, so that the plan goes on being renewed.
                settings, devices, config_hash = await asyncio.to_thread(read_config, self._path)
                self._unproven = self._windows.unproven(settings)
                await self._apply(self._windows.granted(settings), devices, config_hash)
                self._say_what_was_not_proven()
            finally:
                notify("READY=1")
        return config_hash

    async def _apply(self, settings: Settings, devices: Devices, config_hash: str) -> None:
        changes = diff(self.settings, settings)
        fixed = [f"{self._path}: {c.key}: {c.old} → {c.new}" for c in changes if c.effect is Effect.RESTART]
        if fixed:
            raise GatewayError("\n".join(f"{line}: needs a restart: systemctl restart v2g-edge" for line in fixed))
        self.core.check_config(settings, devices)
        arbiter = self._planner.arbiter
        before, previous = arbiter.site, self.settings
        dropped = arbiter.adopt_site(site_model(settings))
        try:
            await asyncio.to_thread(self._bridges.start, can_buses(settings))
            self.core.commit_config(settings, devices, arbiter.renew(time.monotonic_ns()))
        except CoreError:
            arbiter.adopt_site(before)
            raise
        self.settings, self._devices = settings, devices
        self._identity = Identity(self._boot, self._started_ns, config_hash)
        arbiter.put(self._lock_constraints())
        self._planner.govern(governor_settings(settings))
        self._energy.adopt(settings)
        self._inputs.renew()
        for constraint in dropped:
            LOG.warning("reload: %s for %s no longer fits the site and was dropped", constraint.source, constraint.scope.id)
        if settings.uplink != previous.uplink:
            await self._change_uplink()
        elif self._uplink is not None:
            self._reload_uplink_files(self._uplink)
            self._uplink.uplink.announce()
        LOG.info("reload: config %s is in force, %d keys changed", config_hash, len(changes))

    def _reload_uplink_files(self, service: UplinkService) -> None:
        """The config names the same files, but what is in them may be new: rotated keys, renewed certificates."""
        from edge.uplink import UplinkError

        assert self.settings.uplink is not None
        try:
            service.reload_files(self._path.parent, self.settings.uplink)
        except UplinkError as err:  # they were good a moment ago, when the config was read
            LOG.error("reload: %s; the old keys go on", err)

    async def _change_uplink(self) -> None:
        if self._uplink is not None:
            await self._uplink.stop()
            self._uplink = None
        if self.settings.uplink is None:
            return
        try:
            self._uplink = self._make_uplink()
        except GatewayError as err:  # the files were good a moment ago, when the config was read
            self._log.add("uplink", "site", "UPLINK_OFF", f"{err}; the site runs on its own until the next reload", "fault")
            return
        task = self._uplink.start()
        task.add_done_callback(self._task_ended)
        self._tasks.append(task)

    async def reload_from_signal(self) -> None:
        """SIGHUP: an invalid file costs one log line per error and changes nothing."""
        try:
            await self.apply_config()
        except (ConfigError, GatewayError, CoreError) as err:
            for line in str(err).splitlines():
                LOG.error("reload refused: %s", line)

    # ---- edge.local.Actions ----

    async def reload(self) -> str:
        try:
            return await self.apply_config()
        except (ConfigError, GatewayError, CoreError) as err:
            raise LocalError(str(err)) from err

    async def lock(self, evse_id: str, by: str, reason: str) -> None:
        lock = Lock(evse_id, by, reason, _now_ms())
        self._planner.put([_lock_constraint(lock)])  # at once; on the disk in a moment
        try:
            self.locks.add(lock)
        except GatewayError as err:
            raise LocalError(f"{err} (the EVSE is locked until the next restart)") from err
        self._log.add("lock", evse_id, "LOCKOUT", f"locked by {by}: {reason}", "degraded")

    async def unlock(self, evse_id: str, by: str) -> None:
        holders = ", ".join(lock.by for lock in self.locks.of(evse_id)) or "nobody"
        try:
            removed = self.locks.remove(evse_id, by)
        except GatewayError as err:
            raise LocalError(str(err)) from err
        if not removed:
            raise LocalError(f"{evse_id}: {by} holds no lock here; held by {holders}: only who set a lock releases it")
        self._planner.arbiter.withdraw(Source.TECHNICIAN, Scope(ScopeKind.EVSE, evse_id), Quantity.PERMIT, by)
        self._planner.renew()
        self._log.add("lock", evse_id, "UNLOCKED", f"released by {by}")

    @property
    def commission(self) -> Mapping[str, Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]]:
        """Imported and made when it is first asked for: most gateways are never commissioned again."""
        from edge.gateway.commission import Commissioning

        if self._commissioning is None:
            folder = self._path.parent
            self._commissioning = Commissioning(lambda: self.settings, folder, self.core, self._planner, self._windows.keep)
        return self._commissioning.steps


async def run(path: Path, on_signals: Callable[[Gateway], None]) -> None:
    """Run the gateway of this config until it is told to stop. `on_signals` connects the process's signals."""
    gateway = Gateway(path)
    on_signals(gateway)
    await gateway.start()
    with contextlib.suppress(asyncio.CancelledError):
        await gateway.stop_requested.wait()
    await gateway.stop()
