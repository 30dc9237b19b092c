"""The safety properties P1 to P7 of one step (the list in native/proof/properties.h), said in Python and judged on the records.

Written from the rules, not from the model: no function of reference.py is called. Each returns whether it holds.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.model.records import (
    NOBODY,
    SENSORS,
    Config,
    EvseConfig,
    EvseMemory,
    Image,
    Memory,
    Plan,
    Reading,
    Setpoint,
)


@dataclass(slots=True)
class Step:
    """One step: all that went in and came out."""

    config: Config
    plan: Plan
    image: Image
    before: Memory
    after: Memory
    out: list[Setpoint]
    now_ns: int

    def young(self, stamp_ns: int, limit_ns: int) -> bool:
        return self.now_ns - limit_ns <= stamp_ns <= self.now_ns

    def told(self, reading: Reading, limit_ns: int) -> bool:
        return reading.valid and self.young(reading.acquired_ns, limit_ns)


def way_up(config: Config, feeder: int) -> list[int]:
    return [] if feeder == NOBODY else [feeder, *way_up(config, config.feeders[feeder].parent)]


def p1_inside(step: Step, i: int) -> bool:
    """The setpoint lies inside its own interval, the ratings, the plan's bounds and the device's reach; locked out it is 0."""
    config, plan, out = step.config.evses[i], step.plan.evses[i], step.out[i]
    bounds = [(plan.min_w, plan.max_w)]
    if not (step.image.on_time and step.now_ns <= min(plan.until_ns, step.plan.lease_ns)):
        bounds.append((plan.after_min_w, plan.after_max_w))
    return (
        out.band_min_w <= out.min_w <= out.target_w <= out.max_w <= out.band_max_w
        and out.min_w <= 0 <= out.max_w
        and -config.rating_discharge_w <= out.target_w <= config.rating_charge_w
        and all(min(low, 0) <= out.target_w <= max(high, 0) for low, high in bounds)
        and (out.target_w == 0 or out.target_w >= config.min_charge_w or out.target_w <= -config.min_discharge_w)
        and not (plan.locked and out.target_w)
    )


def p1_ready(step: Step, i: int) -> bool:
    """Nothing flows against E-stop, fault or a vehicle that isn't ready; discharge only into learnt capability."""
    config, told, target_w = step.config.evses[i], step.image.evses[i], step.out[i].target_w
    flags, limit = told["flags"].value, told["max_discharge"]
    ready = not flags & (1 | 32) and flags & 8 and told["state"].value in (2, 3, 6)
    both_ways = config.may_discharge and flags & 2 and step.told(limit, config.limits_age_ns) and -target_w <= limit.value
    return bool((target_w == 0 or ready) and (target_w >= 0 or both_ways))


def p2_soc(step: Step, i: int) -> bool:
    """No discharge while the lower bound of the SOC is at the floor or unknown; no charge at the ceiling."""
    config, soc = step.config.evses[i], step.image.evses[i]["soc"]
    known = (
        config.soc_source
        and step.told(soc, config.soc_age_ns)
        and 0 <= soc.value <= 10_000
        and soc.acquired_ns >= step.after.evses[i].plugged_ns
    )
    above = known and soc.value - config.soc_margin > max(config.soc_floor, step.plan.evses[i].soc_floor)
    below = not known or soc.value + config.soc_margin < config.soc_ceiling
    target_w = step.out[i].target_w
    return (target_w >= 0 or above) and (target_w <= 0 or below)


def p3_stop(step: Step, i: int) -> bool:
    """At its stop temperature, and until it has cooled, a sensor allows nothing; unknown, it allows no discharge."""
    config, target_w = step.config.evses[i], step.out[i].target_w
    for k, name in enumerate(SENSORS):
        if config.derate[k] == NOBODY:
            continue
        table, reading = step.config.derates[config.derate[k]], step.image.evses[i][name]
        known = step.told(reading, config.temp_age_ns)
        was, hot = step.before.evses[i].hot[k], step.after.evses[i].hot[k]
        if known and reading.value >= table.stop and not hot:
            return False
        if was and not hot and not (known and reading.value <= table.resume):
            return False
        if (hot and target_w != 0) or (not known and target_w < 0):
            return False
    return True


