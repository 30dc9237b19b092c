"""Scenario 10: a command expires."""

from __future__ import annotations

import time

from hil.rig import Rig

FALLBACK_CHARGE_W = 4_200
"""Per EVSE, where the feeder's budget allows (numbers.md part 2)."""


def test_an_expired_discharge_becomes_the_fallback_not_freedom(site: Rig) -> None:
    """After `valid_for` nobody discharges, and charging stays within the fallback: expiry never loosens."""
    sent = time.time()
    site.dispatch("evse-1", power_w=-8_000, valid_s=5, wait_s=1)
    site.oracle.wait_target("evse-1", -8_000, 4.9)
    site.oracle.wait(lambda: site.oracle.target_w("evse-1") > 0, 15, "the fallback")
    assert time.time() - sent >= 4.5
    ended = time.time()
    time.sleep(3)
    commands = site.oracle.commands("evse-1", ended)
    assert all(0 <= command.target_w <= FALLBACK_CHARGE_W for command in commands)
