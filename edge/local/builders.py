"""Facts of a view → documents. Here, and only here, the core's integers become natural units.

Each EVSE answers three questions in plain words: what binds, how old is what we know, what happens next.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence

from edge.local.documents import (
    BusDoc,
    CoreDoc,
    Envelope,
    EventBody,
    EventsDoc,
    EvseBody,
    EvseDoc,
    ExplainDoc,
    FeederDoc,
    HistogramDoc,
    MeterDoc,
    Quality,
    ReasonDoc,
    RowDoc,
    RtDoc,
    SessionsDoc,
    ShareDoc,
    SideDoc,
    SiteControlDoc,
    StatusDoc,
    UplinkDoc,
    ValueDoc,
)
from edge.local.explain import evse_power_below_w, find_next, row_findings
from edge.local.notices import HEARTBEAT_LIMIT_NS, notices
from edge.local.view import (
    EVSE_FIELDS,
    METER_FIELDS,
    STATE_TEXTS,
    BusFacts,
    Event,
    EvseFacts,
    FeederFacts,
    FieldInfo,
    HistogramFacts,
    MeterFacts,
    Reading,
    RtFacts,
    Session,
    Snapshot,
    Trace,
    UplinkFacts,
    flag_names,
    state_letter,
)
from edge.model.catalogue import reason_info, worst
from edge.model.codeinfo import LEVELS, Level
from edge.model.reason import Reason

THERMAL_LATCHES = ("thermal_connector", "thermal_cable", "thermal_charger", "thermal_cell")
LATCHES = (
    "floor",
    "ceiling",
    *THERMAL_LATCHES,
    "lost",
    "not_following",
    "returning",
    "plugged",
    "balanced",
    "start",
)
COARSE_BOUNDS_NS = tuple(1000 << n for n in range(17))
"""1 µs to 65.5 ms, doubling: covers the longest period (50 ms)."""
QUIET = frozenset({Reason.NONE, Reason.RATING, Reason.PLAN_LIMIT, Reason.RAMP, Reason.DEVICE_MINIMUM, Reason.INIT})
"""What binds a healthy EVSE on any day."""
MODES = ("stop", "charge", "bidirectional")
ROW_TITLES = (
    "ratings and state",
    "state of charge",
    "temperature",
    "grid",
    "feeder and phases",
    "plan and data",
    "lock",
    "ramp",
)


def envelope(schema: str, snapshot: Snapshot) -> Envelope:
    return {"schema": f"v2g.{schema}/1", "boot": snapshot.boot, "ts": snapshot.ts_ms}


def _age_ms(now_ns: int, stamp_ns: int | None) -> int | None:
    return None if stamp_ns is None else max(0, (now_ns - stamp_ns) // 1_000_000)


def judged_ns(snapshot: Snapshot) -> int:
    """When the last cycle judged what is fresh: whoever looks a moment later doesn't call old what the core took for good."""
    heartbeat_ns = snapshot.core.heartbeat_ns
    runs = heartbeat_ns is not None and 0 <= snapshot.now_ns - heartbeat_ns <= HEARTBEAT_LIMIT_NS
    return heartbeat_ns if heartbeat_ns is not None and runs else snapshot.now_ns


def quality_of(reading: Reading, now_ns: int, judged_ns: int) -> Quality:
    if reading.acquired_ns is None:
        return "missing"
    if reading.value is None:
        return "invalid"
    if reading.limit_ns and (reading.acquired_ns > now_ns or judged_ns - reading.acquired_ns > reading.limit_ns):
        return "stale"
    return "frozen" if reading.frozen else "good"


def value_doc(reading: Reading, info: FieldInfo, now_ns: int, judged_ns: int) -> ValueDoc:
    """Its age is that of now; whether it is too old was judged by the last cycle."""
    value = reading.value
    return {
        "value": value if value is None or info.divisor == 1 else value / info.divisor,
        "unit": info.unit,
        "age_ms": _age_ms(now_ns, reading.acquired_ns),
        "changed_ms": _age_ms(now_ns, reading.changed_ns),
        "limit_ms": reading.limit_ns // 1_000_000 or None,
        "quality": quality_of(reading, now_ns, judged_ns),
    }


def _values(readings: Mapping[str, Reading], fields: Sequence[FieldInfo], snapshot: Snapshot) -> dict[str, ValueDoc]:
    now_ns, judged = snapshot.now_ns, judged_ns(snapshot)
    return {info.name: value_doc(readings[info.name], info, now_ns, judged) for info in fields if info.name in readings}


