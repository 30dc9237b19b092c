"""CAN buses that have stopped: a broken connection is opened again, a bus that stays off or blocked is restarted."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Protocol

from edge.config.settings import CanBus
from edge.core import BusState, Snapshot

LOG = logging.getLogger("v2g.buses")
STUCK = (BusState.OFF, BusState.BLOCKED)
"""What a restart can end: bus-off, and commands that nobody takes (they would come out late)."""


class Buses(Protocol):
    """The part of the core that this needs."""

    def reopen_bus(self, bus_id: str) -> bool: ...

    def restart_bus(self, bus_id: str) -> str: ...


class BusKeeper:
    """Looks at every snapshot. A refused restart is logged once, then tried again in silence."""

    def __init__(self, core: Buses) -> None:
        self._core = core
        self._stuck_ns: dict[str, int] = {}
        self._refused: dict[str, str] = {}
        self.restarts: dict[str, int] = {}
        """Restarts so far, by bus."""

    def keep(self, snapshot: Snapshot, buses: Iterable[CanBus], now_ns: int) -> None:
        patience_ns = {b.id: b.restart_ns for b in buses}
        for bus in snapshot.buses:
            if bus.state is BusState.DOWN:
                self._core.reopen_bus(bus.id)
            if bus.state not in STUCK:
                self._stuck_ns.pop(bus.id, None)
                self._refused.pop(bus.id, None)
            elif now_ns - self._stuck_ns.setdefault(bus.id, now_ns) >= patience_ns.get(bus.id, now_ns):
                self._restart(bus.id, bus.state)
                self._stuck_ns[bus.id] = now_ns

    def _restart(self, bus_id: str, state: BusState) -> None:
        error = self._core.restart_bus(bus_id)
        if not error:
            self.restarts[bus_id] = self.restarts.get(bus_id, 0) + 1
            LOG.warning("bus %s: restarted, it was %s (%d so far)", bus_id, state.name.lower(), self.restarts[bus_id])
        elif self._refused.get(bus_id) != error:
            LOG.warning("bus %s: %s, and can't be restarted: %s: give the service CAP_NET_ADMIN", bus_id, state.name, error)
            self._refused[bus_id] = error
