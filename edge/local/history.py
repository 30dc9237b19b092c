"""The last 15 minutes of every EVSE, one sample a second, in bounded memory (14 kB an EVSE)."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

from edge.local.builders import envelope
from edge.local.documents import HistoryDoc
from edge.local.view import EvseFacts, Snapshot

SAMPLES = 900
PERIOD_MS = 1000
UNKNOWN = -(1 << 31)
"""Marks a missing value; no power, SOC or temperature can be this."""


class _Track:
    """Four rings of one EVSE in the core's units."""

    def __init__(self) -> None:
        self.rings = tuple(array("i") for _ in range(4))

    def add(self, evse: EvseFacts) -> None:
        values = (_value(evse, "power"), evse.setpoint.target_w, _value(evse, "soc"), _value(evse, "t_connector"))
        for ring, value in zip(self.rings, values, strict=True):
            ring.append(value)
            if len(ring) > SAMPLES:
                del ring[0]


def _value(evse: EvseFacts, name: str) -> int:
    reading = evse.readings.get(name)
    return UNKNOWN if reading is None or reading.value is None else reading.value


def _watts(ring: Iterable[int]) -> list[int | None]:
    return [None if value == UNKNOWN else value for value in ring]


def _scaled(ring: Iterable[int], divisor: int) -> list[float | None]:
    return [None if value == UNKNOWN else value / divisor for value in ring]


class History:
    def __init__(self) -> None:
        self._tracks: dict[str, _Track] = {}

    def add(self, snapshot: Snapshot) -> None:
        """One sample of every EVSE; those that left the config are forgotten."""
        ids = {evse.id for evse in snapshot.evses}
        for gone in self._tracks.keys() - ids:
            del self._tracks[gone]
        for evse in snapshot.evses:
            self._tracks.setdefault(evse.id, _Track()).add(evse)

    def document(self, evse_id: str, snapshot: Snapshot) -> HistoryDoc:
        power, target, soc, connector = self._tracks.get(evse_id, _Track()).rings
        return {
            **envelope("history", snapshot),
            "evse": evse_id,
            "period_ms": PERIOD_MS,
            "power_w": _watts(power),
            "target_w": _watts(target),
            "soc_percent": _scaled(soc, 100),
            "connector_c": _scaled(connector, 10),
        }
