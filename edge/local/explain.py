"""The words of `explain`: for each row of one EVSE's chain the facts it rests on, with their age, and when it loosens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge.local.view import (
    EVSE_FIELDS,
    STATE_TEXTS,
    EvseFacts,
    FeederFacts,
    MeterFacts,
    SensorLimits,
    Snapshot,
    flag_names,
    state_letter,
)
from edge.model.catalogue import reason_info
from edge.model.reason import Reason

_FIELDS = {info.name: info for info in EVSE_FIELDS}
SENSORS = ("connector", "cable", "charger", "cell_max")
FIRST_THERMAL_LATCH = 2
"""Bit of V2G_LATCH_THERMAL; one bit for each sensor from here."""
LANES = ("phase 1", "phase 2", "phase 3", "all phases")
SOC_FULL = 10_000


@dataclass(frozen=True, slots=True)
class Finding:
    """Facts of one row, and the sentence that says when it loosens."""

    facts: list[str]
    next: str


def _value_text(name: str, raw: int) -> str:
    if name == "state":
        letter = state_letter(raw)
        return f"{letter}, {STATE_TEXTS[letter]}" if letter else f"{raw}, unknown"
    if name == "flags":
        return ", ".join(flag_names(raw)) or "none"
    info = _FIELDS[name]
    return str(raw if info.divisor == 1 else raw / info.divisor)


def describe(evse: EvseFacts, name: str, now_ns: int) -> str:
    """`state of charge 29.8 % (12 ms old)`, or what is wrong with it; empty when this EVSE has no such value."""
    reading = evse.readings.get(name)
    if reading is None:
        return ""
    info = _FIELDS[name]
    if reading.acquired_ns is None:
        return f"{info.title} never came"
    age_ms = (now_ns - reading.acquired_ns) // 1_000_000
    if reading.value is None:
        return f"{info.title} invalid ({age_ms} ms old)"
    value = _value_text(name, reading.value)
    stale = (
        f", limit {reading.limit_ns // 1_000_000} ms"
        if reading.limit_ns and now_ns - reading.acquired_ns > reading.limit_ns
        else ""
    )
    return f"{info.title} {value}{' ' if info.unit else ''}{info.unit} ({age_ms} ms old{stale})"


def _now_value(evse: EvseFacts, name: str) -> str:
    reading = evse.readings.get(name)
    info = _FIELDS[name]
    if reading is None or reading.value is None:
        return "unknown"
    return f"{reading.value / info.divisor:.1f} {info.unit}"


def feeder_path(evse: EvseFacts, snapshot: Snapshot) -> list[FeederFacts]:
    """From the EVSE's own feeder up to the grid connection."""
    by_id = {feeder.id: feeder for feeder in snapshot.feeders}
    path: list[FeederFacts] = []
    feeder_id: str | None = evse.feeder
    while feeder_id is not None and feeder_id in by_id and len(path) < len(by_id):
        path.append(by_id[feeder_id])
        feeder_id = by_id[feeder_id].parent
    return path


def _lost_meters(evse: EvseFacts, snapshot: Snapshot) -> list[MeterFacts]:
    names = {feeder.meter for feeder in feeder_path(evse, snapshot) if feeder.lost}
    return [meter for meter in snapshot.meters if meter.id in names]


def _hot_sensor(evse: EvseFacts) -> SensorLimits | None:
    """The sensor that is nearest to its stop."""

    def margin(sensor: SensorLimits) -> int:
        reading = evse.readings.get(f"t_{sensor.sensor}")
        return sensor.stop - (reading.value if reading is not None and reading.value is not None else -(1 << 30))

    return min(evse.sensors, key=margin, default=None)


def _stopped_sensor(evse: EvseFacts) -> SensorLimits | None:
    """The sensor whose latch holds, however cool it is by now."""
    by_name = {sensor.sensor: sensor for sensor in evse.sensors}
    latched = [name for bit, name in enumerate(SENSORS) if evse.latches >> (FIRST_THERMAL_LATCH + bit) & 1]
    return next((by_name[name] for name in latched if name in by_name), None)


def _next_floor(evse: EvseFacts, snapshot: Snapshot) -> str:
    now = _now_value(evse, "soc")
    if evse.plan is not None and evse.plan.soc_floor >= SOC_FULL:
        return f"no discharge while it is barred ({evse.plan.soc_floor_by}; SOC now {now})"
    if evse.plan is not None and evse.plan.soc_floor > evse.soc_floor:
        reserve = (evse.plan.soc_floor + evse.soc_hysteresis) / 100
        return f"discharge again at SOC {reserve:.1f} %, the reserve for {evse.plan.soc_floor_by} (now {now})"
    return f"discharge again at SOC {(evse.soc_floor + evse.soc_hysteresis) / 100:.1f} % (now {now})"


