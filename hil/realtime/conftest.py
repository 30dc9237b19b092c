"""A small site on vcan0 under a PREEMPT_RT kernel: simulator, guard, gateway; no broker, to spare an emulated machine."""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from v2g_sim.control import Client as SimClient

from aggregator.devbroker import free_port
from edge.cli.client import Client, Refused, Unreachable
from hil.oracle import Oracle
from hil.program import CHECKOUT, Program, console_script
from hil.rig import bus_settings
from hil.service_manager import ServiceManager
from hil.site import METERS, merged, site_document, write_yaml
from hil.vcan import CHANNEL, TRANSPORT_VARIABLE

SUMMARY = Path("build/hil-rt/summary.json")
EVSES = 2
START_TIMEOUT_S = 300.0
"""An emulated machine takes its time."""
CHANGES: dict[str, Any] = {
    "lab": False,
    "cycle": {"period": "50ms", "cpu": 1},
    "ramp": {"normal_pct_s": 50},
    "modbus": {"backoff_min": "100ms", "backoff_max": "1s"},
}

figures_key = pytest.StashKey[dict[str, object]]()


@dataclass
class Site:
    folder: Path
    gateway: Program
    guard: ServiceManager
    sim: SimClient
    oracle: Oracle
    local: Client

    def ask(self, path: str) -> dict[str, Any]:
        return self.local.get(path)

    def start_gateway(self) -> None:
        self.gateway.start()
        self.gateway.wait_ready(self.runs, START_TIMEOUT_S)

    def runs(self) -> bool:
        try:
            return bool(self.ask("/v1/status")["core"]["state"] == "run")
        except (Unreachable, Refused):
            return False


def pytest_configure(config: pytest.Config) -> None:
    config.stash[figures_key] = {}


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    with tempfile.TemporaryDirectory(prefix="v2g-rt-") as name:
        folder = Path(name)
        config_file = folder / "config.yaml"
        ports = {meter: free_port() for meter in METERS} | {"broker": free_port(), "page": free_port()}
        document = site_document(folder, CHANNEL, EVSES, ports, folder)
        del document["uplink"]
        socket = str(folder / "guard.sock")
        own = {"required": True, "timeout": "2s", "socket": socket}
        write_yaml(config_file, merged(document, CHANGES | {"guard": own}))
        simulator = Program(
            "v2g-sim", [console_script("v2g-sim"), "run", "--gateway-config", str(config_file)], folder / "sim.log", 10
        )
        simulator.command += ["--control", str(folder / "sim.sock"), "--ready-file", str(folder / "sim.ready")]
        gateway = Program("v2g-edge", [console_script("v2g-edge"), "--config", str(config_file)], folder / "edge.log")
        program = CHECKOUT / "build/native/native/guard/v2g-guard"
        oracle = Oracle(config_file, "can0", bus_settings(CHANNEL))
        simulator.start()
        try:
            simulator.wait_ready((folder / "sim.ready").exists, START_TIMEOUT_S)
            oracle.start()
            with SimClient(folder / "sim.sock") as sim, ServiceManager(folder, program, "--socket", socket) as guard:
                guard.start()
                oracle.wait(lambda: "READY=1" in guard.said, START_TIMEOUT_S, "the guard is ready")
                site = Site(folder, gateway, guard, sim, oracle, Client(str(folder / "local.sock")))
                site.start_gateway()
                yield site
                gateway.stop(timeout_s=START_TIMEOUT_S)
        finally:
            oracle.stop()
            gateway.stop()
            simulator.stop()
            for log in folder.glob("*.log"):
                (SUMMARY.parent / log.name).write_bytes(log.read_bytes())


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str, object], None]:
    """`figure("boots", 1)` puts a value into build/hil-rt/summary.json."""
    figures = request.config.stash[figures_key]

    def record(name: str, value: object) -> None:
        figures[name] = value

    return record


def pytest_sessionfinish(session: pytest.Session) -> None:
    summary = {
        "passed": session.testscollected - session.testsfailed,
        "failed": session.testsfailed,
        "kernel": f"{platform.release()} {platform.version()}",
        "can_transport": os.environ.get(TRANSPORT_VARIABLE, ""),
        "uptime_s": round(time.clock_gettime(time.CLOCK_BOOTTIME)),
        "figures": session.config.stash[figures_key],
    }
    SUMMARY.parent.mkdir(parents=True, exist_ok=True)
    SUMMARY.write_text(json.dumps(summary, indent=2) + "\n")
