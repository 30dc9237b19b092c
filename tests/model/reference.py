"""The constraint chain (architecture section 6) once more, in plain Python: what the native core is compared with.

Written to be read, not to be fast. `estimate()` is step 5 of a cycle, `enforce()` step 7. Charging is positive; magnitudes
are never negative; every rounding is towards 0 power unless it says otherwise. Limits of a direction are magnitudes that rows
can only lower, so the order of the rows decides which reason is named, never what is allowed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from edge.model import Reason
from tests.model.records import (
    NEVER,
    NOBODY,
    SENSORS,
    Config,
    Derate,
    Estimate,
    EstimateMemory,
    EvseConfig,
    EvseMemory,
    EvsePlan,
    FeederConfig,
    FeederMemory,
    FeederPlan,
    Image,
    Memory,
    Plan,
    Proposal,
    Reading,
    Setpoint,
)

POWER_MAX_W = 4_000_000
SOC_MAX = 10_000
TEMP_MIN, TEMP_MAX = -1000, 3000
FRESH_TIMES = 3
LANES = range(4)
TOTAL = 3
PHASE_NAMES = ("p_l1", "p_l2", "p_l3")
LANE_NAMES = (*PHASE_NAMES, "p_total")

FAULT, BIDIRECTIONAL, EV_PRESENT, E_STOP, SILENCE_UNKNOWN = 1, 2, 8, 32, 128
STATE_A, STATE_B, STATE_C, STATE_D, STATE_E, STATE_F, TRANSFER = range(7)
STOP, CHARGE_ONLY, BOTH_WAYS = range(3)

BALANCE_FROM_W, BALANCE_TOLERANCE_W = 1000, 500
UNLEASED_NS = 1_000_000_000
CAPACITY_MAX_WH = 2_000_000
COUNTED_MAX_W_MS = 2**56


def clamp(value: int, low: int, high: int) -> int:
    return max(low, min(value, high))


def is_old(now_ns: int, stamp_ns: int, limit_ns: int) -> bool:
    """A stamp from the future is infinitely old."""
    return stamp_ns > now_ns or now_ns - stamp_ns > limit_ns


def is_newer(epoch: int, than: int) -> bool:
    """Epochs have 32 bits and wrap."""
    return 0 < (epoch - than) % 2**32 < 2**31


def known(reading: Reading, limit_ns: int, now_ns: int) -> bool:
    return reading.valid and not is_old(now_ns, reading.acquired_ns, limit_ns)


def measured_w(told: dict[str, Reading]) -> int:
    return clamp(told["power"].value, -POWER_MAX_W, POWER_MAX_W)


def silence_known(config: EvseConfig, told: dict[str, Reading]) -> bool:
    return config.silence_tested and not told["flags"].value & SILENCE_UNKNOWN


# ---- Step 5: the estimate ------------------------------------------------------------------------------------------------


def part_of(difference_q32: int, factor_q32: int) -> int:
    """difference × factor, towards 0; the lowest 16 bits of the difference go first, so that the product fits 64 bits."""
    part = (abs(difference_q32) // 2**16) * factor_q32 // 2**16
    return part if difference_q32 >= 0 else -part


def to_temp(temp_q32: int) -> int:
    """0.1 degC, rounded down."""
    return clamp(temp_q32 // 2**32, TEMP_MIN, TEMP_MAX)


def steady_rise_q32(rise_q44: int, power_w: int, rating_w: int) -> int:
    """Where a node settles above the one below it; no more than twice the rating is believed."""
    magnitude_w = min(abs(power_w), 2 * rating_w)
    return magnitude_w**2 * rise_q44 // 2**12


def estimate_heat(
    config: EvseConfig, told: dict[str, Reading], memory: EstimateMemory, estimate: Estimate, now_ns: int
) -> None:
    """Contact on cable on ambient, each going to its steady state by its own time constant."""
    if config.contact_q44 == 0 and config.cable_q44 == 0:
        return
    ambient_q32 = config.ambient * 2**32
    if not memory.model_started:
        memory.model_started = True
        memory.contact_q32 = memory.cable_q32 = ambient_q32
    heard = known(told["power"], config.link_age_ns, now_ns)
    power_w = measured_w(told) if heard else config.rating_charge_w
    cable_steady = ambient_q32 + steady_rise_q32(config.cable_q44, power_w, config.rating_charge_w)
    contact_steady = memory.cable_q32 + steady_rise_q32(config.contact_q44, power_w, config.rating_charge_w)
    memory.cable_q32 += part_of(cable_steady - memory.cable_q32, config.cable_step_q32)
    memory.contact_q32 += part_of(contact_steady - memory.contact_q32, config.contact_step_q32)
    estimate.model_cable = to_temp(memory.cable_q32)
    estimate.model_contact = to_temp(memory.contact_q32)
    estimate.predicted[1] = to_temp(memory.cable_q32 + part_of(cable_steady - memory.cable_q32, config.cable_ahead_q32))
    estimate.predicted[0] = to_temp(memory.contact_q32 + part_of(contact_steady - memory.contact_q32, config.contact_ahead_q32))
    connector = told["t_connector"]
    if config.contact_alarm > 0 and known(connector, config.temp_age_ns, now_ns):
        estimate.contact_alarm = connector.value > estimate.model_contact + config.contact_alarm


def estimate_rise(
    config: EvseConfig, told: dict[str, Reading], memory: EstimateMemory, estimate: Estimate, now_ns: int
) -> None:
    """A sensor counts as hot as it reads plus what it rose within the last horizon."""
    if config.rise_step_q32 == 0:
        return
    for k, name in enumerate(SENSORS):
        if not known(told[name], config.temp_age_ns, now_ns):
            continue
        temp = clamp(told[name].value, TEMP_MIN, TEMP_MAX)
        if not memory.past_started[k]:
            memory.past_started[k] = True
            memory.past_q32[k] = temp * 2**32
        memory.past_q32[k] += part_of(temp * 2**32 - memory.past_q32[k], config.rise_step_q32)
        rising = temp + (temp - to_temp(memory.past_q32[k]))
        estimate.predicted[k] = max(estimate.predicted[k], min(rising, TEMP_MAX))


def estimate_soc(
    config: EvseConfig, told: dict[str, Reading], memory: EstimateMemory, session_ns: int, period_ns: int, now_ns: int
) -> bool:
    """Whether the SOC is doubted: since the session's first SOC it has moved otherwise than the counted energy says."""
    if config.soc_tolerance == 0 or not config.soc_source:
        return False
    soc = told["soc"].value
    soc_told = known(told["soc"], config.soc_age_ns, now_ns) and 0 <= soc <= SOC_MAX
    if memory.plugged_ns != session_ns:
        memory.plugged_ns = session_ns
        memory.anchor_soc = -1
    if memory.anchor_soc < 0:
        memory.counted_w_ms = 0
        if soc_told:
            memory.anchor_soc = soc
        return False
    if known(told["power"], config.link_age_ns, now_ns):
        ms_q20 = period_ns + period_ns // 2**5 + period_ns // 2**6 + period_ns // 2**9
        counted = memory.counted_w_ms + measured_w(told) * ms_q20 // 2**20
        memory.counted_w_ms = clamp(counted, -COUNTED_MAX_W_MS, COUNTED_MAX_W_MS)
    capacity_wh = clamp(told["capacity"].value, 0, CAPACITY_MAX_WH)
    if not soc_told or capacity_wh == 0:
        return False
    one_w_ms = capacity_wh * 360  # 0.01 % of the capacity
    gap_w_ms = abs((soc - memory.anchor_soc) * one_w_ms - memory.counted_w_ms)
    return gap_w_ms > config.soc_tolerance * one_w_ms + abs(memory.counted_w_ms) // 4


