"""The grid functions of a SunSpec device (models 703 and 705 to 712): read, and compared with the config's grid profile.

Offsets are those of the SunSpec Information Model Reference (repository sunspec/models); a curve's or control's first set is
the one in force.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from edge.config.gridcode import PROFILES, GridProfile, Stage
from edge.field.sunspec import Model, Read, SunSpecError, scale_factor

ENABLE = 2
"""Offset of the enable in every one of these models."""
NAMES = {
    703: "enter service",
    705: "volt-var",
    706: "volt-watt",
    707: "low-voltage trip",
    708: "high-voltage trip",
    709: "low-frequency trip",
    710: "high-frequency trip",
    711: "frequency droop",
    712: "watt-var",
}
OFF_1547 = (705, 706, 712)
"""Functions that IEEE 1547-2018 has off by default; entering service, trips and droop are on. [M]"""
TRIP_POINTS, TRIP_X_SF, TRIP_S_SF, TRIP_COUNT, TRIP_FIRST = 5, 7, 8, 10, 11
"""Of a trip model: points that a curve has room for, scale factors, active points of the first must-trip curve, the first."""
MAX_TRIP_POINTS = 20
DROOP_SET, DROOP_HZ_SF, DROOP_K_SF, DROOP_S_SF = 14, 11, 12, 13
TOLERANCE = 0.0005
"""Of a figure, relative: 0.03 Hz, 0.15 s of 300 s. [C]"""


@dataclass(frozen=True, slots=True)
class GridFunction:
    """What the device says of one function. `values`: plain figures in pu, Hz or s; `stages` of a trip: (pu or Hz, s)."""

    model: int
    on: bool
    values: Mapping[str, float] = field(default_factory=dict)
    stages: tuple[tuple[float, float], ...] = ()
    problem: str = ""
    """Why its figures can't be read; empty: they were."""

    @property
    def name(self) -> str:
        return f"{self.model} {NAMES[self.model]}"

    def document(self) -> dict[str, Any]:
        """As plain JSON."""
        shown = {**self.values, **({"stages": list(self.stages)} if self.stages else {})}
        return {"model": self.model, "name": NAMES[self.model], "on": self.on, "figures": shown, "problem": self.problem}


def read_functions(read: Read, models: Iterable[Model]) -> dict[int, GridFunction]:
    """Every grid function that the device has. ModbusError when it doesn't answer."""
    return {m.id: _function(read, m) for m in models if m.id in NAMES}


def _function(read: Read, model: Model) -> GridFunction:
    on = read(model.address + ENABLE, 1)[0] == 1
    points = _Points(read, model)
    try:
        if model.id == 703:
            return GridFunction(model.id, on, _enter_service(points))
        if model.id in (707, 708, 709, 710):
            return GridFunction(model.id, on, stages=_stages(points))
        if model.id == 711:
            return GridFunction(model.id, on, _droop(points))
    except SunSpecError as error:
        return GridFunction(model.id, on, problem=str(error))
    return GridFunction(model.id, on)


class _Points:
    """Numbers of one model by their offset; SunSpecError when the model is too short for one."""

    def __init__(self, read: Read, model: Model) -> None:
        self._read, self.model = read, model

    def words(self, offset: int, count: int) -> list[int]:
        if offset + count > self.model.length + 2:
            raise SunSpecError(f"model {self.model.id} ends after {self.model.length} registers, before its point at {offset}")
        return self._read(self.model.address + offset, count)

    def number(self, offset: int, sf: int = 0, count: int = 1) -> float:
        raw = int.from_bytes(b"".join(word.to_bytes(2, "big") for word in self.words(offset, count)), "big")
        return float(raw * self.factor(sf))

    def factor(self, sf: int) -> Fraction:
        return scale_factor(self.words(sf, 1)[0]) if sf else Fraction(1)


def _enter_service(points: _Points) -> dict[str, float]:
    return {
        "high_pu": points.number(3, 17) / 100,
        "low_pu": points.number(4, 17) / 100,
        "high_hz": points.number(5, 18, 2),
        "low_hz": points.number(7, 18, 2),
        "delay_s": points.number(9, count=2),
        "ramp_s": points.number(13, count=2),
    }


