"""The core's snapshot as frozen dataclasses: one consistent picture of one cycle, in the core's units (v2g.h)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edge.core._native import lib
from edge.core.kinds import BusState, GridService, Health, MeterField, Mode
from edge.field.canmap import EvseField
from edge.model import Reason

Lanes = tuple[int, int, int, int]
"""Phase 1, 2, 3 and the sum of all, W."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """The values of one device with their stamps; indices are those of `EvseField` or `MeterField`."""

    values: tuple[int, ...]
    valid: int
    acquired_ns: tuple[int, ...]
    changed_ns: tuple[int, ...]

    def value(self, field: EvseField | MeterField) -> int | None:
        """None: it never came, or an invalid code came last."""
        return self.values[field] if self.valid >> field & 1 else None

    def came_ns(self, field: EvseField | MeterField) -> int | None:
        """When it was acquired; None: never."""
        return self.acquired_ns[field] if self.acquired_ns[field] >= 0 else None

    def age_ns(self, field: EvseField | MeterField, now_ns: int) -> int | None:
        came_ns = self.came_ns(field)
        return None if came_ns is None else now_ns - came_ns


@dataclass(frozen=True, slots=True)
class Setpoint:
    """`struct v2g_setpoint`: W, charging positive."""

    target_w: int
    min_w: int
    max_w: int
    band_min_w: int
    band_max_w: int
    reason: Reason
    reason_min: Reason
    reason_max: Reason
    mode: Mode
    valid_until_ns: int


@dataclass(frozen=True, slots=True)
class Share:
    """`struct v2g_proposal`: what site control proposes for an EVSE. W."""

    target_w: int | None
    """Its part of the site's target; None: it doesn't follow one."""
    charge_w: int | None
    """None: nothing that all have in common bounds it."""
    discharge_w: int | None
    """Magnitude."""
    why_charge: Reason
    why_discharge: Reason


@dataclass(frozen=True, slots=True)
class EvseSnapshot:
    id: str
    inputs: Inputs
    frames: int
    """Good frames so far, wraps at 2^32."""
    bad_frames: int
    """Too short, wrong CRC or counter, since the last commit."""
    setpoint: Setpoint
    latches: int
    """Bits of `enum v2g_latch`."""
    share: Share


@dataclass(frozen=True, slots=True)
class MeterSnapshot:
    id: str
    inputs: Inputs


@dataclass(frozen=True, slots=True)
class FeederSnapshot:
    """`struct v2g_feeder_state` as far as it is shown; W per lane."""

    id: str
    lost: bool
    room_import_w: Lanes
    room_export_w: Lanes
    base_high_w: Lanes
    base_low_w: Lanes
    sample_ns: int | None


@dataclass(frozen=True, slots=True)
class BusSnapshot:
    """`struct v2g_bus_stats` of one CAN bus; counts since start."""

    id: str
    state: BusState
    error_frames: int
    received: int
    accepted: int
    unknown: int
    bad_length: int
    bad_crc: int
    bad_counter: int
    lost: int
    overflow: int
    sent: int
    unsent: int


@dataclass(frozen=True, slots=True)
class CycleStats:
    """`struct v2g_cycle_stats`."""

    cycles: int
    missed: int
    overruns: int
    plans: int
    plans_refused: int
    commits: int
    commits_refused: int
    events_dropped: int
    started_ns: int
    page_faults: int
    preemptions: int


@dataclass(frozen=True, slots=True)
class SiteSnapshot:
    """`struct v2g_site_view`: what site control sees and wants. W, import positive; None: unknown or not there."""

    target_w: int | None
    """The site's target as followed now, damping and frequency response included."""
    measured_w: int
    base_w: int
    trim_w: int
    asked_w: int
    """Of all EVSEs that follow the site's target together."""
    room_charge_w: int
    room_discharge_w: int
    frequency_mhz: int | None
    low_dv: int | None
    """Lowest phase, 0.1 V."""
    high_dv: int | None
    response_permille: int
    """What the frequency asks of rated power, ‰, charging positive."""
    service: GridService
    reason: Reason
    enter_ns: int | None
    """When service is entered, if frequency and voltage stay good."""
    parked: int
    """EVSEs that wait for their turn because their share would be below their minimum."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    now_ns: int
    """CLOCK_MONOTONIC, start of the cycle."""
    config_epoch: int
    plan_epoch: int
    limits_epoch: int
    plan_made_ns: int
    plan_lease_ns: int
    health: Health
    safe: bool
    """An invariant of the core failed: everything is at 0 W."""
    stats: CycleStats
    site: SiteSnapshot
    evses: tuple[EvseSnapshot, ...]
    meters: tuple[MeterSnapshot, ...]
    feeders: tuple[FeederSnapshot, ...]
    buses: tuple[BusSnapshot, ...]

    def evse(self, evse_id: str) -> EvseSnapshot:
        """KeyError: no such EVSE."""
        return next((e for e in self.evses if e.id == evse_id), None) or _missing(evse_id)


def _missing(evse_id: str) -> EvseSnapshot:
    raise KeyError(evse_id)


@dataclass(frozen=True, slots=True)
class Ids:
    """What the indices of a config stand for."""

    evses: tuple[str, ...]
    meters: tuple[str, ...]
    feeders: tuple[str, ...]
    buses: tuple[str, ...]


def _inputs(ffi: Any, native: Any, fields: int) -> Inputs:
    return Inputs(
        tuple(ffi.unpack(native.value, fields)),
        native.valid,
        tuple(ffi.unpack(native.acquired_ns, fields)),
        tuple(ffi.unpack(native.changed_ns, fields)),
    )


def read_setpoint(native: Any) -> Setpoint:
    return Setpoint(
        native.target_w,
        native.min_w,
        native.max_w,
        native.band_min_w,
        native.band_max_w,
        Reason(native.reason),
        Reason(native.reason_min),
        Reason(native.reason_max),
        Mode(native.mode),
        native.valid_until_ns,
    )


def _feeder(ffi: Any, feeder_id: str, native: Any) -> FeederSnapshot:
    room_import_w, room_export_w, high_w, low_w = (
        tuple(ffi.unpack(lanes, 4))
        for lanes in (native.room_import_w, native.room_export_w, native.base_high_w, native.base_low_w)
    )
    sample_ns = native.sample_ns if native.sample_ns >= 0 else None
    return FeederSnapshot(feeder_id, bool(native.lost), room_import_w, room_export_w, high_w, low_w, sample_ns)


def _bus(bus_id: str, b: Any) -> BusSnapshot:
    return BusSnapshot(
        bus_id,
        BusState(b.state),
        b.error_frames,
        b.received,
        b.accepted,
        b.unknown,
        b.bad_length,
        b.bad_crc,
        b.bad_counter,
        b.lost,
        b.overflow,
        b.sent,
        b.unsent,
    )


def _share(p: Any, follows: bool) -> Share:
    why_charge, why_discharge = Reason(p.why_charge), Reason(p.why_discharge)
    return Share(
        target_w=p.target_w if follows else None,
        charge_w=p.share_charge_w if why_charge is not Reason.NONE else None,
        discharge_w=p.share_discharge_w if why_discharge is not Reason.NONE else None,
        why_charge=why_charge,
        why_discharge=why_discharge,
    )


def _site(s: Any) -> SiteSnapshot:
    known = bool(s.present & 2)
    return SiteSnapshot(
        target_w=s.target_w if s.present & 1 else None,
        measured_w=s.measured_w,
        base_w=s.base_w,
        trim_w=s.trim_w,
        asked_w=s.asked_w,
        room_charge_w=s.room_charge_w,
        room_discharge_w=s.room_discharge_w,
        frequency_mhz=s.frequency_mhz or None,
        low_dv=s.low_dv if known else None,
        high_dv=s.high_dv if known else None,
        response_permille=round(s.offset_q16 * 1000 / 2**16),
        service=GridService(s.service),
        reason=Reason(s.reason),
        enter_ns=s.enter_ns if s.enter_ns > 0 else None,
        parked=s.parked,
    )


def read_snapshot(ffi: Any, native: Any, ids: Ids) -> Snapshot:
    """From a `struct v2g_snapshot` copy; `ids` belong to its config."""
    stats = native.stats
    evses = []
    for i, evse_id in enumerate(ids.evses):
        entry = native.image.evse[i]
        setpoint, latches = read_setpoint(native.set.evse[i]), native.state.evse[i].latch
        follows = bool(native.site.present & 1) and bool(native.plan.evse[i].flag & lib.V2G_PLAN_SITE_TARGET)
        inputs, share = _inputs(ffi, entry, len(EvseField)), _share(native.image.proposal[i], follows)
        evses.append(EvseSnapshot(evse_id, inputs, entry.frames, native.bad_frames[i], setpoint, latches, share))
    meters = (MeterSnapshot(m, _inputs(ffi, native.image.meter[i], len(MeterField))) for i, m in enumerate(ids.meters))
    return Snapshot(
        now_ns=native.now_ns,
        config_epoch=native.config_epoch,
        plan_epoch=native.plan.epoch,
        limits_epoch=native.plan.limits_epoch,
        plan_made_ns=native.plan.made_ns,
        plan_lease_ns=native.plan.lease_ns,
        health=Health(native.image.health),
        safe=bool(native.set.safe),
        stats=CycleStats(
            stats.cycles,
            stats.missed,
            stats.overruns,
            stats.plans,
            stats.plans_refused,
            stats.commits,
            stats.commits_refused,
            stats.events_dropped,
            stats.started_ns,
            stats.page_faults,
            stats.preemptions,
        ),
        site=_site(native.site),
        evses=tuple(evses),
        meters=tuple(meters),
        feeders=tuple(_feeder(ffi, f, native.state.feeder[i]) for i, f in enumerate(ids.feeders)),
        buses=tuple(_bus(b, native.bus[i]) for i, b in enumerate(ids.buses)),
    )
