"""Grid profiles and frequency services. Voltages in per unit of nominal, frequencies in Hz, times in seconds.

[S] read in the named source, [C] our choice, [M] from memory of a paywalled text. The EU sets are named in `edge.config` and
disabled: their figures have not been checked against the standards.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Stage:
    """Beyond `limit` (at or above, at or below) for `delay_s`: trip, or momentary cessation that ends with the condition."""

    limit: float
    delay_s: float
    over: bool
    cease: bool = False


@dataclass(frozen=True, slots=True)
class EnterService:
    """Service is entered after voltage and frequency were inside for `delay_s` and up to a fifth more, along a ramp."""

    low_pu: float = 0.917
    high_pu: float = 1.05
    low_hz: float = 59.5
    high_hz: float = 60.1
    delay_s: int = 300
    ramp_s: int = 300


@dataclass(frozen=True, slots=True)
class Curve:
    """Power over frequency deviation, in shares of the power that takes part: from each (Hz, share) point on with its slope
    (share per Hz). Below nominal towards discharge, above it towards charge."""

    points: tuple[tuple[float, float, float], ...]
    response_s: float = 0.0
    """Open-loop response: 90 % of a step after this time; 0: at once."""


@dataclass(frozen=True, slots=True)
class Step:
    """All of the power at or below `trigger_hz`, held for `hold_s`, then given back as a
    first-order lag of time constant `back_s` (0: at once); armed again once at `rearm_hz` for `rearm_s`."""

    trigger_hz: float
    hold_s: float
    rearm_hz: float
    rearm_s: float
    back_s: float = 0.0


@dataclass(frozen=True, slots=True)
class GridProfile:
    """One grid code."""

    nominal_hz: int
    voltage: tuple[Stage, ...]
    frequency: tuple[Stage, ...]
    enter: EnterService = field(default_factory=EnterService)
    droop: Curve | None = None
    volt_watt: tuple[float, float, float] = (1.06, 1.10, 0.2)
    """Discharge falls from all of the rating at the first voltage (pu) to the third figure's share of it at the second.
    [voltages S: OpenDER 2.2.0; the share M: IEEE 1547-2018, Table 31; off unless the config says `volt_watt: true`]"""


def _droop_1547(nominal_hz: int) -> Curve:
    """Deadband 36 mHz, 5 % droop, open-loop response 5 s. [S: IEEE 1547-2018 defaults]"""
    return Curve(((0.036, 0.0, 1 / (0.05 * nominal_hz)),), response_s=5.0)


FREQUENCY_1547 = (
    Stage(62.0, 0.16, over=True),
    Stage(61.2, 300.0, over=True),
    Stage(58.5, 300.0, over=False),
    Stage(56.5, 0.16, over=False),
)
"""All categories. [S: IEEE 1547-2018 defaults]"""

PROFILES: dict[str, GridProfile] = {
    "ieee1547-cat1": GridProfile(
        60,
        (Stage(1.20, 0.16, True), Stage(1.10, 2.0, True), Stage(0.70, 2.0, False), Stage(0.45, 0.16, False)),
        FREQUENCY_1547,
        droop=_droop_1547(60),
    ),
    "ieee1547-cat2": GridProfile(
        60,
        (Stage(1.20, 0.16, True), Stage(1.10, 2.0, True), Stage(0.70, 10.0, False), Stage(0.45, 0.16, False)),
        FREQUENCY_1547,
        droop=_droop_1547(60),
    ),
    "ieee1547-cat3": GridProfile(
        60,
        (
            Stage(1.20, 0.16, True),
            Stage(1.10, 13.0, True),
            Stage(0.88, 21.0, False),
            Stage(0.50, 2.0, False),
            Stage(1.10, 0.0, True, cease=True),  # momentary cessation: [M], as in OpenDER 2.2.0
            Stage(0.50, 0.0, False, cease=True),
        ),
        FREQUENCY_1547,
        droop=_droop_1547(60),
    ),
}
"""Trips [S: IEEE 1547-2018 defaults, numbers.md part 2]. The 0.16 s stages are the certified inverter's duty: the gateway backs
them up as fast as its meters are."""


def _nordic(trigger_hz: float, short: bool = False) -> Step:
    """Held for 30 s, or for 5 s if it is given back by no more than 20 % a second; able to act again within 15 min.
    [S: Fingrid, Fast Frequency Reserve, technical requirements] Given back with 6 s, 15 % in the first second: a vehicle that
    follows unevenly stays below 20 %, too. Armed again after 10 s at 49.9 Hz. [C]"""
    return Step(trigger_hz, hold_s=5.0 if short else 30.0, back_s=6.0 if short else 0.0, rearm_hz=49.9, rearm_s=10.0)


SERVICES: dict[str, Curve | Step] = {
    "nordic-ffr-1.3s": _nordic(49.7),
    "nordic-ffr-1.0s": _nordic(49.6),
    "nordic-ffr-0.7s": _nordic(49.5),
    "nordic-ffr-1.3s-short": _nordic(49.7, short=True),
    "nordic-ffr-1.0s-short": _nordic(49.6, short=True),
    "nordic-ffr-0.7s-short": _nordic(49.5, short=True),
    # Trigger [M], 15 cycles and 15 min [S]; armed again after 10 s at 59.98 Hz [C].
    "ercot-ffr": Step(59.85, hold_s=900.0, rearm_hz=59.98, rearm_s=10.0),
    # Deadband 15 mHz, 5 % at 200 mHz, all at 500 mHz. [S: NESO, Dynamic Containment service specification]
    "neso-dc": Curve(((0.015, 0.0, 0.05 / 0.185), (0.2, 0.05, 0.95 / 0.3))),
}