def _stages(points: _Points) -> tuple[tuple[float, float], ...]:
    """The points of the must-trip curve in force, each a limit and after what time."""
    voltage = points.model.id in (707, 708)
    width = 1 if voltage else 2
    room = min(int(points.number(TRIP_POINTS)), MAX_TRIP_POINTS)
    count = min(int(points.number(TRIP_COUNT)), room)
    found = []
    for i in range(count):
        at = TRIP_FIRST + i * (width + 2)
        limit = points.number(at, TRIP_X_SF, width) / (100 if voltage else 1)
        found.append((limit, points.number(at + width, TRIP_S_SF, 2)))
    return tuple(found)


def _droop(points: _Points) -> dict[str, float]:
    return {
        "deadband_over_hz": points.number(DROOP_SET, DROOP_HZ_SF, 2),
        "deadband_under_hz": points.number(DROOP_SET + 2, DROOP_HZ_SF, 2),
        "droop_over": points.number(DROOP_SET + 4, DROOP_K_SF),
        "droop_under": points.number(DROOP_SET + 5, DROOP_K_SF),
        "response_s": points.number(DROOP_SET + 6, DROOP_S_SF, 2),
    }


# ---- Comparison -------------------------------------------------------------------------------------------------------------


def compare(found: Mapping[int, GridFunction], profile_name: str) -> list[str]:
    """Every difference between what the config's grid profile expects and what the device says; empty: none."""
    if profile_name == "none":
        return []
    profile = PROFILES.get(profile_name)
    if profile is None:
        return [f"grid profile {profile_name}: this version doesn't know which functions it expects"]
    lines = []
    for model in NAMES:
        function, wanted = found.get(model), model not in OFF_1547
        if function is None and wanted:
            lines.append(f"{model} {NAMES[model]}: not there, {profile_name} needs it")
        elif function is not None and function.problem:
            lines.append(f"{function.name}: {function.problem}")
        elif function is not None and function.on != wanted:
            lines.append(f"{function.name}: {_on(function.on)}, {profile_name} wants it {_on(wanted)}")
        elif function is not None:
            lines += [f"{function.name}: {text}" for text in CHECKS.get(model, _nothing)(function, profile)]
    return lines


def _on(on: bool) -> str:
    return "on" if on else "off"


def _nothing(function: GridFunction, profile: GridProfile) -> list[str]:
    return []


def _figures(function: GridFunction, wanted: Mapping[str, float]) -> list[str]:
    """The figures that are not as wanted."""
    values = function.values
    return [f"{key} is {values[key]:g}, not {want:g}" for key, want in wanted.items() if not _near(values[key], want)]


def _near(value: float, wanted: float) -> bool:
    return abs(value - wanted) <= TOLERANCE * abs(wanted)


def _check_enter(function: GridFunction, profile: GridProfile) -> list[str]:
    enter = profile.enter
    names = ("high_pu", "low_pu", "high_hz", "low_hz", "delay_s", "ramp_s")
    return _figures(function, {name: getattr(enter, name) for name in names})


def _check_droop(function: GridFunction, profile: GridProfile) -> list[str]:
    if profile.droop is None:
        return []
    deadband_hz, _, slope_per_hz = profile.droop.points[0]
    droop = 1 / (slope_per_hz * profile.nominal_hz)
    wanted = {f"deadband_{side}_hz": deadband_hz for side in ("over", "under")}
    wanted |= {f"droop_{side}": droop for side in ("over", "under")} | {"response_s": profile.droop.response_s}
    return _figures(function, wanted)


Check = Callable[[GridFunction, GridProfile], list[str]]


def _check_stages(stages: Callable[[GridProfile], Iterable[Stage]], over: bool) -> Check:
    """Every stage of the profile on this side must be a corner of the device's curve."""

    def check(function: GridFunction, profile: GridProfile) -> list[str]:
        wanted = [s for s in stages(profile) if s.over is over and not s.cease]
        shown = ", ".join(f"{limit:g} after {delay_s:g} s" for limit, delay_s in function.stages) or "no stage"
        return [
            f"trips at {shown}; {stage.limit:g} after {stage.delay_s:g} s is missing"
            for stage in wanted
            if not any(_near(limit, stage.limit) and _near(delay_s, stage.delay_s) for limit, delay_s in function.stages)
        ]

    return check


CHECKS: Mapping[int, Check] = {
    703: _check_enter,
    707: _check_stages(lambda profile: profile.voltage, over=False),
    708: _check_stages(lambda profile: profile.voltage, over=True),
    709: _check_stages(lambda profile: profile.frequency, over=False),
    710: _check_stages(lambda profile: profile.frequency, over=True),
    711: _check_droop,
}
