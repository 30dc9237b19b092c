"""A season of one workplace in compressed time: the arbiter and the native core decide, a model of vehicles and building obeys.

Every step of 15 minutes has a plan of its own; within it the core looks once a minute, a few cycles each time, so counted
energy is not compared with the SOC (`soc_tolerance: 0`). The aggregator calls for support at noon of every workday.

Arrivals, stays and energies are drawn from the workplace profiles that evsim 1.7.1 (CRAN) gives as the example of
`get_custom_ev_model`: on workdays 80 % come at 9 ± 1 h for 8 ± 0.5 h and 15 ± 4 kWh, 20 % at 11 ± 4 h for 4 ± 2 h and
6 ± 3 kWh; at weekends all at 12 ± 4 h for 3 ± 2 h and 4 ± 4 kWh. Made up: the building's load (10 kW, in working hours 30 kW),
how full vehicles arrive (35 to 70 %), and how many come (90 % on workdays, 20 % at weekends).
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from edge.arbiter import Arbiter
from edge.config import load
from edge.config.derive import guaranteed_charge_w
from edge.config.devices import load_devices
from edge.core import Health, MeterField
from edge.core.dry import DryCore
from edge.core.layout import native_config
from edge.energy import Battery, Need, flexibility, needed_w, reserve_soc, wear_eur_per_kwh
from edge.field.canmap import EvseField, EvseFlag
from edge.gateway.model import site_model
from edge.model import Constraint, Scope, ScopeKind, Source, VehicleNeed

EVSES = 20
CAPACITY_WH, RATING_W = 60_000, 11_000
FLOOR = 3_000
EFFICIENCY = 0.92
BATTERY_EUR_PER_KWH = 120.0
STEP_MIN, DAY_MIN = 15, 24 * 60
MINUTE_NS = 60_000_000_000
CYCLES_PER_LOOK, PERIOD_NS = 4, 50_000_000
SITE_LIMIT_W, ROW_LIMIT_W = 160_000, 110_000
SUPPORT_MIN = (11 * 60, 13 * 60)
SUPPORT_W = 50_000
BEGIN_NS = 1_000_000_000_000
TRANSFER, EMPTY = 6, 0
READY = EvseFlag.BIDIRECTIONAL | EvseFlag.CONTACTOR | EvseFlag.EV_PRESENT | EvseFlag.FOLLOWING
WORKDAY = ((0.8, (9, 1), (8, 0.5), (15, 4)), (0.2, (11, 4), (4, 2), (6, 3)))
WEEKEND = ((1.0, (12, 4), (3, 2), (4, 4)),)
PRESENT_ON_WORKDAYS, PRESENT_AT_WEEKENDS = 0.9, 0.2

CONFIG = f"""
site: {{id: season, grid: {{import_limit_w: {SITE_LIMIT_W}, export_limit_w: 60000}}}}
cycle: {{period: 50ms}}
lab: true
limits: {{min_soc_threshold: 30, soc_error: 0, soc_tolerance: 0}}
ramp: {{normal_pct_s: 1000, after_failsafe_pct_s: 1000}}
feeders:
  - {{id: main, rating_a: 250, meter: grid, base_load_w: 30000, base_slew_w_s: 1000}}
  - {{id: row-a, parent: main, rating_a: 160}}
  - {{id: row-b, parent: main, rating_a: 160}}
buses:
  - {{id: can-a, kind: can, channel: vcan0}}
  - {{id: can-b, kind: can, channel: vcan1}}
  - {{id: net, kind: modbus-tcp}}
meters: [{{id: grid, bus: net, host: 127.0.0.1, profile: sim-meter}}]
evses:
"""


def config_text() -> str:
    rows = [
        f"  - {{id: evse-{n}, bus: can-{row}, dbc: evse-generic, node: {n}, feeder: row-{row}, rating_w: {RATING_W}, "
        "silence_tested: true}"
        for n in range(1, EVSES + 1)
        for row in ("a" if n % 2 else "b",)
    ]
    return CONFIG + "\n".join(rows) + "\n"


@dataclass
class Visit:
    """One vehicle's stay; minutes since the begin of the season, SOC in 0.01 %."""

    arrives: int
    leaves: int
    soc: float
    need_soc: int
    feasible: bool
    lowest: float = 0.0
    discharged_wh: float = 0.0
    power_w: int = 0


@dataclass
class Season:
    """What came of it."""

    days: int
    seed: int
    visits: int = 0
    needs_feasible: int = 0
    needs_met: int = 0
    limit_violations: int = 0
    charged_kwh: float = 0.0
    to_grid_kwh: float = 0.0
    support_asked_kwh: float = 0.0
    wear_eur: float = 0.0
    first_violations: list[str] = field(default_factory=list)

    def violate(self, text: str) -> None:
        self.limit_violations += 1
        if len(self.first_violations) < 5:
            self.first_violations.append(text)