def reason_doc(reason: Reason) -> ReasonDoc:
    return {"code": reason.name, "title": reason_info(reason).title}


def _raw(readings: Mapping[str, Reading], name: str) -> int | None:
    reading = readings.get(name)
    return None if reading is None else reading.value


def link_age_ms(evse: EvseFacts, now_ns: int) -> int | None:
    """Age of the link: of the oldest of state, flags and power; None when one of them never came."""
    ages = [_age_ms(now_ns, evse.readings[name].acquired_ns) for name in ("state", "flags", "power") if name in evse.readings]
    known = [age for age in ages if age is not None]
    return max(known) if known and len(known) == len(ages) else None


def age_text(age_ms: int | None) -> str:
    if age_ms is None:
        return "never heard"
    return f"heard {age_ms} ms ago" if age_ms < 1000 else f"last heard {age_ms / 1000:.1f} s ago"


def _bad_values(values: Mapping[str, ValueDoc]) -> str:
    """The values that something depends on and that can't be believed; many of them are only counted."""
    bad = [
        f"{name} {v['quality']}" for name, v in values.items() if v["limit_ms"] and v["quality"] not in ("good", "estimated")
    ]
    if len(bad) > 2:
        return f"; {len(bad)} values not fresh"
    return f"; {', '.join(bad)}" if bad else ""


def _binds_text(evse: EvseFacts) -> str:
    setpoint = evse.setpoint
    info = reason_info(setpoint.reason)
    if setpoint.reason is Reason.NONE:
        return "nothing: as asked"
    name = info.title
    if setpoint.reason in (Reason.PLAN_LIMIT, Reason.LOCKOUT):
        who = _set_by(evse)
        name += f" ({who})" if who else ""
    return name


def _rank(reason: Reason) -> int:
    return LEVELS.index(reason_info(reason).level)


def held_back_by(evse: EvseFacts) -> list[Reason]:
    """What binds its target, its discharging and its charging side and wants to be told; the worst first."""
    setpoint = evse.setpoint
    reasons = dict.fromkeys((setpoint.reason, setpoint.reason_min, setpoint.reason_max))
    return sorted((reason for reason in reasons if reason not in QUIET), key=_rank, reverse=True)


def _next_text(evse: EvseFacts, snapshot: Snapshot) -> str:
    """When what binds lets go; and when a side that is worse off than the target does."""
    setpoint = evse.setpoint
    worse = max(setpoint.reason_min, setpoint.reason_max, key=_rank)
    if _rank(worse) <= _rank(setpoint.reason):
        return find_next(setpoint.reason, evse, snapshot)
    return f"{reason_info(worse).title}: {find_next(worse, evse, snapshot)}"


def _set_by(evse: EvseFacts) -> str:
    """Who stands behind a plan limit or a lock."""
    if evse.setpoint.reason is Reason.LOCKOUT:
        return ", ".join(f"{lock.by}: {lock.reason}" for lock in evse.locks)
    if evse.plan is None:
        return ""
    return evse.plan.max_by if evse.plan.target_w > evse.setpoint.target_w else evse.plan.min_by


def _share_doc(evse: EvseFacts) -> ShareDoc:
    share = evse.share
    reason = share.why_charge if share.why_charge is not Reason.NONE else share.why_discharge
    return {
        "target_w": share.target_w,
        "charge_w": share.charge_w,
        "discharge_w": share.discharge_w,
        "reason": reason_doc(reason),
        "weight": round(share.weight, 3),
        "discharge_weight": round(share.discharge_weight, 3),
    }


