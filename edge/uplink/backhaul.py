"""How long the way to the broker and back takes, measured all the time (numbers.md: over 1000 ms is slow)."""

from __future__ import annotations

import statistics
from collections import deque

MAX_ROUND_TRIP_MS = 1000.0
"""Above this round trip a dispatch is damped (the user's document)."""

PROBE_PERIOD_S = 10.0
PROBE_LOST_S = 10.0


class Backhaul:
    """Round trips of probes: the broker answers each with one packet. Times are CLOCK_MONOTONIC, ns."""

    def __init__(self, max_round_trip_ms: float = MAX_ROUND_TRIP_MS) -> None:
        self._max_round_trip_ms = max_round_trip_ms
        self._sent_ns: dict[int, int] = {}
        self._round_trips_ms: deque[float] = deque(maxlen=5)

    def sent(self, probe: int, now_ns: int) -> None:
        """A probe is on its way; those that got no answer in time count as that slow."""
        for old, sent_ns in list(self._sent_ns.items()):
            if now_ns - sent_ns > PROBE_LOST_S * 1e9:
                del self._sent_ns[old]
                self._round_trips_ms.append((now_ns - sent_ns) / 1e6)
        self._sent_ns[probe] = now_ns

    def answered(self, probe: int, now_ns: int) -> None:
        """The answer to a probe; an unknown one doesn't count."""
        sent_ns = self._sent_ns.pop(probe, None)
        if sent_ns is not None:
            self._round_trips_ms.append((now_ns - sent_ns) / 1e6)

    def reset(self) -> None:
        """A new connection: probes of the old one get no answer."""
        self._sent_ns.clear()

    @property
    def round_trip_ms(self) -> float | None:
        """Median of the last five, so that one late packet is no verdict; None: nothing measured yet."""
        return statistics.median(self._round_trips_ms) if self._round_trips_ms else None

    @property
    def slow(self) -> bool:
        """Whether commands should be damped."""
        return self.round_trip_ms is not None and self.round_trip_ms > self._max_round_trip_ms
