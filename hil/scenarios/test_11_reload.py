"""Scenario 11: the operator raises `min_soc_threshold` while vehicles discharge."""

from __future__ import annotations

import time
from itertools import pairwise

from hil.rig import Rig


def test_a_raised_floor_acts_at_once_and_drops_no_session(site: Rig) -> None:
    """A vehicle at 60 % stops discharging when the floor becomes 70 %; a charging one doesn't notice."""
    site.dispatch("evse-1", power_w=-8_000)
    site.dispatch("evse-2", power_w=7_000)
    site.oracle.wait_target("evse-1", -8_000, 20)
    site.oracle.wait_target("evse-2", 7_000, 20)
    before = time.time()
    site.reload({"limits": {"min_soc_threshold": 70}})
    try:
        site.oracle.wait_target("evse-1", 0, 5)
        stopped = time.time()
        site.oracle.new_limits(site.config_file)
        site.oracle.wait_commands("evse-1", 50)
        assert all(command.min_w == 0 for command in site.oracle.commands("evse-1", stopped))
        neighbour = site.oracle.commands("evse-2", before)
        assert all(abs(command.target_w - 7_000) <= 20 for command in neighbour), "the charging vehicle was disturbed"
        steps = {(b.counter - a.counter) % 15 for a, b in pairwise(neighbour)}
        assert steps == {1}, "commands were lost or repeated over the reload"
    finally:
        site.reload({"limits": {"min_soc_threshold": 30}})
        site.oracle.new_limits(site.config_file)
    site.oracle.wait_target("evse-1", -8_000, 30)
