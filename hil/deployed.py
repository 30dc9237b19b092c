"""The deployed site as a rig: gateway, guard, broker and aggregator are units of the machine, only hardware is simulated.

`make deploy-test` runs scenarios with it inside the machine that Ansible set up (V2G_HIL_DEPLOYED=1).
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from v2g_sim.control import Client as SimClient

from edge.cli.client import DEFAULT_SOCKET, Client
from hil.oracle import Oracle
from hil.program import Program
from hil.rig import BASE_LOAD_W, HARDWARE_PRIORITY, START_TIMEOUT_S, Rig, bus_settings

PROGRAMS = Path("/opt/v2g-edge/current/bin")
GATEWAY_CONFIG = Path("/etc/v2g-edge/config.yaml")
AGGREGATOR_CONFIG = Path("/etc/v2g-aggregator/config.yaml")
VARIABLE = "V2G_HIL_DEPLOYED"


class Unit(Program):
    """A systemd unit in the place of a program of our own."""

    def __init__(self, name: str, logs: Path) -> None:
        super().__init__(name, [], logs / f"{name}.log")

    @property
    def running(self) -> bool:
        return subprocess.run(["systemctl", "is-active", "--quiet", self.name]).returncode == 0

    def start(self) -> None:
        """Nothing: the machine started it at boot."""

    def stop(self, timeout_s: float = 15) -> None:
        """Keep what it said; it runs on."""
        with self.log.open("wb") as log:
            subprocess.run(["journalctl", "--no-pager", "-u", self.name, "-n", "500"], stdout=log, check=False)


class DeployedRig(Rig):
    """`folder` holds the simulator's socket and the logs; everything else lies where the playbooks put it."""

    def __init__(self, folder: Path, channel: str, evses: int) -> None:
        super().__init__(folder, evses=evses, channel=channel)
        self.config_file = GATEWAY_CONFIG
        self.aggregator_file = AGGREGATOR_CONFIG
        self.gateway = Unit("v2g-edge", self.logs)
        self.aggregator = Unit("v2g-worker", self.logs)
        command = [str(PROGRAMS / "v2g-sim"), "run", "--gateway-config", str(GATEWAY_CONFIG)]
        command += ["--control", str(folder / "sim.sock"), "--ready-file", str(folder / "sim.ready")]
        self.simulator = Program("v2g-sim", command, self.logs / "v2g-sim.log", HARDWARE_PRIORITY)
        self._local = Client(DEFAULT_SOCKET)

    def _start(self) -> None:
        self.logs.mkdir(parents=True, exist_ok=True)
        self._stack.callback(self.gateway.stop)
        self._stack.callback(self.aggregator.stop)
        self._stack.callback(self.simulator.stop)
        self.simulator.start()
        self.simulator.wait_ready((self.folder / "sim.ready").exists, START_TIMEOUT_S)
        self.sim = self._stack.enter_context(SimClient(self.folder / "sim.sock"))
        self.sim.base_load("main", BASE_LOAD_W)
        self.oracle = Oracle(self.config_file, "can0", bus_settings(self.channel))
        self.oracle.start()
        self._stack.callback(self.oracle.stop)
        self.gateway.wait_ready(self._gateway_ready, START_TIMEOUT_S)
        self._open_dispatcher()
