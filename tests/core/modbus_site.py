"""A site without CAN: two EVSEs and a meter on Modbus, one EVSE on TCP, the other with the meter behind a serial server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from core_site import free_port, wait_until
from v2g_sim.control import Client

CONFIG = """
site: {{id: site-1, grid: {{import_limit_w: 60000, export_limit_w: 50000}}}}
lab: true
cycle: {{period: 10ms}}
limits: {{min_soc_threshold: 30}}
ramp: {{normal_pct_s: 1000, after_failsafe_pct_s: 1000}}
modbus: {{backoff_min: 200ms, backoff_max: 400ms}}
feeders:
  - {{id: main, rating_a: 100, meter: grid, base_load_w: 5000}}
  - {{id: row-a, parent: main, rating_a: 63}}
buses:
  - {{id: net, kind: modbus-tcp}}
  - {{id: line, kind: modbus-rtu, port: "tcp:127.0.0.1:{line}", baud: 115200}}
meters:
  - {{id: grid, bus: line, unit: 9, profile: sim-meter, poll: 200ms}}
evses:
  - {{id: evse-1, bus: net, host: 127.0.0.1, port: {tcp}, profile: {profile}, feeder: row-a, rating_w: 22000, poll: 50ms,
     reaction_time: {reaction}, timeout: 1s}}
  - {{id: evse-2, bus: line, unit: 2, profile: sim-evse, feeder: row-a, rating_w: 22000, poll: 200ms,
     reaction_time: 2s}}
local: {{socket: {folder}/local.sock, state_dir: {folder}/state, page: {{port: {page}}}}}
"""


class ModbusSite:
    """Starts the simulator; `config()` writes config.yaml for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "config.yaml"
        self.ports = {"tcp": free_port(), "line": free_port(), "page": free_port()}
        self.config()
        self._sim = self._simulate()
        self.control = Client(folder / "sim.sock")

    def config(self, profile: str = "sim-evse", reaction: str = "2s") -> None:
        self.path.write_text(CONFIG.format(folder=self.folder, profile=profile, reaction=reaction, **self.ports))

    def _simulate(self) -> subprocess.Popen[bytes]:
        ready = self.folder / "sim.ready"
        command = [sys.executable, "-c", "from v2g_sim.main import main; main()", "run", "--gateway-config", str(self.path)]
        command += ["--vehicle", '{"soc_percent": 60, "capacity_wh": 60000}']
        command += ["--control", str(self.folder / "sim.sock"), "--ready-file", str(ready)]
        process = subprocess.Popen(command)
        wait_until(lambda: ready.exists() or process.poll() is not None, "the simulator is ready")
        assert process.poll() is None
        return process

    def evse(self, evse_id: str) -> dict[str, Any]:
        """What an EVSE really does."""
        found: dict[str, Any] = next(e for e in self.control.state()["evses"] if e["id"] == evse_id)
        return found

    def close(self) -> None:
        self.control.close()
        self._sim.terminate()
        self._sim.wait(10)
