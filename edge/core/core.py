"""The native core as Python sees it: commit a config, submit plans, read snapshots. It serves one event loop; no call waits for
the cycle except `commit_config` (at most a few periods) and `stop`."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge.config.derive import guard_timeout_ns
from edge.config.devices import Devices
from edge.config.settings import CanBus, Settings
from edge.core import faults
from edge.core._native import ffi, lib
from edge.core.check import check_config
from edge.core.errors import CoreError
from edge.core.guard import GuardLink, Watch
from edge.core.histogram import Histogram
from edge.core.kinds import EventKind, GridService, HistogramKind
from edge.core.layout import NativeConfig, native_config
from edge.core.modbus import Engine
from edge.core.pack import pack_commit
from edge.core.pack_plan import pack_plan
from edge.core.snapshot import Ids, Setpoint, Snapshot, read_setpoint, read_snapshot
from edge.field.canmap import EvseField
from edge.field.canpath import bridge_socket
from edge.model import Plan, Reason

ADOPTION_TIMEOUT_S = 2.0
"""A commit is adopted within one cycle; a cycle that runs this late is no cycle."""
STOP_TIMEOUT_S = 1.0
"""A stop waits this long for the measured power to follow the setpoints to 0."""
STOPPED_W = 100
FIFO_PRIORITY = 80
EVENT_BATCH = 1024


@dataclass(frozen=True, slots=True)
class CoreEvent:
    """`struct v2g_event`; what `values` are stands at `enum v2g_event_kind`. `index` is that of the config then in force."""

    number: int
    time_ns: int
    kind: EventKind
    index: int
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TraceRow:
    """What one row of the chain allows, magnitudes in W, and its reasons."""

    charge_w: int
    discharge_w: int
    reason_charge: Reason
    reason_discharge: Reason


@dataclass(frozen=True, slots=True)
class Trace:
    """`struct v2g_trace`: eight rows, row 1 first."""

    wish_w: int
    rows: tuple[TraceRow, ...]


def read_trace(trace: Any) -> Trace:
    """`struct v2g_trace` as it was filled."""
    rows = tuple(
        TraceRow(trace.charge_w[i], trace.discharge_w[i], Reason(trace.reason_charge[i]), Reason(trace.reason_discharge[i]))
        for i in range(lib.V2G_ROWS)
    )
    return Trace(trace.wish_w, rows)


@dataclass(frozen=True, slots=True)
class RtReport:
    """`struct v2g_rt_report`: what the kernel granted, read back by the thread itself."""

    fifo: bool
    priority: int
    fifo_error: str
    """Why SCHED_FIFO was refused; empty: granted or not asked for."""
    cpu: int | None
    """The only core it may run on; None: several."""
    cpu_isolated: bool
    preempt_rt: bool
    memory_locked: bool
    lock_error: str
    timer_slack_ns: int
    stack_bytes: int
    rtprio_limit: int
    """RLIMIT_RTPRIO: the highest priority that needs no capability."""
    latency_error: str
    """Why /dev/cpu_dma_latency isn't held; empty: it is."""
    throttle_us: int | None
    """Real-time threads run for at most this long in each `throttle_period_us`; None: as long as they like."""
    throttle_period_us: int
    user_mode_linux: bool
    """This kernel is a process: it grants SCHED_FIFO and does not preempt for it."""
    clock_resolution_ns: int


def _error_text(number: int) -> str:
    return os.strerror(number) if number else ""


def _open_remedy(bus: CanBus, error: int) -> str:
    if error in (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT):
        return "this kernel has no CAN: load can-raw, or use `hub:` and a socket's path"
    if bus.kind == "python-can":
        return "its bridge has just ended; see the log for its reason"
    if bus.channel.startswith("hub:"):
        return "start the hub first, or correct `channel`"
    if error == errno.ENODEV:
        return f"bring the interface up (ip link set {bus.channel} up type can bitrate {bus.bitrate}), or correct `channel`"
    return "correct `channel`, or the rights of the service"


