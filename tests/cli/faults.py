"""What may go wrong at a site or with its gateway, and what edgectl must say of it: the list behind test and table."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cli import broken_gateway
from tests.cli.edgectl_program import edgectl_on
from tests.core.core_site import CoreSite, wait_until

Step = dict[str, Any] | tuple[str, ...]
"""A command to the simulator, or words to edgectl: what a person does."""
GRID = "profile: ieee1547-cat3, nominal_hz: 60, enter_delay: 0s, enter_ramp: 1s"
"""So that row 4 can be broken, and service is entered again at once."""
QUICK_RESUME = "thermal: {connector: {resume_hold: 1s}}"


@dataclass(frozen=True)
class Fault:
    """What goes wrong in which row of the chain, which code must be named, what `edgectl explain evse-1` must say, and how it
    is put right. `edgectl doctor` must name the code and the remedy of the catalogue."""

    title: str
    row: int
    inject: Step
    code: str
    says: str
    clear: tuple[Step, ...] = ({"evse": 1, "clear": "all"},)


def evse_fault(name: str, **parameters: Any) -> dict[str, Any]:
    return {"evse": 1, "fault": name, **parameters}


def evse_is(**values: Any) -> dict[str, Any]:
    return {"evse": 1, "set": values}


SENSOR = evse_fault("sensor_invalid", sensors=["connector"])
UNPLUG, PLUG_IN = {"evse": 1, "unplug": True}, {"evse": 1, "plug": {"soc_percent": 60}}
TOO_FAST, NOMINAL = {"grid": {"frequency_hz": 62.5}}, {"grid": {"frequency_hz": 60.0}}
MORE_LOAD, LESS_LOAD = ({"feeder": "main", "base_load_w": watts} for watts in (68000, 5000))
METER_SILENT, METER_BACK = {"meter": "grid", "fault": "silent"}, {"meter": "grid", "clear": "all"}
LOCK, UNLOCK = ("lock", "evse-1", "--reason", "contactor is being replaced"), ("unlock", "evse-1")
RELEASE = ({"evse": 1, "clear": "all"}, LOCK, UNLOCK)
"""A good value alone is not enough: a person must have looked."""
COOL = (evse_is(connector_c=30), {"evse": 1, "clear": "all"})
CHARGED = (evse_is(soc_percent=60),)
FAULTS = (
    Fault("the EVSE can only charge", 1, evse_fault("no_bidirectional"), "ERR_BIDIRECTIONAL_UNSUPPORTED", "read anew"),
    Fault("the EVSE reports a fault", 1, evse_fault("fault"), "EVSE_FAULT", "clears its fault bit"),
    Fault("somebody pressed the emergency stop", 1, evse_fault("e_stop"), "E_STOP", "when the button is released"),
    Fault("the vehicle was unplugged", 1, UNPLUG, "NOT_READY", "A, no vehicle", (PLUG_IN,)),
    Fault("the battery is at its floor", 2, evse_is(soc_percent=30), "ERR_V2G_LIMIT_REACHED", "again at SOC 32.0 %", CHARGED),
    Fault("the vehicle tells no SOC", 2, evse_fault("soc_unknown"), "SOC_UNKNOWN", "state of charge invalid"),
    Fault("a connector is warm", 3, evse_is(connector_c=78), "THERMAL_DERATE", "full power below 70.0 °C", COOL),
    Fault("a connector is hot", 3, evse_is(connector_c=95), "THERMAL_STOP", "has been at or below 65.0 °C for 1 s", COOL),
    Fault("a temperature sensor is broken", 3, SENSOR, "THERMAL_SENSOR", "connector temperature invalid"),
    Fault("the grid's frequency is too high", 4, TOO_FAST, "GRID_FREQUENCY", "grid shows 62.500 Hz", (NOMINAL,)),
    Fault("other load takes all", 5, MORE_LOAD, "SITE_LIMIT", "load on feeder main falls", (LESS_LOAD,)),
    Fault("the EVSE is silent", 6, evse_fault("silent"), "EVSE_LOST", "last heard"),
    Fault("the EVSE's frames are damaged", 6, evse_fault("wrong_crc"), "EVSE_LOST", "last heard"),
    Fault("the meter is silent", 6, METER_SILENT, "STALE_METER", "meter grid at 127.0.0.1", (METER_BACK,)),
    Fault(
        "the EVSE does what it wants",
        6,
        evse_fault("not_following", power_w=-9000),
        "NOT_FOLLOWING",
        "link power -9000 W",
        RELEASE,
    ),
    Fault("somebody locked the EVSE", 7, LOCK, "LOCKOUT", "contactor is being replaced", (UNLOCK,)),
)


@dataclass(frozen=True)
class OwnFault:
    """Something wrong with the gateway itself; `doctor` is what its doctor must say, the remedy included; `exit` of status."""

    title: str
    start: Callable[[CoreSite], AbstractContextManager[None]]
    code: str
    doctor: tuple[str, ...]
    exit: int = 1


OWN_FAULTS = (
    OwnFault(
        "its CAN bus is unplugged",
        broken_gateway.with_unplugged_bus,
        "BUS_DOWN",
        ("bus can0: can", "is down", "check adapter, cable, termination"),
        exit=2,
    ),
    OwnFault(
        "its certificate has expired",
        broken_gateway.with_expired_certificate,
        "CERTIFICATE",
        ("certificate gateway: site-1 expired on", "renew it with the play rotate-keys.yml"),
    ),
    OwnFault(
        "its clock is an hour behind",
        broken_gateway.with_wrong_clock,
        "CLOCK_UNTRUSTED",
        ("clock: commands are refused: the clock is", "set the clock"),
    ),
    OwnFault(
        "SCHED_FIFO is refused",
        broken_gateway.without_fifo,
        "NOT_REALTIME",
        ("scheduling: SCHED_FIFO was refused", "start it by its unit file"),
    ),
    OwnFault(
        "its disk is full", broken_gateway.with_full_disk, "OUTBOX", ("disk:", "0 MiB free of 2", "free at least 512 MiB")
    ),
    OwnFault(
        "a meter has another type's profile",
        broken_gateway.with_wrong_profile,
        "STALE_METER",
        ("it refused", "exception 2: illegal data address", "its profile in the config"),
    ),
)


def checks(doctor: str) -> list[str]:
    """What `edgectl doctor --json` says, a line for each check: name, text, remedy."""
    return [f"{check['name']}: {check['text']} → {check['remedy']}" for check in json.loads(doctor)["checks"]]


def said_by_doctor(doctor: str, parts: Iterable[str]) -> str:
    """The check that holds all parts; empty when there is none."""
    return next((line for line in checks(doctor) if all(part in line for part in parts)), "")


def flowing(text: str) -> str:
    """The text without the line breaks of an 80-column terminal."""
    return " ".join(text.split())


class Site:
    def __init__(self, folder: Path) -> None:
        self.core = CoreSite(folder)
        broken_gateway.change(self.core, "export_limit_w: 50000}", f"export_limit_w: 50000, {GRID}}}")
        broken_gateway.change(self.core, "", f"{QUICK_RESUME}\n")
        self.core.tell(**NOMINAL)
        self.socket = folder / "local.sock"
        self.start()

    def start(self) -> None:
        self.gateway = subprocess.Popen([sys.executable, "-m", "edge.gateway.main", "--config", str(self.core.path)])
        wait_until(lambda: self.gateway.poll() is not None or self.charges(), "the site charges", 60)
        assert self.gateway.poll() is None, f"the gateway ended with {self.gateway.returncode}"

    def restart(self) -> None:
        self.gateway.terminate()
        self.gateway.wait(30)
        self.start()

    def do(self, step: Step) -> None:
        if isinstance(step, dict):
            self.core.tell(**step)
        else:
            result = self.edgectl(*step)
            assert result.returncode == 0, result.stderr

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
