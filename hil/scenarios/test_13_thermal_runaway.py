"""Scenario 13: a contact heats up faster and faster."""

from __future__ import annotations

import time

from hil.oracle import Command, Report, without_returns
from hil.rig import Rig

HORIZON_S = 10
"""`thermal.horizon` of the scenarios' config: a temperature counts as what it will be by then."""
RISE_K_S = 4
DERATE_TO_C = 85
SEEN_RISE = 0.5
"""Of a rise, as much as the gateway surely counts after 11 s: 1 - 1/e^1.1 is 0.67, less what the last scenario left warm."""
HEAT_W = 40
"""In the simulated contact (50 K/W, 480 s): RISE_K_S."""


def test_a_runaway_contact_gets_less_and_less_and_nothing_long_before_the_hard_stop(site: Rig) -> None:
    """With each degree less; at 65 °C and 4 K a second 0 W, 25 degrees before the hard stop."""
    site.dispatch("evse-1", power_w=20_000)
    site.oracle.wait_target("evse-1", 20_000, 20)
    since = time.time()
    site.sim.fault("evse-1", "hot_connector", offset_c=0, heat_w=HEAT_W)
    dead_c = DERATE_TO_C - RISE_K_S * HORIZON_S * SEEN_RISE
    reaction = site.oracle.reaction(
        "evse-1", since, lambda r: r.connector_c is not None and r.connector_c >= dead_c, lambda c: c.target_w == 0, 40
    )
    assert reaction.frames <= 2
    commands = without_returns(site.oracle.commands("evse-1", since))
    most_w = most_per_degree(site.oracle.reports("evse-1", since), commands)
    assert most_w == sorted(most_w, reverse=True)
    assert len(set(most_w)) > 3


def most_per_degree(reports: list[Report], commands: list[Command]) -> list[int]:
    """The highest setpoint while the connector showed each whole degree, the coolest first."""
    most_w: dict[int, int] = {}
    place = 0
    for command in commands:
        while place + 1 < len(reports) and reports[place + 1].time < command.time:
            place += 1
        degree = reports[place].connector_c
        if degree is not None:
            most_w[degree] = max(most_w.get(degree, 0), command.target_w)
    return [most_w[degree] for degree in sorted(most_w)]
