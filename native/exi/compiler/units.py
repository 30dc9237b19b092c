"""Units of ISO 15118-20 values, by the word their element name ends in.

The schemas carry no units. The names are the standard's own; only quantities whose unit follows from the name are listed, an
element that is not here (EVSEPowerRampLimitation, fees, thresholds of unclear base) gets no unit rather than a guessed one.
ISO 15118-2 and DIN 70121 send the unit with the value (PhysicalValueType.Unit).
"""

from __future__ import annotations

import re

_RULES = [
    (r"ReactivePower(_L[23])?$", "var"),
    (r"(^|Charge|Discharge|Active)Power(_L[23])?$", "W"),
    (r"PowerTolerance$|PowerRangeStart$|PowerThreshold$|MaximumPowerAsymmetry$", "W"),
    (r"Current$", "A"),
    (r"Voltage$", "V"),
    (r"Frequency$", "Hz"),
    (r"EnergyRequest$|EnergyCapacity$|AvailableEnergy$", "Wh"),
    (r"ReadingWh$", "Wh"),
    (r"ReadingVARh$", "varh"),
    (r"SOC$|Percentage$", "%"),
    (r"^(Duration|DepartureTime|NotificationMaxDelay|AckMaxDelay)$|^RemainingTimeTo", "s"),
]


def unit_of(namespace: str, name: str) -> str:
    """The unit's symbol, or "" where the name doesn't say it."""
    if "15118:-20:" not in namespace:
        return ""
    return next((unit for pattern, unit in _RULES if re.search(pattern, name)), "")
