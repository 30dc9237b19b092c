"""The last 15 minutes of every EVSE, one sample a second, in bounded memory (32 kB an EVSE)."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

from edge.local.builders import envelope, judged_ns, quality_of
from edge.local.documents import HistoryDoc
from edge.local.view import EvseFacts, Snapshot
from edge.model.reason import Reason

SAMPLES = 900
PERIOD_MS = 1000
UNKNOWN = -(1 << 31)
"""Marks a missing value; no power, SOC or temperature can be this."""
READINGS = ("power", "soc", "t_connector", "t_cable", "t_charger", "t_cell_max")


class _Track:
    """Rings of one EVSE in the core's units: what was read, told and allowed, and why."""

    def __init__(self) -> None:
        self.readings = {name: array("i") for name in READINGS}
        self.target, self.low, self.high = array("i"), array("i"), array("i")
        self.reasons = array("B")

    def add(self, evse: EvseFacts, snapshot: Snapshot) -> None:
        setpoint = evse.setpoint
        for name, ring in self.readings.items():
            _push(ring, _value(evse, name, snapshot))
        _push(self.target, setpoint.target_w)
        _push(self.low, setpoint.band_min_w)
        _push(self.high, setpoint.band_max_w)
        _push(self.reasons, setpoint.reason)


def _push(ring: array[int], value: int) -> None:
    ring.append(value)
    if len(ring) > SAMPLES:
        del ring[0]


def _value(evse: EvseFacts, name: str, snapshot: Snapshot) -> int:
    """A sample stands for its second: what came within it is known, however short its age limit is."""
    reading = evse.readings.get(name)
    if reading is None or reading.value is None or reading.acquired_ns is None:
        return UNKNOWN
    now_ns = snapshot.now_ns
    recent = now_ns - reading.acquired_ns <= PERIOD_MS * 1_000_000
    fresh = recent or quality_of(reading, now_ns, judged_ns(snapshot)) == "good"
    return reading.value if fresh else UNKNOWN


def _watts(ring: Iterable[int]) -> list[int | None]:
    return [None if value == UNKNOWN else value for value in ring]


def _scaled(ring: Iterable[int], divisor: int) -> list[float | None]:
    return [None if value == UNKNOWN else value / divisor for value in ring]


def _stretches(reasons: Iterable[int]) -> list[tuple[int, str]]:
    """Where each reason begins; a reason mostly stands for minutes."""
    stretches: list[tuple[int, str]] = []
    for index, value in enumerate(reasons):
        code = Reason(value).name
        if not stretches or stretches[-1][1] != code:
            stretches.append((index, code))
    return stretches


class History:
    def __init__(self) -> None:
        self._tracks: dict[str, _Track] = {}

    def add(self, snapshot: Snapshot) -> None:
        """One sample of every EVSE; those that left the config are forgotten."""
        ids = {evse.id for evse in snapshot.evses}
        for gone in self._tracks.keys() - ids:
            del self._tracks[gone]
        for evse in snapshot.evses:
            self._tracks.setdefault(evse.id, _Track()).add(evse, snapshot)

    def document(self, evse_id: str, snapshot: Snapshot) -> HistoryDoc:
        track = self._tracks.get(evse_id, _Track())
        read = track.readings
        return {
            **envelope("history", snapshot),
            "evse": evse_id,
            "period_ms": PERIOD_MS,
            "power_w": _watts(read["power"]),
            "target_w": _watts(track.target),
            "min_w": _watts(track.low),
            "max_w": _watts(track.high),
            "soc_percent": _scaled(read["soc"], 100),
            "connector_c": _scaled(read["t_connector"], 10),
            "cable_c": _scaled(read["t_cable"], 10),
            "charger_c": _scaled(read["t_charger"], 10),
            "cell_max_c": _scaled(read["t_cell_max"], 10),
            "reasons": [{"first": first, "code": code} for first, code in _stretches(track.reasons)],
        }