def evse_body(evse: EvseFacts, snapshot: Snapshot) -> EvseBody:
    now_ns, setpoint, plan = snapshot.now_ns, evse.setpoint, evse.plan
    state = state_letter(_raw(evse.readings, "state"))
    values = _values(evse.readings, EVSE_FIELDS, snapshot)
    age_ms = link_age_ms(evse, now_ns)
    return {
        "id": evse.id,
        "feeder": evse.feeder,
        "bus": evse.bus,
        "device": evse.device,
        "level": evse_level(evse).value,
        "state": state,
        "state_text": STATE_TEXTS[state] if state else "state unknown",
        "flags": flag_names(_raw(evse.readings, "flags") or 0),
        "latches": [name for bit, name in enumerate(LATCHES) if evse.latches >> bit & 1],
        "wish_w": None if plan is None or plan.locked else plan.target_w,
        "wish_by": "" if plan is None or plan.locked else plan.target_by,
        "setpoint": {
            "target_w": setpoint.target_w,
            "min_w": setpoint.min_w,
            "max_w": setpoint.max_w,
            "band_min_w": setpoint.band_min_w,
            "band_max_w": setpoint.band_max_w,
            "mode": MODES[setpoint.mode],
            "reason": reason_doc(setpoint.reason),
            "reason_min": reason_doc(setpoint.reason_min),
            "reason_max": reason_doc(setpoint.reason_max),
        },
        "share": _share_doc(evse),
        "answer": {
            "binds": _binds_text(evse),
            "age": age_text(age_ms) + _bad_values(values),
            "next": _next_text(evse, snapshot),
        },
        "soc_floor_percent": evse.soc_floor / 100,
        "soc_ceiling_percent": evse.soc_ceiling / 100,
        "rating_charge_w": evse.rating_charge_w,
        "rating_discharge_w": evse.rating_discharge_w,
        "thermal": {
            f"t_{sensor.sensor}": {"derate_c": sensor.start / 10, "stop_c": sensor.stop / 10} for sensor in evse.sensors
        },
        "locks": [{"by": lock.by, "reason": lock.reason, "since": lock.since_ms} for lock in evse.locks],
        "frames": evse.frames,
        "bad_frames": evse.bad_frames,
        "age_ms": age_ms,
        "values": values,
    }


def evse_level(evse: EvseFacts) -> Level:
    """The worst of what binds the target, the charging side and the discharging side."""
    setpoint = evse.setpoint
    return worst(*(reason_info(reason).level for reason in (setpoint.reason, setpoint.reason_min, setpoint.reason_max)))


def _feeder_power(feeder: FeederFacts, snapshot: Snapshot, evse_power_w: int) -> ValueDoc:
    meter = next((meter for meter in snapshot.meters if meter.id == feeder.meter), None)
    if meter is not None and "p_total" in meter.readings:
        return value_doc(meter.readings["p_total"], METER_FIELDS[3], snapshot.now_ns, judged_ns(snapshot))
    estimate_w = feeder.base_w[3] + evse_power_w
    return {"value": estimate_w, "unit": "W", "age_ms": None, "changed_ms": None, "limit_ms": None, "quality": "estimated"}


def feeder_doc(feeder: FeederFacts, snapshot: Snapshot) -> FeederDoc:
    evse_power_w = evse_power_below_w(feeder.id, snapshot)
    return {
        "id": feeder.id,
        "parent": feeder.parent,
        "meter": feeder.meter,
        "lost": feeder.lost,
        "power": _feeder_power(feeder, snapshot, evse_power_w),
        "evse_power_w": evse_power_w,
        "import_w": list(feeder.import_w),
        "export_w": list(feeder.export_w),
        "room_import_w": list(feeder.room_import_w),
        "room_export_w": list(feeder.room_export_w),
        "base_w": list(feeder.base_w),
    }


def _meter_doc(meter: MeterFacts, snapshot: Snapshot) -> MeterDoc:
    return {
        "id": meter.id,
        "device": meter.device,
        "reads": meter.reads,
        "failures": meter.failures,
        "last_error": meter.last_error,
        "values": _values(meter.readings, METER_FIELDS, snapshot),
    }


def _bus_doc(bus: BusFacts) -> BusDoc:
    return {
        "id": bus.id,
        "kind": bus.kind,
        "channel": bus.channel,
        "up": bus.up,
        "transport": bus.transport,
        "frames_in": bus.frames_in,
        "frames_out": bus.frames_out,
        "errors": bus.errors,
        "load_percent": bus.load_percent,
        "detail": bus.detail,
    }


def _uplink_doc(uplink: UplinkFacts, now_ns: int) -> UplinkDoc:
    return {
        "state": uplink.state,
        "broker": uplink.broker,
        "tls_version": uplink.tls_version,
        "since_ms": _age_ms(now_ns, uplink.since_ns),
        "last_error": uplink.last_error,
        "published": uplink.published,
        "outbox_records": uplink.outbox_records,
        "outcomes": dict(uplink.outcomes),
        "command_age_ms": _age_ms(now_ns, uplink.command_ns),
        "round_trip_ms": uplink.round_trip_ms,
        "loss": uplink.loss,
        "uplink_mb_per_day": None if uplink.mb_per_day is None else round(uplink.mb_per_day, 1),
        "budget_mb_per_day": uplink.budget_mb_per_day,
        "clock": uplink.clock_distrust or "trusted",
        "certificates": [{"name": c.name, "subject": c.subject, "not_after": c.not_after_ms} for c in uplink.certificates],
    }


