"""Commit-time arithmetic: what the core compares in the cycle is worked out here once, in exact Python integers.

Everything is pure: settings in, frozen tables out. Charging positive; W, 0.1 °C, 0.01 % SOC, ns. Rounding is towards 0 power.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edge.config.settings import CanBus, Cell, Connector, Evse, Feeder, Settings
from edge.config.units import HOUR, MS, SECOND

DERATE_STEPS = 16
FULL_SOC = 10_000
MAX_POWER_W = 4_000_000
"""V2G_POWER_MAX_W of native/include/v2g.h."""
MAX_Q8 = MAX_POWER_W * 256
AGE_PERIODS = 3
"""A value's age limit is this many poll periods + the device's refresh time (numbers.md part 2)."""

DEFAULT_RTU_POLL_NS = 500 * MS
GUARD_TIMEOUT_RT_NS = 100 * MS
GUARD_TIMEOUT_NS = 500 * MS
BASE_SLEW_PCT_S = 10
FULL_RESPONSE = 2.302585
"""Time constants until a first-order response has gone 90 % of its way: ln 10."""
FOLLOW_TOLERANCE_PCT = 5
NO_PARENT = -1
NO_METER = -1


Lanes = tuple[int, int, int, int]
"""L1, L2, L3, sum of all: the order of the lanes in native/include/v2g.h."""


@dataclass(frozen=True, slots=True)
class DerateTable:
    """Absolute limits over temperature, as `struct v2g_derate` wants them; equal tables are equal objects.

    Below `start_dc` none. Step k begins at `start_dc + k × 2^shift` and allows what the straight line allows at its *hotter*
    end, so the table is never above the line; after the last step 0 W. From `stop_dc` on: 0 W and a latch, which opens after
    `resume_hold_ns` at or below `resume_dc`.
    """

    start_dc: int
    shift: int
    limit_w: tuple[int, ...]
    stop_dc: int
    resume_dc: int
    resume_hold_ns: int

    def limit_at_w(self, temperature_dc: int) -> int | None:
        """The limit, W, for either direction at a temperature in 0.1 °C; None below the table."""
        if temperature_dc >= self.stop_dc:
            return 0
        if temperature_dc < self.start_dc:
            return None
        step = (temperature_dc - self.start_dc) >> self.shift
        return self.limit_w[step] if step < DERATE_STEPS else 0


@dataclass(frozen=True, slots=True)
class EvseLimits:
    """What the core holds of one EVSE. Powers are magnitudes in W; SOC in 0.01 %; ramps in W/s and in W/256 per cycle."""

    id: str
    feeder: int
    """Index into `derive_feeders()`."""
    phase_mask: int
    """Bit 0 = L1 … bit 2 = L3."""
    balanced: bool
    """Loads its phases evenly by construction."""
    discharge_allowed: bool
    """The operator lets it discharge (a discharge rating above 0), and its bus is real-time (or this is a bench)."""
    soc_known: bool
    """False: there is no SOC source, so no discharge."""
    silence_tested: bool
    rating_charge_w: int
    rating_discharge_w: int
    min_charge_w: int
    min_discharge_w: int
    soc_floor: int
    soc_ceiling: int
    soc_hysteresis: int
    soc_error: int
    fallback_charge_w: int
    fallback_discharge_w: int
    ramp_normal_w_s: int
    ramp_frequency_w_s: int
    ramp_after_failsafe_w_s: int
    ramp_normal_q8: int
    ramp_frequency_q8: int
    ramp_after_failsafe_q8: int
    sensor_lost_charge_w: int
    cell_cold_dc: int
    connector: DerateTable
    cable: DerateTable
    charger: DerateTable
    cell: DerateTable
    follow_tolerance_w: int
    reaction_time_ns: int
    response_ns: int
    """Dead time and lag of its power after a setpoint."""


@dataclass(frozen=True, slots=True)
class FeederLimits:
    """What the core holds of one feeder. Parents come before their children; powers are magnitudes in W per lane."""

    id: str
    parent: int
    """Index of the parent, NO_PARENT for the root."""
    depth: int
    phase_mask: int
    rating_w: int
    import_w: Lanes
    """Fuse per phase at nominal voltage; the sum also bounded by the site's import limit at the root."""
    export_w: Lanes
    base_w: Lanes
    """Declared load other than EVSEs through this feeder, its children's included, spread evenly over its phases."""
    base_slew_w_s: int
    """Of that load, W/s, its children's included."""
    base_slew_q8: int
    """The same in W/256 per cycle, rounded up."""
    evses: int
    """EVSEs below it."""
    fallback_w: Lanes
    """What all EVSEs below may charge together while its meter is lost."""
    share_w: int
    """What each of them may: with it no lane exceeds `fallback_w`, even if vehicles load one and the same phase."""
    meter: int
    """Index into `settings.meters`, NO_METER for none."""


