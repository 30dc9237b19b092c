"""Scenario 05: an EVSE can't be heard or believed any more."""

from __future__ import annotations

import time
from typing import Any

import pytest

from hil.rig import Rig


@pytest.mark.parametrize(
    ("fault", "parameters"),
    [
        pytest.param("silent", {}, id="silent"),
        pytest.param("wrong_crc", {}, id="wrong CRC"),
        pytest.param("stuck_counter", {}, id="stuck counter"),
    ],
)
def test_an_evse_that_cannot_be_believed_is_not_discharged(site: Rig, fault: str, parameters: dict[str, Any]) -> None:
    """It is told to stop as soon as its values are too old; its neighbour goes on; it returns, slowly, when heard again."""
    site.dispatch("evse-1", power_w=-8_000)
    site.dispatch("evse-2", power_w=6_000)
    site.oracle.wait_target("evse-1", -8_000, 20)
    site.oracle.wait_target("evse-2", 6_000, 20)
    site.sim.fault("evse-1", fault, **parameters)
    site.oracle.wait(lambda: site.oracle.target_w("evse-1") == 0, 5, "evse-1 is stopped")
    stopped = time.time()
    site.oracle.wait_commands("evse-1", 25)
    assert all(command.target_w >= 0 for command in site.oracle.commands("evse-1", stopped))
    site.oracle.wait_target("evse-2", 6_000, 10)
    site.sim.clear("evse-1")
    site.oracle.wait_target("evse-1", -8_000, 30)
    ramp = [command.target_w for command in site.oracle.commands("evse-1", stopped) if command.target_w < 0]
    assert ramp[0] > -2_000, "it returns slowly"