def _next_ceiling(evse: EvseFacts, snapshot: Snapshot) -> str:
    return f"charging again at SOC {(evse.soc_ceiling - evse.soc_hysteresis) / 100:.1f} % (now {_now_value(evse, 'soc')})"


def _next_thermal_stop(evse: EvseFacts, snapshot: Snapshot) -> str:
    sensor = _stopped_sensor(evse) or _hot_sensor(evse)
    if sensor is None:
        return reason_info(Reason.THERMAL_STOP).loosens
    return (
        f"when {_FIELDS['t_' + sensor.sensor].title} has been at or below {sensor.resume / 10:.1f} °C for "
        f"{sensor.hold_ns // 1_000_000_000} s (now {_now_value(evse, 't_' + sensor.sensor)})"
    )


def _next_derate(evse: EvseFacts, snapshot: Snapshot) -> str:
    sensor = _hot_sensor(evse)
    if sensor is None:
        return reason_info(Reason.THERMAL_DERATE).loosens
    name = f"t_{sensor.sensor}"
    return f"full power below {sensor.start / 10:.1f} °C ({_FIELDS[name].title} is {_now_value(evse, name)})"


def _next_meter(evse: EvseFacts, snapshot: Snapshot) -> str:
    lost = _lost_meters(evse, snapshot)
    if not lost:
        return reason_info(Reason.STALE_METER).loosens
    meter = lost[0]
    error = f" ({meter.last_error})" if meter.last_error else ""
    return f"when meter {meter.id} at {meter.device}{error} has delivered three fresh values and a newer plan has come"


def _next_lock(evse: EvseFacts, snapshot: Snapshot) -> str:
    if not evse.locks:
        return reason_info(Reason.LOCKOUT).loosens
    return f"when {' and '.join(lock.by for lock in evse.locks)} unlocks it (edgectl unlock {evse.id})"


def evse_power_below_w(feeder_id: str, snapshot: Snapshot) -> int:
    """What all EVSEs on a feeder and on those below it draw together, as measured; W, charging positive."""
    below = {feeder_id}
    for feeder in snapshot.feeders:
        if feeder.parent in below:
            below.add(feeder.id)
    powers = [evse.readings["power"].value for evse in snapshot.evses if evse.feeder in below and "power" in evse.readings]
    return sum(power for power in powers if power is not None)


def _room_of(feeder: FeederFacts, lane: int, snapshot: Snapshot) -> str:
    draw_w = evse_power_below_w(feeder.id, snapshot)
    return (
        f"when load on feeder {feeder.id} falls, then slowly (its EVSEs may draw {max(0, feeder.room_import_w[lane])} W on "
        f"{LANES[lane]}, and draw {draw_w} W in all)"
    )


def _next_room(evse: EvseFacts, snapshot: Snapshot) -> str:
    """The fuse with the least room, per phase or in all."""
    path = feeder_path(evse, snapshot)
    if not path:
        return reason_info(Reason.FEEDER_LIMIT).loosens
    feeder = min(path, key=lambda feeder: min(feeder.room_import_w))
    return _room_of(feeder, feeder.room_import_w.index(min(feeder.room_import_w)), snapshot)


def _next_site(evse: EvseFacts, snapshot: Snapshot) -> str:
    """The grid connection is the root of the tree."""
    path = feeder_path(evse, snapshot)
    return _room_of(path[-1], len(LANES) - 1, snapshot) if path else reason_info(Reason.SITE_LIMIT).loosens


_NEXT: dict[Reason, Callable[[EvseFacts, Snapshot], str]] = {
    Reason.ERR_V2G_LIMIT_REACHED: _next_floor,
    Reason.SOC_CEILING: _next_ceiling,
    Reason.THERMAL_STOP: _next_thermal_stop,
    Reason.THERMAL_DERATE: _next_derate,
    Reason.STALE_METER: _next_meter,
    Reason.LOCKOUT: _next_lock,
    Reason.FEEDER_LIMIT: _next_room,
    Reason.PHASE_LIMIT: _next_room,
    Reason.SITE_LIMIT: _next_site,
}


def find_next(reason: Reason, evse: EvseFacts, snapshot: Snapshot) -> str:
    """When this reason lets go of this EVSE, with today's numbers where there are some."""
    sentence = _NEXT.get(reason)
    return sentence(evse, snapshot) if sentence is not None else reason_info(reason).loosens


def _facts_rating(evse: EvseFacts, snapshot: Snapshot) -> list[str]:
    rating = f"rating {evse.rating_charge_w} W charging, {evse.rating_discharge_w} W discharging"
    return [rating, *(describe(evse, name, snapshot.now_ns) for name in ("state", "flags", "max_charge", "max_discharge"))]