def core_channel(bus: CanBus) -> bytes:
    """What the core opens: the interface or hub, or the socket of the bridge to python-can."""
    return (bus.channel if bus.kind == "can" else f"hub:{bridge_socket(bus.id)}").encode()


def open_bus(bus: CanBus) -> int:
    """An open descriptor, else CoreError."""
    fd: int = lib.v2g_can_open(core_channel(bus))
    if fd < 0:
        raise CoreError(f"bus {bus.id}: channel {bus.channel}: {os.strerror(-fd)}: {_open_remedy(bus, -fd)}")
    return fd


@dataclass(frozen=True, slots=True)
class KeptLatches:
    """Latches that outlive a process, by EVSE id (bits of `enum v2g_latch`). `unreadable`: nobody knows, so all are set.
    `damaged`: an invariant of the core had failed; everything stays at 0 W until another config is committed."""

    evses: dict[str, int] = field(default_factory=dict)
    damaged: bool = False
    out_of_service: bool = False
    """The grid's frequency or voltage had ended the service: entering it begins anew, delay and all."""
    unreadable: bool = False

    @staticmethod
    def of(snapshot: Snapshot) -> KeptLatches:
        kept = {e.id: e.latches & lib.V2G_LATCHES_KEPT for e in snapshot.evses}
        out = snapshot.site.service in (GridService.OUT, GridService.WAITING)
        return KeptLatches({evse_id: bits for evse_id, bits in kept.items() if bits}, snapshot.safe, out)


@dataclass(frozen=True, slots=True)
class _Opened:
    """A commit that passed every check and has its resources."""

    config: NativeConfig
    engine: Engine
    fds: dict[str, int]
    plan: Plan | None


