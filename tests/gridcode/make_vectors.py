"""Random grid traces answered by EPRI's OpenDER, an independent model of IEEE 1547-2018: `make_vectors.py COUNT SEED FILE.xz`.

Runs in an environment of its own (tests/gridcode/opender makes it), because OpenDER needs pandas and matplotlib. One JSON line
per trace: category, segments of (steps, voltage pu, frequency Hz), and what OpenDER made of it. Long delays are shortened
(SCALED) so that a trace is short; both models get the same settings.
"""

from __future__ import annotations

import json
import logging
import lzma
import random
import sys
from collections.abc import Iterator
from typing import Any

STEP_S = 0.05
SETTINGS: dict[str, dict[str, float]] = {
    "CAT_I": {"OV2": 0.16, "OV1": 2.0, "UV1": 2.0, "UV2": 0.16},
    "CAT_II": {"OV2": 0.16, "OV1": 2.0, "UV1": 3.0, "UV2": 0.16},
    "CAT_III": {"OV2": 0.16, "OV1": 3.0, "UV1": 4.0, "UV2": 2.0},
}
"""Seconds; SCALED: the stages of 10 to 21 s become 3 and 4 s."""
LIMITS = {
    "CAT_I": {"OV2": 1.20, "OV1": 1.10, "UV1": 0.70, "UV2": 0.45},
    "CAT_II": {"OV2": 1.20, "OV1": 1.10, "UV1": 0.70, "UV2": 0.45},
    "CAT_III": {"OV2": 1.20, "OV1": 1.10, "UV1": 0.88, "UV2": 0.50},
}
FREQUENCY = {"OF2": (62.0, 0.16), "OF1": (61.2, 3.0), "UF1": (58.5, 3.0), "UF2": (56.5, 0.16)}
ENTER_DELAY_S = 3.0
"""300 s, SCALED."""


def random_segments(random_: random.Random, droop_only: bool) -> list[tuple[int, float, float]]:
    """What the grid does: mostly healthy, with excursions of any depth and length. For droop the frequency stays on one side:
    OpenDER starts anew from the power of the moment in which it leaves the deadband, the core always from the wish."""
    if droop_only:
        low, high = random_.choice([(59.0, 59.96), (60.04, 60.9)])
        return [(random_.randint(20, 120), 1.0, round(random_.uniform(low, high), 3)) for _ in range(6)]
    segments = [(random_.randint(2, 30), 1.0, 60.0)]
    for _ in range(random_.randint(2, 6)):
        voltage, frequency = 1.0, 60.0
        if random_.random() < 0.7:
            voltage = round(random_.choice([random_.uniform(0.2, 0.95), random_.uniform(1.03, 1.3)]), 3)
        else:
            frequency = round(random_.choice([random_.uniform(56.0, 59.6), random_.uniform(60.05, 62.8)]), 3)
        segments.append((random_.choice([1, 2, 3, 5, random_.randint(1, 100)]), voltage, frequency))
        segments.append((random_.choice([2, 10, 70, random_.randint(1, 90)]), 1.0, 60.0))
    return segments


def model(category: str) -> Any:
    import opender
    from opender.der_bess import DER_BESS

    opender.DER.t_s = STEP_S
    der = DER_BESS()
    file = der.der_file
    file.NP_ABNORMAL_OP_CAT = category
    for stage, seconds in SETTINGS[category].items():
        setattr(file, f"{stage}_TRIP_T", seconds)
        setattr(file, f"{stage}_TRIP_V", LIMITS[category][stage])
    for stage, (hz, seconds) in FREQUENCY.items():
        setattr(file, f"{stage}_TRIP_F", hz)
        setattr(file, f"{stage}_TRIP_T", seconds)
    file.ES_DELAY, file.ES_RAMP_RATE, file.ES_RANDOMIZED_DELAY = ENTER_DELAY_S, 0, 0
    file.MC_ENABLE = category == "CAT_III"
    return der


def answer(category: str, segments: list[tuple[int, float, float]], demand: float) -> dict[str, Any]:
    """Status at every change, and power (share of rating, charging positive) at every step."""
    der = model(category)
    for _ in range(3):
        der.update_der_input(p_dem_pu=-demand, v_pu=1.0, f=60.0)
        der.run()
    statuses: list[tuple[int, str]] = []
    powers: list[float] = []
    step = 0
    for steps, voltage, frequency in segments:
        for _ in range(steps):
            der.update_der_input(p_dem_pu=-demand, v_pu=voltage, f=frequency)
            p_w, _ = der.run()
            if not statuses or statuses[-1][1] != der.der_status:
                statuses.append((step, der.der_status))
            powers.append(round(-p_w / der.der_file.NP_P_MAX, 4))
            step += 1
    return {"statuses": statuses, "powers": powers[::10]}


def traces(count: int, seed: int) -> Iterator[str]:
    logging.disable(logging.WARNING)  # OpenDER remarks that SCALED delays are outside the standard's ranges
    random_ = random.Random(seed)
    for k in range(count):
        category = ("CAT_I", "CAT_II", "CAT_III")[k % 3]
        droop_only = k % 5 == 4
        segments = random_segments(random_, droop_only)
        demand = 0.3
        answered = answer(category, segments, demand)
        if not droop_only:
            del answered["powers"]
        yield json.dumps({"category": category, "demand": demand, "segments": segments, **answered}) + "\n"


if __name__ == "__main__":
    with lzma.open(sys.argv[3], "wt") as file:
        file.writelines(traces(int(sys.argv[1]), int(sys.argv[2])))
