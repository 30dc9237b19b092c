"""Scenario 12: the aggregator is killed."""

from __future__ import annotations

import time

from hil.rig import Rig

FALLBACK_CHARGE_W = 4_200


def test_without_its_aggregator_a_site_keeps_its_limits_and_falls_back(site: Rig) -> None:
    """What it said last holds until it expires, then the fallback; a returned aggregator is obeyed again."""
    sent = time.time()
    site.dispatch("evse-1", power_w=-8_000, valid_s=8, wait_s=1)
    site.oracle.wait_target("evse-1", -8_000, 7)
    site.aggregator.kill()
    site.oracle.wait(lambda: site.oracle.target_w("evse-1") > 0, 15, "the fallback")
    assert time.time() - sent >= 7
    ended = time.time()
    time.sleep(2)
    assert all(0 <= command.target_w <= FALLBACK_CHARGE_W for command in site.oracle.commands("evse-1", ended))
    site.start_aggregator()
    site.dispatch("evse-1", power_w=6_000)
    site.oracle.wait_target("evse-1", 6_000, 20)