class Core:
    """One arena, one cycle thread, one Modbus engine. Made once per process; `start`, then commits and plans, then `stop`."""

    def __init__(self, boot_id: int, guard: GuardLink | None = None) -> None:
        """`boot_id`: 64 bits, new in every process. `guard`: acknowledges every config before the cycle may use it."""
        self.boot_id = boot_id
        self._guard = guard
        holder = ffi.new("struct v2g_arena **")
        self._fd: int = lib.v2g_arena_create(boot_id, holder)
        if self._fd < 0:
            raise CoreError(
                f"shared memory: {os.strerror(-self._fd)}: free {ffi.sizeof('struct v2g_arena') >> 20} MiB of memory"
            )
        self._arena = holder[0]
        self._cycle = lib.v2g_cycle_new(self._arena)
        self._snapshot = ffi.new("struct v2g_snapshot *")
        self._commit = ffi.new("struct v2g_commit *")
        self._events = ffi.new("struct v2g_event[]", EVENT_BATCH)
        self._report: RtReport | None = None
        self._running = False
        self._epoch = 0
        self._config: NativeConfig | None = None
        self._fds: dict[str, int] = {}
        """Open buses by channel."""
        self._engine: Engine | None = None

    # ---- Start, commit, stop ----

    def start(
        self, settings: Settings, devices: Devices, plan: Plan | None = None, kept: KeptLatches | None = None
    ) -> RtReport:
        """Open buses, commit the config, start Modbus and the cycle; CoreError with every line that stands in the way, and
        then nothing runs. `kept`: what was latched when the process before ended."""
        opened = self._put_together(settings, devices, plan)
        try:
            self._publish(opened)
            refusal: int = lib.v2g_cycle_prepare(self._cycle, lib.v2g_now_ns())
            if refusal:
                raise CoreError(faults.describe(refusal, opened.config.ids))
            self._restore(kept or KeptLatches(), opened.config.ids)
            opened.engine.start()
            self._report = self._start_cycle(settings)
            self._running = True
        except CoreError:
            opened.engine.stop()
            self._close(opened.fds.values())
            if self._guard is not None:
                self._guard.release()
            raise
        self._take_over(opened)
        return self._report

    def _restore(self, kept: KeptLatches, ids: Ids) -> None:
        for index, evse_id in enumerate(ids.evses):
            latches = lib.V2G_LATCHES_KEPT if kept.unreadable else kept.evses.get(evse_id, 0)
            lib.v2g_cycle_restore(self._cycle, index, latches)
        if kept.out_of_service or kept.unreadable:
            lib.v2g_cycle_restore_grid(self._cycle)
        if kept.damaged:
            lib.v2g_cycle_restore_damaged(self._cycle)

    def _start_cycle(self, settings: Settings) -> RtReport:
        cpus = os.sched_getaffinity(0)
        cpu = settings.cycle.cpu
        if cpu is not None and cpu not in cpus:
            raise CoreError(f"cycle.cpu: {cpu}: this process may run on {sorted(cpus)}: use one of these, or leave it out")
        request, report = ffi.new("struct v2g_rt_request *"), ffi.new("struct v2g_rt_report *")
        request.thread.policy, request.thread.priority = os.SCHED_FIFO, FIFO_PRIORITY
        request.thread.cpu = -1 if cpu is None else cpu
        request.lock_memory = request.hold_latency = 1
        error: int = lib.v2g_cycle_start(self._cycle, request, report)
        if error:
            raise CoreError(f"cycle: its thread can't start: {os.strerror(-error)}: check the limits of the service")
        return RtReport(
            fifo=report.policy == os.SCHED_FIFO,
            priority=report.priority,
            fifo_error=_error_text(report.fifo_errno),
            cpu=None if report.cpu < 0 else report.cpu,
            cpu_isolated=bool(report.cpu_isolated),
            preempt_rt=bool(report.preempt_rt),
            memory_locked=bool(report.memory_locked),
            lock_error=_error_text(report.lock_errno),
            timer_slack_ns=report.timer_slack_ns,
            stack_bytes=report.stack_bytes,
            rtprio_limit=report.rtprio_limit,
            latency_error=_error_text(report.latency_errno),
            throttle_us=None if report.throttle_us < 0 else report.throttle_us,
            throttle_period_us=report.throttle_period_us,
            user_mode_linux=bool(report.user_mode_linux),
            clock_resolution_ns=report.clock_resolution_ns,
        )

    def check_config(self, settings: Settings, devices: Devices) -> None:
        """Run every check that a commit runs, without touching anything; CoreError when it would be refused."""
        check_config(settings, devices, self.boot_id)

    def commit_config(self, settings: Settings, devices: Devices, plan: Plan | None = None) -> None:
        """Replace the config of the running core, whole or not at all. `plan` was made for the new config, so that nothing
        drops to 0 W in between. Returns when the core has adopted it; CoreError: nothing has changed."""
        opened = self._put_together(settings, devices, plan)
        previous = self._engine
        if previous is not None and opened.engine is not previous:
            self._change_engine(previous, opened.engine)
        self._publish(opened)
        self._await_adoption(opened)
        for channel, fd in self._fds.items():
            if channel not in opened.fds:
                os.close(fd)
        self._take_over(opened)

    @staticmethod
    def _change_engine(previous: Engine, following: Engine) -> None:
        """Many meters take one connection at a time, so the old engine leaves first; its values age meanwhile."""
        previous.stop()
        try:
            following.start()
        except CoreError:
            previous.start()
            raise

    def _put_together(self, settings: Settings, devices: Devices, plan: Plan | None) -> _Opened:
        """Everything a commit needs, checked; nothing that runs is touched."""
        self.check_config(settings, devices)
        config = native_config(settings, devices, bank=0 if self._engine is None else 1 - self._engine.bank)
        engine = Engine(self._arena, config)
        if self._engine is not None and self._engine.same(engine):
            config, engine = native_config(settings, devices, self._engine.bank), self._engine
        fds: dict[str, int] = {}
        try:
            for bus in config.buses:
                fds[bus.channel] = self._fds[bus.channel] if bus.channel in self._fds else open_bus(bus)
        except CoreError:
            self._close(fd for channel, fd in fds.items() if channel not in self._fds)
            raise
        return _Opened(config, engine, fds, plan)

    def _publish(self, opened: _Opened) -> None:
        self._epoch += 1
        config, fds = opened.config, [opened.fds[b.channel] for b in opened.config.buses]
        back = lib.v2g_commit_back(self._arena)
        pack_commit(back, config, fds, opened.plan, self._epoch, self.boot_id)
        for index, fd in enumerate(fds):
            lib.v2g_can_filter(fd, ffi.addressof(back, "can"), index)
        ffi.memmove(self._commit, back, ffi.sizeof("struct v2g_commit"))
        if self._guard is not None:
            self._guard.acknowledge(self._watch(fds, config.settings, opened.engine))
        lib.v2g_commit_publish(self._arena)

    def _watch(self, fds: Sequence[int], settings: Settings, engine: Engine) -> Watch:
        """What the guard must know of the newest commit."""
        return Watch(
            boot_id=self.boot_id,
            arena_fd=self._fd,
            epoch=self._epoch,
            evses=self._commit.config.evses,
            period_ns=settings.cycle.period_ns,
            timeout_ns=guard_timeout_ns(settings, realtime_kernel=Path("/sys/kernel/realtime").exists()),
            tables=bytes(ffi.buffer(ffi.addressof(self._commit, "can"))),
            bus_fds=tuple(fds),
            fallbacks=engine.fallbacks(),
        )

    def keep_guard(self) -> bool:
        """Make sure the guard is there, again if it was restarted. False: it is not; the cycle has taken notice by itself."""
        if self._guard is None or self._config is None:
            return False
        fds = [self._fds[b.channel] for b in self._config.buses]
        return self._guard.keep(self._watch(fds, self._config.settings, self.engine))

    def _await_adoption(self, opened: _Opened) -> None:
        deadline_s = time.monotonic() + ADOPTION_TIMEOUT_S
        while time.monotonic() < deadline_s:
            if lib.v2g_snapshot_read(self._arena, self._snapshot) == 0 and self._snapshot.config_epoch == self._epoch:
                return
            time.sleep(0.002)
        raise CoreError(f"config: not adopted within {ADOPTION_TIMEOUT_S:g} s: the cycle doesn't run; restart v2g-edge")

    def _take_over(self, opened: _Opened) -> None:
        self._config, self._engine, self._fds = opened.config, opened.engine, opened.fds

    @staticmethod
    def _close(fds: Any) -> None:
        for fd in fds:
            os.close(fd)

    def reopen_bus(self, bus_id: str) -> bool:
        """Try to connect a bus that is down again, behind the same descriptor; False: not yet."""
        return self._renew_bus(bus_id, lib.v2g_can_reopen) == 0

    def restart_bus(self, bus_id: str) -> str:
        """Take a bus that is off or blocked down and up again; what waited in its queue is dropped. Returns "" or why not."""
        error = self._renew_bus(bus_id, lib.v2g_can_restart)
        return os.strerror(-error) if error else ""

    def _renew_bus(self, bus_id: str, renew: Callable[[bytes, int], int]) -> int:
        """0 or -errno."""
        bus = next(b for b in self.config.buses if b.id == bus_id)
        fd = self._fds[bus.channel]
        error = renew(core_channel(bus), fd)
        index = self.config.buses.index(bus)
        return error or int(lib.v2g_can_filter(fd, ffi.addressof(self._commit, "can"), index))

    def stop(self) -> bool:
        """Everything to 0 W, safe frames sent until the power has gone, then the threads end. True: every EVSE has followed."""
        if not self._running:
            return True
        message = lib.v2g_plan_back(self._arena)
        last = self.snapshot()
        now_ns: int = lib.v2g_now_ns()
        nothing = Plan(last.plan_epoch + 1_000_000, last.limits_epoch, now_ns, now_ns + lib.V2G_LEASE_MAX_MS * 1_000_000)
        pack_plan(message, self.config, nothing, self._epoch, self.boot_id)
        lib.v2g_plan_publish(self._arena)
        followed = self._await_zero()
        if self._guard is not None:
            self._guard.goodbye()
        lib.v2g_cycle_stop(self._cycle)
        if self._guard is not None:
            self._guard.release()
        self._running = False
        if self._engine is not None:
            self._engine.stop()
        return followed

    def _await_zero(self) -> bool:
        deadline_s = time.monotonic() + STOP_TIMEOUT_S
        first = self.snapshot().stats.cycles
        while time.monotonic() < deadline_s:
            now = self.snapshot()
            told = all(e.setpoint.target_w == 0 for e in now.evses)
            quiet = all(abs(e.inputs.values[EvseField.POWER]) <= STOPPED_W for e in now.evses)
            if told and quiet and now.stats.cycles > first + 10:
                return True
            time.sleep(0.01)
        return False

    def close(self) -> None:
        """Give everything back. The core must have been stopped."""
        self._close(self._fds.values())
        self._fds = {}
        lib.v2g_cycle_free(self._cycle)
        lib.v2g_arena_destroy(self._arena, self._fd)

    # ---- Plans, and what is read ----

    @property
    def config(self) -> NativeConfig:
        """The config in force; CoreError before the start."""
        if self._config is None:
            raise CoreError("core: not started: call start first")
        return self._config

    @property
    def ids(self) -> Ids:
        return self.config.ids

    def submit_plan(self, plan: Plan) -> None:
        """Hand a plan over; the core takes the newest at its next cycle."""
        pack_plan(lib.v2g_plan_back(self._arena), self.config, plan, self._epoch, self.boot_id)
        lib.v2g_plan_publish(self._arena)

    def _read(self) -> Any:
        """The newest native snapshot. The writer is inside for microseconds, so a second look meets it no more."""
        for _ in range(100):
            if lib.v2g_snapshot_read(self._arena, self._snapshot) == 0:
                return self._snapshot
            time.sleep(0.001)
        raise CoreError("core: no snapshot within 100 ms: the cycle doesn't run; restart v2g-edge")

    @property
    def running(self) -> bool:
        """The cycle's thread was started and not stopped."""
        return self._running

    def snapshot(self) -> Snapshot:
        return read_snapshot(ffi, self._read(), self.ids)

    def setpoints(self) -> dict[str, Setpoint]:
        """Only what each EVSE is told: a small part of a snapshot."""
        native = self._read()
        return {evse_id: read_setpoint(native.set.evse[i]) for i, evse_id in enumerate(self.ids.evses)}

    def events(self) -> Sequence[CoreEvent]:
        """Events since the last call, oldest first, at most EVENT_BATCH."""
        batch = self._events
        count: int = lib.v2g_events_read(self._arena, batch, EVENT_BATCH)
        return [
            CoreEvent(e.number, e.time_ns, EventKind(e.kind), e.index, tuple(e.value)) for e in (batch[i] for i in range(count))
        ]

    def histogram(self, kind: HistogramKind) -> Histogram:
        native = self._arena.histogram[int(kind)]
        counts = tuple(ffi.unpack(native.bucket, lib.V2G_HISTOGRAM_BUCKETS))
        return Histogram(native.count, native.sum, native.max, counts)

    def histograms(self) -> dict[HistogramKind, Histogram]:
        return {kind: self.histogram(kind) for kind in HistogramKind}

    @property
    def rt_report(self) -> RtReport:
        """What the kernel granted at the last start; it outlives the cycle, because the page is still served after it."""
        if self._report is None:
            raise CoreError("core: not started: call start first")
        return self._report

    def explain(self, evse_id: str) -> Trace:
        """The chain of one EVSE as the next cycle would see it. KeyError: no such EVSE."""
        if evse_id not in self.ids.evses:
            raise KeyError(evse_id)
        native, trace = self._read(), ffi.new("struct v2g_trace *")
        lib.v2g_explain(
            ffi.addressof(self._commit, "config"),
            ffi.addressof(native, "plan"),
            ffi.addressof(native, "state"),
            ffi.addressof(native, "image"),
            native.now_ns,
            self.ids.evses.index(evse_id),
            trace,
        )
        return read_trace(trace)

    @property
    def engine(self) -> Engine:
        """The Modbus engines in force."""
        if self._engine is None:
            raise CoreError("core: not started: call start first")
        return self._engine

    @property
    def heartbeat_ns(self) -> int:
        """CLOCK_MONOTONIC when the frames of the last cycle were sent; 0: none yet."""
        beat_ns: int = self._arena.heartbeat.beat_ns
        return beat_ns