def _core_doc(snapshot: Snapshot) -> CoreDoc:
    core, now_ns = snapshot.core, snapshot.now_ns
    lease_ns = core.plan_lease_ns
    return {
        "state": core.state,
        "period_us": core.period_ns // 1000,
        "cycles": core.cycles,
        "missed": core.missed,
        "realtime": core.realtime,
        "scheduling": core.scheduling,
        "cpu": core.cpu,
        "guard": core.guard,
        "guard_required": core.guard_required,
        "heartbeat_age_ms": _age_ms(now_ns, core.heartbeat_ns),
        "plan_epoch": core.plan_epoch,
        "plan_age_ms": _age_ms(now_ns, core.plan_made_ns),
        "plan_lease_ms": None if lease_ns is None else max(0, (lease_ns - now_ns) // 1_000_000),
        "config_epoch": core.config_epoch,
    }


def _site_control_doc(snapshot: Snapshot) -> SiteControlDoc:
    site = snapshot.site_control
    return {
        "target_w": site.target_w,
        "measured_w": site.measured_w,
        "base_w": site.base_w,
        "trim_w": site.trim_w,
        "asked_w": site.asked_w,
        "frequency_hz": None if site.frequency_mhz is None else site.frequency_mhz / 1000,
        "voltage_low_v": None if site.low_dv is None else site.low_dv / 10,
        "voltage_high_v": None if site.high_dv is None else site.high_dv / 10,
        "response_percent": site.response_permille / 10,
        "service": site.service,
        "reason": reason_doc(site.reason),
        "enters_in_ms": None if site.enter_ns is None else max(0, (site.enter_ns - snapshot.now_ns) // 1_000_000),
        "waiting_evses": site.parked,
    }


def status_doc(snapshot: Snapshot) -> StatusDoc:
    noticed = notices(snapshot)
    level = worst(*(Level(notice["level"]) for notice in noticed), *(evse_level(evse) for evse in snapshot.evses))
    return {
        **envelope("status", snapshot),
        "site": snapshot.site,
        "version": snapshot.version,
        "config_hash": snapshot.config_hash,
        "uptime_ms": (snapshot.now_ns - snapshot.started_ns) // 1_000_000,
        "level": level.value,
        "lab": snapshot.lab,
        "grid_profile": snapshot.grid_profile,
        "notices": noticed,
        "core": _core_doc(snapshot),
        "site_control": _site_control_doc(snapshot),
        "uplink": _uplink_doc(snapshot.uplink, snapshot.now_ns),
        "feeders": [feeder_doc(feeder, snapshot) for feeder in snapshot.feeders],
        "evses": [evse_body(evse, snapshot) for evse in snapshot.evses],
        "meters": [_meter_doc(meter, snapshot) for meter in snapshot.meters],
        "buses": [_bus_doc(bus) for bus in snapshot.buses],
    }


def find_evse(snapshot: Snapshot, evse_id: str) -> EvseFacts | None:
    return next((evse for evse in snapshot.evses if evse.id == evse_id), None)


def evse_doc(evse: EvseFacts, snapshot: Snapshot) -> EvseDoc:
    return {**envelope("evse", snapshot), "evse": evse_body(evse, snapshot)}


def explain_doc(evse: EvseFacts, trace: Trace, snapshot: Snapshot) -> ExplainDoc:
    """The whole chain: what is left after each row, who tightened it, how old that is, and what would have to change."""
    charge = sides_of([row.charge_w for row in trace.rows], [row.reason_charge for row in trace.rows])
    discharge = sides_of([row.discharge_w for row in trace.rows], [row.reason_discharge for row in trace.rows])
    rows: list[RowDoc] = []
    for index, title in enumerate(ROW_TITLES):
        sides = (charge[index], discharge[index])
        tightened = [Reason[side["reason"]["code"]] for side in sides if side["tightens"]]
        finding = row_findings(index + 1, tightened, evse, snapshot)
        rows.append(
            {
                "row": index + 1,
                "title": title,
                "charge": charge[index],
                "discharge": discharge[index],
                "facts": finding.facts,
                "next": finding.next,
            }
        )
    wish_w = 0 if evse.plan is not None and evse.plan.locked else trace.wish_w
    return {**envelope("explain", snapshot), "evse": evse_body(evse, snapshot), "wish_w": wish_w, "rows": rows}


def sides_of(limits_w: Sequence[int], reasons: Sequence[Reason]) -> list[SideDoc]:
    """One direction of the chain. A row tightens when it leaves less than the rows before, for a reason of its own; the last
    one that does binds."""
    sides: list[SideDoc] = []
    left_w, before = max(limits_w), Reason.NONE
    for limit_w, reason in zip(limits_w, reasons, strict=True):
        tightens = reason not in (Reason.NONE, before) and (limit_w < left_w or not sides)
        left_w = min(left_w, limit_w) if tightens or not sides else left_w
        sides.append({"limit_w": left_w, "reason": reason_doc(reason), "tightens": tightens, "binds": False})
        before = reason
    last = max((index for index, side in enumerate(sides) if side["tightens"]), default=0)
    sides[last]["binds"] = True
    return sides


def event_body(event: Event) -> EventBody:
    return {
        "seq": event.seq,
        "ts": event.ts_ms,
        "level": event.level,
        "kind": event.kind,
        "subject": event.subject,
        "code": event.code,
        "text": event.text,
    }


def events_doc(events: Sequence[Event], since: int, snapshot: Snapshot) -> EventsDoc:
    """`last` is what to pass as `since` next time."""
    last = events[-1].seq if events else since
    return {**envelope("events", snapshot), "last": last, "events": [event_body(event) for event in events]}


def percentile_ns(histogram: HistogramFacts, share: float) -> int:
    """Upper bound of the bin that reaches this share of all values; the maximum in the last bin, 0 without values."""
    total = sum(histogram.counts)
    reached = 0
    for bound_ns, count in zip(histogram.bounds_ns, histogram.counts, strict=False):
        reached += count
        if total and reached >= share * total:
            return min(bound_ns, histogram.max_ns)
    return histogram.max_ns


def coarse(histogram: HistogramFacts) -> HistogramFacts:
    """The same values in few bins with fixed bounds, for a picture and for Prometheus, whose buckets must never move."""
    counts = [0] * (len(COARSE_BOUNDS_NS) + 1)
    for bound_ns, count in zip(histogram.bounds_ns, histogram.counts, strict=False):
        counts[bisect_left(COARSE_BOUNDS_NS, bound_ns)] += count
    counts[-1] += histogram.counts[len(histogram.bounds_ns)]
    return HistogramFacts(COARSE_BOUNDS_NS, counts, histogram.max_ns, histogram.sum_ns)


def histogram_doc(histogram: HistogramFacts) -> HistogramDoc:
    """Percentiles from the fine bins, the picture from the coarse ones."""
    picture = coarse(histogram)
    return {
        "bounds": [bound_ns / 1000 for bound_ns in picture.bounds_ns],
        "counts": list(picture.counts),
        "p50": round(percentile_ns(histogram, 0.5) / 1000, 1),
        "p99": round(percentile_ns(histogram, 0.99) / 1000, 1),
        "p99_9": round(percentile_ns(histogram, 0.999) / 1000, 1),
        "max": round(histogram.max_ns / 1000, 1),
    }


def rt_doc(rt: RtFacts, snapshot: Snapshot) -> RtDoc:
    core = snapshot.core
    return {
        **envelope("rt", snapshot),
        "period_us": core.period_ns // 1000,
        "cycles": core.cycles,
        "missed": core.missed,
        "realtime": core.realtime,
        "scheduling": core.scheduling,
        "cpu": core.cpu,
        "page_faults": core.page_faults,
        "preemptions": core.preemptions,
        "lateness_us": histogram_doc(rt.lateness),
        "compute_us": histogram_doc(rt.compute),
        "drain_us": histogram_doc(rt.drain),
        "send_us": histogram_doc(rt.send),
        "slack_us": histogram_doc(rt.slack),
        "meter_age_us": histogram_doc(rt.meter_age),
        "command_age_us": histogram_doc(rt.command_age),
        "reaction_us": histogram_doc(rt.reaction),
    }


def _percent(value: int | None) -> float | None:
    return None if value is None else value / 100


def sessions_doc(sessions: Sequence[Session], snapshot: Snapshot) -> SessionsDoc:
    return {
        **envelope("sessions", snapshot),
        "sessions": [
            {
                "evse": session.evse,
                "started": session.started_ms,
                "ended": session.ended_ms,
                "charged_wh": session.charged_wh,
                "discharged_wh": session.discharged_wh,
                "soc_start_percent": _percent(session.soc_start),
                "soc_last_percent": _percent(session.soc_last),
            }
            for session in sessions
        ],
    }
