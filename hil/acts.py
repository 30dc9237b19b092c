"""The breaches that the demo injects: at least one for each row of the chain of constraints that is implemented."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hil.rig import BASE_LOAD_W, Rig

Step = Callable[[Rig], object]


@dataclass(frozen=True, slots=True)
class Act:
    """One breach. `row` of the chain; `reason` that must then bind the setpoint of `evse` (None: of some EVSE)."""

    row: int
    evse: str | None
    text: str
    reason: str
    begin: Step
    end: Step


def _fault(row: int, evse: str, text: str, reason: str, fault: str, **parameters: object) -> Act:
    return Act(
        row,
        evse,
        f"{evse}: {text}",
        reason,
        lambda rig: rig.sim.fault(evse, fault, **parameters),
        lambda rig: rig.sim.clear(evse, fault),
    )


def _next_vehicle(rig: Rig) -> None:
    """It inherits nothing, so it is asked anew."""
    rig.sim.plug("evse-7", soc_percent=55)
    rig.dispatch("evse-7", power_w=7_000, wait_s=0)


def _stubborn(rig: Rig) -> None:
    rig.sim.fault("evse-6", "not_following")
    rig.dispatch("evse-6", power_w=2_000, wait_s=0)


def _obedient(rig: Rig) -> None:
    rig.sim.clear("evse-6", "not_following")
    rig.dispatch("evse-6", power_w=9_000, wait_s=0)


def acts() -> list[Act]:
    """In the order in which they are played."""
    return [
        _fault(1, "evse-8", "emergency stop pressed", "E_STOP", "e_stop"),
        _fault(1, "evse-4", "reports an internal fault", "EVSE_FAULT", "fault"),
        _fault(1, "evse-5", "vehicle withdraws V2G", "ERR_BIDIRECTIONAL_UNSUPPORTED", "no_bidirectional"),
        Act(
            1,
            "evse-7",
            "evse-7: vehicle unplugged",
            "NOT_READY",
            lambda rig: rig.sim.unplug("evse-7"),
            _next_vehicle,
        ),
        Act(
            2,
            "evse-1",
            "evse-1: state of charge falls to 25 %",
            "ERR_V2G_LIMIT_REACHED",
            lambda rig: rig.sim.set("evse-1", soc_percent=25),
            lambda rig: rig.plug("evse-1", soc_percent=60),  # back up at once would be doubted, and rightly
        ),
        _fault(2, "evse-2", "state of charge unknown", "SOC_UNKNOWN", "soc_unknown"),
        _fault(3, "evse-4", "connector at 80 °C", "THERMAL_DERATE", "hot_connector", offset_c=62),
        _fault(3, "evse-3", "connector at 95 °C", "THERMAL_STOP", "hot_connector", offset_c=75),
        _fault(3, "evse-2", "temperature sensor broken", "THERMAL_SENSOR", "sensor_invalid", sensors=["connector"]),
        Act(
            5,
            None,
            "main: 45 kW of other load",
            "SITE_LIMIT",
            lambda rig: rig.base_load("main", 45_000),
            lambda rig: rig.base_load("main", BASE_LOAD_W),
        ),
        Act(
            5,
            None,
            "row-b: limited to 8 kW by the aggregator",
            "FEEDER_LIMIT",
            lambda rig: rig.dispatch(feeder="row-b", max_w=8_000, wait_s=0),
            lambda rig: rig.dispatch(feeder="row-b", max_w=43_000, wait_s=0),
        ),
        Act(
            5,
            None,
            "row-b: 12 kW of other load, all on phase 1",
            "PHASE_LIMIT",
            lambda rig: rig.sim.base_load("row-b", [12_000, 0, 0]),
            lambda rig: rig.sim.base_load("row-b", 0),
        ),
        _fault(6, "evse-5", "silent on the bus", "EVSE_LOST", "silent"),
        Act(
            6,
            "evse-2",
            "meter-a: doesn't answer",
            "STALE_METER",
            lambda rig: rig.sim.meter_fault("meter-a", "silent"),
            lambda rig: rig.sim.meter_clear("meter-a"),
        ),
        Act(6, "evse-6", "evse-6: takes 9 kW although told 2 kW", "NOT_FOLLOWING", _stubborn, _obedient),
        Act(
            7,
            "evse-8",
            "evse-8: locked by a technician",
            "LOCKOUT",
            lambda rig: rig.lock("evse-8", True),
            lambda rig: rig.lock("evse-8", False),
        ),
        Act(
            8,
            "evse-8",
            "evse-8: asked to discharge 9 kW at once",
            "RAMP",
            lambda rig: rig.dispatch("evse-8", power_w=-9_000, wait_s=0),  # the ack would come after the ramp
            lambda rig: rig.dispatch("evse-8", power_w=9_000, wait_s=0),
        ),
    ]
