"""Core snapshots → the facts that the local API shows (edge.local.view). Copies and names; nothing is decided here."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edge import __version__
from edge.config import Settings
from edge.config.derive import NO_METER, NO_PARENT, DerateTable, EvseLimits
from edge.config.settings import CanBus, Evse, ModbusRtuBus, ModbusTcpBus
from edge.core import (
    BusState,
    Core,
    EvseSnapshot,
    FeederSnapshot,
    Health,
    Histogram,
    HistogramKind,
    MeterField,
    MeterSnapshot,
    Mode,
    Setpoint,
    Snapshot,
)
from edge.core.histogram import bucket_high
from edge.core.kinds import GridService
from edge.core.layout import MeterPlace, NativeConfig, field_age_ns
from edge.core.snapshot import BusSnapshot, Inputs, SiteSnapshot
from edge.field.canload import bus_load_permille
from edge.field.canmap import EvseField
from edge.gateway.events import EventLog
from edge.gateway.identity import Identity
from edge.gateway.locks import Locks
from edge.gateway.planner import Planner
from edge.gateway.sessions import Sessions
from edge.local import view
from edge.model import EvsePlan, Reason

if TYPE_CHECKING:
    from edge.uplink import Uplink
    from edge.uplink.certificates import CertificateInfo

CERTIFICATES_S = 60.0
"""How often the certificate files are read for the status."""
SIGNAL_REMEDY = "edgectl doctor; the text names the segment to look at: link, aggregator, bus or EVSE"
INIT_REASONS = {Reason.INIT}
SENSORS = ("connector", "cable", "charger", "cell_max")


def _reading(inputs: Inputs, field: EvseField | MeterField, limit_ns: int, frozen: bool = False) -> view.Reading:
    came_ns = inputs.came_ns(field)
    changed_ns = None if came_ns is None else inputs.changed_ns[field]
    return view.Reading(inputs.value(field), came_ns, changed_ns, limit_ns, frozen)


def _setpoint(s: Setpoint) -> view.SetpointFacts:
    return view.SetpointFacts(
        s.target_w, s.min_w, s.max_w, s.band_min_w, s.band_max_w, s.reason, s.reason_min, s.reason_max, int(s.mode)
    )


def _sensors(limits: EvseLimits, fields: frozenset[EvseField]) -> tuple[view.SensorLimits, ...]:
    tables: tuple[DerateTable, ...] = (limits.connector, limits.cable, limits.charger, limits.cell)
    return tuple(
        view.SensorLimits(name, table.start_dc, table.stop_dc, table.resume_dc, table.resume_hold_ns)
        for name, table in zip(SENSORS, tables, strict=True)
        if EvseField[f"T_{name.upper()}"] in fields
    )


def _evse_device(evse: Evse, config: NativeConfig) -> str:
    place = config.points.get(evse.id)
    return f"{evse.bus} node {evse.node}" if place is None else place.wiring.place


def _evse(
    evse: EvseSnapshot, own: Evse, limits: EvseLimits, config: NativeConfig, planner: Planner, locks: Locks
) -> view.EvseFacts:
    source = config.source(evse.id)
    return view.EvseFacts(
        id=evse.id,
        feeder=own.feeder,
        bus=own.bus,
        device=_evse_device(own, config),
        readings={
            field.name.lower(): _reading(evse.inputs, field, field_age_ns(source, field))
            for field in EvseField
            if field in source.fields
        },
        setpoint=_setpoint(evse.setpoint),
        latches=evse.latches,
        plan=planner.plan.evses.get(evse.id),
        rating_charge_w=limits.rating_charge_w,
        rating_discharge_w=limits.rating_discharge_w,
        soc_floor=limits.soc_floor,
        soc_ceiling=limits.soc_ceiling,
        soc_hysteresis=limits.soc_hysteresis,
        sensors=_sensors(limits, source.fields),
        locks=[view.LockFacts(lock.by, lock.reason, lock.since_ms) for lock in locks.of(evse.id)],
        frames=evse.frames,
        bad_frames=evse.bad_frames,
        share=_share(evse, planner.plan.evses.get(evse.id)),
    )


def _share(evse: EvseSnapshot, plan: EvsePlan | None) -> view.ShareFacts:
    share = evse.share
    return view.ShareFacts(
        charge_w=share.charge_w,
        discharge_w=share.discharge_w,
        why_charge=share.why_charge,
        why_discharge=share.why_discharge,
        target_w=share.target_w,
        weight=1.0 if plan is None else plan.weight,
        discharge_weight=1.0 if plan is None else plan.discharge_weight,
    )


SERVICES: dict[GridService, Literal["in", "out", "waiting", "entering"]] = {
    GridService.IN: "in",
    GridService.OUT: "out",
    GridService.WAITING: "waiting",
    GridService.ENTERING: "entering",
}


def _site_control(site: SiteSnapshot, metered: bool, nominal_mhz: int) -> view.SiteControlFacts:
    return view.SiteControlFacts(
        target_w=site.target_w,
        measured_w=site.measured_w if metered else None,
        base_w=site.base_w,
        trim_w=site.trim_w,
        asked_w=site.asked_w,
        nominal_mhz=nominal_mhz,
        frequency_mhz=site.frequency_mhz,
        low_dv=site.low_dv,
        high_dv=site.high_dv,
        response_permille=site.response_permille,
        service=SERVICES[site.service],
        reason=site.reason,
        enter_ns=site.enter_ns,
        parked=site.parked,
    )


def _meter(meter: MeterSnapshot, place: MeterPlace, core: Core, now_ns: int) -> view.MeterFacts:
    nominal_v = core.config.settings.site.grid.nominal_v
    limit_ns = place.profile.liveness_ns(place.poll_ns)
    alive_ns = meter.inputs.changed_ns[MeterField.LIVENESS]
    frozen = limit_ns is not None and alive_ns > 0 and now_ns - alive_ns > limit_ns
    fields = {i.field for i in place.inputs(nominal_v)}
    stats = core.engine.stats(place.wiring.stats)
    return view.MeterFacts(
        id=meter.id,
        device=place.wiring.place,
        readings={f.name.lower(): _reading(meter.inputs, f, place.age_ns, frozen) for f in MeterField if f in fields},
        reads=stats.replies,
        failures=stats.timeouts + stats.exceptions + stats.bad_frames + stats.connect_failures,
        last_error=stats.last_error,
    )


def _feeder(feeder: FeederSnapshot, index: int, config: NativeConfig) -> view.FeederFacts:
    limits = config.feeders[index]
    low, high = feeder.base_low_w, feeder.base_high_w
    measured = ((low[0] + high[0]) // 2, (low[1] + high[1]) // 2, (low[2] + high[2]) // 2, (low[3] + high[3]) // 2)
    return view.FeederFacts(
        id=feeder.id,
        parent=None if limits.parent == NO_PARENT else config.feeders[limits.parent].id,
        meter=None if limits.meter == NO_METER else config.meters[limits.meter].meter.id,
        import_w=limits.import_w,
        export_w=limits.export_w,
        room_import_w=feeder.room_import_w,
        room_export_w=feeder.room_export_w,
        base_w=limits.base_w if limits.meter == NO_METER else measured,
        lost=feeder.lost and limits.meter != NO_METER,
    )


def can_transport(bus: CanBus) -> Literal["can", "vcan", "hub", "python-can"]:
    """What a bus is: a virtual interface has no device behind it."""
    if not bus.real_time:
        return "python-can"
    if bus.channel.startswith("hub:"):
        return "hub"
    return "can" if Path(f"/sys/class/net/{bus.channel}/device").exists() else "vcan"


STOPPED = (BusState.DOWN, BusState.OFF, BusState.BLOCKED)
"""States of a CAN bus in which no command reaches anybody."""


def _bus_detail(seen: BusSnapshot) -> str:
    """The state where it is not simply up, and what was lost so far."""
    counts = {
        "frames lost by a full socket": seen.overflow,
        "wrong CRC": seen.bad_crc,
        "wrong counter": seen.bad_counter,
        "commands not sent": seen.unsent,
    }
    told = [f"{count} {what}" for what, count in counts.items() if count]
    return ", ".join([*([] if seen.state is BusState.UP else [seen.state.name.lower()]), *told])


def _can_bus(bus: CanBus, seen: BusSnapshot, config: NativeConfig) -> view.BusFacts:
    nodes = [config.devices.can[e.id] for e in config.settings.evses if e.bus == bus.id]
    return view.BusFacts(
        id=bus.id,
        kind=bus.kind,
        channel=bus.channel,
        up=seen.state not in STOPPED,
        transport=can_transport(bus),
        frames_in=seen.received,
        frames_out=seen.sent,
        errors=seen.error_frames + seen.bad_length + seen.bad_crc + seen.bad_counter + seen.overflow,
        load_percent=bus_load_permille(nodes, bus.bitrate, bus.data_bitrate if bus.fd else None) / 10,
        detail=_bus_detail(seen),
    )


def _modbus_bus(bus: ModbusTcpBus | ModbusRtuBus, config: NativeConfig, core: Core) -> view.BusFacts:
    wirings = [w for line in config.lines for w in line.wirings if w.device.bus == bus.id]
    stats = [core.engine.stats(w.stats) for w in wirings]
    figures = next((f for f in core.engine.figures if f.bus == bus.id), None)
    detail = f"{sum(s.up for s in stats)} of {len(stats)} devices answer"
    return view.BusFacts(
        id=bus.id,
        kind=bus.kind,
        channel=bus.port if isinstance(bus, ModbusRtuBus) else "",
        up=any(s.up for s in stats),
        frames_in=sum(s.replies for s in stats),
        frames_out=sum(s.requests for s in stats),
        errors=sum(s.timeouts + s.exceptions + s.bad_frames for s in stats),
        load_percent=None if figures is None else figures.use_percent,
        detail=detail if figures is None else f"{detail}; {figures}",
    )


def _state(snapshot: Snapshot) -> Literal["init", "run", "safe"]:
    if snapshot.safe:
        return "safe"
    starting = all(e.setpoint.mode is Mode.STOP and e.setpoint.reason in INIT_REASONS for e in snapshot.evses)
    return "init" if starting else "run"


def _histogram(histogram: Histogram) -> view.HistogramFacts:
    used = [i for i, count in enumerate(histogram.counts) if count]
    first, end = (used[0], used[-1] + 1) if used else (0, 1)
    return view.HistogramFacts(
        bounds_ns=[bucket_high(i) for i in range(first, end)],
        counts=[*histogram.counts[first:end], 0],
        max_ns=histogram.max_ns,
        sum_ns=histogram.sum_ns,
    )


def _certificates(known: Sequence[CertificateInfo]) -> list[view.CertificateFacts]:
    names = ("gateway", "broker CA")
    return [
        view.CertificateFacts(names[min(i, 1)], certificate.subject, certificate.not_after_ms)
        for i, certificate in enumerate(known)
    ]


class View:
    """`edge.local.GatewayView` over the running gateway."""

    def __init__(
        self,
        core: Core,
        planner: Planner,
        log: EventLog,
        sessions: Sessions,
        locks: Locks,
        identity: Callable[[], Identity],
        uplink: Callable[[], Uplink | None],
        late: Callable[[], str],
    ) -> None:
        """`late`: which segments of the way a signal is late on, in words; empty: none."""
        self._core, self._planner, self._log = core, planner, log
        self._sessions, self._locks = sessions, locks
        self._identity, self._uplink, self._late = identity, uplink, late
        self._certificates: tuple[float, list[view.CertificateFacts]] | None = None

    def status(self) -> view.Snapshot:
        snapshot, config, identity = self._core.snapshot(), self._core.config, self._identity()
        settings = config.settings
        own = {e.id: e for e in settings.evses}
        buses = {b.id: b for b in snapshot.buses}
        return view.Snapshot(
            now_ns=time.monotonic_ns(),
            ts_ms=time.time_ns() // 1_000_000,
            boot=identity.boot,
            site=settings.site.id,
            version=__version__,
            config_hash=identity.config_hash,
            started_ns=identity.started_ns,
            lab=settings.lab,
            grid_profile=settings.site.grid.profile,
            core=self._core_facts(snapshot, settings),
            evses=[
                _evse(evse, own[evse.id], limits, config, self._planner, self._locks)
                for evse, limits in zip(snapshot.evses, config.evses, strict=True)
            ],
            feeders=[_feeder(feeder, i, config) for i, feeder in enumerate(snapshot.feeders)],
            meters=[_meter(meter, config.meters[i], self._core, snapshot.now_ns) for i, meter in enumerate(snapshot.meters)],
            buses=[
                _can_bus(bus, buses[bus.id], config) if isinstance(bus, CanBus) else _modbus_bus(bus, config, self._core)
                for bus in settings.buses
            ],
            uplink=self._uplink_facts(),
            site_control=_site_control(
                snapshot.site, config.feeders[0].meter != NO_METER, 1000 * settings.site.grid.nominal_hz
            ),
        )

    def _core_facts(self, snapshot: Snapshot, settings: Settings) -> view.CoreFacts:
        report = self._core.rt_report
        required = settings.guard.required and not settings.lab
        guard: Literal["off", "alive", "lost"] = "alive" if snapshot.health & Health.GUARD else "lost" if required else "off"
        return view.CoreFacts(
            state=_state(snapshot),
            period_ns=settings.cycle.period_ns,
            cycles=snapshot.stats.cycles,
            missed=snapshot.stats.missed,
            realtime=report.fifo and report.preempt_rt,
            scheduling="fifo" if report.fifo else "other",
            cpu=report.cpu,
            guard=guard,
            guard_required=required,
            heartbeat_ns=self._core.heartbeat_ns or None,
            plan_epoch=snapshot.plan_epoch,
            plan_made_ns=snapshot.plan_made_ns if snapshot.plan_made_ns > 0 else None,
            plan_lease_ns=snapshot.plan_lease_ns if snapshot.plan_lease_ns > 0 else None,
            config_epoch=snapshot.config_epoch,
            safe_reason="an invariant of the core failed: restart v2g-edge, keep its log" if snapshot.safe else "",
            page_faults=snapshot.stats.page_faults,
            preemptions=snapshot.stats.preemptions,
            granted=view.Granted(
                fifo_error=report.fifo_error,
                rtprio_limit=report.rtprio_limit,
                memory_error=report.lock_error,
                latency_error=report.latency_error,
                timer_slack_ns=report.timer_slack_ns,
                throttle_us=report.throttle_us,
                throttle_period_us=report.throttle_period_us,
                user_mode_linux=report.user_mode_linux,
            ),
        )

    def _uplink_facts(self) -> view.UplinkFacts:
        uplink = self._uplink()
        if uplink is None:
            return view.UplinkFacts("off")
        status = uplink.status()
        return view.UplinkFacts(
            state="connected" if status.connected else "connecting",
            broker=status.broker,
            tls_version=status.tls_version,
            since_ns=status.connected_ns,
            last_error=status.last_error,
            published=status.published,
            outbox_records=status.outbox_pending,
            outcomes=status.outcomes,
            command_ns=status.command_ns,
            round_trip_ms=status.round_trip_ms,
            loss=status.loss,
            mb_per_day=status.mb_per_day,
            budget_mb_per_day=status.budget_mb_per_day,
            clock_distrust=status.clock_distrust,
            alarms=[*status.alarms, *self._late_signals()],
            certificates=self._read_certificates(uplink),
        )

    def _late_signals(self) -> list[tuple[str, str, str]]:
        late = self._late()
        return [("ERR_SIG_TIMEOUT", late, SIGNAL_REMEDY)] if late else []

    def _read_certificates(self, uplink: Uplink) -> list[view.CertificateFacts]:
        now_s = time.monotonic()
        if self._certificates is None or now_s - self._certificates[0] > CERTIFICATES_S:
            self._certificates = now_s, _certificates(uplink.certificates())
        return self._certificates[1]

    def explain(self, evse_id: str) -> view.Trace:
        trace = self._core.explain(evse_id)
        rows = [view.RowFacts(r.charge_w, r.discharge_w, r.reason_charge, r.reason_discharge) for r in trace.rows]
        return view.Trace(trace.wish_w, rows)

    def events(self, since: int) -> Sequence[view.Event]:
        return self._log.since(since)

    def rt(self) -> view.RtFacts:
        found = {kind: _histogram(histogram) for kind, histogram in self._core.histograms().items()}
        return view.RtFacts(
            lateness=found[HistogramKind.LATENESS],
            compute=found[HistogramKind.WORK],
            drain=found[HistogramKind.DRAIN],
            send=found[HistogramKind.SEND],
            slack=found[HistogramKind.SLACK],
            meter_age=found[HistogramKind.METER_AGE],
            command_age=found[HistogramKind.COMMAND_AGE],
            reaction=found[HistogramKind.REACTION],
        )

    def sessions(self) -> Sequence[view.Session]:
        return self._sessions.all()

    def subscribe(self) -> AsyncIterator[view.Event]:
        return self._log.subscribe()
