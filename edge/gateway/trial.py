"""Tests of an EVSE that a technician asks for: a leased constraint through the chain like any other, taken back at the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from edge.core import Core, EvseSnapshot
from edge.core.layout import EvsePlace
from edge.field.canmap import EvseField
from edge.gateway.planner import Planner
from edge.local.view import LocalError
from edge.model import Constraint, Scope, ScopeKind, Source

LOOK_S = 0.02
MAX_SECONDS = 600.0
MAX_POWER_W = 4_000_000
"""V2G_POWER_MAX_W of native/include/v2g.h."""
TEST_NAME = "test"
RISE_S = 60.0
"""Within this time an EVSE must take power before its silence can be tested. [C]"""
MARGIN_S = 1.0
"""Silence beyond the device's own time-out. [C]"""
SEEN_S = 2.0
"""The device is only read for so long after the silence, or three polls and its refresh when that is longer. [C]"""
SMALL_W = 1500
"""Power for a test of silence, where the device doesn't need more. [C]"""
AT_ONCE_SHARE = 0.1
"""Measured power below this share of what flowed before counts as 0 W. [C]"""


@contextmanager
def _asked(planner: Planner, evse_id: str, power_w: int, seconds: float) -> Iterator[None]:
    """Ask for a power, no more of it and no other direction, until `seconds` are over; then take it back."""
    scope = Scope(ScopeKind.EVSE, evse_id)
    until_ns = time.monotonic_ns() + int(seconds * 1e9)
    asked = Constraint(
        Source.TECHNICIAN,
        scope,
        min_w=min(power_w, 0),
        max_w=max(power_w, 0),
        target_w=power_w,
        until_ns=until_ns,
        name=TEST_NAME,
    )
    planner.put([asked])
    try:
        yield
    finally:
        planner.arbiter.withdraw(Source.TECHNICIAN, scope)
        planner.renew()


def _power_w(evse: EvseSnapshot) -> int | None:
    return evse.inputs.value(EvseField.POWER)


def _tolerance_w(core: Core, evse_id: str) -> int:
    found = [limits.follow_tolerance_w for limits in core.config.evses if limits.id == evse_id]
    if not found:
        raise LocalError(f"no EVSE {evse_id} here; there are: {', '.join(core.ids.evses)}")
    return found[0]


async def _until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether the condition became true in time."""
    end_s = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= end_s:
            return False
        await asyncio.sleep(LOOK_S)
    return True


@dataclass
class _Following:
    """What an EVSE was told and did so far."""

    tolerance_w: int
    told_w: int | None = None
    measured_w: int | None = None
    reasons: list[str] = field(default_factory=list)
    changed_s: float = 0.0
    followed_s: float | None = None
    """When it was first where it was told to be, since that last changed; None: it isn't."""

    def look(self, evse: EvseSnapshot, now_s: float) -> None:
        setpoint, self.measured_w = evse.setpoint, _power_w(evse)
        if setpoint.target_w != self.told_w:
            self.told_w, self.changed_s, self.followed_s = setpoint.target_w, now_s, None
        if setpoint.reason.name not in self.reasons:
            self.reasons.append(setpoint.reason.name)
        there = self.measured_w is not None and abs(self.measured_w - setpoint.target_w) <= self.tolerance_w
        if there and self.followed_s is None:
            self.followed_s = now_s

    @property
    def after_ms(self) -> int | None:
        return None if self.followed_s is None else round((self.followed_s - self.changed_s) * 1e3)


async def test(core: Core, planner: Planner, evse_id: str, power_w: int, seconds: float) -> Mapping[str, Any]:
    """Ask an EVSE for a power and tell what came of it: what it was told and by what bound, what it did, how fast."""
    seen = _Following(_tolerance_w(core, evse_id))
    if not 1 <= seconds <= MAX_SECONDS or abs(power_w) > MAX_POWER_W:
        raise LocalError(f"{power_w} W for {seconds:g} s: at most {MAX_POWER_W} W, 1 to {MAX_SECONDS:g} s")
    end_s = time.monotonic() + seconds
    with _asked(planner, evse_id, power_w, seconds):
        while (now_s := time.monotonic()) < end_s:
            seen.look(core.snapshot().evse(evse_id), now_s)
            await asyncio.sleep(LOOK_S)
    told_w = seen.told_w or 0
    return {
        "evse": evse_id,
        "asked_w": power_w,
        "told_w": told_w,
        "reasons": seen.reasons,
        "measured_w": seen.measured_w,
        "followed_after_ms": seen.after_ms,
        "ok": seen.after_ms is not None and abs(told_w - power_w) <= seen.tolerance_w,
    }


