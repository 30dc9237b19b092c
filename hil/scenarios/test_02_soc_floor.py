"""Scenario 02: discharge to the floor of the state of charge."""

from __future__ import annotations

import time

import pytest

from hil.rig import Rig

FLOOR_PERCENT = 30
SMALL_BATTERY_WH = 300
"""At 8 kW it falls by about 0.8 % a second."""


@pytest.mark.timed
def test_discharging_ends_before_the_floor_and_stays_ended(site: Rig) -> None:
    """A vehicle that has reached its floor is not discharged, however often the aggregator asks."""
    site.plug("evse-1", soc_percent=35, capacity_wh=SMALL_BATTERY_WH)
    site.dispatch("evse-1", power_w=-8_000)
    site.oracle.wait_target("evse-1", -8_000, 20)
    site.oracle.wait(lambda: _is_stopped_at_floor(site), 30, "the discharge ends at the floor")
    stopped = time.time()
    site.dispatch("evse-1", power_w=-8_000)
    site.oracle.wait_commands("evse-1", 50)
    assert all(command.min_w >= 0 for command in site.oracle.commands("evse-1", stopped))
    lowest = min(report.soc_percent for report in site.oracle.reports("evse-1", stopped - 60) if report.soc_percent is not None)
    assert FLOOR_PERCENT <= lowest < FLOOR_PERCENT + 2


def _is_stopped_at_floor(site: Rig) -> bool:
    report, commands = site.oracle.report("evse-1"), site.oracle.commands("evse-1", time.time() - 1)
    near = report is not None and report.soc_percent is not None and report.soc_percent < FLOOR_PERCENT + 2
    return near and bool(commands) and commands[-1].target_w == 0


def test_a_vehicle_that_falls_below_its_floor_at_once_is_answered_within_two_frames(site: Rig) -> None:
    site.dispatch("evse-1", power_w=-8_000)
    site.oracle.wait_target("evse-1", -8_000, 20)
    since = time.time()
    site.sim.set("evse-1", soc_percent=25)
    reaction = site.oracle.reaction(
        "evse-1", since, lambda r: r.soc_percent is not None and r.soc_percent <= FLOOR_PERCENT, lambda c: c.min_w >= 0
    )
    assert reaction.frames <= 2
