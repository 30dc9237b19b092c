"""What each vehicle needs and what it can spare: reserve until departure, flexibility, wear. Pure: facts in, figures out."""

from edge.energy.modes import Goal, Modes, Tariff, Window, goal, local_constraints
from edge.energy.reserve import Battery, Flexibility, Need, flexibility, needed_w, reserve_soc
from edge.energy.wear import DEPTH_RANGE, TEMPERATURE_RANGE_C, cycles_to_end, wear_eur_per_kwh

__all__ = [
    "DEPTH_RANGE",
    "TEMPERATURE_RANGE_C",
    "Battery",
    "Flexibility",
    "Goal",
    "Modes",
    "Need",
    "Tariff",
    "Window",
    "cycles_to_end",
    "flexibility",
    "goal",
    "local_constraints",
    "needed_w",
    "reserve_soc",
    "wear_eur_per_kwh",
]