# ---- Silence ----------------------------------------------------------------------------------------------------------------


def _timeout_s(core: Core, place: EvsePlace) -> float:
    """The device's own time-out, as it was read back; LocalError when nobody has said it."""
    if place.profile.fallback is not None:
        at = place.wiring.first_cell + len(place.profile.registers) + 1
        if (timeout_ms := core.engine.value(at)) is not None:
            return timeout_ms / 1e3
    raise LocalError(f"{place.evse.id}: its registers don't tell its time-out: name it with --seconds")


async def silence(core: Core, planner: Planner, evse_id: str, power_w: int | None, seconds: float | None) -> Mapping[str, Any]:
    """What a charging EVSE does when nobody speaks to it: nothing is sent for its time-out and a little more, then it is read
    before anything is written. The chain counts it as lost meanwhile."""
    place = core.config.points.get(evse_id)
    if place is None:
        raise LocalError(f"{evse_id} is not on Modbus: a CAN EVSE's time-out is what its DBC map says")
    wait_s = (_timeout_s(core, place) if seconds is None else seconds) + place.wiring.refresh_ns / 1e9 + MARGIN_S
    if not MARGIN_S < wait_s <= MAX_SECONDS:
        raise LocalError(f"{evse_id}: {wait_s:g} s of silence, at most {MAX_SECONDS:g} s are tested")
    asked_w = power_w or max(SMALL_W, place.min_w(core.config.settings.site.grid.nominal_v))
    if asked_w <= 0:
        raise LocalError(f"{asked_w} W: silence is tested while it charges")
    look_ns = max(int(SEEN_S * 1e9), 3 * place.wiring.poll_ns + place.wiring.refresh_ns)
    with _asked(planner, evse_id, asked_w, RISE_S + wait_s + look_ns / 1e9 + 1):
        before_w = await _charging(core, evse_id, asked_w)
        quiet_ns = time.monotonic_ns() + int(wait_s * 1e9)
        core.engine.silence(evse_id, int(wait_s * 1e9), look_ns)
        after_w = await _first_reading(core, evse_id, quiet_ns, wait_s + look_ns / 1e9)
    if after_w is None:
        raise LocalError(f"{evse_id}: it doesn't answer after {wait_s:g} s of silence: see edgectl status")
    return {
        "evse": evse_id,
        "before_w": before_w,
        "silent_s": round(wait_s, 2),
        "after_w": after_w,
        "falls_back": abs(after_w) <= AT_ONCE_SHARE * before_w,
    }


async def _charging(core: Core, evse_id: str, asked_w: int) -> int:
    """The power that it takes, once that is not more than asked; LocalError when it takes none worth watching."""
    most_w = asked_w + _tolerance_w(core, evse_id)

    def takes_it() -> bool:
        return asked_w / 2 <= (_power_w(core.snapshot().evse(evse_id)) or 0) <= most_w

    found = await _until(takes_it, RISE_S)
    evse = core.snapshot().evse(evse_id)
    if not found:
        raise LocalError(
            f"{evse_id}: takes {_power_w(evse) or 0} W of {asked_w} W ({evse.setpoint.reason.name}): "
            "its silence can be tested only while a vehicle charges: edgectl explain " + evse_id
        )
    return _power_w(evse) or 0


async def _first_reading(core: Core, evse_id: str, quiet_ns: int, seconds: float) -> int | None:
    """The first power that was read after `quiet_ns` (CLOCK_MONOTONIC); None: none came."""

    def came() -> bool:
        return (core.snapshot().evse(evse_id).inputs.came_ns(EvseField.POWER) or 0) >= quiet_ns

    return _power_w(core.snapshot().evse(evse_id)) if await _until(came, seconds) else None
