"""Scenario 09: the broker goes away and comes back."""

from __future__ import annotations

import time

from hil.rig import Rig


def test_the_site_runs_on_without_its_broker_and_obeys_again_afterwards(site: Rig) -> None:
    """What was commanded holds until it expires; nothing changes on the bus; the first command after the return is obeyed."""
    site.dispatch("evse-1", power_w=9_000, valid_s=600)
    site.oracle.wait_target("evse-1", 9_000, 20)
    site.broker.stop()
    lost = time.time()
    time.sleep(3)
    commands = site.oracle.commands("evse-1", lost)
    assert len(commands) > 50
    assert all(0 <= command.target_w <= 9_000 for command in commands)
    site.oracle.wait_target("evse-1", 9_000, 10)
    site.broker.start()
    site.oracle.wait(lambda: site.status()["uplink"]["state"] == "connected", 60, "the gateway is connected again")
    site.dispatch("evse-1", power_w=4_000, wait_s=20)
    site.oracle.wait_target("evse-1", 4_000, 20)
