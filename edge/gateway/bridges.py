"""The bridge processes of buses that only python-can can open: started before the core, started again when one ends."""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from edge.config.settings import CanBus, Settings
from edge.core import CoreError
from edge.field.canpath import bridge_command, bridge_socket

LOG = logging.getLogger("v2g.bridges")
START_S = 10.0
AGAIN_S = 2.0


def can_buses(settings: Settings) -> list[CanBus]:
    return [bus for bus in settings.buses if isinstance(bus, CanBus)]


def _said(bus: CanBus) -> Path:
    """Where its bridge writes what goes wrong."""
    return bridge_socket(bus.id).with_suffix(".log")


class Bridges:
    """One process for each `kind: python-can`. Each ends by itself once nobody holds its socket."""

    def __init__(self) -> None:
        self._running: dict[str, tuple[CanBus, subprocess.Popen[bytes]]] = {}
        self._ended_s: dict[str, float] = {}

    def start(self, buses: Iterable[CanBus]) -> None:
        """Start what is missing and wait until it serves; CoreError names the bus and what its driver said."""
        wanted = {bus.id: bus for bus in buses if bus.kind == "python-can"}
        for bus in wanted.values():
            running = self._running.get(bus.id)
            if running is not None and running[0] == bus and running[1].poll() is None:
                continue
            self.stop(bus.id)
            self._launch(bus)
            self._await(bus)
        for bus_id in set(self._running) - set(wanted):
            del self._running[bus_id]  # it ends by itself once the core has let go of its socket

    def keep(self) -> None:
        """Start again what has ended: an adapter was pulled out, a driver crashed."""
        for bus_id, (bus, process) in list(self._running.items()):
            if process.poll() is None:
                continue
            now_s = time.monotonic()
            if bus_id not in self._ended_s:
                LOG.warning("bus %s: its bridge to %s has ended: starting it again", bus_id, bus.interface)
            if now_s - self._ended_s.get(bus_id, 0) >= AGAIN_S:
                self._ended_s[bus_id] = now_s
                self._launch(bus)

    def stop(self, bus_id: str) -> None:
        running = self._running.pop(bus_id, None)
        if running is not None and running[1].poll() is None:
            running[1].terminate()
            running[1].wait(5)

    def _launch(self, bus: CanBus) -> None:
        command = bridge_command(bridge_socket(bus.id), str(bus.interface), bus.channel, bus.bitrate, bus.fd, bus.options)
        with _said(bus).open("wb") as said:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=said, start_new_session=True)
        self._running[bus.id] = (bus, process)

    def _await(self, bus: CanBus) -> None:
        process = self._running[bus.id][1]
        deadline_s = time.monotonic() + START_S
        while not bridge_socket(bus.id).exists():
            if process.poll() is not None or time.monotonic() > deadline_s:
                said = _said(bus).read_text(errors="replace").strip().splitlines()
                what = said[-1] if said else "its bridge doesn't start"
                raise CoreError(f"bus {bus.id}: {what}: correct `interface`, `channel` or `options`, or plug the adapter in")
            time.sleep(0.02)