def _facts_soc(evse: EvseFacts, snapshot: Snapshot) -> list[str]:
    floor, ceiling, hysteresis = evse.soc_floor / 100, evse.soc_ceiling / 100, evse.soc_hysteresis / 100
    limits = f"floor {floor:.1f} %, ceiling {ceiling:.1f} %, hysteresis {hysteresis:.1f} %"
    facts = [describe(evse, "soc", snapshot.now_ns) or "no SOC source", limits]
    if evse.plan is not None and evse.plan.soc_floor > evse.soc_floor:
        facts.append(f"reserve {evse.plan.soc_floor / 100:.1f} % ({evse.plan.soc_floor_by})")
    return facts


def _facts_thermal(evse: EvseFacts, snapshot: Snapshot) -> list[str]:
    return [
        f"{describe(evse, f't_{sensor.sensor}', snapshot.now_ns)}: "
        f"derates from {sensor.start / 10:.1f}, stops at {sensor.stop / 10:.1f} °C"
        for sensor in evse.sensors
    ]


def _facts_grid(evse: EvseFacts, snapshot: Snapshot) -> list[str]:
    site = snapshot.site_control
    facts = [f"grid profile {snapshot.grid_profile}"]
    if site.frequency_mhz is not None:
        volts = "" if site.low_dv is None or site.high_dv is None else f", {site.low_dv / 10:.1f} to {site.high_dv / 10:.1f} V"
        facts.append(f"grid shows {site.frequency_mhz / 1000:.3f} Hz{volts}")
    if site.service != "in":
        left = "" if site.enter_ns is None else f", enters in {max(0, site.enter_ns - snapshot.now_ns) / 1e9:.0f} s"
        facts.append(f"grid service: {site.service}{left}")
    if site.response_permille:
        facts.append(f"the frequency asks for {site.response_permille / 10:+.1f} % of rated power")
    return facts


def _facts_share(evse: EvseFacts, snapshot: Snapshot) -> list[str]:
    site, share = snapshot.site_control, evse.share
    facts = []
    if share.target_w is not None and site.target_w is not None:
        measured = "unknown" if site.measured_w is None else f"{site.measured_w} W"
        facts.append(f"its part of the site's target {site.target_w} W is {share.target_w} W (grid connection: {measured})")
    for way, limit_w, why, weight in (
        ("charging", share.charge_w, share.why_charge, share.weight),
        ("discharging", share.discharge_w, share.why_discharge, share.discharge_weight),
    ):
        if limit_w is not None:
            facts.append(f"its share for {way} is {limit_w} W ({why.name}, weight {weight:.2f})")
    return facts


def _facts_feeder(evse: EvseFacts, snapshot: Snapshot) -> list[str]:
    facts = _facts_share(evse, snapshot)
    for feeder in feeder_path(evse, snapshot):
        where = (
            f"meter {feeder.meter}{' LOST, fallback' if feeder.lost else ''}"
            if feeder.meter
            else "no meter, declared base load"
        )
        room = f"room for EVSEs {feeder.room_import_w[3]} W import, {feeder.room_export_w[3]} W export"
        facts.append(f"feeder {feeder.id} ({where}): {room}; limit {feeder.import_w[3]} W; other load {feeder.base_w[3]} W")
    return facts


def _facts_plan(evse: EvseFacts, snapshot: Snapshot) -> list[str]:
    plan = evse.plan
    if plan is None:
        return ["no plan for this EVSE yet"]
    left_ms = (plan.until_ns - snapshot.now_ns) // 1_000_000
    lease = f"for another {left_ms / 1000:.1f} s" if left_ms > 0 else f"over since {-left_ms / 1000:.1f} s"
    return [
        f"{plan.min_w} W ({plan.min_by or 'nobody'}) … {plan.max_w} W ({plan.max_by or 'nobody'}), {lease}",
        f"then {plan.after_min_w} … {plan.after_max_w} W, wish {plan.after_target_w} W",
        f"plan {snapshot.core.plan_epoch}, link {describe(evse, 'power', snapshot.now_ns)}",
    ]


def _facts_lock(evse: EvseFacts, snapshot: Snapshot) -> list[str]:
    return [f"locked by {lock.by}: {lock.reason}" for lock in evse.locks] or ["not locked"]


def _facts_ramp(evse: EvseFacts, snapshot: Snapshot) -> list[str]:
    return [f"setpoint {evse.setpoint.target_w} W"]


_FACTS: tuple[Callable[[EvseFacts, Snapshot], list[str]], ...] = (
    _facts_rating,
    _facts_soc,
    _facts_thermal,
    _facts_grid,
    _facts_feeder,
    _facts_plan,
    _facts_lock,
    _facts_ramp,
)


def row_findings(row: int, tightened: Sequence[Reason], evse: EvseFacts, snapshot: Snapshot) -> Finding:
    """Facts and outlook of one row (1…8). A row that took nothing away has no outlook."""
    outlook = dict.fromkeys(find_next(reason, evse, snapshot) for reason in tightened)
    return Finding([fact for fact in _FACTS[row - 1](evse, snapshot) if fact], "; ".join(outlook))
