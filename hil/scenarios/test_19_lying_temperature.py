"""Scenario 19: a temperature sensor lies."""

from __future__ import annotations

import time

from hil.oracle import Command
from hil.rig import RATING_W, Rig

STOP_C = 90
HOLD_S = 3
"""`thermal.connector.resume_hold` of the scenarios' config."""

QUICK_MODEL = {"contact_tau": "10s", "cable_tau": "10s", "contact_rise_k": 40}
"""At rated power the contact goes to 95 °C (40 around it, 15 in the cable), most of the way within 20 s."""

USUAL_MODEL = {"contact_tau": "8min", "cable_tau": "20min", "contact_rise_k": 10}


def stopped(command: Command) -> bool:
    return command.min_w == command.max_w == 0


def test_a_frozen_temperature_does_not_hide_what_the_current_makes_of_it(site: Rig) -> None:
    """The sensor stays at its cool reading; the model of contact and cable derates all the same."""
    site.sim.fault("evse-4", "frozen", values=["connector"])
    site.reload({"thermal": QUICK_MODEL})
    try:
        since = time.time()
        site.dispatch("evse-4", power_w=RATING_W)
        site.oracle.wait_target("evse-4", RATING_W, 20)
        site.oracle.wait(lambda: site.oracle.target_w("evse-4") < 0.9 * RATING_W, 20, "evse-4 is derated")
        assert len({report.connector_c for report in site.oracle.reports("evse-4", since)}) == 1
        site.dispatch("evse-4", power_w=0)
        time.sleep(3)  # the model cools below its derating before it becomes slow again
    finally:
        site.reload({"thermal": USUAL_MODEL})


def test_a_temperature_that_jumps_to_and_fro_stops_until_it_stayed_low(site: Rig) -> None:
    """One reading above the hard stop is enough; readings between that look cool release nothing."""
    site.dispatch("evse-1", power_w=9_000)
    site.oracle.wait_target("evse-1", 9_000, 20)
    since = time.time()
    for _ in range(6):
        site.sim.fault("evse-1", "says", values={"connector": STOP_C + 5})
        time.sleep(0.15)
        site.sim.clear("evse-1", "says")
        time.sleep(0.15)
    reaction = site.oracle.reaction("evse-1", since, lambda r: (r.connector_c or 0) >= STOP_C, stopped)
    assert reaction.frames <= 2
    last_hot = max(r.time for r in site.oracle.reports("evse-1", since) if (r.connector_c or 0) >= STOP_C)
    site.oracle.wait(lambda: site.oracle.target_w("evse-1") > 0, 30, "evse-1 is released after the hold")
    began = next(command.time for command in site.oracle.commands("evse-1", last_hot) if not stopped(command))
    assert began - last_hot >= HOLD_S - 0.2


def test_a_temperature_at_the_end_of_its_range_is_taken_at_its_word(site: Rig) -> None:
    """Nothing is as hot as 214 °C, and no sensor proves it: stopped within two frames. A cell at -40 °C is not charged."""
    for evse in ("evse-2", "evse-3"):
        site.dispatch(evse, power_w=9_000)
    for evse in ("evse-2", "evse-3"):
        site.oracle.wait_target(evse, 9_000, 20)
    since = time.time()
    site.sim.fault("evse-2", "says", values={"connector": 1000})
    site.sim.fault("evse-3", "says", values={"cell_min": -200})
    reaction = site.oracle.reaction("evse-2", since, lambda r: (r.connector_c or 0) >= STOP_C, stopped)
    assert reaction.frames <= 2
    site.oracle.wait(lambda: site.oracle.target_w("evse-3") == 0, 5, "evse-3 is not charged")
    site.dispatch("evse-3", power_w=-8_000)
    site.oracle.wait_target("evse-3", -8_000, 20)