def estimate(config: Config, memory: Memory, image: Image, now_ns: int) -> None:
    """Renew the image's estimates."""
    for i, evse in enumerate(config.evses):
        image.estimates[i] = result = Estimate()
        told, remembered = image.evses[i], memory.estimates[i]
        estimate_heat(evse, told, remembered, result, now_ns)
        estimate_rise(evse, told, remembered, result, now_ns)
        session_ns = memory.evses[i].plugged_ns
        result.soc_doubt = estimate_soc(evse, told, remembered, session_ns, config.period_ns, now_ns)


# ---- What is remembered of an EVSE ---------------------------------------------------------------------------------------


def link_known(config: EvseConfig, told: dict[str, Reading], now_ns: int) -> bool:
    return all(known(told[name], config.link_age_ns, now_ns) for name in ("state", "flags", "power"))


def remember_link(config: EvseConfig, plan: Plan, told: dict[str, Reading], now_ns: int, memory: EvseMemory) -> None:
    """An EVSE is lost at once, and back after three new values under a plan that was made since."""
    if not link_known(config, told, now_ns):
        if not memory.lost:
            memory.lost_epoch = plan.epoch
        memory.lost = memory.returning = True
        memory.plugged = memory.balanced = False
        memory.fresh = 0
        return
    if told["state"].acquired_ns != memory.seen_ns:
        memory.fresh = min(memory.fresh + 1, FRESH_TIMES)
    memory.seen_ns = told["state"].acquired_ns
    if memory.lost and memory.fresh == FRESH_TIMES and is_newer(plan.epoch, memory.lost_epoch):
        memory.lost = memory.starting = False


def remember_session(config: EvseConfig, told: dict[str, Reading], memory: EvseMemory) -> None:
    """A vehicle that comes is one about which nothing is known: at its floor, unbalanced, older values are another's."""
    if memory.lost:
        return
    present = bool(told["flags"].value & EV_PRESENT) and told["state"].value not in (STATE_A, STATE_E, STATE_F)
    if not present:
        memory.plugged = memory.at_ceiling = False
    elif not memory.plugged:
        memory.plugged = memory.at_floor = True
        memory.balanced = False
        memory.plugged_ns = told["state"].acquired_ns
    if config.balanced:
        memory.balanced = True


