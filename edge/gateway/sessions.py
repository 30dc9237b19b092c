"""Sessions: one vehicle's stay at one EVSE, with the energy that the EVSE itself measured."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

from edge.core import EvseSnapshot, Snapshot
from edge.field.canmap import EvseField, EvseFlag
from edge.local.view import Session

REMEMBERED = 500
W_NS_PER_WH = 3600 * 1_000_000_000


@dataclass(slots=True)
class _Stay:
    started_ms: int
    seen_ns: int
    soc_start: int | None
    soc_last: int | None
    charged_w_ns: int = 0
    discharged_w_ns: int = 0

    def session(self, evse_id: str, ended_ms: int | None) -> Session:
        charged_wh, discharged_wh = self.charged_w_ns // W_NS_PER_WH, self.discharged_w_ns // W_NS_PER_WH
        return Session(evse_id, self.started_ms, ended_ms, charged_wh, discharged_wh, self.soc_start, self.soc_last)


class Sessions:
    """Fed with snapshots, at least once a second. For display; the settlement record is the uplink's own."""

    def __init__(self) -> None:
        self._running: dict[str, _Stay] = {}
        self._ended: deque[Session] = deque(maxlen=REMEMBERED)

    def take(self, snapshot: Snapshot) -> None:
        now_ms = time.time_ns() // 1_000_000
        for evse in snapshot.evses:
            flags = evse.inputs.value(EvseField.FLAGS)
            if flags is None:
                continue  # not heard: neither plugged in nor gone
            if flags & EvseFlag.EV_PRESENT:
                self._stays(evse, snapshot.now_ns, now_ms)
            elif evse.id in self._running:
                self._left(evse.id, now_ms)

    def _stays(self, evse: EvseSnapshot, now_ns: int, now_ms: int) -> None:
        soc = evse.inputs.value(EvseField.SOC)
        stay = self._running.setdefault(evse.id, _Stay(now_ms, now_ns, soc, soc))
        energy = (evse.inputs.value(EvseField.POWER) or 0) * (now_ns - stay.seen_ns)
        stay.charged_w_ns += max(energy, 0)
        stay.discharged_w_ns += max(-energy, 0)
        stay.seen_ns = now_ns
        if soc is not None:
            stay.soc_start = soc if stay.soc_start is None else stay.soc_start
            stay.soc_last = soc

    def _left(self, evse_id: str, now_ms: int) -> None:
        self._ended.appendleft(self._running.pop(evse_id).session(evse_id, now_ms))

    def runs(self, evse_id: str) -> bool:
        return evse_id in self._running

    def all(self) -> list[Session]:
        """Running ones first, then those remembered, newest first."""
        return [stay.session(evse_id, None) for evse_id, stay in self._running.items()] + list(self._ended)
