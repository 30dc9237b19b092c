"""Faults of one simulated EVSE, switched on and off by name; each acts where a real one would."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

FRAMES = frozenset({"status_a", "status_b", "status_c", "limits"})
SENSORS = frozenset({"connector", "cable", "charger", "cell_max", "cell_min"})
READINGS = frozenset({"power_w", "soc_percent", "currents_a", "connector", "cable", "charger", "cell_max", "cell_min"})

PARAMETERS: dict[str, frozenset[str]] = {
    "hot_connector": frozenset({"offset_c", "heat_w"}),
    "frozen": frozenset({"values"}),
    "says": frozenset({"values"}),
    "silent": frozenset({"frames"}),
    "wrong_crc": frozenset({"frames"}),
    "stuck_counter": frozenset({"frames"}),
    "wrong_counter": frozenset({"frames"}),
    "not_following": frozenset({"power_w"}),
    "e_stop": frozenset(),
    "fault": frozenset(),
    "pilot_lost": frozenset(),
    "sensor_invalid": frozenset({"sensors"}),
    "soc_unknown": frozenset(),
    "no_bidirectional": frozenset(),
}
"""Every fault and the parameters it takes.

hot_connector: `offset_c` K added to the contact's true temperature at once (default 40), `heat_w` W of extra heat in it.
frozen: `values` of READINGS keep their present reading (default all) while counters and CRC go on.
says: `values`, a mapping of READINGS to what they show instead of the truth, cut to what the frame can carry.
silent, wrong_crc, stuck_counter, wrong_counter: `frames` of FRAMES (default all); a wrong counter jumps by 7.
not_following: power stays where it is, or goes to `power_w`, whatever is commanded (its own fail-safe still works).
e_stop, fault: the flag, contactor open, state F. pilot_lost: contactor open, state E.
sensor_invalid: `sensors` of SENSORS (default connector).
soc_unknown: the SOC's invalid code. no_bidirectional: the capability is withdrawn, discharging ends.
"""


class FaultError(ValueError):
    """A fault command that names an unknown fault, parameter or value."""


@dataclass(slots=True)
class Faults:
    """Which faults are on, with their parameters."""

    active: dict[str, dict[str, Any]] = field(default_factory=dict)

    def set(self, name: str, **parameters: Any) -> None:
        """Switch `name` on with `parameters` (see PARAMETERS); FaultError when they don't fit."""
        if name not in PARAMETERS:
            raise FaultError(f"no fault {name!r}; known: {', '.join(sorted(PARAMETERS))}")
        unknown = parameters.keys() - PARAMETERS[name]
        if unknown:
            raise FaultError(f"fault {name} takes {sorted(PARAMETERS[name])}, not {sorted(unknown)}")
        for key, allowed in (("frames", FRAMES), ("sensors", SENSORS), ("values", READINGS)):
            if key in parameters and not set(parameters[key]) <= allowed:
                raise FaultError(f"fault {name}: {key} are of {sorted(allowed)}, not {parameters[key]}")
        for key in ("offset_c", "heat_w", "power_w"):
            if key in parameters and not isinstance(parameters[key], int | float):
                raise FaultError(f"fault {name}: {key} is a number, not {parameters[key]!r}")
        self.active[name] = parameters

    def clear(self, name: str) -> None:
        """Switch `name` off; "all": every one."""
        if name == "all":
            self.active.clear()
        elif name in PARAMETERS:
            self.active.pop(name, None)
        else:
            raise FaultError(f"no fault {name!r}; known: {', '.join(sorted(PARAMETERS))}")

    def on(self, name: str) -> bool:
        return name in self.active

    def hits(self, name: str, key: str, item: str, default: frozenset[str]) -> bool:
        """Whether fault `name` is on and concerns `item` of its list parameter `key`."""
        return name in self.active and item in self.active[name].get(key, default)

    def number(self, name: str, key: str, default: float) -> float:
        """Numeric parameter `key` of fault `name`; 0.0 while the fault is off."""
        return float(self.active[name].get(key, default)) if name in self.active else 0.0