def phases_known(config: EvseConfig, told: dict[str, Reading], now_ns: int) -> bool:
    return all(known(told[name], config.phase_age_ns, now_ns) for name in PHASE_NAMES)


def even_share(config: EvseConfig, power_w: int) -> int:
    """Of each phase, rounded up: a fuse never carries more than is booked."""
    count = sum(config.phases)
    return (power_w + count - 1) // count


def remember_balance(config: EvseConfig, told: dict[str, Reading], now_ns: int, memory: EvseMemory) -> None:
    """A vehicle is balanced when its phase currents showed it, until they show otherwise or stop while power flows."""
    power_w = abs(measured_w(told))
    if memory.lost or power_w < BALANCE_FROM_W:
        return
    most_w = even_share(config, power_w) + BALANCE_TOLERANCE_W
    seen_even = phases_known(config, told, now_ns) and all(told[name].value <= most_w for name in PHASE_NAMES)
    memory.balanced = seen_even or config.balanced


def remember_following(config: EvseConfig, plan: Plan, told: dict[str, Reading], now_ns: int, memory: EvseMemory) -> None:
    """Booked is the most that may flow: an earlier setpoint counts until it is confirmed or the reaction time is over."""
    charge_w, discharge_w = max(memory.target_w, 0), max(-memory.target_w, 0)
    heard = known(told["power"], config.link_age_ns, now_ns)
    power_w = measured_w(told)
    tolerance_w = config.follow_tolerance_w
    inside = -discharge_w - tolerance_w <= power_w <= charge_w + tolerance_w
    reacted = is_old(now_ns, memory.lowered_ns, config.reaction_ns)
    confirmed = heard and inside and told["power"].acquired_ns > memory.lowered_ns
    if confirmed or reacted:
        memory.book_charge_w, memory.book_discharge_w = charge_w, discharge_w
    if heard:
        memory.book_charge_w = max(memory.book_charge_w, power_w)
        memory.book_discharge_w = max(memory.book_discharge_w, -power_w)
    if inside or not heard:
        memory.outside_ns = NEVER
        if heard and is_newer(plan.limits_epoch, memory.follow_epoch):
            memory.not_following = False
    elif memory.outside_ns == NEVER:
        memory.outside_ns = now_ns
    elif reacted and is_old(now_ns, memory.outside_ns, config.reaction_ns):
        if not memory.not_following:
            memory.follow_epoch = plan.limits_epoch
        memory.not_following = memory.returning = True


# ---- Rows 1 to 7 ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Band:
    """Magnitudes that may be charged and discharged, and who set each."""

    charge_w: int
    discharge_w: int
    why_charge: int
    why_discharge: int

    def cap_charge(self, limit_w: int, why: int) -> None:
        if max(limit_w, 0) < self.charge_w:
            self.charge_w, self.why_charge = max(limit_w, 0), why

    def cap_discharge(self, limit_w: int, why: int) -> None:
        if max(limit_w, 0) < self.discharge_w:
            self.discharge_w, self.why_discharge = max(limit_w, 0), why

    def cap(self, limit_w: int, why: int) -> None:
        self.cap_charge(limit_w, why)
        self.cap_discharge(limit_w, why)


def of_session(reading: Reading, memory: EvseMemory) -> bool:
    return reading.acquired_ns >= memory.plugged_ns


def row_1_rating(config: EvseConfig, told: dict[str, Reading], now_ns: int, memory: EvseMemory, band: Band) -> None:
    """Ratings, readiness, faults, learnt capability. An EVSE that is not heard is lost first, whatever it once said."""
    flags, state = told["flags"].value, told["state"].value
    if memory.lost:
        band.cap(0, Reason.INIT if memory.starting else Reason.EVSE_LOST)
    if flags & E_STOP:
        band.cap(0, Reason.E_STOP)
    if flags & FAULT or state in (STATE_E, STATE_F):
        band.cap(0, Reason.EVSE_FAULT)
    if not memory.plugged or state not in (STATE_C, STATE_D, TRANSFER):
        band.cap(0, Reason.NOT_READY)
    if of_session(told["max_charge"], memory):  # also when its frames have stopped: losing an input never loosens
        band.cap_charge(told["max_charge"].value, Reason.RATING)
    limit = told["max_discharge"]
    if not (flags & BIDIRECTIONAL and of_session(limit, memory) and known(limit, config.limits_age_ns, now_ns)):
        band.cap_discharge(0, Reason.ERR_BIDIRECTIONAL_UNSUPPORTED)
    band.cap_discharge(limit.value, Reason.RATING)
    if not (config.may_discharge and silence_known(config, told)):
        band.cap_discharge(0, Reason.RATING)