def draw_visits(dice: random.Random, days: int, charge_w: int) -> list[Visit]:
    """At most one a day; the need is what the vehicle came for, on top of what it brought."""
    visits = []
    for day in range(days):
        workday = day % 7 < 5
        if dice.random() > (PRESENT_ON_WORKDAYS if workday else PRESENT_AT_WEEKENDS):
            continue
        profiles = WORKDAY if workday else WEEKEND
        start, stay, energy = dice.choices([p[1:] for p in profiles], [p[0] for p in profiles])[0]
        arrives = day * DAY_MIN + int(60 * min(max(dice.gauss(*start), 0), 22))
        hours = min(max(dice.gauss(*stay), 0.5), 23.5 - arrives % DAY_MIN / 60)
        leaves = arrives + int(60 * hours)
        soc = dice.uniform(3_500, 7_000)
        need_soc = min(10_000, round(soc + 1e7 * max(dice.gauss(*energy), 0) / CAPACITY_WH))
        battery = Battery(CAPACITY_WH, charge_w, RATING_W, EFFICIENCY)
        reserve = reserve_soc(battery, Need(need_soc, leaves * MINUTE_NS), (arrives + STEP_MIN) * MINUTE_NS)
        visits.append(Visit(arrives, leaves, soc, need_soc, feasible=soc >= reserve, lowest=soc))
    return visits


