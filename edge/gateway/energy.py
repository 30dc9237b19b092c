"""Vehicles' needs and local modes: from the config and the newest snapshot into the arbiter, once a second.

It only adds: a reserve raises a floor, a need wishes, a mode speaks as `local` while no aggregator does. Wall time is used only
while the clock can be believed; without it a departure counts as now, which spares nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime

from edge.arbiter import Arbiter, weights
from edge.config import Settings
from edge.config.derive import EvseLimits, derive_evses, guaranteed_charge_w
from edge.core import EvseSnapshot, Snapshot
from edge.energy import (
    TEMPERATURE_RANGE_C,
    Battery,
    Flexibility,
    Modes,
    Need,
    Tariff,
    Window,
    flexibility,
    local_constraints,
    needed_w,
    reserve_soc,
    wear_eur_per_kwh,
)
from edge.field.canmap import EvseField, EvseFlag
from edge.gateway.planner import measured_w
from edge.model import Constraint, Scope, ScopeKind, Source, VehicleNeed

PERIOD_S = 1.0
AHEAD_NS = 60_000_000_000
"""A need begins to charge when waiting this much longer would be too late."""
TYPICAL_DEPTH = 0.5
"""Depth of cycle at which a vehicle's wear is priced. [C]"""
FULL = 10_000
SECOND_NS = 1_000_000_000


def minutes(text: str) -> int:
    """`07:30` → 450."""
    hours, _, rest = text.partition(":")
    return 60 * int(hours) + int(rest)


def modes_of(settings: Settings) -> Modes:
    """The local modes of a config."""
    own, tariff = settings.local_modes, settings.local_modes.tariff
    efficiency = settings.energy.efficiency_pct / 100
    wear = wear_eur_per_kwh(settings.energy.battery_eur_per_kwh, TYPICAL_DEPTH, 0.2, sum(TEMPERATURE_RANGE_C) / 2)
    return Modes(
        solar_surplus=own.solar_surplus,
        demand_limit_w=own.demand_limit_w,
        tariff=None
        if tariff is None
        else Tariff(
            tuple(Window(minutes(w.begin), minutes(w.end), w.eur_per_kwh) for w in tariff.windows),
            tariff.otherwise_eur_per_kwh,
            wear,
            efficiency,
        ),
    )


def departure_ns(by: str, now_ns: int, minute: int | None, second: int = 0) -> int:
    """The next time that it is `by` o'clock; now, while nobody knows what time it is."""
    if minute is None:
        return now_ns
    wait_min = (minutes(by) - minute) % (24 * 60)
    return now_ns + max(0, 60 * wait_min - second) * SECOND_NS