def row_2_soc(
    config: EvseConfig,
    plan: EvsePlan,
    told: dict[str, Reading],
    doubt: bool,
    now_ns: int,
    memory: EvseMemory,
    band: Band,
) -> None:
    """No discharge at or below the floor, counted from the lower bound of the SOC; no charge at the ceiling."""
    soc = told["soc"]
    if not (
        config.soc_source and known(soc, config.soc_age_ns, now_ns) and of_session(soc, memory) and 0 <= soc.value <= SOC_MAX
    ):
        memory.at_floor = True
        band.cap_discharge(0, Reason.SOC_UNKNOWN)
    else:
        floor = max(config.soc_floor, plan.soc_floor)
        lowest, highest = soc.value - config.soc_margin, soc.value + config.soc_margin
        if lowest <= floor:
            memory.at_floor = True
        elif lowest >= floor + config.soc_hysteresis:
            memory.at_floor = False
        if highest >= config.soc_ceiling:
            memory.at_ceiling = True
        elif highest <= config.soc_ceiling - config.soc_hysteresis:
            memory.at_ceiling = False
        if doubt and lowest > floor:  # one that admits to the floor is believed
            memory.at_floor = True
            band.cap_discharge(0, Reason.SOC_UNKNOWN)
    if memory.at_floor:
        band.cap_discharge(0, Reason.ERR_V2G_LIMIT_REACHED)
    if memory.at_ceiling:
        band.cap_charge(0, Reason.SOC_CEILING)


def derated_w(table: Derate, temp: int) -> int:
    if temp < table.start:
        return POWER_MAX_W
    step = (min(temp, TEMP_MAX) - table.start) // 2**table.shift
    return table.limit_w[step] if step < len(table.limit_w) else 0


def remember_heat(table: Derate, k: int, temp: int, now_ns: int, memory: EvseMemory) -> None:
    """A hard stop holds until the sensor has stayed at or below its resume temperature for the hold time."""
    if temp >= table.stop:
        memory.hot[k] = memory.returning = True
    if not memory.hot[k] or temp > table.resume:
        memory.cool_ns[k] = NEVER
    elif memory.cool_ns[k] == NEVER:
        memory.cool_ns[k] = now_ns
    elif is_old(now_ns, memory.cool_ns[k], table.resume_hold_ns):
        memory.hot[k] = False


def row_3_thermal(
    site: Config,
    config: EvseConfig,
    told: dict[str, Reading],
    predicted: list[int],
    now_ns: int,
    memory: EvseMemory,
    band: Band,
) -> None:
    """Derate table per sensor on the hotter of measured and predicted, hard stop, cold cells, lost sensors."""
    limit_w = POWER_MAX_W
    every_sensor_known = True
    for k, name in enumerate(SENSORS):
        if config.derate[k] == NOBODY:
            continue
        table = site.derates[config.derate[k]]
        temp = told[name].value
        if known(told[name], config.temp_age_ns, now_ns) and temp >= TEMP_MIN:
            remember_heat(table, k, temp, now_ns, memory)
            limit_w = min(limit_w, derated_w(table, max(temp, predicted[k])))
        else:
            every_sensor_known = False
            memory.cool_ns[k] = NEVER
        if memory.hot[k]:
            band.cap(0, Reason.THERMAL_STOP)
    band.cap(limit_w, Reason.THERMAL_DERATE)

    charge_w = limit_w
    if config.derate[3] != NOBODY:
        coldest = told["t_cell_min"]
        if not (known(coldest, config.temp_age_ns, now_ns) and coldest.value >= TEMP_MIN):
            every_sensor_known = False
        elif coldest.value < config.cell_cold:
            charge_w = 0
            band.cap_charge(0, Reason.THERMAL_DERATE)
    if every_sensor_known:
        memory.thermal_w = charge_w
    else:  # what is not known can only tighten
        memory.thermal_w = min(memory.thermal_w, charge_w)
        band.cap_discharge(0, Reason.THERMAL_SENSOR)
        band.cap_charge(min(memory.thermal_w, config.sensor_lost_charge_w), Reason.THERMAL_SENSOR)


def named(reason: int, otherwise: int) -> int:
    """A number that is no reason is another one."""
    return reason if reason in list(Reason) else otherwise


def row_4_grid(proposal: Proposal, band: Band) -> None:
    """Site control forbids a direction by a reason; a number that is no reason forbids it too."""
    if proposal.grid_charge:
        band.cap_charge(0, named(proposal.grid_charge, Reason.GRID_FREQUENCY))
    if proposal.grid_discharge:
        band.cap_discharge(0, named(proposal.grid_discharge, Reason.GRID_FREQUENCY))


def row_5_meter(share_w: int | None, band: Band) -> None:
    """While a meter on the way to the grid is lost: the static share, no discharge. Sums come later, in `Tree.give`."""
    if share_w is not None:
        band.cap_charge(share_w, Reason.STALE_METER)
        band.cap_discharge(0, Reason.STALE_METER)


@dataclass(slots=True)
class Spoken:
    """The plan's bounds and wish as they hold now."""

    min_w: int
    max_w: int
    target_w: int
    why: int


