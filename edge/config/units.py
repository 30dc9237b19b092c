"""How values with a unit are written in config.yaml, and what they become inside (integers).

| in the file | inside |
|---|---|
| a duration, `10ms`, `2s`, `8min`, `24h` | ns |
| a state of charge in %, at most two decimals | 0.01 % |
| a temperature in °C, at most one decimal | 0.1 °C |
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from edge.strict_yaml import Refusal

US = 1_000
MS = 1_000_000
SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 3600 * SECOND

_UNITS = {"us": US, "ms": MS, "s": SECOND, "min": MINUTE, "h": HOUR}
_DURATION = re.compile(r"(0|[1-9][0-9]{0,8})(us|ms|s|min|h)")


def parse_duration_ns(text: object) -> int:
    """`10ms` → 10 000 000. A whole number and one of us, ms, s, min, h; anything else is a Refusal."""
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise Refusal("must be a whole number with its unit", "write it like 10ms, 2s, 8min or 24h")
    return int(match[1]) * _UNITS[match[2]]


def format_duration(value_ns: int) -> str:
    """The shortest exact spelling: 90 s → `90s`, 120 s → `2min`."""
    for unit in ("h", "min", "s", "ms"):
        if value_ns and value_ns % _UNITS[unit] == 0:
            return f"{value_ns // _UNITS[unit]}{unit}"
    return f"{value_ns // US}us" if value_ns else "0s"


def _scaled(value: object, scale: int, unit: str) -> int:
    """A number of the file × `scale` as an exact integer; more decimals than that are refused."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refusal(f"must be a number of {unit}", "write it without quotes or unit")
    exact = Decimal(str(value)) * scale
    if exact != int(exact):
        raise Refusal(f"finer than 1/{scale} {unit}", "round it")
    return int(exact)


def _plain(value: int, scale: int) -> int | float:
    return value // scale if value % scale == 0 else value / scale


def _schema(parse: Any, write: Any) -> CoreSchema:
    return core_schema.no_info_before_validator_function(
        parse,
        core_schema.int_schema(strict=True),
        serialization=core_schema.plain_serializer_function_ser_schema(write, when_used="json"),
    )


@dataclass(frozen=True, slots=True)
class Duration:
    """Annotation of an int in ns that the file writes with its unit; both ends included."""

    low: str
    high: str

    def _parse(self, value: object) -> int:
        value_ns = parse_duration_ns(value)
        if not parse_duration_ns(self.low) <= value_ns <= parse_duration_ns(self.high):
            raise Refusal(f"must be {self.low} to {self.high}", "change the value")
        return value_ns

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return _schema(self._parse, format_duration)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^{_DURATION.pattern}$", "description": f"duration, {self.low} to {self.high}"}


@dataclass(frozen=True, slots=True)
class Decimals:
    """Annotation of an int that the file writes as `value ÷ scale` in `unit`; `low` and `high` as written in the file."""

    scale: int
    unit: str
    low: int
    high: int

    def _parse(self, value: object) -> int:
        scaled = _scaled(value, self.scale, self.unit)
        if not self.low * self.scale <= scaled <= self.high * self.scale:
            raise Refusal(f"must be {self.low} to {self.high} {self.unit}", "change the value")
        return scaled

    def _write(self, value: int) -> int | float:
        return _plain(value, self.scale)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return _schema(self._parse, self._write)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "number", "minimum": self.low, "maximum": self.high, "description": self.unit}


SOC = Decimals(100, "%", 0, 100)
CELSIUS = Decimals(10, "°C", -40, 150)