class EnergyPlanner:
    """Keeps the arbiter's needs and the local modes up to date."""

    def __init__(self, arbiter: Arbiter, settings: Settings, clock_trusted: Callable[[], bool]) -> None:
        self._arbiter, self._clock_trusted = arbiter, clock_trusted
        self.sharing_needs: dict[str, weights.Need] = {}
        """Of the same vehicles, for the weights of sharing."""
        self.flexibilities: dict[str, Flexibility] = {}
        """Of every vehicle whose SOC and capacity are known, by EVSE."""
        self.adopt(settings)

    def adopt(self, settings: Settings) -> None:
        """A changed config."""
        self._settings, self._modes = settings, modes_of(settings)
        self._limits = {limits.id: limits for limits in derive_evses(settings)}
        self._departures = {evse.id: evse.departure for evse in settings.evses}
        self._guaranteed_w = guaranteed_charge_w(settings)

    def update(self, snapshot: Snapshot) -> None:
        now_ns, wall = time.monotonic_ns(), datetime.now()
        minute = 60 * wall.hour + wall.minute if self._clock_trusted() else None
        clock = (minute, wall.second)
        needs: dict[str, VehicleNeed] = {}
        self.flexibilities, self.sharing_needs = {}, {}
        for evse in snapshot.evses:
            present = (evse.inputs.value(EvseField.FLAGS) or 0) & EvseFlag.EV_PRESENT
            soc = evse.inputs.value(EvseField.SOC)
            if evse.id in self._limits and present and soc is not None:
                self._look(evse, soc, now_ns, clock, needs)
        self._arbiter.needs = needs
        self._speak(self._modes_now(snapshot, now_ns, minute))

    def _look(
        self, evse: EvseSnapshot, soc: int, now_ns: int, clock: tuple[int | None, int], needs: dict[str, VehicleNeed]
    ) -> None:
        """One vehicle: what it must keep, must have now, and can spare."""
        limits, departure = self._limits[evse.id], self._departures[evse.id]
        battery, need = self._battery(evse, limits), None
        if departure is not None:
            need = Need(departure.soc, departure_ns(departure.by, now_ns, *clock), self._settings.energy.early_ns)
        barred = self._wears_too_much(evse, battery)
        if need is not None or barred:
            reserve = FULL if barred else reserve_soc(battery, need, now_ns)
            by = f"departure {departure.by}" if departure is not None else ""
            by = "wear above energy.max_wear_eur_per_kwh, or not known at this cell temperature" if barred else by
            needs[evse.id] = VehicleNeed(reserve, needed_w(battery, need, soc, now_ns, AHEAD_NS), by)
        floor = FULL if barred else limits.soc_floor
        self.flexibilities[evse.id] = flexibility(battery, need, soc, floor, limits.soc_ceiling, now_ns)
        self.sharing_needs[evse.id] = weights.Need(
            soc=soc,
            energy_wh=None if need is None else max(0, int(battery.energy_wh(need.soc - soc))),
            departure_s=None if need is None else (need.by_ns - now_ns) // SECOND_NS,
            rating_w=limits.rating_charge_w,
        )

    def _battery(self, evse: EvseSnapshot, limits: EvseLimits) -> Battery:
        """As told by the vehicle where it tells, and never more than the EVSE can count on when all others charge too."""
        told = evse.inputs.value
        capacity_wh = told(EvseField.CAPACITY) or self._settings.energy.default_capacity_wh
        charge_w = min(self._guaranteed_w[evse.id], told(EvseField.MAX_CHARGE) or limits.rating_charge_w)
        discharge_w = min(limits.rating_discharge_w, told(EvseField.MAX_DISCHARGE) or 0)
        return Battery(capacity_wh, charge_w, discharge_w, self._settings.energy.efficiency_pct / 100)

    def _wears_too_much(self, evse: EvseSnapshot, battery: Battery) -> bool:
        """Discharging at full power costs more battery than the config allows, or nobody knows how much."""
        most = self._settings.energy.max_wear_eur_per_kwh
        if most is None:
            return False
        cell_dc = evse.inputs.value(EvseField.T_CELL_MAX)
        temperature_c = sum(TEMPERATURE_RANGE_C) / 2 if cell_dc is None else cell_dc / 10
        c_rate = battery.discharge_w / battery.capacity_wh
        try:
            return wear_eur_per_kwh(self._settings.energy.battery_eur_per_kwh, TYPICAL_DEPTH, c_rate, temperature_c) > most
        except ValueError:
            return True

    def _modes_now(self, snapshot: Snapshot, now_ns: int, minute: int | None) -> list[Constraint]:
        if self._aggregator_speaks(now_ns):
            return []
        site = self._arbiter.site
        power_w = measured_w(snapshot, site)
        grid_w = power_w.get(Scope(ScopeKind.SITE, site.id))
        evses_w = sum(power_w.get(Scope(ScopeKind.EVSE, evse.id), 0) for evse in site.evses)
        return local_constraints(self._modes, site, None if grid_w is None else grid_w - evses_w, minute)

    def _aggregator_speaks(self, now_ns: int) -> bool:
        said = self._arbiter.store.of_source(Source.AGGREGATOR)
        return any(c.until_ns is None or c.until_ns > now_ns for c in said.values())

    def _speak(self, said: Sequence[Constraint]) -> None:
        """What the modes say now; what they no longer say is taken back."""
        scopes = {constraint.scope for constraint in said}
        for scope in self._arbiter.store.of_source(Source.LOCAL):
            if scope not in scopes:
                self._arbiter.withdraw(Source.LOCAL, scope)
        self._arbiter.put(constraint for constraint in said if not self._arbiter.store.stands(constraint))
