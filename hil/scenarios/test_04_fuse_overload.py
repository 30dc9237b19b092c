"""Scenario 04: other loads fill the fuse."""

from __future__ import annotations

from hil.rig import RATING_W, Rig
from hil.scenarios.conftest import command_all

SITE_LIMIT_W = 60_000


def test_charging_makes_room_for_other_loads(site: Rig) -> None:
    """The site's total stays below its limit when a kitchen of 45 kW is switched on; it comes back when it is switched off."""
    command_all(site, RATING_W)
    site.oracle.wait(lambda: site.oracle.total_w() > 40_000, 30, "the site charges")
    site.base_load("main", 45_000, grace_s=1)
    site.oracle.wait(lambda: site.oracle.total_w() <= SITE_LIMIT_W - 45_000, 2, "charging made room within 2 s")
    for _ in range(20):
        site.oracle.wait_commands("evse-1", 5)
        assert site.oracle.total_w() <= SITE_LIMIT_W - 45_000
    site.base_load("main", 10_000)
    site.oracle.wait(lambda: site.oracle.total_w() > 40_000, 30, "charging came back")


def test_other_loads_on_one_row_leave_the_other_row_alone(site: Rig) -> None:
    """Row A makes room for its own load; row B keeps its power, but while the site's meter may show that of either."""
    for evse, power_w in (("evse-1", 15_000), ("evse-3", 3_000)):
        site.dispatch(evse, power_w=power_w)
    for evse, power_w in (("evse-1", 15_000), ("evse-3", 3_000)):
        site.oracle.wait_target(evse, power_w, 20)
    site.base_load("row-a", 38_000)
    site.oracle.wait(lambda: site.oracle.target_w("evse-1") <= 3 * 63 * 230 - 38_000, 2, "row-a made room")
    site.oracle.wait_target("evse-3", 3_000, 5)
    for _ in range(20):
        site.oracle.wait_commands("evse-1", 5)
        assert site.oracle.target_w("evse-1") <= 3 * 63 * 230 - 38_000
        assert abs(site.oracle.target_w("evse-3") - 3_000) <= 20