def p4_ramp(step: Step, i: int) -> bool:
    """Away from 0 by at most one ramp step, the slow one while a fail-safe is being left; never through 0."""
    config, before, after = step.config.evses[i], step.before.evses[i], step.after.evses[i]
    slow = before.returning and after.returning
    allowed_q8 = config.ramp_return_q8 if slow else max(config.ramp_q8, config.ramp_return_q8)
    if step.image.proposals[i].fast and not after.returning:
        allowed_q8 = max(allowed_q8, config.ramp_frequency_q8)
    target_q8, from_q8 = step.out[i].target_w * 256, before.ramp_q8
    inside = min(from_q8, 0) - allowed_q8 <= target_q8 <= max(from_q8, 0) + allowed_q8
    return inside and target_q8 * from_q8 >= 0


def newer(epoch: int, than: int) -> bool:
    return 0 < (epoch - than) % 2**32 < 2**31


def p5_lost(step: Step, i: int) -> bool:
    """An EVSE that is not heard or doesn't follow gets nothing, and returns only on fresh data and on something new."""
    config, told, target_w = step.config.evses[i], step.image.evses[i], step.out[i].target_w
    was, now = step.before.evses[i], step.after.evses[i]
    linked = all(step.told(told[name], config.link_age_ns) for name in ("state", "flags", "power"))
    silent = linked or (now.lost and target_w == 0)
    returned = not (was.lost and not now.lost) or (linked and now.fresh >= 3 and newer(step.plan.epoch, was.lost_epoch))
    follows = not (was.not_following and not now.not_following) or newer(step.plan.limits_epoch, was.follow_epoch)
    return silent and returned and follows and not ((now.lost or now.not_following) and target_w)


def p5_slow_return(step: Step, i: int) -> bool:
    """After a fail-safe the way back is slow until a target is first met."""

    def failed(evse: EvseMemory) -> bool:
        return evse.lost or evse.not_following or any(evse.hot)

    over = failed(step.before.evses[i]) and not failed(step.after.evses[i])
    return not over or step.out[i].target_w * 256 <= step.config.evses[i].ramp_return_q8


def p5_meter(step: Step, i: int) -> bool:
    """A lost meter leaves each EVSE below it its share and no discharge."""
    for f in way_up(step.config, step.config.evses[i].feeder):
        feeder = step.config.feeders[f]
        if feeder.meter == NOBODY:
            continue
        lost = step.after.feeders[f].lost
        if not lost and not step.told(step.image.meters[feeder.meter]["p_total"], feeder.meter_age_ns):
            return False
        if lost and not 0 <= step.out[i].target_w <= feeder.share_w:
            return False
    return True


def lane_w(config: EvseConfig, balanced: bool, magnitude_w: int, lane: int) -> int:
    if lane == 3:
        return magnitude_w
    if not config.phases[lane]:
        return 0
    return -(-magnitude_w // sum(config.phases)) if balanced else magnitude_w


def p6_fits(step: Step, f: int) -> bool:
    """On each lane of a feeder the setpoints below fit its room, and the room fits fuse, plan and what is measured."""
    feeder, now = step.config.feeders[f], step.after.feeders[f]
    below = [i for i, evse in enumerate(step.config.evses) if f in way_up(step.config, evse.feeder)]
    for lane in range(4):
        loads = [
            lane_w(step.config.evses[i], step.after.evses[i].balanced, abs(step.out[i].target_w), lane)
            * (1 if step.out[i].target_w > 0 else -1)
            for i in below
        ]
        charge_w, discharge_w = sum(w for w in loads if w > 0), -sum(w for w in loads if w < 0)
        if charge_w > max(now.room_import_w[lane], 0) or discharge_w > max(now.room_export_w[lane], 0):
            return False
        measured = feeder.meter != NOBODY and not now.lost
        base_w = now.base_high_w[lane] if measured else feeder.base_w[lane]
        if now.room_import_w[lane] > feeder.import_w[lane] - base_w:
            return False
        fallback = now.room_import_w[lane] <= feeder.fallback_w[lane] and now.room_export_w[lane] <= 0
        if feeder.meter != NOBODY and now.lost and not fallback:
            return False
    return True


def not_looser(tight: list[Setpoint], loose: list[Setpoint]) -> bool:
    """P3 and P7: a hotter sensor, or an input less, allows no more."""
    return all(t.band_max_w <= o.band_max_w and t.band_min_w >= o.band_min_w for t, o in zip(tight, loose, strict=True))


OF_EVSE = (p1_inside, p1_ready, p2_soc, p3_stop, p4_ramp, p5_lost, p5_slow_return, p5_meter)


def violated(step: Step) -> str | None:
    """The first property that doesn't hold, and for whom."""
    for check in OF_EVSE:
        for i in range(len(step.out)):
            if not check(step, i):
                return f"{check.__name__} of EVSE {i}"
    for f in range(len(step.config.feeders)):
        if not p6_fits(step, f):
            return f"p6_fits of feeder {f}"
    return None
