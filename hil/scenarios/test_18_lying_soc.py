"""Scenario 18: an EVSE lies about the state of charge."""

from __future__ import annotations

import time

from hil.rig import Rig

SMALL_BATTERY_WH = 500
"""At 8 kW it falls by about 0.5 % a second."""


def test_a_state_of_charge_that_stands_still_while_energy_flows_is_not_believed(site: Rig) -> None:
    """Frozen at 60 % while the vehicle discharges: the counted energy says otherwise, so the discharge ends by itself."""
    site.plug("evse-1", soc_percent=60, capacity_wh=SMALL_BATTERY_WH)
    site.dispatch("evse-1", power_w=-8_000)
    site.oracle.wait_target("evse-1", -8_000, 20)
    site.sim.fault("evse-1", "frozen", values=["soc_percent"])
    site.oracle.wait(lambda: _ended(site), 40, "the discharge ended")


def test_a_state_of_charge_that_jumps_up_is_not_believed(site: Rig) -> None:
    site.dispatch("evse-2", power_w=-8_000)
    site.oracle.wait_target("evse-2", -8_000, 20)
    since = time.time()
    site.sim.set("evse-2", soc_percent=95)
    reaction = site.oracle.reaction("evse-2", since, lambda r: (r.soc_percent or 0) > 90, lambda c: c.min_w >= 0)
    assert reaction.frames <= 2


def test_a_state_of_charge_beyond_its_range_is_none(site: Rig) -> None:
    """120 %: the discharge ends within two frames; the neighbour's goes on."""
    for evse in ("evse-3", "evse-4"):
        site.dispatch(evse, power_w=-8_000)
    for evse in ("evse-3", "evse-4"):
        site.oracle.wait_target(evse, -8_000, 20)
    since = time.time()
    site.sim.fault("evse-3", "says", values={"soc_percent": 120})
    reaction = site.oracle.reaction("evse-3", since, lambda r: (r.soc_percent or 0) > 100, lambda c: c.min_w >= 0)
    assert reaction.frames <= 2
    site.oracle.wait_target("evse-4", -8_000, 5)


def _ended(site: Rig) -> bool:
    """Not only for a moment."""
    commands = site.oracle.commands("evse-1", time.time() - 1)
    return len(commands) > 20 and all(command.min_w >= 0 for command in commands)