def on_real_time_bus(settings: Settings, evse: Evse) -> bool:
    """False: a library outside the control path carries its commands."""
    return all(bus.real_time for bus in settings.buses if isinstance(bus, CanBus) and bus.id == evse.bus)


def evse_ratings_w(evse: Evse, nominal_v: int) -> tuple[int, int]:
    """(charge, discharge) rating: the smaller of the EVSE's own and its cable's."""
    discharge_w = evse.rating_w if evse.discharge_rating_w is None else evse.discharge_rating_w
    if evse.cable_a is None:
        return evse.rating_w, discharge_w
    cable_w = evse.cable_a * nominal_v * len(evse.phase_map)
    return min(evse.rating_w, cable_w), min(discharge_w, cable_w)


def response_ns(evse: Evse) -> int:
    """How long its power takes to follow a setpoint: as declared, else its reaction time."""
    return evse.reaction_time_ns if evse.response_ns is None else evse.response_ns


def soc_floor(settings: Settings, evse: Evse) -> int:
    """max(the EVSE's or the global threshold, the absolute floor), 0.01 %."""
    limits = settings.limits
    own = limits.min_soc_threshold if evse.min_soc_threshold is None else evse.min_soc_threshold
    return max(own, limits.absolute_min_soc)


def soc_ceiling(settings: Settings, evse: Evse) -> int:
    """min(the EVSE's, the global ceiling), 0.01 %."""
    return settings.limits.max_soc if evse.max_soc is None else min(evse.max_soc, settings.limits.max_soc)


