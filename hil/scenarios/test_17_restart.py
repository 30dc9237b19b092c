"""Scenario 17: the gateway itself is killed and comes back."""

from __future__ import annotations

import time

from v2g_sim.frames import Flag

from hil.rig import Rig

HOLD_S = 3
"""`thermal.connector.resume_hold` of the scenarios' config."""

LATCHES_WRITTEN_S = 2
"""By then the latch is on disk."""


def test_a_locked_evse_stays_locked_over_a_restart_until_it_is_released(site: Rig) -> None:
    """Killed: the EVSEs go to 0 W by themselves. Back: 0 W at first; a lock-out holds until the one who set it ends it."""
    site.dispatch("evse-1", power_w=9_000)
    site.dispatch("evse-2", power_w=9_000)
    site.oracle.wait_target("evse-1", 9_000, 20)
    site.lock("evse-1", True)
    site.oracle.wait_target("evse-1", 0, 5)
    site.gateway.kill()
    site.oracle.wait(lambda: all(_failed_safe(site, evse) for evse in site.evses), 5, "every EVSE fails safe by itself")
    back = time.time()
    site.start_gateway()
    first = site.oracle.commands("evse-2", back)[0]
    assert first.target_w == 0
    site.dispatch("evse-1", power_w=9_000, wait_s=20)
    site.dispatch("evse-2", power_w=9_000, wait_s=20)
    for evse in ("evse-3", "evse-4"):
        site.dispatch(evse, power_w=0)  # without a command they take all that the fuses leave
    site.oracle.wait_target("evse-2", 9_000, 30)
    assert all(command.target_w == 0 for command in site.oracle.commands("evse-1", back))
    site.lock("evse-1", False)
    site.oracle.wait_target("evse-1", 9_000, 30)


def test_a_connector_that_was_too_hot_stays_stopped_over_a_restart(site: Rig) -> None:
    """It cools down while nobody looks; after the restart it must first be seen to stay cool for the whole hold time."""
    site.dispatch("evse-3", power_w=9_000)
    site.oracle.wait_target("evse-3", 9_000, 20)
    site.sim.fault("evse-3", "hot_connector", offset_c=75)
    site.oracle.wait_target("evse-3", 0, 5)
    time.sleep(LATCHES_WRITTEN_S)
    site.gateway.kill()
    site.sim.clear("evse-3")
    back = time.time()
    site.start_gateway()
    site.oracle.wait(lambda: site.oracle.target_w("evse-3") > 0, 40, "evse-3 is released after the hold")
    commands = site.oracle.commands("evse-3", back)
    began = next(command.time for command in commands if command.target_w > 0)
    assert began - commands[0].time >= HOLD_S


def _failed_safe(site: Rig, evse: str) -> bool:
    report = site.oracle.report(evse)
    return report is not None and report.power_w == 0 and bool(report.flags & Flag.FAIL_SAFE)
