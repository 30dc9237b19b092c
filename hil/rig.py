"""A whole site in one `with` block: broker, simulated EVSEs and meters, gateway, aggregator, and an oracle on the bus.

Demo, scenarios, benchmarks and chaos runs use it:

    with Rig(folder, evses=4, channel="vcan0") as rig:
        rig.dispatch("evse-1", power_w=11_000)
        rig.oracle.wait_target("evse-1", 11_000, timeout_s=10)
        rig.sim.fault("evse-1", "hot_connector", offset_c=75)

Programs start in the order in which they need one another, each is waited for, and what one of them wrote is shown when it
fails. Ports are free ones; everything that is written lies in `folder`.
"""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from v2g_sim.control import Client as SimClient
from v2g_sim.frames import State
from v2g_sim.settings import HUB_PREFIX, BusSettings

from aggregator.devbroker import BrokerError, DevBroker, free_port
from aggregator.dispatch import Dispatcher, load_key
from aggregator.link import Link
from aggregator.settings import load as load_aggregator
from aggregator.store import Store
from edge import wire
from edge.cli.client import Client, Refused, Unreachable
from edge.model import Outcome
from edge.uplink.pki import make_development_pki
from edge.wire import topics
from hil.oracle import Oracle
from hil.program import Program, RigError, console_script
from hil.site import BASE_LOAD_W, METERS, RATING_W, SITE_ID, aggregator_document, merged, site_document, write_yaml

__all__ = ["BASE_LOAD_W", "RATING_W", "SITE_ID", "Rig", "RigError", "merged"]

START_TIMEOUT_S = 90.0
"""For one program to get ready; in User-Mode Linux on a busy machine the gateway's imports alone take ten seconds."""

SEND_TRIES = 4

HARDWARE_PRIORITY = 10
"""SCHED_FIFO priority of what stands for hardware: simulator and hub (its child); far below the gateway's cycle."""

HUB = "hub"
"""`channel` of a rig with a hub of its own in its folder."""


