"""Scenario 14: a temperature sensor breaks while the connector is warm."""

from __future__ import annotations

import time

from hil.rig import RATING_W, Rig


def test_a_warm_connector_without_its_sensor_gets_no_more_than_before(site: Rig) -> None:
    """Derated at 78 °C, then the sensor breaks. Losing an input never loosens: charging stays at or below the last limit."""
    site.dispatch("evse-1", power_w=20_000)
    site.oracle.wait_target("evse-1", 20_000, 20)
    site.sim.fault("evse-1", "hot_connector", offset_c=58)
    # Such a jump counts as a rise at first and gives 0 W; at a steady 78 °C the table gives 7.9 kW.
    site.oracle.wait(lambda: 0 < steady_w(site) < 12_000, 60, "evse-1 is derated")
    derated_w = site.oracle.target_w("evse-1")
    since = time.time()
    site.sim.fault("evse-1", "sensor_invalid", sensors=["connector"])
    site.oracle.wait(lambda: any(r.connector_c is None for r in site.oracle.reports("evse-1", since)), 5, "the broken sensor")
    site.oracle.wait_commands("evse-1", 50)
    assert all(command.max_w <= derated_w for command in site.oracle.commands("evse-1", since))


def test_without_a_sensor_a_vehicle_is_not_discharged_and_charges_at_half_power(site: Rig) -> None:
    site.dispatch("evse-2", power_w=-8_000)
    site.oracle.wait_target("evse-2", -8_000, 20)
    since = time.time()
    site.sim.fault("evse-2", "sensor_invalid", sensors=["connector"])
    reaction = site.oracle.reaction("evse-2", since, lambda r: r.connector_c is None, lambda c: c.min_w >= 0)
    assert reaction.frames <= 2
    site.dispatch("evse-2", power_w=RATING_W)
    site.oracle.wait_target("evse-2", RATING_W // 2, 20)
    site.oracle.wait_commands("evse-2", 20)
    assert site.oracle.target_w("evse-2") <= RATING_W // 2


def steady_w(site: Rig) -> int:
    """The setpoint of evse-1 when it stayed the same for a second, else 0."""
    targets = {command.target_w for command in site.oracle.commands("evse-1", time.time() - 1)}
    return targets.pop() if len(targets) == 1 else 0
