"""Scenario 22: away from 0 power moves by the ramp, towards 0 at once, and a reversal stops at 0."""

from __future__ import annotations

import time
from itertools import pairwise

from v2g_sim.settings import read_yaml

from hil.rig import RATING_W, Rig

RESOLUTION_W = 10
"""Of a Cmd frame."""


def step_w(site: Rig) -> float:
    """What a setpoint may move away from 0 in one cycle, which sends one frame."""
    config = read_yaml(site.config_file)
    period_s = float(config["cycle"]["period"].removesuffix("ms")) / 1000
    return float(RATING_W * config["ramp"]["normal_pct_s"] / 100 * period_s)


def targets_w(site: Rig, since: float) -> list[int]:
    return [command.target_w for command in site.oracle.commands("evse-1", since)]


def test_power_grows_by_its_ramp_and_falls_at_once(site: Rig) -> None:
    since = time.time()
    site.dispatch("evse-1", power_w=11_000)
    site.oracle.wait_target("evse-1", 11_000, 20)
    rising = targets_w(site, since)
    assert max(after - before for before, after in pairwise(rising)) <= step_w(site) + RESOLUTION_W
    since = time.time()
    site.dispatch("evse-1", power_w=3_000)
    site.oracle.wait_target("evse-1", 3_000, 20)
    assert set(targets_w(site, since)) <= {11_000, 3_000}, "nothing in between"


def test_a_vehicle_turned_from_discharging_to_charging_passes_0(site: Rig) -> None:
    site.dispatch("evse-1", power_w=-8_000)
    site.oracle.wait_target("evse-1", -8_000, 20)
    since = time.time()
    site.dispatch("evse-1", power_w=9_000)
    site.oracle.wait_target("evse-1", 9_000, 20)
    told = [-8_000, *targets_w(site, since)]
    assert 0 in told
    for before, after in pairwise(told):
        assert before * after >= 0, f"from {before} W to {after} W in one frame"
        assert abs(after) <= abs(before) + step_w(site) + RESOLUTION_W