def derate_table(limits: Connector | Cell, rating_w: int) -> DerateTable:
    """The straight line from the rating at `derate_from` to 0 at `derate_to`, as steps of the smallest width that spans it."""
    span = limits.derate_to_dc - limits.derate_from_dc
    shift = max(0, (max(1, span) - 1).bit_length() - (DERATE_STEPS.bit_length() - 1))
    left = [max(0, span - ((k + 1) << shift)) for k in range(DERATE_STEPS)]
    return DerateTable(
        start_dc=limits.derate_from_dc,
        shift=shift,
        limit_w=tuple(rating_w * part // max(1, span) for part in left),
        stop_dc=limits.stop_dc,
        resume_dc=limits.resume_dc,
        resume_hold_ns=limits.resume_hold_ns,
    )


def per_cycle_q8(rate_w_s: int, period_ns: int) -> int:
    """W/s → W/256 per cycle, rounded towards a slower movement but never to none."""
    return min(max(1, rate_w_s * 256 * period_ns // SECOND), MAX_Q8)


def per_cycle_q8_up(rate_w_s: int, period_ns: int) -> int:
    """W/s → W/256 per cycle, rounded towards a faster movement (for loads that are not ours)."""
    return min(-(-rate_w_s * 256 * period_ns // SECOND), MAX_Q8)


def soc_margin(settings: Settings, power_w: int, age_ns: int) -> int:
    """Error of the source + drift of the smallest battery at full power over the SOC's age limit, 0.01 %, rounded up."""
    drift = -(-power_w * age_ns * FULL_SOC // (settings.limits.smallest_battery_wh * HOUR))
    return settings.limits.soc_error + drift


def age_limit_ns(period_ns: int, refresh_ns: int = 0) -> int:
    """3 × poll (or frame) period + the device's declared refresh time."""
    return AGE_PERIODS * period_ns + refresh_ns


def poll_ns(settings: Settings, device_poll_ns: int | None, serial: bool) -> int:
    """A Modbus device's poll period: its own, else the cycle's on TCP and 500 ms on a serial line."""
    if device_poll_ns is not None:
        return device_poll_ns
    return DEFAULT_RTU_POLL_NS if serial else settings.cycle.period_ns


def guard_timeout_ns(settings: Settings, realtime_kernel: bool) -> int:
    """The configured time-out, else 100 ms on a real-time kernel and 500 ms otherwise."""
    if settings.guard.timeout_ns is not None:
        return settings.guard.timeout_ns
    return GUARD_TIMEOUT_RT_NS if realtime_kernel else GUARD_TIMEOUT_NS


def topological(feeders: tuple[Feeder, ...]) -> list[Feeder]:
    """Parents before children, otherwise in the file's order. Feeders on a cycle or below an unknown parent are left out."""
    ordered: list[Feeder] = []
    placed: set[str] = set()
    while True:
        ready = [f for f in feeders if f.id not in placed and (f.parent is None or f.parent in placed)]
        if not ready:
            return ordered
        ordered += ready
        placed |= {f.id for f in ready}


class Tree:
    """The fuse tree with the declared loads summed up and the fallback budget shared out. Read-only after construction."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.feeders = topological(settings.feeders)
        self.index = {f.id: i for i, f in enumerate(self.feeders)}
        self.children: dict[str, list[Feeder]] = {f.id: [] for f in self.feeders}
        self.direct: dict[str, list[Evse]] = {f.id: [] for f in self.feeders}
        for feeder in self.feeders:
            if feeder.parent is not None:
                self.children[feeder.parent].append(feeder)
        for evse in settings.evses:
            if evse.feeder in self.direct:
                self.direct[evse.feeder].append(evse)
        self.base_load_w: dict[str, int] = {}
        self.base_slew_w_s: dict[str, int] = {}
        self.evse_count: dict[str, int] = {}
        for feeder in reversed(self.feeders):
            below = self.children[feeder.id]
            self.base_load_w[feeder.id] = feeder.base_load_w + sum(self.base_load_w[c.id] for c in below)
            self.base_slew_w_s[feeder.id] = self._own_slew_w_s(feeder) + sum(self.base_slew_w_s[c.id] for c in below)
            self.evse_count[feeder.id] = len(self.direct[feeder.id]) + sum(self.evse_count[c.id] for c in below)
        self.feeder_fallback_w: dict[str, int] = {}
        self.evse_fallback_w: dict[str, int] = {}
        for feeder in self.feeders:
            if feeder.parent is None:
                self.feeder_fallback_w[feeder.id] = self._explicit_or(feeder, max(0, self.spare_w(feeder)))
        for feeder in self.feeders:
            self._share_out(feeder)

    def rating_w(self, feeder: Feeder) -> int:
        return feeder.rating_a * self.settings.site.grid.nominal_v * feeder.phases

    def import_w(self, feeder: Feeder) -> int:
        """The rating, at the root also bounded by the grid's import limit."""
        grid_w = self.settings.site.grid.import_limit_w
        rating_w = self.rating_w(feeder)
        return min(rating_w, grid_w) if feeder.parent is None and grid_w is not None else rating_w

    def spare_w(self, feeder: Feeder) -> int:
        """What the declared loads leave to EVSEs; negative when they alone are too much."""
        return self.import_w(feeder) - self.base_load_w[feeder.id]

    def base_lanes_w(self, feeder: Feeder) -> Lanes:
        """Each section's declared load spread evenly (rounded up) over its own phases, and the exact sum."""
        lanes = [0, 0, 0]
        for phase in feeder_phases(feeder):
            lanes[phase - 1] += -(-feeder.base_load_w // feeder.phases)
        for child in self.children[feeder.id]:
            for lane, load_w in enumerate(self.base_lanes_w(child)[:3]):
                lanes[lane] += load_w
        return lanes[0], lanes[1], lanes[2], self.base_load_w[feeder.id]

    def evses_below(self, feeder: Feeder) -> Iterator[Evse]:
        yield from self.direct[feeder.id]
        for child in self.children[feeder.id]:
            yield from self.evses_below(child)

    def _own_slew_w_s(self, feeder: Feeder) -> int:
        declared = feeder.base_slew_w_s
        return self.rating_w(feeder) * BASE_SLEW_PCT_S // 100 if declared is None else declared

    @staticmethod
    def _explicit_or(feeder: Feeder, share_w: int) -> int:
        return share_w if feeder.fallback_w is None else feeder.fallback_w

    def _share_out(self, feeder: Feeder) -> None:
        """Explicit fallbacks first; every other EVSE, direct or below a child, gets the same share of what they leave."""
        children, direct = self.children[feeder.id], self.direct[feeder.id]
        explicit_w = sum(c.fallback_w for c in children if c.fallback_w is not None)
        explicit_w += sum(e.fallback_charge_w for e in direct if e.fallback_charge_w is not None)
        sharing = sum(1 for e in direct if e.fallback_charge_w is None)
        sharing += sum(self.evse_count[c.id] for c in children if c.fallback_w is None)
        budget_w = max(0, self.spare_w(feeder))
        if feeder.fallback_w is None:
            budget_w = min(budget_w, self.feeder_fallback_w[feeder.id])
        share_w = max(0, budget_w - explicit_w) // max(1, sharing)
        for child in children:
            left_w = min(max(0, self.spare_w(child)), share_w * self.evse_count[child.id])
            self.feeder_fallback_w[child.id] = self._explicit_or(child, left_w)
        for evse in direct:
            wish_w = self.settings.fallback.charge_w
            own_w = min(wish_w, share_w) if evse.fallback_charge_w is None else evse.fallback_charge_w
            self.evse_fallback_w[evse.id] = min(own_w, evse_ratings_w(evse, self.settings.site.grid.nominal_v)[0])


def phase_mask(phases: tuple[int, ...]) -> int:
    """(1, 3) → 0b101."""
    return sum(1 << (phase - 1) for phase in set(phases))


def feeder_phases(feeder: Feeder) -> tuple[int, ...]:
    return (1, 2, 3) if feeder.phases == 3 else (feeder.phase,)


def guaranteed_charge_w(settings: Settings) -> dict[str, int]:
    """What every EVSE can count on when all charge at once, W: its rating, less where a feeder above shares less out evenly."""
    evses, feeders = derive_evses(settings), derive_feeders(settings)
    below = [0] * len(feeders)
    paths = {evse.id: list(_up(evse.feeder, feeders)) for evse in evses}
    for path in paths.values():
        for feeder in path:
            below[feeder] += 1
    spare_w = [max(0, f.import_w[3] - f.base_w[3]) // max(1, below[i]) for i, f in enumerate(feeders)]
    return {evse.id: min([evse.rating_charge_w, *(spare_w[f] for f in paths[evse.id])]) for evse in evses}


def _up(feeder: int, feeders: Sequence[FeederLimits]) -> Iterator[int]:
    while feeder != NO_PARENT:
        yield feeder
        feeder = feeders[feeder].parent


def derive_feeders(settings: Settings) -> tuple[FeederLimits, ...]:
    """Every feeder, parents first. The settings must have passed `check`."""
    tree = Tree(settings)
    meters = {m.id: i for i, m in enumerate(settings.meters)}
    result: list[FeederLimits] = []
    for feeder in tree.feeders:
        parent = NO_PARENT if feeder.parent is None else tree.index[feeder.parent]
        rating_w = tree.rating_w(feeder)
        export_w = min(rating_w, settings.site.grid.export_limit_w) if parent == NO_PARENT else rating_w
        fallback_w, share_w = _feeder_fallback(tree, feeder)
        slew_w_s = tree.base_slew_w_s[feeder.id]
        result.append(
            FeederLimits(
                id=feeder.id,
                parent=parent,
                depth=0 if parent == NO_PARENT else result[parent].depth + 1,
                phase_mask=phase_mask(feeder_phases(feeder)),
                rating_w=rating_w,
                import_w=_lanes(feeder, rating_w // feeder.phases, tree.import_w(feeder)),
                export_w=_lanes(feeder, rating_w // feeder.phases, export_w),
                base_w=tree.base_lanes_w(feeder),
                base_slew_w_s=slew_w_s,
                base_slew_q8=per_cycle_q8_up(slew_w_s, settings.cycle.period_ns),
                evses=tree.evse_count[feeder.id],
                fallback_w=fallback_w,
                share_w=share_w,
                meter=NO_METER if feeder.meter is None else meters[feeder.meter],
            )
        )
    return tuple(result)


def _lanes(feeder: Feeder, phase_w: int, total_w: int) -> Lanes:
    """The fuse's power on each used phase, 0 on the others (a phase may carry more than the sum: another may feed back)."""
    used = feeder_phases(feeder)
    l1, l2, l3 = (phase_w if phase in used else 0 for phase in (1, 2, 3))
    return l1, l2, l3, total_w


def _feeder_fallback(tree: Tree, feeder: Feeder) -> tuple[Lanes, int]:
    """The budget per lane while the meter is lost, and one EVSE's share of it."""
    total_w = tree.feeder_fallback_w[feeder.id]
    limits = _lanes(feeder, tree.rating_w(feeder) // feeder.phases, tree.import_w(feeder))
    base = tree.base_lanes_w(feeder)
    l1, l2, l3 = (max(0, min(total_w, limits[lane] - base[lane])) for lane in range(3))
    lanes = (l1, l2, l3, total_w)
    below = list(tree.evses_below(feeder))
    sixths = [sum(_phase_sixths(e) for e in below if lane + 1 in e.phase_map) for lane in range(3)] + [6 * len(below)]
    shares = [6 * lanes[lane] // count for lane, count in enumerate(sixths) if count]
    return lanes, min(shares, default=total_w)


def _phase_sixths(evse: Evse) -> int:
    """How much of its power one phase may have to carry, in sixths: all of it, unless it is balanced by construction."""
    return 6 // len(evse.phase_map) if evse.balanced else 6


def derive_evses(settings: Settings) -> tuple[EvseLimits, ...]:
    """Every EVSE in the file's order. The settings must have passed `check`."""
    tree = Tree(settings)
    return tuple(_derive_evse(settings, tree, evse) for evse in settings.evses)


def _derive_evse(settings: Settings, tree: Tree, evse: Evse) -> EvseLimits:
    charge_w, discharge_w = evse_ratings_w(evse, settings.site.grid.nominal_v)
    thermal, ramp = settings.thermal, settings.ramp
    rating_w = max(charge_w, discharge_w)
    fallback_discharge_w = evse.fallback_discharge_w
    if fallback_discharge_w is None:
        fallback_discharge_w = settings.fallback.discharge_w
    tolerance_w = evse.follow_tolerance_w
    normal_w_s, frequency_w_s, after_failsafe_w_s = (
        rating_w * pct // 100 for pct in (ramp.normal_pct_s, ramp.frequency_pct_s, ramp.after_failsafe_pct_s)
    )
    period_ns = settings.cycle.period_ns
    return EvseLimits(
        id=evse.id,
        feeder=tree.index[evse.feeder],
        phase_mask=phase_mask(evse.phase_map),
        balanced=evse.balanced,
        discharge_allowed=discharge_w > 0 and (settings.lab or on_real_time_bus(settings, evse)),
        soc_known=evse.soc_source != "none",
        silence_tested=evse.silence_tested,
        rating_charge_w=charge_w,
        rating_discharge_w=discharge_w,
        min_charge_w=evse.min_charge_w,
        min_discharge_w=evse.min_discharge_w,
        soc_floor=soc_floor(settings, evse),
        soc_ceiling=soc_ceiling(settings, evse),
        soc_hysteresis=settings.limits.soc_hysteresis,
        soc_error=settings.limits.soc_error,
        fallback_charge_w=tree.evse_fallback_w[evse.id],
        fallback_discharge_w=min(fallback_discharge_w, discharge_w),
        ramp_normal_w_s=normal_w_s,
        ramp_frequency_w_s=frequency_w_s,
        ramp_after_failsafe_w_s=after_failsafe_w_s,
        ramp_normal_q8=per_cycle_q8(normal_w_s, period_ns),
        ramp_frequency_q8=per_cycle_q8(frequency_w_s, period_ns),
        ramp_after_failsafe_q8=per_cycle_q8(after_failsafe_w_s, period_ns),
        sensor_lost_charge_w=charge_w * thermal.sensor_lost_charge_pct // 100,
        cell_cold_dc=thermal.cell.cold_no_charge_dc,
        connector=derate_table(thermal.connector, rating_w),
        cable=derate_table(thermal.cable, rating_w),
        charger=derate_table(thermal.charger, rating_w),
        cell=derate_table(thermal.cell, rating_w),
        follow_tolerance_w=rating_w * FOLLOW_TOLERANCE_PCT // 100 if tolerance_w is None else tolerance_w,
        reaction_time_ns=evse.reaction_time_ns,
        response_ns=response_ns(evse),
    )
