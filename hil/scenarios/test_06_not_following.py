"""Scenario 06: an EVSE doesn't do what it is told."""

from __future__ import annotations

from hil.rig import Rig

ROW_FUSE_W = 3 * 63 * 230
OTHER_LOAD_W = 8_000


def test_what_an_evse_takes_against_its_setpoint_is_kept_free_for_it(site: Rig) -> None:
    """It goes on with 20 kW although told 0: its setpoint stays 0, and its neighbour gets only what the fuse has left."""
    site.base_load("row-a", OTHER_LOAD_W)
    site.dispatch("evse-1", power_w=20_000)
    site.oracle.wait(lambda: site.oracle.power_w("evse-1") > 19_900, 20, "evse-1 takes 20 kW")
    site.sim.fault("evse-1", "not_following")
    site.dispatch("evse-1", power_w=0)
    site.dispatch("evse-2", power_w=22_000)
    site.oracle.wait_target("evse-1", 0, 10)
    site.oracle.wait(lambda: site.oracle.target_w("evse-2") > 12_000, 20, "evse-2 gets what is left")
    for _ in range(30):
        site.oracle.wait_commands("evse-2", 5)
        assert site.oracle.target_w("evse-1") == 0
        assert site.oracle.power_w("evse-1") + site.oracle.target_w("evse-2") <= ROW_FUSE_W - OTHER_LOAD_W
    site.sim.clear("evse-1")
    site.dispatch("evse-1", power_w=5_000)
    site.oracle.wait_target("evse-1", 5_000, 20)