def spoken(plan: Plan, evse: EvsePlan, on_time: bool, now_ns: int) -> Spoken:
    """When constraint or lease are over, the `after` bounds hold too: expiry never loosens."""
    if on_time and now_ns <= evse.until_ns and now_ns <= plan.lease_ns:
        return Spoken(evse.min_w, evse.max_w, evse.target_w, Reason.PLAN_LIMIT)
    why = Reason.ERR_SIG_TIMEOUT if on_time else Reason.OVERRUN
    return Spoken(max(evse.min_w, evse.after_min_w), min(evse.max_w, evse.after_max_w), evse.after_target_w, why)


def row_6_leases(site: Config, image: Image, said: Spoken, memory: EvseMemory, band: Band) -> None:
    band.cap_charge(said.max_w, said.why)
    band.cap_discharge(-said.min_w, said.why)
    if memory.not_following:
        band.cap(0, Reason.NOT_FOLLOWING)
    if site.guard_required and not image.guard and not site.lab:
        band.cap(0, Reason.GUARD_LOST)
    if not image.realtime and not site.lab:
        band.cap_discharge(0, Reason.NOT_REALTIME)


def row_7_lockout(plan: EvsePlan, band: Band) -> None:
    """A lock is the reason shown even where another row also says 0: only who set it can lift it."""
    if plan.locked:
        band.charge_w = band.discharge_w = 0
        band.why_charge = band.why_discharge = Reason.LOCKOUT


# ---- The wish inside the band, and row 8 ---------------------------------------------------------------------------------


@dataclass(slots=True)
class Want:
    """What an EVSE is to get before its feeders are asked."""

    power_w: int
    reason: int
    wish_w: int = 0
    """What was asked for, before any row."""
    why_share: int = Reason.NONE
    """Why its share of what all have in common is less than that; NONE: it is not."""


def choose(plan: Plan, evse: EvsePlan, proposal: Proposal, said: Spoken, memory: EvseMemory, band: Band) -> Want:
    """The wish inside the band and inside its share."""
    proposed = proposal.asks or evse.site_target
    wish_w = clamp(proposal.target_w if proposed else said.target_w, -POWER_MAX_W, POWER_MAX_W)
    if plan.made_ns < memory.plugged_ns:  # made for the vehicle before this one
        wish_w = 0
    want = Want(wish_w, named(proposal.why_target, Reason.GRID_FREQUENCY) if proposal.asks else Reason.NONE, wish_w)
    if wish_w > band.charge_w:
        want.power_w, want.reason = band.charge_w, band.why_charge
    elif wish_w < -band.discharge_w:
        want.power_w, want.reason = -band.discharge_w, band.why_discharge
    if proposal.shares:
        take_share(proposal, want)
    if said.min_w > said.max_w or said.min_w > band.charge_w or -said.max_w > band.discharge_w:
        want.power_w, want.reason = 0, Reason.CONFLICT
    return want


def take_share(proposal: Proposal, want: Want) -> None:
    """No more than its share; the feeders are asked all the same."""
    charge_w, discharge_w = max(proposal.share_charge_w, 0), max(proposal.share_discharge_w, 0)
    if want.power_w > charge_w:
        want.power_w, want.why_share = charge_w, named(proposal.why_charge, Reason.FEEDER_LIMIT)
        want.reason = want.why_share
    elif want.power_w < -discharge_w:
        want.power_w, want.why_share = -discharge_w, named(proposal.why_discharge, Reason.FEEDER_LIMIT)
        want.reason = want.why_share


def row_8_ramp(config: EvseConfig, plan: EvsePlan, fast: bool, want: Want, memory: EvseMemory) -> Want:
    """Away from 0 by at most one step a cycle; towards 0 at once; a turn stops at 0."""
    step_q8 = config.ramp_return_q8 if memory.returning else config.ramp_q8
    if plan.ramp_q8 > 0:
        step_q8 = min(step_q8, plan.ramp_q8)
    if fast and not memory.returning:
        step_q8 = max(step_q8, config.ramp_frequency_q8)
    if want.power_w > 0:
        memory.ramp_q8 = 0 if memory.ramp_q8 < 0 else min(want.power_w * 256, memory.ramp_q8 + step_q8)
    elif want.power_w < 0:
        memory.ramp_q8 = 0 if memory.ramp_q8 > 0 else max(want.power_w * 256, memory.ramp_q8 - step_q8)
    else:
        memory.ramp_q8 = 0
    ramped_w = abs(memory.ramp_q8) // 256 * (1 if memory.ramp_q8 > 0 else -1)
    if ramped_w != want.power_w:
        return replace(want, power_w=ramped_w, reason=Reason.RAMP)
    if want.power_w != 0:  # a fail-safe itself asks for 0; only a real target that is met ends the way back
        memory.returning = False
    return want


# ---- Row 5: the fuse tree ------------------------------------------------------------------------------------------------


def load(config: EvseConfig, balanced: bool, power_w: int) -> list[int]:
    """What a magnitude puts on each lane: one that is not known to be balanced may put all of it on any of its phases."""
    share_w = even_share(config, power_w) if balanced else power_w
    return [share_w if connected else 0 for connected in config.phases] + [power_w]


