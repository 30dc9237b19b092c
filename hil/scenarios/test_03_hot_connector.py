"""Scenario 03: a connector gets too hot."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from hil.oracle import Command
from hil.rig import Rig

STOP_C = 90
HOLD_S = 3
"""`thermal.connector.resume_hold` of the scenarios' config."""


def stopped(command: Command) -> bool:
    return command.min_w == command.max_w == 0


@pytest.mark.timed
def test_a_hot_connector_is_stopped_within_two_frames(site: Rig, figure: Callable[[str, object], None]) -> None:
    """Stopped at once, held although it cools down at once, released only after it stayed cool."""
    site.dispatch("evse-1", power_w=15_000)
    site.oracle.wait_target("evse-1", 15_000, 20)
    since = time.time()
    site.sim.fault("evse-1", "hot_connector", offset_c=75)
    reaction = site.oracle.reaction("evse-1", since, lambda r: r.connector_c is not None and r.connector_c >= STOP_C, stopped)
    figure("hot_connector_frames", reaction.frames)
    assert reaction.frames <= 2

    site.oracle.wait_commands("evse-1", 20)
    site.sim.clear("evse-1", "hot_connector")
    cooled = time.time()
    site.oracle.wait(lambda: site.oracle.target_w("evse-1") > 0, 30, "evse-1 is released after the hold")
    began = next(command.time for command in site.oracle.commands("evse-1", cooled) if command.target_w > 0)
    assert began - cooled >= HOLD_S - 0.2
