"""What may go wrong at a site or with its gateway, and what edgectl must say of it: the list behind test and table."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cli import broken_gateway
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


@dataclass(frozen=True)
class OwnFault:
    """Something wrong with the gateway itself; `doctor` is what its doctor must say, the remedy included."""

    title: str
    start: Callable[[CoreSite], AbstractContextManager[None]]
    code: str
    doctor: tuple[str, ...]


OWN_FAULTS = (
    OwnFault(
        "its certificate has expired",
        broken_gateway.with_expired_certificate,
        "CERTIFICATE",
        ("LOOK certificate gateway: site-1 expired on", "renew it with the play rotate-keys.yml"),
    ),
    OwnFault(
        "its clock is an hour behind",
        broken_gateway.with_wrong_clock,
        "CLOCK_UNTRUSTED",
        ("LOOK clock: commands are refused: the clock is", "set the clock"),
    ),
    OwnFault(
        "SCHED_FIFO is refused",
        broken_gateway.without_fifo,
        "NOT_REALTIME",
        ("LOOK scheduling: SCHED_FIFO was refused", "start it by its unit file"),
    ),
    OwnFault(
        "its disk is full", broken_gateway.with_full_disk, "OUTBOX", ("LOOK disk:", "0 MiB free of 2", "free at least 512 MiB")
    ),
    OwnFault(
        "a meter has another type's profile",
        broken_gateway.with_wrong_profile,
        "STALE_METER",
        ("it refused", "exception 2: illegal data address", "its profile in the config"),
    ),
)


def flowing(text: str) -> str:
    """The text without the line breaks of an 80-column terminal."""
    return " ".join(text.split())


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
