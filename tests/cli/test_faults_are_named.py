"""A technician with nothing but edgectl: for each fault of a running site, status and explain name the true cause.

The site is real but for its firmware: v2g-edge, a CAN hub, Modbus/TCP, simulated EVSEs and meter.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.cli.edgectl_program import edgectl_on
from tests.core.core_site import CoreSite, wait_until


@dataclass(frozen=True)
class Fault:
    """What goes wrong, which code must be named, what `edgectl explain evse-1` must say, and how it is put right."""

    title: str
    inject: dict[str, Any]
    code: str
    says: str
    clear: dict[str, Any] = field(default_factory=lambda: {"evse": 1, "clear": "all"})


METER_BACK = {"meter": "grid", "clear": "all"}
MORE_LOAD = {"feeder": "main", "base_load_w": 68000}
LESS_LOAD = {"feeder": "main", "base_load_w": 5000}
PLUG_IN = {"evse": 1, "plug": {"soc_percent": 60}}
CHARGED = {"evse": 1, "set": {"soc_percent": 60}}


def evse_fault(name: str, **parameters: Any) -> dict[str, Any]:
    return {"evse": 1, "fault": name, **parameters}


SENSOR = evse_fault("sensor_invalid", sensors=["connector"])
FLOOR = {"evse": 1, "set": {"soc_percent": 30}}
FAULTS = (
    Fault("the battery is at its floor", FLOOR, "ERR_V2G_LIMIT_REACHED", "discharge again at SOC 32.0 %", CHARGED),
    Fault("the vehicle tells no SOC", evse_fault("soc_unknown"), "SOC_UNKNOWN", "state of charge invalid"),
    Fault("the EVSE can only charge", evse_fault("no_bidirectional"), "ERR_BIDIRECTIONAL_UNSUPPORTED", "read anew"),
    Fault("a temperature sensor is broken", SENSOR, "THERMAL_SENSOR", "connector temperature invalid"),
    Fault("the EVSE reports a fault", evse_fault("fault"), "EVSE_FAULT", "clears its fault bit"),
    Fault("somebody pressed the emergency stop", evse_fault("e_stop"), "E_STOP", "when the button is released"),
    Fault("the vehicle was unplugged", {"evse": 1, "unplug": True}, "NOT_READY", "A, no vehicle", PLUG_IN),
    Fault("the EVSE is silent", evse_fault("silent"), "EVSE_LOST", "last heard"),
    Fault("the EVSE's frames are damaged", evse_fault("wrong_crc"), "EVSE_LOST", "last heard"),
    Fault("the meter is silent", {"meter": "grid", "fault": "silent"}, "STALE_METER", "meter grid at 127.0.0.1", METER_BACK),
    Fault(
        "other load takes all", {"feeder": "main", "base_load_w": 68000}, "SITE_LIMIT", "load on feeder main falls", LESS_LOAD
    ),
)


class Site:
    def __init__(self, folder: Path) -> None:
        self.core = CoreSite(folder)
        self.socket = folder / "local.sock"
        self.gateway = subprocess.Popen([sys.executable, "-m", "edge.gateway.main", "--config", str(self.core.path)])
        wait_until(lambda: self.gateway.poll() is not None or self.charges(), "the site charges", 60)

    def edgectl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return edgectl_on(self.socket, *arguments)

    def evse(self) -> dict[str, Any]:
        evses: list[dict[str, Any]] = json.loads(self.edgectl("status", "--json").stdout)["evses"]
        return evses[0]

    def codes(self) -> set[str]:
        setpoint = self.evse()["setpoint"]
        return {setpoint[side]["code"] for side in ("reason", "reason_min", "reason_max")}

    def charges(self) -> bool:
        return self.edgectl("status").returncode in (0, 1) and self.evse()["setpoint"]["target_w"] > 0

    def close(self) -> None:
        self.gateway.terminate()
        self.gateway.wait(30)
        self.core.close()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with tempfile.TemporaryDirectory(prefix="v2g") as folder:
        site = Site(Path(folder))
        yield site
        site.close()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.title)
def test_the_cause_of_a_fault_is_named_and_then_gone(site: Site, fault: Fault) -> None:
    site.core.tell(**fault.inject)
    wait_until(lambda: fault.code in site.codes(), f"status names {fault.code}")
    wait_until(lambda: fault.says in flowing(site.edgectl("explain", "evse-1").stdout), f"explain says: {fault.says}")
    assert site.edgectl("explain", fault.code).returncode == 0
    site.core.tell(**fault.clear)
    wait_until(lambda: fault.code not in site.codes() and site.charges(), "all is well again")


def flowing(text: str) -> str:
    """The text without the line breaks of an 80-column terminal."""
    return " ".join(text.split())


def test_an_evse_that_does_what_it_wants_is_released_by_a_person(site: Site) -> None:
    site.core.tell(evse=1, fault="not_following", power_w=-9000)
    wait_until(lambda: "NOT_FOLLOWING" in site.codes(), "status names it")
    site.core.tell(evse=1, clear="all")
    wait_until(lambda: abs(site.evse()["values"]["power"]["value"]) < 100, "it stands still")
    assert "NOT_FOLLOWING" in site.codes(), "a good value alone is not enough"
    site.edgectl("lock", "evse-1", "--reason", "firmware was restarted")
    site.edgectl("unlock", "evse-1")
    wait_until(lambda: "NOT_FOLLOWING" not in site.codes() and site.charges(), "all is well again")


def test_a_hot_connector_is_named_and_stays_stopped_when_it_has_cooled(site: Site) -> None:
    site.core.tell(evse=1, set={"connector_c": 95})
    wait_until(lambda: "THERMAL_STOP" in site.codes(), "status names it")
    site.core.tell(evse=1, set={"connector_c": 30})
    says = "when connector temperature has been at or below 65.0 °C for 60 s"
    wait_until(lambda: says in flowing(site.edgectl("explain", "evse-1").stdout), says)
    assert site.edgectl("status").returncode == 2


def test_a_lock_is_named_with_who_and_why(site: Site) -> None:
    site.edgectl("lock", "evse-2", "--reason", "contactor is being replaced")
    wait_until(lambda: "contactor is being replaced" in site.edgectl("explain", "evse-2").stdout, "explain names the lock")
    assert site.edgectl("unlock", "evse-2").returncode == 0


def test_a_bus_that_is_gone_is_a_fault_with_its_name(site: Site) -> None:
    site.core.hub.terminate()
    site.core.hub.wait(10)
    wait_until(lambda: "BUS_DOWN: bus can0" in site.edgectl("status").stdout, "status names the bus")
    assert site.edgectl("status").returncode == 2
    assert "bus can0: can" in flowing(site.edgectl("doctor").stdout)
