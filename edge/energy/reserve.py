"""The reserve curve of a vehicle: how full it must be at any moment, so that its departure need can still be met.

Charging at full power up to the departure is a straight line in SOC over time; the reserve is that line, bent at 0. Above it
there is energy to spare, on it charging can't wait any longer. SOC in 0.01 %, power in W, energy in Wh, time in ns of
CLOCK_MONOTONIC.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

HOUR_NS = 3_600_000_000_000
SOC_FULL = 10_000


@dataclass(frozen=True, slots=True)
class Battery:
    """One vehicle at its EVSE. `charge_w`, `discharge_w`: magnitudes at the connector that can be counted on (ratings, feeder
    share); `efficiency`: one way, of what flows at the connector into or out of the cells, 0 < efficiency ≤ 1."""

    capacity_wh: int
    charge_w: int
    discharge_w: int = 0
    efficiency: float = 1.0

    def __post_init__(self) -> None:
        if self.capacity_wh <= 0 or self.charge_w < 0 or self.discharge_w < 0 or not 0 < self.efficiency <= 1:
            raise ValueError(f"want a capacity above 0, powers of 0 or more and an efficiency in (0, 1], have {self}")

    def soc(self, energy_wh: float) -> float:
        """Energy in the cells as SOC, 0.01 %."""
        return SOC_FULL * energy_wh / self.capacity_wh

    def energy_wh(self, soc: float) -> float:
        """SOC as energy in the cells, Wh."""
        return self.capacity_wh * soc / SOC_FULL


@dataclass(frozen=True, slots=True)
class Need:
    """At least `soc` at `by_ns`. `early_ns`: be done this much earlier, for what nobody foresees."""

    soc: int
    by_ns: int
    early_ns: int = 0


@dataclass(frozen=True, slots=True)
class Flexibility:
    """What a vehicle can do for the grid without breaking its need: `up` gives to the grid, `down` takes from it; magnitudes at
    the connector. Energies are what full power can move from now on before a limit is met."""

    up_w: int
    down_w: int
    up_wh: int
    down_wh: int


def reserve_soc(battery: Battery, need: Need | None, now_ns: int) -> int:
    """The lowest SOC from which the need can still be met, rounded up, 0…SOC_FULL. After the departure the need holds as it is:
    somebody who stays longer doesn't get less."""
    if need is None:
        return 0
    left_h = max(0, need.by_ns - need.early_ns - now_ns) / HOUR_NS
    can_wh = battery.charge_w * battery.efficiency * left_h
    return max(0, min(SOC_FULL, math.ceil(need.soc - battery.soc(can_wh))))


def needed_w(battery: Battery, need: Need | None, soc: int, now_ns: int, ahead_ns: int) -> int:
    """How much must be charged now, W: full power from the moment at which waiting `ahead_ns` longer would be too late."""
    if need is None or soc >= need.soc:
        return 0
    return battery.charge_w if soc < reserve_soc(battery, need, now_ns + ahead_ns) else 0


def flexibility(battery: Battery, need: Need | None, soc: int, floor: int, ceiling: int, now_ns: int) -> Flexibility:
    """What is to spare between the floor or the reserve and the ceiling. `floor` is that of discharging."""
    down_wh = battery.energy_wh(max(0, ceiling - soc)) / battery.efficiency
    up_wh = battery.energy_wh(max(0, soc - floor)) * battery.efficiency
    if need is not None:
        up_wh = min(up_wh, _until_reserve_wh(battery, need, soc, now_ns))
    return Flexibility(
        up_w=battery.discharge_w if up_wh >= 1 else 0,
        down_w=battery.charge_w if down_wh >= 1 else 0,
        up_wh=int(up_wh),
        down_wh=int(down_wh),
    )


def _until_reserve_wh(battery: Battery, need: Need, soc: int, now_ns: int) -> float:
    """Discharging at full power meets the rising reserve; this is what has flowed by then."""
    reserve = reserve_soc(battery, need, now_ns)
    if reserve == 0:  # the line is still below 0: it meets the falling SOC later than the floor does, or on its way up
        charge_h = battery.energy_wh(need.soc) / (battery.charge_w * battery.efficiency) if battery.charge_w else math.inf
        wait_h = max(0, need.by_ns - need.early_ns - now_ns) / HOUR_NS - charge_h
    else:
        wait_h = 0.0
    spare_wh = battery.energy_wh(soc - reserve)
    if spare_wh <= 0:
        return 0.0
    out_w, in_w = battery.discharge_w / battery.efficiency, battery.charge_w * battery.efficiency
    if out_w == 0:
        return 0.0
    before_wh = out_w * max(0.0, wait_h)
    if before_wh >= spare_wh:
        return spare_wh * battery.efficiency
    hours = max(0.0, wait_h) + (spare_wh - before_wh) / (out_w + in_w)
    return battery.discharge_w * hours
