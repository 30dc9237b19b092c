"""Who is served first from what all have in common: weights of charging and discharging from each vehicle's need.

Relative figures for site control (`EvsePlan.weight`, `discharge_weight`); they never bound anything. [C] all constants here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from edge.model import EvsePlan, Plan

FULL_SOC = 10_000
STEP_SOC = 1000
"""Weights follow the SOC in steps of 10 %, so that shares hold still."""
LONG_STAY_S = 8 * 3600
HIGHEST, LOWEST = 4.0, 0.25


@dataclass(frozen=True, slots=True)
class Need:
    """What is known of a vehicle; None: unknown. SOC in 0.01 %, energy still wanted in Wh, time to departure in s."""

    soc: int | None = None
    energy_wh: int | None = None
    departure_s: int | None = None
    rating_w: int = 0


def _within(factor: float) -> float:
    return max(LOWEST, min(factor, HIGHEST))


def weights(priority: float, need: Need) -> tuple[float, float]:
    """(charging, discharging). Charging: more the lower the SOC, and the more of its stay it needs at full power.
    Discharging: more the higher the SOC and the later the departure, so that these serve the grid first."""
    charge = discharge = priority
    if need.soc is not None:
        level = (need.soc // STEP_SOC) * STEP_SOC / FULL_SOC
        charge *= 1.5 - level
        discharge *= 0.5 + level
    if need.departure_s is not None:
        stay_s = max(need.departure_s, 60)
        discharge *= _within(stay_s / LONG_STAY_S)
        if need.energy_wh is not None and need.rating_w > 0:
            charge *= _within(4 * need.energy_wh * 3600 / need.rating_w / stay_s)
    return charge, discharge


def weigh(plan: Plan, priorities: dict[str, float], needs: dict[str, Need]) -> Plan:
    """The plan with each EVSE's weights."""

    def one(evse_id: str, own: EvsePlan) -> EvsePlan:
        charge, discharge = weights(priorities.get(evse_id, 1.0), needs.get(evse_id, Need()))
        return replace(own, weight=charge, discharge_weight=discharge)

    return replace(plan, evses={evse_id: one(evse_id, own) for evse_id, own in plan.evses.items()})
