"""Scenario 08: a vehicle leaves and another one comes."""

from __future__ import annotations

import time

from hil.rig import Rig


def test_the_next_vehicle_inherits_nothing(site: Rig) -> None:
    """A discharging vehicle is unplugged and one that can't discharge is plugged in: it is never asked to."""
    site.dispatch("evse-1", power_w=-8_000)
    site.oracle.wait_target("evse-1", -8_000, 20)
    site.plug("evse-1", soc_percent=80, capacity_wh=60_000, bidirectional=False)
    site.oracle.wait_target("evse-1", 0, 5)
    stopped = time.time()
    site.oracle.wait_commands("evse-1", 100)
    assert all(command.min_w == 0 for command in site.oracle.commands("evse-1", stopped))


def test_a_vehicle_swapped_unseen_for_an_empty_one_is_not_discharged(site: Rig) -> None:
    """Faster than one report: only the state of charge tells."""
    site.dispatch("evse-1", power_w=-8_000)
    site.oracle.wait_target("evse-1", -8_000, 20)
    site.sim.plug("evse-1", soc_percent=22, capacity_wh=40_000)
    site.oracle.wait_target("evse-1", 0, 5)
    stopped = time.time()
    site.oracle.wait_commands("evse-1", 100)
    assert all(command.min_w == 0 for command in site.oracle.commands("evse-1", stopped))
