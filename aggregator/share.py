"""Shares a fleet's target out over EVSEs: by priority_weight, state of charge and departure, inside what each can give now.

Only a proposal: every gateway keeps its own floors, fuses and temperatures whatever comes from here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from aggregator.store import Device

FRESH_MS = 15_000
"""Telemetry older than this is no ground for a share: three times the idle period of 5 s."""


MARGIN_H = 0.25
"""A vehicle is charged this long before its departure, so that a late start doesn't leave it short (our choice)."""

MAX_URGENCY = 10.0
"""A vehicle that leaves soon counts at most this many times."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An EVSE that may take a share: how far it can go in the wanted direction (W, a magnitude) and its weight."""

    evse: str
    site: str
    room_w: int
    weight: float


def candidates(
    devices: Iterable[Device],
    latest: dict[str, dict[str, Any]],
    power_w: int,
    now_ms: int,
    *,
    min_soc_threshold: float,
    priority_weight: float,
) -> list[Candidate]:
    """Authorized EVSEs with a vehicle and fresh telemetry; to discharge also a known SOC above the threshold (%), and time
    enough to be charged again before departure. The fuller one gives more, the emptier one and the one that leaves soon takes
    more."""
    chosen = []
    for device in devices:
        seen = latest.get(device.evse)
        if not device.authorized or seen is None or now_ms - seen["ts"] > FRESH_MS or seen["state"] == "A":
            continue
        bounds = seen["set"]
        room_w = min(device.charge_w, max(0, bounds["max"]))
        if power_w < 0:
            floor = min_soc_threshold if device.min_soc_threshold is None else device.min_soc_threshold
            if device.capability != "bidirectional" or seen.get("soc", 0) / 100 <= floor:
                continue
            room_w = min(device.discharge_w, max(0, -bounds["min"]))
        slack_h = _slack_h(device, seen, now_ms)
        if power_w < 0 and slack_h is not None and slack_h <= 0:
            continue
        weight = priority_weight if device.priority_weight is None else device.priority_weight
        weight *= _fullness(seen) if power_w < 0 else 1.05 - _fullness(seen)
        if power_w > 0 and slack_h is not None:
            weight *= min(MAX_URGENCY, 1 / max(slack_h, 1 / MAX_URGENCY)) if slack_h < 1 else 1.0
        if room_w > 0:
            chosen.append(Candidate(device.evse, device.site, room_w, weight))
    return chosen


def _fullness(seen: dict[str, Any]) -> float:
    """State of charge, 0 to 1; in the middle when nobody knows it. Never quite 0: a weight must not vanish."""
    return max(0.05, seen["soc"] / 10_000) if "soc" in seen else 0.5


def _slack_h(device: Device, seen: dict[str, Any], now_ms: int) -> float | None:
    """Hours that may pass before charging at full power must begin to be done by departure; None: nobody waits for it."""
    if device.departure is None or device.departure_soc is None or device.departure <= now_ms:
        return None
    left_h = (device.departure - now_ms) / 3_600_000
    room_wh, soc = seen.get("cap", {}).get("down_wh"), seen.get("soc")
    if not room_wh or soc is None or soc >= 10_000 or device.charge_w <= 0:
        return None
    capacity_wh = room_wh / (1 - soc / 10_000)  # up to the site's ceiling, so a little too small: then it starts earlier
    missing_wh = max(0.0, device.departure_soc / 100 - soc / 10_000) * capacity_wh
    return float(left_h - missing_wh / device.charge_w - MARGIN_H)


def share(power_w: int, among: Sequence[Candidate]) -> dict[str, int]:
    """W for each EVSE, their sum as near to `power_w` as the rooms allow. What one can't take goes to the others by weight."""
    shares = {candidate.evse: 0.0 for candidate in among}
    left_w = float(abs(power_w))
    open_ = list(among)
    while open_ and left_w >= 1:
        weights = sum(candidate.weight for candidate in open_)
        full = [c for c in open_ if shares[c.evse] + left_w * c.weight / weights >= c.room_w]
        if not full:
            for candidate in open_:
                shares[candidate.evse] += left_w * candidate.weight / weights
            break
        for candidate in full:  # they take all they can; the rest is shared out anew
            left_w -= candidate.room_w - shares[candidate.evse]
            shares[candidate.evse] = float(candidate.room_w)
        open_ = [c for c in open_ if c not in full]
    sign = -1 if power_w < 0 else 1
    return {evse: sign * int(watts + 1e-6) for evse, watts in shares.items()}
