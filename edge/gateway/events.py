"""The core's events in words, remembered and handed out: what the log, the local API and the history tell."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Literal

from edge.core import BusState, CoreEvent, EventKind
from edge.core.kinds import GridService, Refusal
from edge.core.snapshot import Ids
from edge.local.view import Event
from edge.model import Reason
from edge.model.catalogue import reason_info

REMEMBERED = 1000
WAITING = 256
"""Events that a slow subscriber may lag behind; it loses the oldest."""

Level = Literal["ok", "degraded", "fault"]
Text = tuple[str, str, str, Level]
"""Subject, code, text, level."""

_LOG = logging.getLogger("v2g.events")
_LEVELS = {"ok": logging.INFO, "degraded": logging.WARNING, "fault": logging.ERROR}

LATCHES = {
    1: "FLOOR",
    2: "CEILING",
    4: "THERMAL connector",
    8: "THERMAL cable",
    16: "THERMAL charger",
    32: "THERMAL cell",
    64: "LOST",
    128: "NOT_FOLLOWING",
}
"""Bits of `enum v2g_latch` that somebody wants to hear of; the others are the core's own."""


def _name(names: Sequence[str], index: int) -> str:
    return names[index] if index < len(names) else f"#{index}"


def _reason(ids: Ids, event: CoreEvent) -> Text:
    before, now, *_ = (Reason(value) for value in event.values[:2])
    target_w, power_w = event.values[4], event.values[5]
    info = reason_info(now)
    text = f"{info.title}: target {target_w} W, measured {power_w} W (before: {reason_info(before).title})"
    return _name(ids.evses, event.index), now.name, text, info.level.value


def _latch(ids: Ids, event: CoreEvent) -> Text | None:
    before, now = event.values[:2]
    changed = {bit: name for bit, name in LATCHES.items() if (before ^ now) & bit}
    if not changed:
        return None
    parts = [f"{name} {'set' if now & bit else 'open'}" for bit, name in changed.items()]
    held = any(now & bit for bit in changed)
    return _name(ids.evses, event.index), "LATCH", f"latch {', '.join(parts)}", "degraded" if held else "ok"


def _bus(ids: Ids, event: CoreEvent) -> Text:
    state = BusState(event.values[1])
    level: Level = (
        "ok" if state is BusState.UP else "fault" if state in (BusState.DOWN, BusState.OFF, BusState.BLOCKED) else "degraded"
    )
    return _name(ids.buses, event.index), f"BUS_{state.name}", f"bus is {state.name.lower()}", level


def _grid(event: CoreEvent) -> Text:
    service, reason = GridService(event.values[1]), Reason(event.values[2])
    seen = f"{event.values[3] / 1000:.3f} Hz, {event.values[4] / 10:.1f} to {event.values[5] / 10:.1f} V"
    text = {
        GridService.IN: "grid service: in service" if reason is Reason.NONE else "grid service: momentary cessation",
        GridService.OUT: "grid service: tripped",
        GridService.WAITING: "grid service: the grid is good again, the delay of entering service runs",
        GridService.ENTERING: "grid service: entering service along its ramp",
    }[service]
    return (
        "site",
        reason.name if reason is not Reason.NONE else "GRID_IN_SERVICE",
        f"{text} ({seen})",
        ("ok" if service is GridService.IN and reason is Reason.NONE else "degraded"),
    )


def _refused(what: str, event: CoreEvent) -> Text:
    refusal = Refusal(event.values[0])
    return (
        "site",
        refusal.name,
        f"{what} refused by the core ({refusal.name} {event.values[1]:#x}); the old one runs on",
        "degraded",
    )


def words(event: CoreEvent, ids: Ids) -> Text | None:
    """Subject, code, text and level of an event; None: nothing that anybody needs to hear."""
    value = event.values[0]
    feeder = _name(ids.feeders, event.index)
    match event.kind:
        case EventKind.START:
            return "site", "START", f"cycle runs every {value // 1000} µs", "ok"
        case EventKind.STOP:
            return "site", "STOP", "cycle has ended", "ok"
        case EventKind.COMMIT:
            return "site", "COMMIT", f"config {value} is in force", "ok"
        case EventKind.COMMIT_REFUSED:
            return _refused("config", event)
        case EventKind.PLAN_REFUSED:
            return _refused("plan", event)
        case EventKind.REASON:
            return _reason(ids, event)
        case EventKind.LATCH:
            return _latch(ids, event)
        case EventKind.FEEDER_LOST:
            return feeder, "STALE_METER", "its meter is lost or frozen: fallback holds", "degraded"
        case EventKind.FEEDER_BACK:
            return feeder, "METER_BACK", "its meter is fresh", "ok"
        case EventKind.LATE:
            return "site", "OVERRUN", f"three cycles in a row were late ({value} overruns so far): fallback holds", "fault"
        case EventKind.ON_TIME:
            return "site", "ON_TIME", "cycles are on time again", "ok"
        case EventKind.GRID:
            return _grid(event)
        case EventKind.BUS:
            return _bus(ids, event)
        case EventKind.OVERFLOW:
            return _name(ids.buses, event.index), "OVERFLOW", f"{value} frames lost because the socket was full", "degraded"
        case EventKind.GUARD:
            return "site", "GUARD", "guard is there" if value else "guard is gone: no power", "ok" if value else "fault"
        case EventKind.DAMAGED:
            return "site", "INVARIANT", "the core found its own state damaged and holds SAFE: restart, keep the log", "fault"
    return None


class EventLog:
    """Remembers the newest events and hands new ones to whoever subscribed. Lives on the event loop."""

    def __init__(
        self, on_event: Callable[[Event], None] = lambda event: None, before: Sequence[Event] = (), first_seq: int = 1
    ) -> None:
        """`before`: what is remembered from before this start; numbers go on at `first_seq`."""
        self.on_event = on_event
        self._events: deque[Event] = deque(before, maxlen=REMEMBERED)
        self._seq = first_seq - 1
        self._subscribers: set[asyncio.Queue[Event | None]] = set()

    def take(self, native: Sequence[CoreEvent], ids: Ids, now_ns: int) -> None:
        """Put the core's events into words. `now_ns`: CLOCK_MONOTONIC now, to date them on the wall clock."""
        now_ms = time.time_ns() // 1_000_000
        for event in native:
            said = words(event, ids)
            if said is not None:
                self.add(event.kind.name.lower(), *said, ts_ms=now_ms - (now_ns - event.time_ns) // 1_000_000)

    def add(self, kind: str, subject: str, code: str, text: str, level: Level = "ok", ts_ms: int | None = None) -> None:
        self._seq += 1
        now_ms = time.time_ns() // 1_000_000
        event = Event(self._seq, now_ms if ts_ms is None else ts_ms, kind, subject, code, text, level)
        self._events.append(event)
        _LOG.log(_LEVELS[level], "%s: %s: %s", subject, code, text, extra={"event": (subject, code, text)})
        self.on_event(event)
        for queue in self._subscribers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)

    def since(self, seq: int) -> list[Event]:
        """A number from the future was given by a gateway whose state is gone: all, then."""
        return [event for event in self._events if event.seq > seq or seq > self._seq]

    async def subscribe(self) -> AsyncIterator[Event]:
        """Events from now on, until `close`."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue(WAITING)
        self._subscribers.add(queue)
        try:
            while (event := await queue.get()) is not None:
                yield event
        finally:
            self._subscribers.discard(queue)

    def close(self) -> None:
        for queue in self._subscribers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(None)