def plus(a: list[int], b: list[int]) -> list[int]:
    return [x + y for x, y in zip(a, b, strict=True)]


def minus(a: list[int], b: list[int]) -> list[int]:
    return [x - y for x, y in zip(a, b, strict=True)]


def most(a: list[int], b: list[int]) -> list[int]:
    return [max(x, y) for x, y in zip(a, b, strict=True)]


def least(a: list[int], b: list[int]) -> list[int]:
    return [min(x, y) for x, y in zip(a, b, strict=True)]


@dataclass(slots=True)
class Flow:
    """One EVSE on the lanes: what may flow (booked), and the lowest and highest that flows now, signed."""

    charge: list[int]
    discharge: list[int]
    low: list[int]
    high: list[int]


def flow_of(config: EvseConfig, told: dict[str, Reading], now_ns: int, memory: EvseMemory) -> Flow:
    heard = known(told["power"], config.link_age_ns, now_ns)
    charge_w, discharge_w = memory.book_charge_w, memory.book_discharge_w
    if not heard and not silence_known(config, told):  # its silence may mean anything
        charge_w, discharge_w = max(charge_w, config.rating_charge_w), max(discharge_w, config.rating_discharge_w)
    charge, discharge = load(config, memory.balanced, charge_w), load(config, memory.balanced, discharge_w)
    if not heard:
        return Flow(charge, discharge, [-w for w in discharge], charge)

    power_w = measured_w(told)
    high = load(config, memory.balanced, abs(power_w))
    if phases_known(config, told, now_ns):
        high = low = [clamp(told[name].value, 0, POWER_MAX_W) for name in PHASE_NAMES] + [abs(power_w)]
    elif memory.balanced or sum(config.phases) == 1:
        low = high
    else:
        low = [0, 0, 0, abs(power_w)]
    if power_w >= 0:
        return Flow(most(charge, high), discharge, low, high)
    return Flow(charge, most(discharge, high), [-w for w in high], [-w for w in low])


def remember_meter(config: FeederConfig, plan: Plan, meter: dict[str, Reading], now_ns: int, memory: FeederMemory) -> None:
    """Lost at once when a value is missing, old or frozen; back after three new samples under a plan made since."""
    alive = config.liveness_age_ns == 0 or not is_old(now_ns, meter["liveness"].changed_ns, config.liveness_age_ns)
    if not alive or not all(known(meter[name], config.meter_age_ns, now_ns) for name in LANE_NAMES):
        if not memory.lost:
            memory.lost_epoch = plan.epoch
        memory.lost = True
        memory.fresh = 0
        return
    if meter["p_total"].acquired_ns != memory.seen_ns:
        memory.fresh = min(memory.fresh + 1, FRESH_TIMES)
    memory.seen_ns = meter["p_total"].acquired_ns
    if memory.lost and memory.fresh == FRESH_TIMES and is_newer(plan.epoch, memory.lost_epoch):
        memory.lost = False
        memory.sample_ns = NEVER


def remember_sum(config: FeederConfig, low: list[int], high: list[int], now_ns: int, memory: FeederMemory) -> None:
    """Lowest and highest sum of the EVSEs below in this refresh time of the meter and in the one before."""
    if is_old(now_ns, memory.run_ns, config.refresh_ns):
        memory.run_ns = now_ns
        memory.past_min_w, memory.past_max_w = memory.run_min_w, memory.run_max_w
        memory.run_min_w, memory.run_max_w = low, high
    else:
        memory.run_min_w = least(memory.run_min_w, low)
        memory.run_max_w = most(memory.run_max_w, high)


def remember_base(config: FeederConfig, meter: dict[str, Reading], memory: FeederMemory) -> None:
    """base = measured - sum of the EVSEs at the sample's time; each sample is used once, between samples it drifts."""
    total = meter["p_total"]
    renewed = (
        memory.sample_ns == NEVER
        or is_old(total.acquired_ns, memory.sample_ns, config.refresh_ns)
        or total.changed_ns > memory.sample_ns
    )
    if total.acquired_ns == memory.sample_ns or not renewed:
        memory.drift_q8 = min(memory.drift_q8 + config.slew_q8, POWER_MAX_W * 256)
        return
    memory.sample_ns = total.acquired_ns
    memory.drift_q8 = 0
    measured = [clamp(meter[name].value, -POWER_MAX_W, POWER_MAX_W) for name in LANE_NAMES]
    memory.base_high_w = minus(measured, least(memory.past_min_w, memory.run_min_w))
    memory.base_low_w = minus(measured, most(memory.past_max_w, memory.run_max_w))


