"""When which EVSE's telemetry is due: every second while something changes, else every five (the user's document: 1 to 5 s).

A vehicle that charges evenly for hours says nothing new each second; its values are told every five seconds and at once when
they move by more than the steps below. That halves a site's data volume.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge.wire import Telemetry

STEP_W = 100
STEP_SHARE = 0.01
"""A power has changed when it moved by both at least 100 W and 1 % (an EVSE's own flicker is smaller)."""

STEP_SOC = 10
"""0.1 %."""

STEP_TEMPERATURE = 5
"""0.5 °C."""

SLACK_S = 0.1
"""A due time this near counts as reached, so that a timer's jitter doesn't halve the rate."""


@dataclass(frozen=True, slots=True)
class _Last:
    at_s: float
    told: Telemetry


class TelemetryPacer:
    """Decides for each EVSE; live values only, nothing is kept for later."""

    def __init__(self, active_s: float, idle_s: float) -> None:
        self._active_s = active_s
        self._idle_s = idle_s
        self._last: dict[str, _Last] = {}

    def due(self, telemetry: Telemetry, now_s: float) -> bool:
        """Whether to send this now; if so it counts as sent."""
        last = self._last.get(telemetry.evse)
        if last is not None:
            period_s = self._active_s if changed(last.told, telemetry) else self._idle_s
            if now_s - last.at_s < period_s - SLACK_S:
                return False
        self._last[telemetry.evse] = _Last(now_s, telemetry)
        return True


def changed(before: Telemetry, now: Telemetry) -> bool:
    """Whether something happened between two looks that a reader must know within a second."""
    if (before.state, before.reason, before.soc_source) != (now.state, now.reason, now.soc_source):
        return True
    was, is_ = before.setpoint, now.setpoint
    powers = ((before.power_w, now.power_w), (was.min_w, is_.min_w), (was.max_w, is_.max_w), (was.target_w, is_.target_w))
    if any(_moved(a, b, max(STEP_W, round(STEP_SHARE * abs(a or 0)))) for a, b in powers):
        return True
    old, new = before.temperature, now.temperature
    temperatures = (
        (old.connector, new.connector),
        (old.cable, new.cable),
        (old.charger, new.charger),
        (old.cell_max, new.cell_max),
    )
    return _moved(before.soc, now.soc, STEP_SOC) or any(_moved(a, b, STEP_TEMPERATURE) for a, b in temperatures)


def _moved(before: int | None, now: int | None, step: int) -> bool:
    if before is None or now is None:
        return before is not now
    return abs(now - before) >= step
