"""Scenario 01: normal charging."""

from __future__ import annotations

from edge.model import Outcome
from hil.rig import BASE_LOAD_W, RATING_W, Rig
from hil.scenarios.conftest import command_all

ROW_FUSE_W = 3 * 63 * 230
SITE_LIMIT_W = 60_000


def test_a_vehicle_charges_with_what_the_aggregator_asks_for(site: Rig) -> None:
    ack = site.dispatch("evse-1", power_w=11_000)
    assert ack is not None
    assert ack.outcome is Outcome.APPLIED
    site.oracle.wait_target("evse-1", 11_000, 15)
    site.oracle.wait(lambda: abs(site.oracle.power_w("evse-1") - 11_000) <= 100, 10, "evse-1 charges with 11 kW")


def test_a_vehicle_discharges_with_what_the_aggregator_asks_for(site: Rig) -> None:
    site.dispatch("evse-2", power_w=-8_000)
    site.oracle.wait_target("evse-2", -8_000, 15)
    site.oracle.wait(lambda: abs(site.oracle.power_w("evse-2") + 8_000) <= 100, 10, "evse-2 feeds back 8 kW")


def test_four_vehicles_that_want_everything_share_what_the_fuses_leave(site: Rig) -> None:
    command_all(site, RATING_W)
    site.oracle.wait(lambda: site.oracle.total_w() > 40_000, 30, "most of what the fuses leave is used")
    for _ in range(20):
        site.oracle.wait_commands("evse-4", 3)
        assert site.oracle.total_w(["evse-1", "evse-2"]) <= ROW_FUSE_W
        assert site.oracle.total_w() <= SITE_LIMIT_W - BASE_LOAD_W