class Site:
    """Twenty EVSEs under the real arbiter and core."""

    def __init__(self, days: int, seed: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "config.yaml"
            path.write_text(config_text())
            settings = load(path, files=False)
            self.config = native_config(settings, load_devices(settings, path.parent), bank=0)
        self.core = DryCore(self.config, Health.REALTIME | Health.GUARD | Health.ON_TIME)
        self.arbiter = Arbiter(site_model(settings))
        guaranteed_w = guaranteed_charge_w(settings)
        dice = random.Random(seed)
        self.coming = [draw_visits(dice, days, guaranteed_w[e.id]) for e in self.config.evses]
        self.here: list[Visit | None] = [None] * EVSES
        self.batteries = [Battery(CAPACITY_WH, guaranteed_w[e.id], RATING_W, EFFICIENCY) for e in self.config.evses]
        self.result = Season(days, seed)
        self.now_ns = BEGIN_NS

    def base_w(self, minute: int) -> int:
        return 30_000 if minute // DAY_MIN % 7 < 5 and 7 * 60 <= minute % DAY_MIN < 18 * 60 else 10_000

    # ---- Vehicles ----

    def move(self, minute: int) -> None:
        """Who leaves is judged, who comes is there."""
        for i, visit in enumerate(self.here):
            if visit is not None and visit.leaves <= minute:
                self.leave(visit)
                self.here[i] = None
            if self.here[i] is None and self.coming[i] and self.coming[i][0].arrives <= minute:
                self.here[i] = self.coming[i].pop(0)

    def leave(self, visit: Visit) -> None:
        result = self.result
        result.visits += 1
        result.needs_feasible += visit.feasible
        result.needs_met += visit.feasible and visit.soc >= visit.need_soc - 1
        if visit.discharged_wh:
            depth = min(1.0, visit.discharged_wh / CAPACITY_WH)
            price = wear_eur_per_kwh(BATTERY_EUR_PER_KWH, depth, RATING_W / CAPACITY_WH, 25.0)
            result.wear_eur += price * visit.discharged_wh / 1000

    def flow(self) -> None:
        """One minute at the setpoints."""
        for visit, battery in zip(self.here, self.batteries, strict=True):
            if visit is None:
                continue
            wh = visit.power_w / 60
            visit.soc = min(10_000.0, visit.soc + battery.soc(wh * EFFICIENCY if wh > 0 else wh / EFFICIENCY))
            self.result.charged_kwh += max(0.0, wh) / 1000
            if wh < 0:
                visit.discharged_wh -= wh
                self.result.to_grid_kwh -= wh / 1000

    # ---- Deciding ----

    def plan(self, minute: int) -> None:
        """A new plan for the next 15 minutes."""
        needs, spare_w = {}, {}
        day_min = minute % DAY_MIN
        supporting = minute // DAY_MIN % 7 < 5 and SUPPORT_MIN[0] <= day_min < SUPPORT_MIN[1]
        for i, visit in enumerate(self.here):
            if visit is None:
                continue
            evse, battery = self.config.evses[i].id, self.batteries[i]
            need, now_ns = Need(visit.need_soc, visit.leaves * MINUTE_NS), minute * MINUTE_NS
            soc, ahead_ns = int(visit.soc), STEP_MIN * MINUTE_NS
            reserve = reserve_soc(battery, need, now_ns + ahead_ns)
            needs[evse] = VehicleNeed(reserve, needed_w(battery, need, soc, now_ns, 2 * ahead_ns))
            spare = flexibility(battery, need, soc, FLOOR, 10_000, now_ns)
            spare_w[evse] = min(spare.up_w, spare.up_wh * 60 // STEP_MIN)
        self.arbiter.needs = needs
        self.dispatch(spare_w if supporting else {})
        if supporting:
            self.result.support_asked_kwh += SUPPORT_W * STEP_MIN / 60 / 1000

    def dispatch(self, spare_w: dict[str, int]) -> None:
        """The aggregator's part: support in proportion to what each said it can spare."""
        for scope in list(self.arbiter.store.of_source(Source.AGGREGATOR)):
            self.arbiter.withdraw(Source.AGGREGATOR, scope)
        total_w = sum(spare_w.values())
        share = min(1.0, SUPPORT_W / total_w) if total_w else 0.0
        self.arbiter.put(
            Constraint(Source.AGGREGATOR, Scope(ScopeKind.EVSE, evse), target_w=-int(power_w * share))
            for evse, power_w in spare_w.items()
        )

    def look(self, minute: int) -> None:
        """A few cycles of the core, as at any other moment; then a minute passes."""
        self.now_ns += MINUTE_NS
        self.core.adopt(self.arbiter.renew(self.now_ns), self.now_ns)
        for _ in range(CYCLES_PER_LOOK):
            total_w = 0
            for i, visit in enumerate(self.here):
                self.core.hear_evse(i, self.values(i, visit), self.now_ns)
                total_w += 0 if visit is None else visit.power_w
            load_w = self.base_w(minute) + total_w
            phases = dict.fromkeys((MeterField.P_L1, MeterField.P_L2, MeterField.P_L3), load_w // 3)
            meter = {**phases, MeterField.P_TOTAL: load_w, MeterField.LIVENESS: self.now_ns // PERIOD_NS % 1_000_000}
            self.core.hear_meter(0, meter, self.now_ns)
            self.core.cycle(self.now_ns)
            for i, visit in enumerate(self.here):
                if visit is not None:
                    visit.power_w = self.core.target_w(i)
            self.now_ns += PERIOD_NS

    def values(self, index: int, visit: Visit | None) -> dict[EvseField, int]:
        if visit is None:
            return {EvseField.STATE: EMPTY, EvseField.FLAGS: 0, EvseField.POWER: 0}
        phase_w = abs(visit.power_w) // 3
        return {
            EvseField.STATE: TRANSFER,
            EvseField.FLAGS: READY,
            EvseField.POWER: visit.power_w,
            EvseField.SOC: int(visit.soc),
            EvseField.T_CONNECTOR: 300,
            EvseField.T_CABLE: 300,
            EvseField.T_CHARGER: 300,
            EvseField.T_CELL_MAX: 250,
            EvseField.T_CELL_MIN: 250,
            EvseField.MAX_CHARGE: RATING_W,
            EvseField.MAX_DISCHARGE: RATING_W,
            EvseField.CAPACITY: CAPACITY_WH,
            EvseField.P_L1: phase_w,
            EvseField.P_L2: phase_w,
            EvseField.P_L3: phase_w,
        }

    # ---- Judging: knows the limits, not the core ----

    def judge(self, minute: int) -> None:
        rows = [0, 0]
        for i, visit in enumerate(self.here):
            if visit is None:
                continue
            rows[i % 2] += visit.power_w
            if abs(visit.power_w) > RATING_W:
                self.result.violate(f"minute {minute}: evse-{i + 1} at {visit.power_w} W")
            if visit.power_w < 0 and visit.soc <= FLOOR:
                self.result.violate(f"minute {minute}: evse-{i + 1} discharges at {visit.soc / 100:.2f} %")
        if self.base_w(minute) + sum(rows) > SITE_LIMIT_W:
            self.result.violate(f"minute {minute}: the site draws {self.base_w(minute) + sum(rows)} W")
        if max(rows) > ROW_LIMIT_W:
            self.result.violate(f"minute {minute}: rows draw {rows} W")

    def run(self, progress: Callable[[int], None]) -> Season:
        for minute in range(self.result.days * DAY_MIN):
            if minute % DAY_MIN == 0:
                progress(minute // DAY_MIN)
            self.move(minute)
            if minute % STEP_MIN == 0:
                self.plan(minute)
            if any(visit is not None for visit in self.here):
                self.look(minute)
                self.judge(minute)
                self.flow()
        return self.result


def run(days: int, seed: int = 1, progress: Callable[[int], None] = lambda _: None) -> Season:
    return Site(days, seed).run(progress)


if __name__ == "__main__":
    print(asdict(run(int(sys.argv[1]), progress=lambda day: print(f"day {day}", file=sys.stderr))))
