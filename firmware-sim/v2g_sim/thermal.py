"""One thermal node: a mass heated by current, cooled to its surroundings (numbers.md part 3)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

COPPER_PER_K = 0.00393
"""Temperature coefficient of copper's resistance at 20 °C, 1/K."""


@dataclass(slots=True)
class ThermalNode:
    """C dT/dt = I² R20 (1 + 0.00393 (T − 20)) + extra − (T − Tamb)/Rth, with C = τ/Rth.

    `r20_ohm` at 20 °C, `rth_k_w` K/W to the surroundings, `tau_s` time constant, `temperature_c` present temperature.
    """

    r20_ohm: float
    rth_k_w: float
    tau_s: float
    temperature_c: float
    _dt_s: float = field(default=0.0, repr=False)
    _decay: float = field(default=1.0, repr=False)

    def heat_w(self, current_a: float) -> float:
        """Joule heat at the present temperature, W."""
        return current_a * current_a * self.r20_ohm * (1 + COPPER_PER_K * (self.temperature_c - 20))

    def step(self, dt_s: float, current_a: float, ambient_c: float, extra_w: float = 0.0) -> None:
        """Advance `dt_s` > 0 with constant current: T ← T∞ + (T − T∞) e^(−dt/τ), exact for constant heat."""
        if dt_s != self._dt_s:
            self._dt_s, self._decay = dt_s, math.exp(-dt_s / self.tau_s)
        final_c = ambient_c + (self.heat_w(current_a) + extra_w) * self.rth_k_w
        self.temperature_c = final_c + (self.temperature_c - final_c) * self._decay
