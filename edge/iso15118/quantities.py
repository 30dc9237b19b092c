"""Physical values of the messages ⇄ the core's integers, without floating point.

ISO 15118-20 sends RationalNumber = Value × 10^Exponent (Value a 16-bit, Exponent an 8-bit integer), ISO 15118-2 and DIN 70121
PhysicalValue = Value × 10^Multiplier with a unit (Multiplier −3..3). The core counts in fixed steps: 1 W, 1 mA, 0.1 V; a step
is named by its power of ten (`exponent`: 0 for W, −3 for mA, −1 for dV). What doesn't fit is rounded towards 0, as everywhere
in the core: a limit that is sent never exceeds the limit that was meant.
"""

from __future__ import annotations

from typing import TypedDict

VALUE_MIN, VALUE_MAX = -(2**15), 2**15 - 1
EXPONENT_MIN, EXPONENT_MAX = -128, 127
MULTIPLIER_MIN, MULTIPLIER_MAX = -3, 3
_INT64_MAX = 2**63 - 1


class RationalNumber(TypedDict):
    """Value × 10^Exponent; the same shape as RationalNumberType of the generated messages."""

    Exponent: int
    Value: int


class Physical(TypedDict):
    """Value × 10^Multiplier without its unit; the unit is the caller's third key."""

    Multiplier: int
    Value: int


def rational(steps: int, exponent: int = 0) -> RationalNumber:
    """`steps` × 10^exponent with the most digits that Value holds. Raises ValueError when no Exponent reaches it."""
    value, power = _fit(steps, exponent, EXPONENT_MIN, EXPONENT_MAX)
    return {"Exponent": power, "Value": value}


def steps(number: RationalNumber, exponent: int = 0) -> int:
    """The number in steps of 10^exponent, rounded towards 0. Raises ValueError beyond 64 bits."""
    return _scaled(number["Value"], number["Exponent"] - exponent)


def physical(steps: int, exponent: int = 0) -> Physical:
    """`steps` × 10^exponent for ISO 15118-2 and DIN 70121; digits below 10^−3 are dropped. Raises ValueError when too large."""
    value, power = _fit(steps, exponent, MULTIPLIER_MIN, MULTIPLIER_MAX)
    return {"Multiplier": power, "Value": value}


def physical_steps(number: Physical, exponent: int = 0) -> int:
    """The number in steps of 10^exponent, rounded towards 0. Raises ValueError beyond 64 bits."""
    return _scaled(number["Value"], number["Multiplier"] - exponent)


def _scaled(value: int, power: int) -> int:
    """value × 10^power, towards 0, within 64 bits."""
    if power > 19 and value:
        raise ValueError(f"{value} × 10^{power} is beyond 64 bits")
    result = value * 10**power if power >= 0 else _towards_zero(value, 10 ** min(-power, 6))
    if abs(result) > _INT64_MAX:
        raise ValueError(f"{value} × 10^{power} is beyond 64 bits")
    return result


def _fit(value: int, power: int, power_min: int, power_max: int) -> tuple[int, int]:
    """The same number with a value of 16 bits; trailing digits go only when it doesn't fit otherwise."""
    meant = value, power
    if value == 0:
        return 0, min(max(power, power_min), power_max)
    while power < power_min or not VALUE_MIN <= value <= VALUE_MAX:
        value, power = _towards_zero(value, 10), power + 1
        if value == 0:
            return 0, power_min
    while power > power_max:
        value, power = value * 10, power - 1
        if not VALUE_MIN <= value <= VALUE_MAX:
            raise ValueError(f"{meant[0]} × 10^{meant[1]} is too large: at most {VALUE_MAX} × 10^{power_max}")
    return value, power


def _towards_zero(value: int, divisor: int) -> int:
    return value // divisor if value >= 0 else -(-value // divisor)
