"""Which segment of the way a signal is late on (ERR_SIG_TIMEOUT): broker link, aggregator, Python, bus or EVSE."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.core import BusState, Snapshot
from edge.model import Constraint, Reason, Source

if TYPE_CHECKING:
    from edge.uplink import UplinkStatus


@dataclass(frozen=True, slots=True)
class LateSignal:
    """One segment on which something is late; `text` names it and says how late."""

    segment: str
    """`broker link`, `aggregator`, `bus NAME` or `EVSE NAME`: stays the same while the text counts on."""
    text: str


def late_signals(
    snapshot: Snapshot, said: tuple[Constraint, ...], status: UplinkStatus | None, now_ns: int
) -> list[LateSignal]:
    """Every segment that is late now, the outermost first. `said`: what all sources said; times are CLOCK_MONOTONIC."""
    return [*_uplink(status, said, now_ns), *_field(snapshot)]


def _uplink(status: UplinkStatus | None, said: tuple[Constraint, ...], now_ns: int) -> Iterator[LateSignal]:
    if status is None:
        return
    ended = [
        c
        for c in said
        if c.source is Source.AGGREGATOR and c.until_ns is not None and c.until_ns <= now_ns and c.target_w is not None
    ]
    if not status.connected:
        if status.connected_ns is not None or ended:
            yield LateSignal("broker link", f"broker link: no connection to {status.broker}: {status.last_error or 'lost'}")
    elif status.slow_link:
        yield LateSignal("broker link", f"broker link: round trip {status.round_trip_ms or 0:.0f} ms, commands are damped")
    elif ended and status.command_ns is not None:
        silent_s = (now_ns - status.command_ns) / 1e9
        scopes = ", ".join(sorted(str(c.scope.id) for c in ended))
        yield LateSignal(
            "aggregator", f"aggregator: the broker answers, but no command for {silent_s:.0f} s; lease over: {scopes}"
        )


def _field(snapshot: Snapshot) -> Iterator[LateSignal]:
    for bus in snapshot.buses:
        if bus.state in (BusState.DOWN, BusState.OFF):
            yield LateSignal(f"bus {bus.id}", f"bus {bus.id}: {bus.state.name.lower()}, nothing gets through")
    for evse in snapshot.evses:
        if evse.setpoint.reason is Reason.EVSE_LOST:
            yield LateSignal(f"EVSE {evse.id}", f"EVSE {evse.id}: nothing valid heard within its age limit")


class SegmentWatch:
    """Turns what is late into an event when it begins and one when it is over."""

    def __init__(self) -> None:
        self._late: dict[str, str] = {}

    def take(self, late: list[LateSignal]) -> Iterator[tuple[str, str]]:
        """(code, text) of every segment that became late or is in time again."""
        now = {signal.segment: signal.text for signal in late}
        for segment, text in now.items():
            if segment not in self._late:
                yield "ERR_SIG_TIMEOUT", text
        for segment in self._late:
            if segment not in now:
                yield "SIGNAL_BACK", f"{segment}: in time again"
        self._late = now

    @property
    def text(self) -> str:
        """All that is late now, in one line; empty: nothing."""
        return "; ".join(self._late.values())
