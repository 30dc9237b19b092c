"""A small real site for tests of the core: a hub for a CAN bus, simulated EVSEs and meter as processes, and a config."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from v2g_sim.canhub import start_hub
from v2g_sim.control import Client

from hil.program import prefer

HARDWARE_PRIORITY = 10
"""SCHED_FIFO where granted: what stands for hardware doesn't stop because a machine is busy."""

CONFIG = """
site: {{id: site-1, grid: {{import_limit_w: 60000, export_limit_w: 50000}}}}
lab: true
cycle: {{period: 10ms}}
limits: {{min_soc_threshold: {floor}}}
ramp: {{normal_pct_s: 1000, after_failsafe_pct_s: 1000}}
feeders:
  - {{id: main, rating_a: 100, meter: grid, base_load_w: 5000}}
  - {{id: row-a, parent: main, rating_a: 63}}
buses:
  - {{id: can0, kind: can, channel: "hub:{hub}"}}
  - {{id: net, kind: modbus-tcp}}
meters:
  - {{id: grid, bus: net, host: 127.0.0.1, port: {port}, profile: sim-meter, poll: 50ms}}
evses:
{evses}
local: {{socket: {folder}/local.sock, state_dir: {folder}/state, page: {{port: {page}}}}}
"""
EVSE = (
    "  - {{id: {id}, bus: can0, dbc: evse-generic, node: {node}, feeder: row-a, rating_w: 22000, silence_tested: true, "
    "reaction_time: 1s}}"
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class CoreSite:
    """Starts the hub and the simulators; `config()` writes config.yaml for them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hub_path = folder / "can0.sock"
        self.hub, member = start_hub(str(self.hub_path))
        prefer(self.hub.pid, HARDWARE_PRIORITY)
        self.port, self.page_port = free_port(), free_port()
        self.path = folder / "config.yaml"
        self.config()
        member.close()
        self._sim = self._simulate()
        self.control = Client(folder / "sim.sock")

    def config(self, floor: int = 30, ids: tuple[str, ...] = ("evse-1", "evse-2"), nodes: tuple[int, ...] = (1, 2)) -> Path:
        evses = "\n".join(EVSE.format(id=evse_id, node=node) for evse_id, node in zip(ids, nodes, strict=True))
        text = CONFIG.format(
            hub=self.hub_path, port=self.port, page=self.page_port, folder=self.folder, floor=floor, evses=evses
        )
        self.path.write_text(text)
        return self.path

    def _simulate(self) -> subprocess.Popen[bytes]:
        ready = self.folder / "sim.ready"
        command = [sys.executable, "-c", "from v2g_sim.main import main; main()", "run", "--gateway-config", str(self.path)]
        command += ["--vehicle", '{"soc_percent": 60, "capacity_wh": 60000}']
        command += ["--control", str(self.folder / "sim.sock"), "--ready-file", str(ready)]
        process = subprocess.Popen(command)
        prefer(process.pid, HARDWARE_PRIORITY)
        wait_until(lambda: ready.exists() or process.poll() is not None, "the simulator is ready")
        assert process.poll() is None
        return process

    def tell(self, **command: Any) -> dict[str, Any]:
        """One command to the simulator's control socket."""
        return self.control.send(command)

    def restart_hub(self) -> None:
        """The bus goes away with everybody on it, and comes back."""
        self.hub.terminate()
        self.hub.wait(10)
        self.hub, member = start_hub(str(self.hub_path))
        member.close()

    def close(self) -> None:
        self.control.close()
        for process in (self._sim, self.hub):
            process.terminate()
            process.wait(10)


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    """Wait for a condition; the time-out is only for a test that fails."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {timeout_s} s: {what}"
        time.sleep(0.01)