def remember_room(config: FeederConfig, plan: FeederPlan, lease_over: bool, now_ns: int, memory: FeederMemory) -> None:
    """What all EVSEs below may charge and discharge together on each lane."""
    plan_import_w, plan_export_w = plan.import_w, plan.export_w
    if lease_over or now_ns > plan.until_ns:
        plan_import_w, plan_export_w = min(plan_import_w, plan.after_import_w), min(plan_export_w, plan.after_export_w)
    import_w = [*config.import_w[:TOTAL], min(config.import_w[TOTAL], plan_import_w)]
    export_w = [*config.export_w[:TOTAL], min(config.export_w[TOTAL], plan_export_w)]
    if config.meter == NOBODY:
        memory.room_import_w = minus(import_w, config.base_w)
        memory.room_export_w = export_w
    elif memory.lost:
        fallback_w = least(config.fallback_w, minus(import_w, config.base_w))
        memory.room_import_w = least(memory.room_import_w, fallback_w)
        memory.room_export_w = [0, 0, 0, 0]
    else:
        drift_w = [memory.drift_q8 // 256] * 4
        memory.room_import_w = minus(minus(import_w, memory.base_high_w), drift_w)
        memory.room_export_w = minus(plus(export_w, memory.base_low_w), drift_w)


class Tree:
    """The feeders during one cycle: room left on each lane after what is booked."""

    def __init__(self, config: Config, plan: Plan, image: Image, flows: list[Flow], now_ns: int, memory: Memory) -> None:
        self.config = config
        self.left_import: list[list[int]] = []
        self.left_export: list[list[int]] = []
        for f, feeder in enumerate(config.feeders):
            below = [flow for flow, evse in zip(flows, config.evses, strict=True) if f in self.way_up(evse.feeder)]
            remembered = memory.feeders[f]
            if feeder.meter != NOBODY:
                meter = image.meters[feeder.meter]
                remember_meter(feeder, plan, meter, now_ns, remembered)
                low = [sum(flow.low[lane] for flow in below) for lane in LANES]
                high = [sum(flow.high[lane] for flow in below) for lane in LANES]
                remember_sum(feeder, low, high, now_ns, remembered)
                if not remembered.lost:
                    remember_base(feeder, meter, remembered)
            remember_room(feeder, plan.feeders[f], now_ns > plan.lease_ns, now_ns, remembered)
            booked_charge = [sum(flow.charge[lane] for flow in below) for lane in LANES]
            booked_discharge = [sum(flow.discharge[lane] for flow in below) for lane in LANES]
            self.left_import.append(minus(remembered.room_import_w, booked_charge))
            self.left_export.append(minus(remembered.room_export_w, booked_discharge))
        self.lost = [feeder.meter != NOBODY and memory.feeders[f].lost for f, feeder in enumerate(config.feeders)]

    def way_up(self, feeder: int) -> list[int]:
        """This feeder and all above it, up to the grid connection."""
        way = [feeder]
        while self.config.feeders[way[-1]].parent != NOBODY:
            way.append(self.config.feeders[way[-1]].parent)
        return way

    def share_w(self, feeder: int) -> int | None:
        """What each EVSE below may charge while a meter on its way is lost; None: none is."""
        shares = [self.config.feeders[f].share_w for f in self.way_up(feeder) if self.lost[f]]
        return min(shares) if shares else None

    def give(self, evse: EvseConfig, balanced: bool, want: Want, flow: Flow) -> Want:
        """The most of `want` that fits every lane on the way to the grid beside what the others have booked."""
        left, booked = (self.left_import, flow.charge) if want.power_w > 0 else (self.left_export, flow.discharge)
        given_w, reason = abs(want.power_w), want.reason
        for f in self.way_up(evse.feeder):
            for lane in LANES:
                most_w = self.fits(evse, balanced, lane, left[f][lane] + booked[lane])
                if most_w < given_w:
                    given_w, reason = most_w, self.lane_reason(f, lane)
        for f in self.way_up(evse.feeder):
            charge_w, discharge_w = (given_w, 0) if want.power_w > 0 else (0, given_w)
            self.settle(self.left_import[f], flow.charge, load(evse, balanced, charge_w))
            self.settle(self.left_export[f], flow.discharge, load(evse, balanced, discharge_w))
        return Want(given_w if want.power_w > 0 else -given_w, reason)

    @staticmethod
    def fits(evse: EvseConfig, balanced: bool, lane: int, room_w: int) -> int:
        """Most power whose load fits into the room of a lane."""
        room_w = max(room_w, 0)
        if lane == TOTAL:
            return room_w
        if not evse.phases[lane]:
            return POWER_MAX_W
        return min(room_w, POWER_MAX_W) * (sum(evse.phases) if balanced else 1)

    @staticmethod
    def lane_reason(feeder: int, lane: int) -> int:
        if lane != TOTAL:
            return Reason.PHASE_LIMIT
        return Reason.SITE_LIMIT if feeder == 0 else Reason.FEEDER_LIMIT

    @staticmethod
    def settle(left: list[int], booked: list[int], load_w: list[int]) -> None:
        """More than was booked is taken now; less only relieves an overload: nobody gets it before the EVSE confirms."""
        for lane in LANES:
            freed_w = booked[lane] - load_w[lane]
            if freed_w < 0:
                left[lane] += freed_w
            elif left[lane] < 0:
                left[lane] = min(left[lane] + freed_w, 0)


# ---- One EVSE, the site --------------------------------------------------------------------------------------------------


def band_of(
    site: Config, plan: Plan, image: Image, i: int, said: Spoken, share_w: int | None, now_ns: int, memory: EvseMemory
) -> Band:
    """Rows 1 to 7."""
    config, told, evse, estimated = site.evses[i], image.evses[i], plan.evses[i], image.estimates[i]
    band = Band(config.rating_charge_w, config.rating_discharge_w, Reason.RATING, Reason.RATING)
    row_1_rating(config, told, now_ns, memory, band)
    row_2_soc(config, evse, told, estimated.soc_doubt, now_ns, memory, band)
    row_3_thermal(site, config, told, estimated.predicted, now_ns, memory, band)
    row_4_grid(image.proposals[i], band)
    row_5_meter(share_w, band)
    row_6_leases(site, image, said, memory, band)
    row_7_lockout(evse, band)
    return band


def deliverable_w(config: EvseConfig, power_w: int) -> int:
    """0, or at least the device's minimum in its direction."""
    minimum_w = config.min_charge_w if power_w > 0 else config.min_discharge_w
    return power_w if abs(power_w) >= minimum_w else 0


def mode_of(band: Band) -> int:
    if band.discharge_w > 0:
        return BOTH_WAYS
    return CHARGE_ONLY if band.charge_w > 0 else STOP


def enforce_one(
    site: Config, plan: Plan, image: Image, i: int, flow: Flow, tree: Tree, now_ns: int, memory: EvseMemory
) -> Setpoint:
    config, evse = site.evses[i], plan.evses[i]
    said = spoken(plan, evse, image.on_time, now_ns)
    band = band_of(site, plan, image, i, said, tree.share_w(config.feeder), now_ns, memory)
    want = choose(plan, evse, image.proposals[i], said, memory, band)
    want = row_8_ramp(config, evse, image.proposals[i].fast, want, memory)
    given = tree.give(config, memory.balanced, want, flow)
    reason, why_min, why_max = given.reason, band.why_discharge, band.why_charge
    if want.why_share != Reason.NONE and want.wish_w > 0:
        why_max = want.why_share
    elif want.why_share != Reason.NONE and want.wish_w < 0:
        why_min = want.why_share
    if given.power_w != want.power_w:
        memory.ramp_q8 = given.power_w * 256
        if want.power_w > 0:
            why_max = given.reason
        else:
            why_min = given.reason
    target_w = deliverable_w(config, given.power_w)
    if target_w != given.power_w and reason != Reason.RAMP:
        reason = Reason.DEVICE_MINIMUM
    remember_setpoint(target_w, now_ns, memory)
    until_ns = min(evse.until_ns, plan.lease_ns)
    return Setpoint(
        target_w=target_w,
        min_w=min(target_w, 0),
        max_w=max(target_w, 0),
        band_min_w=-band.discharge_w,
        band_max_w=band.charge_w,
        reason=reason,
        reason_min=why_min,
        reason_max=why_max,
        mode=mode_of(band),
        valid_until_ns=until_ns if now_ns <= until_ns else now_ns + UNLEASED_NS,
    )


def remember_setpoint(target_w: int, now_ns: int, memory: EvseMemory) -> None:
    if 0 < memory.target_w > target_w or 0 > memory.target_w < target_w:
        memory.lowered_ns = now_ns
    memory.target_w = target_w
    memory.book_charge_w = max(memory.book_charge_w, target_w)
    memory.book_discharge_w = max(memory.book_discharge_w, -target_w)


def all_safe(config: Config, now_ns: int, memory: Memory) -> list[Setpoint]:
    """A limit is not what was committed: nobody gets power until a new config."""
    memory.damaged = True
    for evse in memory.evses:
        evse.target_w = evse.ramp_q8 = 0
    why = Reason.INVARIANT
    return [Setpoint(0, 0, 0, 0, 0, why, why, why, STOP, now_ns + UNLEASED_NS) for _ in config.evses]


def enforce(config: Config, plan: Plan, memory: Memory, image: Image, now_ns: int) -> list[Setpoint]:
    """One pass of the chain over the site."""
    if memory.damaged or not config.intact:
        return all_safe(config, now_ns, memory)
    flows = []
    for evse, told, remembered in zip(config.evses, image.evses, memory.evses, strict=True):
        remember_link(evse, plan, told, now_ns, remembered)
        remember_session(evse, told, remembered)
        remember_balance(evse, told, now_ns, remembered)
        remember_following(evse, plan, told, now_ns, remembered)
        flows.append(flow_of(evse, told, now_ns, remembered))
    tree = Tree(config, plan, image, flows, now_ns, memory)
    return [enforce_one(config, plan, image, i, flow, tree, now_ns, memory.evses[i]) for i, flow in enumerate(flows)]
