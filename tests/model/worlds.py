"""Random sites and what happens on them: strategies of hypothesis whose failing examples read like a report from the field."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import strategies as st

from tests.model.records import (
    EVSE_FIELDS,
    METER_FIELDS,
    NOBODY,
    SENSORS,
    Config,
    Derate,
    Estimate,
    EvseConfig,
    EvsePlan,
    FeederConfig,
    FeederPlan,
    Image,
    Plan,
    Proposal,
    Reading,
    Setpoint,
    empty_image,
    safe_plan,
)

MS = 1_000_000
PERIOD_NS = 10 * MS
PLAN_RENEWED_CYCLES = 10
LEASE_NS = 2000 * MS
EV_THERE = 2 | 4 | 8  # bidirectional, contactor, EV present
PHASES = st.sampled_from(
    [(True, True, True)] * 4 + [(True, False, False), (False, True, False), (True, False, True), (False, True, True)]
)


def ms(low: int, high: int) -> st.SearchStrategy[int]:
    return st.integers(low, high).map(lambda value: value * MS)


def seldom(usual: Any, strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.just(usual), st.just(usual), strategy)


# ---- Sites ---------------------------------------------------------------------------------------------------------------


@st.composite
def derates(draw: st.DrawFn) -> Derate:
    limits_w = sorted(draw(st.lists(st.integers(0, 40_000), min_size=16, max_size=16)), reverse=True)
    stop = draw(st.integers(450, 1000))
    return Derate(
        start=draw(st.integers(350, 800)),
        shift=draw(st.integers(0, 6)),
        limit_w=limits_w,
        stop=stop,
        resume=stop - draw(st.integers(1, 200)),
        resume_hold_ns=draw(ms(10, 500)),
    )


@st.composite
def evses(draw: st.DrawFn, key: int, feeders: int, tables: int) -> EvseConfig:
    yes = seldom(True, seldom(True, st.booleans()))
    rating_charge_w, rating_discharge_w = draw(st.integers(1000, 50_000)), draw(seldom(22_000, st.integers(0, 50_000)))
    fast_q8 = draw(seldom(50_000 * 256, st.integers(1, 2_000_000)))
    factor_q32 = st.integers(0, 2**32 - 1)
    model_q44 = seldom(0, st.integers(1, 4_000_000))
    return EvseConfig(
        key=key,
        may_discharge=draw(yes),
        soc_source=draw(yes),
        silence_tested=draw(yes),
        balanced=draw(st.booleans()),
        feeder=draw(st.integers(0, feeders - 1)),
        phases=draw(PHASES),
        rating_charge_w=rating_charge_w,
        rating_discharge_w=rating_discharge_w,
        min_charge_w=draw(st.sampled_from([0, 1400, 4000])),
        min_discharge_w=draw(st.sampled_from([0, 1400, 4000])),
        fallback_charge_w=draw(st.integers(0, rating_charge_w)),
        fallback_discharge_w=0,
        sensor_lost_charge_w=draw(st.integers(0, rating_charge_w)),
        soc_floor=draw(seldom(3000, st.integers(0, 6000))),
        soc_ceiling=draw(seldom(10_000, st.integers(6000, 10_000))),
        soc_hysteresis=draw(st.integers(0, 500)),
        soc_margin=draw(st.integers(0, 300)),
        cell_cold=draw(st.integers(-100, 100)),
        derate=draw(st.lists(st.sampled_from([*range(tables), NOBODY]), min_size=4, max_size=4)),
        ramp_q8=fast_q8,
        ramp_return_q8=draw(seldom(min(fast_q8, 1000 * 256), st.integers(1, fast_q8))),
        ramp_frequency_q8=draw(seldom(0, st.integers(0, 2 * fast_q8))),
        follow_tolerance_w=draw(st.integers(0, 2000)),
        ambient=draw(st.integers(-300, 600)),
        contact_alarm=draw(seldom(0, st.integers(1, 300))),
        soc_tolerance=draw(seldom(0, st.integers(1, 1000))),
        contact_q44=draw(model_q44),
        cable_q44=draw(model_q44),
        contact_step_q32=draw(factor_q32),
        cable_step_q32=draw(factor_q32),
        contact_ahead_q32=draw(factor_q32),
        cable_ahead_q32=draw(factor_q32),
        rise_step_q32=draw(seldom(0, factor_q32)),
        link_age_ns=draw(ms(10, 100)),
        soc_age_ns=draw(ms(10, 500)),
        temp_age_ns=draw(ms(10, 500)),
        phase_age_ns=draw(ms(10, 200)),
        limits_age_ns=draw(ms(10, 500)),
        reaction_ns=draw(ms(10, 300)),
    )


@st.composite
def feeders(draw: st.DrawFn, index: int, meters: int) -> FeederConfig:
    fuse_w = draw(st.sampled_from([200_000, 30_000, 15_000, 5000]))
    site_w = draw(seldom(3 * fuse_w, st.integers(0, 3 * fuse_w)))
    import_w, export_w = [fuse_w] * 3 + [site_w], [fuse_w] * 3 + [draw(seldom(3 * fuse_w, st.integers(0, 3 * fuse_w)))]
    base_w = [draw(st.integers(0, w // 4)) for w in import_w]
    fallback_w = [draw(st.integers(0, w - b)) for w, b in zip(import_w, base_w, strict=True)]
    return FeederConfig(
        key=1000 + index,
        parent=NOBODY if index == 0 else draw(st.integers(0, index - 1)),
        meter=draw(st.sampled_from([*range(meters), *range(meters), NOBODY])),
        import_w=import_w,
        export_w=export_w,
        base_w=base_w,
        fallback_w=fallback_w,
        share_w=fallback_w[3] // 4,
        slew_q8=draw(st.sampled_from([0, 300, 50_000])),
        meter_age_ns=draw(ms(10, 500)),
        liveness_age_ns=draw(seldom(0, ms(10, 500))),
        refresh_ns=draw(st.sampled_from([0, 10 * MS, 35 * MS, 200 * MS])),
    )


@st.composite
def sites(draw: st.DrawFn) -> Config:
    """1 to 4 EVSEs below 1 to 3 feeders with 1 or 2 meters."""
    meters, tables = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    feeder_list = [draw(feeders(f, meters)) for f in range(draw(st.integers(1, 3)))]
    count = draw(st.integers(1, 4))
    return Config(
        lab=draw(st.booleans()),
        guard_required=draw(st.booleans()),
        period_ns=PERIOD_NS,
        meters=meters,
        evses=[draw(evses(i + 1, len(feeder_list), tables)) for i in range(count)],
        feeders=feeder_list,
        derates=[draw(derates()) for _ in range(tables)],
    )


# ---- What happens --------------------------------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class Event:
    """`who` (an EVSE, meter or feeder, modulo how many there are) does `verb` with `what` and `value`; then `cycles` pass, and
    all devices heal or stay as they are."""

    verb: str
    who: int
    what: Any
    value: Any
    cycles: int
    heals: bool


VALUES: dict[str, st.SearchStrategy[int]] = {
    "state": st.integers(-1, 8),
    "flags": st.integers(0, 255),
    "power": st.integers(-60_000, 60_000) | st.integers(-(2**31), 2**31 - 1),
    "soc": st.integers(2500, 3500) | st.integers(-5, 10_010) | st.just(65_535),
    "t_cell_min": st.integers(-150, 150) | st.integers(-2000, 4000),
    "max_charge": st.integers(-10, 60_000),
    "max_discharge": st.integers(-10, 60_000),
    "capacity": st.integers(0, 2000) | st.integers(-10, 4_000_000),
    "p_l1": st.integers(0, 10_000),
    "p_l2": st.integers(-100, 5_000_000),
    "p_l3": st.integers(0, 10_000),
}
TEMPERATURE = st.integers(300, 1050) | st.integers(-2000, 4000)
TOLD = sorted({*VALUES, "t_connector", "t_cable", "t_charger", "t_cell_max"})
SIGNED_W = st.integers(-60_000, 60_000)


@st.composite
def evse_plans(draw: st.DrawFn) -> EvsePlan:
    low_w, high_w = sorted(draw(st.tuples(SIGNED_W, SIGNED_W)))
    after_low_w, after_high_w = sorted(draw(st.tuples(SIGNED_W, SIGNED_W)))
    usual = draw(st.booleans())
    return EvsePlan(
        min_w=min(low_w, 0) if usual else low_w,
        max_w=max(high_w, 0) if usual else high_w,
        target_w=draw(SIGNED_W),
        after_min_w=after_low_w,
        after_max_w=after_high_w,
        after_target_w=draw(SIGNED_W),
        until_ns=draw(seldom(2**62, ms(-100, 2000))),  # relative to now
        soc_floor=draw(seldom(0, st.integers(0, 8000))),
        ramp_q8=draw(seldom(0, st.integers(0, 1_000_000))),
        locked=draw(seldom(False, st.booleans())),
        site_target=draw(seldom(False, st.booleans())),
    )


FEEDER_W = st.just(4_000_000) | st.integers(0, 120_000)
FEEDER_PLANS = st.builds(FeederPlan, FEEDER_W, FEEDER_W, FEEDER_W, FEEDER_W, seldom(2**62, ms(-100, 2000)))


def event(verb: str, what: Any = None, value: Any = None) -> st.SearchStrategy[Event]:
    def strategy(given: Any) -> st.SearchStrategy[Any]:
        return given if isinstance(given, st.SearchStrategy) else st.just(given)

    who, heals = st.integers(0, 3), seldom(True, st.booleans())
    return st.builds(Event, st.just(verb), who, strategy(what), strategy(value), CYCLES, heals)


def says() -> st.SearchStrategy[Event]:
    return st.sampled_from(TOLD).flatmap(lambda name: event("says", name, VALUES.get(name, TEMPERATURE)))


SHARES = st.tuples(SIGNED_W, SIGNED_W, st.integers(0, 40), st.integers(0, 255), st.integers(0, 40))
CYCLES = st.integers(1, 12) | st.integers(1, 60)
ANY_FIELD = st.sampled_from(TOLD)
FLAGS = st.sampled_from([EV_THERE | 1, EV_THERE | 32, EV_THERE | 33, EV_THERE & ~2, EV_THERE & ~8, EV_THERE])
NEAR = st.sampled_from([0, 0, 0, -1, 1])
EVENTS = st.one_of(
    says(),
    says(),
    event("says", "flags", FLAGS),
    event("says", "state", st.integers(0, 6)),
    event("stands at a limit", st.integers(0, 60), NEAR),
    event("stands at a limit", st.integers(0, 60), NEAR),
    event("stands at a limit", st.integers(0, 60), NEAR),
    event("draws at a limit", st.integers(0, 7), NEAR),
    event("falls silent"),
    event("stops telling", ANY_FIELD),
    event("tells no value of", ANY_FIELD),
    event("is stamped in the future", ANY_FIELD, ms(1, 200)),
    event("draws", None, SIGNED_W),
    event("loads one phase", st.integers(0, 2)),
    event("is unplugged"),
    event("meter falls silent"),
    event("meter tells no value of", st.sampled_from(METER_FIELDS)),
    event("meter says", st.sampled_from(METER_FIELDS), st.integers(-60_000, 120_000) | st.integers(-(2**31), 2**31 - 1)),
    event("meter freezes"),
    event("base load", None, st.integers(-30_000, 90_000)),
    event("plan", None, evse_plans()),
    event("plan", None, evse_plans()),
    event("feeder plan", None, FEEDER_PLANS),
    event("python stalls"),
    event("health", None, st.integers(0, 7)),
    event("is estimated", st.lists(TEMPERATURE, min_size=4, max_size=4), st.booleans()),
    event("is proposed", SIGNED_W, st.tuples(seldom(0, st.integers(0, 40)), seldom(0, st.integers(0, 65_535)))),
    event("has a share", SHARES, st.tuples(st.booleans(), st.booleans())),
    event("time leaps", None, ms(0, 3000)),
)


@dataclass(slots=True)
class World:
    """The site and its devices between the cycles."""

    config: Config
    now_ns: int = 1000 * MS
    plan: Plan = field(init=False)  # as adopted
    evse_plans: list[EvsePlan] = field(init=False)  # for the next renewal
    feeder_plans: list[FeederPlan] = field(init=False)
    image: Image = field(init=False)
    silent: set[int] = field(default_factory=set)
    untold: set[tuple[int, str]] = field(default_factory=set)
    drawn_w: dict[int, int] = field(default_factory=dict)
    one_phase: dict[int, int] = field(default_factory=dict)
    meter_silent: set[int] = field(default_factory=set)
    meter_frozen: set[int] = field(default_factory=set)
    estimated: dict[int, Estimate] = field(default_factory=dict)
    base_w: int = 0
    stalled: bool = False
    news: bool = True
    epoch: int = 2**31 - 3  # epochs pass the middle of their range early
    limits_epoch: int = 2**32 - 3  # and their end
    cycle: int = 0

    def __post_init__(self) -> None:
        self.plan, self.image = safe_plan(self.config), empty_image(self.config)
        usual = EvsePlan(min_w=-22_000, max_w=22_000, target_w=9000, after_max_w=4200, until_ns=2**62)
        self.evse_plans = [usual for _ in self.config.evses]
        self.feeder_plans = [FeederPlan(*[4_000_000] * 4, 2**62) for _ in self.config.feeders]
        self.heals()

    def _plug(self, i: int) -> None:
        usual = {"state": 6, "flags": EV_THERE, "soc": 6000, "max_charge": 22_000, "max_discharge": 22_000}
        usual["capacity"] = 60_000
        cool = {name: 250 for name in EVSE_FIELDS if name.startswith("t_")}
        for name, value in (usual | cool).items():
            self.image.evses[i][name].value = value
        for reading in self.image.evses[i].values():
            reading.valid = True

    def heals(self) -> None:
        """Every device works and is plugged in, Python runs; the plans stay."""
        for faults in (self.silent, self.untold, self.drawn_w, self.one_phase, self.meter_silent, self.meter_frozen):
            faults.clear()
        self.image.realtime = self.image.guard = self.image.on_time = True
        self.image.proposals = [Proposal() for _ in self.config.evses]
        self.base_w, self.stalled, self.news = 0, False, True
        for i in range(len(self.config.evses)):
            self._plug(i)
        for told in self.image.meters:
            for reading in told.values():
                reading.valid = True

    def happens(self, event: Event) -> None:
        action: Callable[[Event], None] = getattr(self, "_" + event.verb.replace(" ", "_"))
        action(event)

    def _evse(self, event: Event) -> int:
        return event.who % len(self.config.evses)

    def _meter(self, event: Event) -> int:
        return event.who % self.config.meters

    def _says(self, event: Event) -> None:
        self._tell(self.image.evses[self._evse(event)][event.what], event.value)

    def _stands_at_a_limit(self, event: Event) -> None:
        """A value exactly at one of its limits, or one step beside it."""
        i = self._evse(event)
        limits = evse_limits(self.config, i, self.plan)
        name, value = limits[event.what % len(limits)]
        self._tell(self.image.evses[i][name], value + event.value)

    def _draws_at_a_limit(self, event: Event) -> None:
        """A power, or the load of one phase, at the bound of what its setpoint or an even load allows."""
        i = self._evse(event)
        evse, told = self.config.evses[i], self.image.evses[i]
        share_w = -(-abs(told["power"].value) // sum(evse.phases))
        phase = {"p_l1": share_w + 500, "p_l2": share_w + 500, "p_l3": share_w + 500}
        power_w = [evse.follow_tolerance_w, -evse.follow_tolerance_w, 1000, -1000, told["power"].value][event.what % 5]
        if event.what < 5:
            self.drawn_w[i] = power_w + event.value
        else:
            name = f"p_l{event.what - 4}"
            self.untold |= {(i, each) for each in phase}
            self._tell(told[name], phase[name] + event.value)
            for each in phase:
                told[each].acquired_ns = self.now_ns + PERIOD_NS

    def _falls_silent(self, event: Event) -> None:
        self.silent.add(self._evse(event))

    def _stops_telling(self, event: Event) -> None:
        self.untold.add((self._evse(event), event.what))

    def _tells_no_value_of(self, event: Event) -> None:
        self.image.evses[self._evse(event)][event.what].valid = False

    def _is_stamped_in_the_future(self, event: Event) -> None:
        self.untold.add((self._evse(event), event.what))
        self.image.evses[self._evse(event)][event.what].acquired_ns = self.now_ns + event.value

    def _draws(self, event: Event) -> None:
        self.drawn_w[self._evse(event)] = event.value

    def _loads_one_phase(self, event: Event) -> None:
        self.one_phase[self._evse(event)] = event.what

    def _is_unplugged(self, event: Event) -> None:
        told = self.image.evses[self._evse(event)]
        told["state"].value, told["flags"].value = 0, 0

    def _meter_falls_silent(self, event: Event) -> None:
        self.meter_silent.add(self._meter(event))

    def _meter_tells_no_value_of(self, event: Event) -> None:
        self.image.meters[self._meter(event)][event.what].valid = False

    def _meter_says(self, event: Event) -> None:
        self._meter_freezes(event)
        self._tell(self.image.meters[self._meter(event)][event.what], event.value)

    def _meter_freezes(self, event: Event) -> None:
        self.meter_frozen.add(self._meter(event))

    def _base_load(self, event: Event) -> None:
        self.base_w = event.value

    def _plan(self, event: Event) -> None:
        until_ns = min(self.now_ns + event.value.until_ns, 2**62)
        self.evse_plans[self._evse(event)] = replace(event.value, until_ns=until_ns)
        self.limits_epoch = (self.limits_epoch + 1) % 2**32
        self.news = True

    def _feeder_plan(self, event: Event) -> None:
        until_ns = min(self.now_ns + event.value.until_ns, 2**62)
        self.feeder_plans[event.who % len(self.config.feeders)] = replace(event.value, until_ns=until_ns)
        self.news = True

    def _python_stalls(self, event: Event) -> None:
        self.stalled = True

    def _health(self, event: Event) -> None:
        self.image.realtime, self.image.guard, self.image.on_time = (bool(event.value >> k & 1) for k in range(3))

    def _is_estimated(self, event: Event) -> None:
        self.estimated[self._evse(event)] = Estimate(predicted=event.what, soc_doubt=event.value)

    def _is_proposed(self, event: Event) -> None:
        proposal = self.image.proposals[self._evse(event)]
        proposal.target_w = event.what
        proposal.grid_charge, proposal.grid_discharge = event.value

    def _has_a_share(self, event: Event) -> None:
        proposal = self.image.proposals[self._evse(event)]
        proposal.shares = True
        proposal.share_charge_w, proposal.share_discharge_w = event.what[:2]
        proposal.why_charge, proposal.why_discharge, proposal.why_target = event.what[2:]
        proposal.asks, proposal.fast = event.value

    def _time_leaps(self, event: Event) -> None:
        self.now_ns += event.value

    def _tell(self, reading: Reading, value: int) -> None:
        if reading.value != value:
            reading.value, reading.changed_ns = value, self.now_ns

    def next_cycle(self, setpoints: list[Setpoint]) -> bool:
        """Time goes on, devices answer, Python renews its plan; returns whether it did."""
        self.now_ns += PERIOD_NS
        self.cycle += 1
        sum_w = 0
        for i in range(len(self.config.evses)):
            power_w = self.drawn_w.get(i, setpoints[i].target_w if setpoints else 0)
            sum_w += power_w
            if i not in self.silent:
                self._evse_answers(i, power_w)
        for m, told in enumerate(self.image.meters):
            if m not in self.meter_silent:
                self._meter_answers(m, told, self.base_w + sum_w)
        return self._renew_plan()

    def _evse_answers(self, i: int, power_w: int) -> None:
        told = self.image.evses[i]
        connected = [k for k in range(3) if self.config.evses[i].phases[k]]
        if i in self.one_phase:
            connected = [self.one_phase[i]]
        shares = {f"p_l{k + 1}": abs(power_w) // len(connected) if k in connected else 0 for k in range(3)}
        wanted = {"power": power_w} | shares
        for name, reading in told.items():
            if (i, name) not in self.untold:
                if name in wanted and (i in self.drawn_w or self.cycle % 3):  # between, what it was told to say stays
                    self._tell(reading, wanted[name])
                reading.acquired_ns = self.now_ns

    def _meter_answers(self, m: int, told: dict[str, Reading], power_w: int) -> None:
        frozen = m in self.meter_frozen
        for k, name in enumerate(("p_l1", "p_l2", "p_l3", "p_total")):
            if not frozen:
                self._tell(told[name], clamp_32(power_w if k == 3 else power_w // 3))
        if not frozen:
            self._tell(told["liveness"], self.cycle)
        for reading in told.values():
            reading.acquired_ns = self.now_ns

    def _renew_plan(self) -> bool:
        if self.stalled or (self.cycle % PLAN_RENEWED_CYCLES != 1 and not self.news):
            return False
        self.news = False
        self.epoch = (self.epoch + 1) % 2**32 or 1
        lease_ns = self.now_ns + LEASE_NS
        self.plan = Plan(list(self.evse_plans), list(self.feeder_plans), self.epoch, self.limits_epoch, self.now_ns, lease_ns)
        return True


def evse_limits(config: Config, i: int, plan: Plan) -> list[tuple[str, int]]:
    """Every value of an EVSE at which something begins or ends."""
    evse = config.evses[i]
    floor = max(evse.soc_floor, plan.evses[i].soc_floor)
    limits = [("soc", 0), ("soc", 10_000), ("t_cell_min", evse.cell_cold), ("t_cell_min", -1000), ("max_charge", 0)]
    limits += [("soc", floor + evse.soc_margin), ("soc", floor + evse.soc_hysteresis + evse.soc_margin)]
    limits += [("soc", evse.soc_ceiling - margin) for margin in (evse.soc_margin, evse.soc_hysteresis + evse.soc_margin)]
    for sensor, index in zip(SENSORS, evse.derate, strict=True):
        if index != NOBODY:
            table = config.derates[index]
            steps = [table.start + (k << table.shift) for k in (0, 1, 15, 16)]
            limits += [(sensor, value) for value in (table.stop, table.resume, -1000, *steps)]
    return limits


def clamp_32(value: int) -> int:
    return max(-(2**31), min(value, 2**31 - 1))
