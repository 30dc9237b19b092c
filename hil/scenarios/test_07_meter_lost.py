"""Scenario 07: a meter can't be heard or believed any more."""

from __future__ import annotations

import time

import pytest

from hil.rig import BASE_LOAD_W, RATING_W, Rig
from hil.scenarios.conftest import command_all

AGE_LIMIT_S = 3 * 0.1 + 0.1
"""3 polls of 100 ms and the meter's refresh time of 100 ms (numbers.md part 2)."""

SLACK_S = 1.0
"""For a busy machine; the frames' own order is judged by the oracle."""

FALLBACK_W = 60_000 - BASE_LOAD_W
"""What the declared load leaves of the site's limit, for all EVSEs together."""


@pytest.mark.parametrize("fault", ["silent", "frozen", "nan"])
def test_a_lost_grid_meter_means_fallback_for_its_feeder(site: Rig, fault: str) -> None:
    """Nobody discharges, all together charge no more than the declared load leaves; a return needs fresh values."""
    command_all(site, RATING_W)
    site.dispatch("evse-1", power_w=-8_000)
    site.oracle.wait_target("evse-1", -8_000, 20)
    site.sim.meter_fault("grid", fault)
    began = time.time()
    site.oracle.wait(lambda: site.oracle.target_w("evse-1") == 0, AGE_LIMIT_S + SLACK_S, "nobody discharges")
    time.sleep(max(0.0, began + AGE_LIMIT_S + SLACK_S - time.time()))
    for _ in range(10):
        site.oracle.wait_commands("evse-1", 5)
        assert min(site.oracle.targets_w().values()) >= 0
        assert site.oracle.total_w() <= FALLBACK_W
    site.sim.meter_clear("grid")
    site.oracle.wait_target("evse-1", -8_000, 60)


def test_a_lost_row_meter_leaves_the_other_row_alone(site: Rig) -> None:
    for evse in ("evse-1", "evse-3"):
        site.dispatch(evse, power_w=-8_000)
    for evse in ("evse-1", "evse-3"):
        site.oracle.wait_target(evse, -8_000, 20)
    site.sim.meter_fault("meter-a", "silent")
    site.oracle.wait(lambda: site.oracle.target_w("evse-1") == 0, AGE_LIMIT_S + SLACK_S, "row-a doesn't discharge")
    site.oracle.wait_target("evse-3", -8_000, 5)
