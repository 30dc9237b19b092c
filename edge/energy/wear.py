"""What cycling costs a battery, as a price on discharged energy.

The cycle-ageing model is that of LG MJ1 cells (NMC811 with silicon graphite, 18650): tests over temperature and C-rate of the
EU project EVERLASTING (report D2.3, 2020-02-28), rate equation and parameters as identified by P. Gasper, NREL, in BLAST-Lite
(blast/models/nmc811_grSi_LGMJ1_4Ah_2020.py): with EFC equivalent full cycles at absolute temperature T,

    relative loss = k · EFC^p        k = (A + B · C-rate + C · depth) · (e^(D/T) + e^(−E/T))

Its dependence on depth is assumed there to be linear. It stands for no vehicle in particular: a vehicle's own figures rule
where they are known. Calendar ageing happens anyway and is no price of discharging.
"""

from __future__ import annotations

import math

A, B, C, D, E = 1.77e-07, 8.08e-13, 2.21e-07, 2.25e03, 1.14e04
EXPONENT = 0.695
TEMPERATURE_RANGE_C = (0.0, 50.0)
"""Where the cells were cycled."""
DEPTH_RANGE = (0.0, 1.0)
END_OF_LIFE_LOSS = 0.2
"""A traction battery counts as used up at 80 % of its capacity."""
KELVIN = 273.15


def _rate(depth: float, c_rate: float, temperature_c: float) -> float:
    kelvin = temperature_c + KELVIN
    return (A + B * c_rate + C * depth) * (math.exp(D / kelvin) + math.exp(-E / kelvin))


def cycles_to_end(depth: float, c_rate: float, temperature_c: float) -> float:
    """Equivalent full cycles until a fifth of the capacity is gone by cycling alone. `depth` 0…1 of the capacity in each cycle,
    `c_rate` in 1/h. ValueError outside the range in which the cells were tested."""
    low_c, high_c = TEMPERATURE_RANGE_C
    if not low_c <= temperature_c <= high_c:
        raise ValueError(f"wear: {temperature_c:g} °C: the model was measured from {low_c:g} to {high_c:g} °C")
    if not DEPTH_RANGE[0] <= depth <= DEPTH_RANGE[1] or c_rate < 0:
        raise ValueError(f"wear: depth {depth:g} and C-rate {c_rate:g}: want a depth from 0 to 1 and a C-rate of 0 or more")
    return float((END_OF_LIFE_LOSS / _rate(depth, c_rate, temperature_c)) ** (1 / EXPONENT))


def wear_eur_per_kwh(battery_eur_per_kwh: float, depth: float, c_rate: float, temperature_c: float) -> float:
    """What each kWh taken out costs in battery, its price being spread over all that it can ever give by cycling."""
    return battery_eur_per_kwh / cycles_to_end(depth, c_rate, temperature_c)
