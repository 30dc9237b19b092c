"""Scenario 16: two fuses in series, and a discharger that drops out."""

from __future__ import annotations

from hil.rig import BASE_LOAD_W, RATING_W, Rig
from hil.scenarios.conftest import command_all

ROW_FUSE_W = 3 * 63 * 230
SITE_LIMIT_W = 60_000


def test_the_row_and_the_grid_connection_both_hold(site: Rig) -> None:
    """28 kW of other load on row-a: that row has 15 kW left, and the whole site 22 kW."""
    command_all(site, RATING_W)
    site.oracle.wait(lambda: site.oracle.total_w() > 40_000, 30, "the site charges")
    site.base_load("row-a", 28_000)

    def both_fit() -> bool:
        row_w, site_w = site.oracle.total_w(["evse-1", "evse-2"]), site.oracle.total_w()
        return row_w <= ROW_FUSE_W - 28_000 and site_w <= SITE_LIMIT_W - BASE_LOAD_W - 28_000

    site.oracle.wait(both_fit, 2, "both made room")
    for _ in range(20):
        site.oracle.wait_commands("evse-3", 5)
        assert both_fit()


def test_a_discharger_that_drops_out_overloads_nobody(site: Rig) -> None:
    """Discharging earns no credit for charging, so an emergency stop of the discharger leaves the fuses below their limits."""
    command_all(site, RATING_W)
    site.dispatch("evse-1", power_w=-20_000)
    site.oracle.wait_target("evse-1", -20_000, 20)
    others = ["evse-2", "evse-3", "evse-4"]
    site.oracle.wait(lambda: site.oracle.total_w(others) > 40_000, 30, "the others charge")
    site.sim.fault("evse-1", "e_stop")
    site.oracle.wait_target("evse-1", 0, 5)
    for _ in range(20):
        assert site.oracle.total_w(others) <= SITE_LIMIT_W - BASE_LOAD_W
        site.oracle.wait_commands("evse-2", 5)
