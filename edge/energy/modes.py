"""What the site does on its own while no aggregator speaks: solar surplus, a demand limit, a tariff.

A mode says constraints like everybody else, in the name of `local`. They stand until they are taken back and change only when
the mode changes its mind, because a new word of a source is also what brings an EVSE back that had stopped following. Pure:
facts in, constraints out; site control does the following of load and sun.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from edge.model import Constraint, Scope, ScopeKind, SiteModel, Source

DAY_MIN = 24 * 60


@dataclass(frozen=True, slots=True)
class Window:
    """Minutes of the day, end excluded; over midnight when the end is not after the begin."""

    begin_min: int
    end_min: int
    eur_per_kwh: float

    def holds(self, minute: int) -> bool:
        if self.begin_min < self.end_min:
            return self.begin_min <= minute < self.end_min
        return minute >= self.begin_min or minute < self.end_min


@dataclass(frozen=True)
class Tariff:
    """Prices of a day; `otherwise` outside all windows. The first window that holds counts."""

    windows: tuple[Window, ...]
    otherwise_eur_per_kwh: float
    wear_eur_per_kwh: float
    efficiency: float

    def price(self, minute: int) -> float:
        return next((w.eur_per_kwh for w in self.windows if w.holds(minute)), self.otherwise_eur_per_kwh)

    @cached_property
    def cheapest(self) -> float:
        """The lowest price that really comes up in a day."""
        return min(self.price(minute) for minute in range(DAY_MIN))

    @property
    def worth_discharging(self) -> float:
        """Above this price a kWh from a battery is cheaper than one from the grid: bought when cheapest, charged and discharged
        with losses, and worn."""
        return self.cheapest / self.efficiency**2 + self.wear_eur_per_kwh


@dataclass(frozen=True, slots=True)
class Modes:
    """What the config asks for; a demand limit holds beside the other two, a tariff goes before the sun where it speaks."""

    solar_surplus: bool = False
    demand_limit_w: int | None = None
    tariff: Tariff | None = None


class Goal(StrEnum):
    """What the vehicles are for right now; the value is what `explain` shows."""

    CHARGE = "charge"
    SURPLUS = "solar surplus only"
    OWN_LOAD = "tariff: own load from the vehicles"
    WAIT = "tariff: waiting for a lower price"


def goal(modes: Modes, minute: int | None) -> Goal:
    """`minute`: of the local day; None: the clock is not to be believed, so the tariff says nothing."""
    if modes.tariff is not None and minute is not None:
        price = modes.tariff.price(minute)
        if price > modes.tariff.worth_discharging:
            return Goal.OWN_LOAD
        if price <= modes.tariff.cheapest:
            return Goal.CHARGE
        return Goal.SURPLUS if modes.solar_surplus else Goal.WAIT
    return Goal.SURPLUS if modes.solar_surplus else Goal.CHARGE


def local_constraints(modes: Modes, site: SiteModel, base_w: int | None, minute: int | None) -> list[Constraint]:
    """What the modes say, at most one constraint for each scope. `base_w`: load beside the EVSEs, W; None: unknown."""
    now, limit_w = goal(modes, minute), modes.demand_limit_w
    if limit_w is not None and (now is Goal.CHARGE or (base_w is not None and base_w > limit_w)):
        return [_site(site, "demand limit", limit_w, limit_w)]
    said = []
    if now in (Goal.SURPLUS, Goal.OWN_LOAD):
        said.append(_site(site, now.value, limit_w, 0))
    elif limit_w is not None:
        said.append(_site(site, "demand limit", limit_w, None))
    if now is Goal.SURPLUS:
        said += [_evse(evse.id, now.value, min_w=0) for evse in site.evses]
    if now is Goal.WAIT:
        said += [_evse(evse.id, now.value, target_w=0) for evse in site.evses]
    return said


def _site(site: SiteModel, name: str, max_w: int | None, target_w: int | None) -> Constraint:
    return Constraint(Source.LOCAL, Scope(ScopeKind.SITE, site.id), max_w=max_w, target_w=target_w, name=name)


def _evse(evse: str, name: str, min_w: int | None = None, target_w: int | None = None) -> Constraint:
    return Constraint(Source.LOCAL, Scope(ScopeKind.EVSE, evse), min_w=min_w, target_w=target_w, name=name)
