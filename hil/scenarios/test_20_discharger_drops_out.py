"""Scenario 20: a vehicle that supports the site drops out while others charge."""

from __future__ import annotations

import time

from hil.rig import Rig

ROW_FUSE_W = 3 * 63 * 230
ROOM_W = 9_000
OTHER_LOAD_W = ROW_FUSE_W - ROOM_W


def test_when_a_discharger_drops_out_its_neighbour_still_fits_the_fuse(site: Rig) -> None:
    """Discharging earned the neighbour no room: with or without it charging stays inside what the fuse leaves. It may be shed
    while the meter has not yet seen the support go, and comes back."""
    site.sim.base_load("main", 0)
    site.oracle.set_base_load("main", 0, 1.0)
    site.base_load("row-a", OTHER_LOAD_W)
    site.dispatch("evse-1", power_w=-8_000)
    site.dispatch("evse-2", power_w=22_000)
    site.oracle.wait_target("evse-1", -8_000, 20)
    site.oracle.wait(lambda: site.oracle.target_w("evse-2") > ROOM_W * 0.7, 20, "evse-2 takes what the fuse leaves")
    together = time.time()
    site.oracle.wait_commands("evse-2", 25)
    site.sim.fault("evse-1", "fault")
    site.oracle.wait(lambda: site.oracle.power_w("evse-1") == 0, 10, "evse-1 is gone")
    site.oracle.wait_commands("evse-2", 50)
    site.oracle.wait(lambda: site.oracle.target_w("evse-2") > ROOM_W * 0.7, 20, "evse-2 charges on")
    assert all(command.target_w <= ROOM_W for command in site.oracle.commands("evse-2", together))
    site.sim.clear("evse-1")
    site.oracle.wait_target("evse-1", -8_000, 30)