class Rig:
    """Starts everything on entry, ends it on exit. `changes` are merged into config.yaml (hil.site.merged)."""

    def __init__(
        self,
        folder: Path,
        *,
        evses: int = 4,
        channel: str = HUB,
        changes: Mapping[str, Any] | None = None,
        page_port: int | None = None,
        aggregator: bool = True,
    ) -> None:
        self.folder = folder
        self.logs = folder / "logs"
        self.config_file = folder / "config.yaml"
        self.aggregator_file = folder / "aggregator.yaml"
        self.channel = f"{HUB_PREFIX}{folder}/hub.sock" if channel == HUB else channel
        self.pki = folder / "pki"
        self.evses = [f"evse-{number}" for number in range(1, evses + 1)]
        ports = {name: free_port() for name in (*METERS, "broker")} | {"page": page_port or free_port()}
        self.page = f"http://127.0.0.1:{ports['page']}/"
        self.config = merged(site_document(folder, self.channel, evses, ports, self.pki), changes or {})
        self.broker = DevBroker(folder / "broker", self.pki, {SITE_ID: self.evses}, ports["broker"])
        self.simulator = self._program(
            "v2g-sim", "run", "--gateway-config", str(self.config_file), fifo_priority=HARDWARE_PRIORITY
        )
        self.simulator.command += ["--control", str(folder / "sim.sock"), "--ready-file", str(folder / "sim.ready")]
        self.gateway = self._program("v2g-edge", "--config", str(self.config_file))
        self.aggregator = self._program("v2g-aggregator", "--config", str(self.aggregator_file), "run")
        self._with_aggregator = aggregator
        self._local = Client(str(folder / "local.sock"))
        self._stack = ExitStack()
        self.oracle: Oracle
        self.sim: SimClient
        self._dispatcher: Dispatcher

    def _program(self, name: str, *arguments: str, fifo_priority: int = 0) -> Program:
        return Program(name, [console_script(name), *arguments], self.logs / f"{name}.log", fifo_priority)

    # ---- start and stop ----

    def __enter__(self) -> Rig:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def _start(self) -> None:
        self.logs.mkdir(parents=True, exist_ok=True)
        make_development_pki(self.pki, [SITE_ID])
        write_yaml(self.config_file, self.config)
        write_yaml(self.aggregator_file, aggregator_document(self.folder, self.broker.port, self.pki))
        try:
            self._stack.enter_context(self.broker.running())
        except BrokerError as error:
            raise RigError(str(error)) from error
        self._stack.callback(self.simulator.stop)
        self.simulator.start()
        self.simulator.wait_ready((self.folder / "sim.ready").exists, START_TIMEOUT_S)
        self.sim = self._stack.enter_context(SimClient(self.folder / "sim.sock"))
        self.sim.base_load("main", BASE_LOAD_W)
        self.oracle = Oracle(self.config_file, "can0", bus_settings(self.channel))
        self.oracle.start()
        self._stack.callback(self.oracle.stop)
        self._stack.callback(self.gateway.stop)
        self.start_gateway()
        if self._with_aggregator:
            self._stack.callback(self.aggregator.stop)
            self.start_aggregator()
            self._open_dispatcher()

    def start_gateway(self) -> None:
        """Start it, also again after it was killed; returns when it runs and is connected."""
        self.gateway.start()
        self.gateway.wait_ready(self._gateway_ready, START_TIMEOUT_S)

    def restart(self, config: dict[str, Any]) -> None:
        """Stop the gateway and start it with another config, where a reload isn't what is tried."""
        self.gateway.stop()
        self.config = config
        write_yaml(self.config_file, config)
        self.start_gateway()

    def start_aggregator(self) -> None:
        """Start it, also again after it was killed."""
        self.aggregator.log.unlink(missing_ok=True)
        self.aggregator.start()
        self.aggregator.wait_ready(lambda: "listening to" in self.aggregator.tail(), START_TIMEOUT_S)

    def _gateway_ready(self) -> bool:
        """It answers, runs, and its broker connection stands."""
        try:
            status = self.status()
        except (Unreachable, Refused):
            return False
        return bool(status["core"]["state"] == "run" and status["uplink"]["state"] in ("connected", "off"))

    def _open_dispatcher(self) -> None:
        """Commands leave from here as `v2g-aggregator dispatch` sends them; a program each would cost seconds in a guest."""
        settings = load_aggregator(self.aggregator_file)
        store = Store(settings.database)
        self._stack.callback(store.close)
        link = Link(settings.broker, "", [topics.ack(SITE_ID)])
        self._stack.callback(link.close)
        link.wait_subscribed(START_TIMEOUT_S)
        self._dispatcher = Dispatcher(link, store, *load_key(settings.command_key))

    # ---- what a scenario does ----

    def dispatch(
        self,
        evse: str | None = None,
        *,
        feeder: str | None = None,
        power_w: int | None = None,
        min_w: int | None = None,
        max_w: int | None = None,
        valid_s: float = 600,
        wait_s: float = 3,
    ) -> wire.Ack | None:
        """One signed command for an EVSE, a feeder, or else the site (at its grid connection); returns the fullest ack.

        `wait_s` 0: send and don't wait for an ack.
        """
        site = SITE_ID if evse is None and feeder is None else None
        scope = wire.CommandScope(evse=evse, feeder=feeder, site=site)
        constraint = wire.CommandConstraint(
            scope=scope, quantity="p_w", min_w=min_w, max_w=max_w, target_w=power_w, valid_for_ms=round(valid_s * 1000)
        )
        return self._send([constraint], wait_s)

    def dispatch_wishes(self, wishes_w: Mapping[str, int], valid_s: float = 600, wait_s: float = 3) -> wire.Ack | None:
        """One signed command with a wish in W for each EVSE named."""
        constraints = [
            wire.CommandConstraint(
                scope=wire.CommandScope(evse=evse), quantity="p_w", target_w=power_w, valid_for_ms=round(valid_s * 1000)
            )
            for evse, power_w in wishes_w.items()
        ]
        return self._send(constraints, wait_s)

    def _send(self, constraints: list[wire.CommandConstraint], wait_s: float) -> wire.Ack | None:
        """As an aggregator does: what got no answer, or came too late on a busy machine, is said again."""
        ack = None
        for _ in range(SEND_TRIES if wait_s > 0 else 1):
            body = self._dispatcher.send(SITE_ID, constraints)
            ack = self._dispatcher.wait(body, wait_s)
            if ack is not None and ack.outcome is not Outcome.EXPIRED:
                break
        return ack

    def base_load(self, feeder: str, power_w: float, grace_s: float = 1.0) -> None:
        """Other loads on `feeder` take this from now on; the oracle holds the gateway to it after `grace_s`."""
        self.sim.base_load(feeder, power_w)
        self.oracle.set_base_load(feeder, power_w, grace_s)

    def plug(self, evse: str, **vehicle: Any) -> None:
        """Another vehicle at `evse`, as it happens at a site: the old one is seen to leave before the new one comes."""
        self.sim.unplug(evse)
        left = time.time()
        names = self.evses if evse == "all" else [evse]
        self.oracle.wait(lambda: all(self._gone(name, left) for name in names), 10, f"nobody at {evse}")
        self.sim.plug(evse, **vehicle)

    def _gone(self, evse: str, since: float) -> bool:
        """Several reports say so: one may be lost."""
        reports = self.oracle.reports(evse, since)
        return len(reports) >= 5 and all(report.state == State.A_NO_VEHICLE for report in reports[-5:])

    def status(self) -> dict[str, Any]:
        """`GET /v1/status` of the gateway."""
        return self._local.get("/v1/status")

    def local(self, path: str) -> dict[str, Any]:
        """Any document of the local API."""
        return self._local.get(path)

    def lock(self, evse: str, locked: bool, reason: str = "scenario") -> None:
        """Lock or release an EVSE as a technician does."""
        self._local.post("/v1/locks", {"evse": evse, "locked": locked, "reason": reason})

    def reload(self, changes: Mapping[str, Any], timeout_s: float = 20) -> None:
        """Merge `changes` into config.yaml, send SIGHUP, wait until the gateway shows another config."""
        before = self.status()["config_hash"]
        self.config = merged(self.config, changes)
        write_yaml(self.config_file, self.config)
        self.gateway.send(signal.SIGHUP)
        deadline = time.monotonic() + timeout_s
        while self.status()["config_hash"] == before:
            if time.monotonic() > deadline:
                raise self.gateway.error(f"did not apply the changed config within {timeout_s:.0f} s")
            time.sleep(0.05)

    def keep_logs(self, target: Path) -> None:
        """Copy all logs and the config to `target`, where they outlive the rig."""
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for path in (*self.logs.glob("*.log"), self.broker.log, self.config_file):
            if path.exists():
                shutil.copy(path, target)


def bus_settings(channel: str) -> BusSettings:
    """The bus of a config's CAN `channel`, as the simulator's tools open it."""
    if channel.startswith(HUB_PREFIX):
        return BusSettings(interface="v2ghub", channel=channel.removeprefix(HUB_PREFIX), start=False)
    return BusSettings(interface="socketcan", channel=channel)
