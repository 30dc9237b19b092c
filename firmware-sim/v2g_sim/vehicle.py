"""The vehicle: its battery and what it can do. Pure physics, no I/O."""

from __future__ import annotations

from dataclasses import dataclass

from v2g_sim.thermal import ThermalNode

PACK_VOLTAGE_V = 400.0
ONE_WAY_EFFICIENCY = 0.95
"""Of the power converter between connector and cells, each way; this simulator's choice."""


@dataclass(frozen=True, slots=True)
class VehicleSpec:
    """What plugs in. Powers W (magnitudes), capacity Wh, SOC and health %, `phases` 1 to 3 that its charger uses.

    `digital`: it talks to the EVSE (ISO 15118) and so tells its SOC; a plain AC vehicle does not, and can't discharge.
    `ready_after_s`: from plug-in until it asks for energy (state C). `own_min_soc_percent`: below, it refuses to discharge.
    """

    capacity_wh: float = 60_000
    soc_percent: float = 50
    max_charge_w: float = 22_000
    max_discharge_w: float = 22_000
    bidirectional: bool = True
    phases: int = 3
    digital: bool = True
    needs_ventilation: bool = False
    ready_after_s: float = 0.2
    own_min_soc_percent: float = 5
    state_of_health_percent: float = 97

    def __post_init__(self) -> None:
        if not (self.capacity_wh > 0 and 0 <= self.soc_percent <= 100 and 1 <= self.phases <= 3):
            raise ValueError("vehicle: capacity_wh above 0, soc_percent 0 to 100, phases 1 to 3")
        if self.max_charge_w < 0 or self.max_discharge_w < 0:
            raise ValueError("vehicle: max_charge_w and max_discharge_w are magnitudes, not negative")


class Vehicle:
    """A plugged vehicle: SOC follows power, cells warm with the pack's current."""

    def __init__(self, spec: VehicleSpec, ambient_c: float) -> None:
        self.spec = spec
        self.soc_percent = spec.soc_percent
        self.plugged_s = 0.0
        # 0.1 ohm and 0.03 K/W: 22 kW warm the cells by about 9 K within hours; this simulator's choice
        self.cells = ThermalNode(0.1, 0.03, 3600, ambient_c)

    @property
    def ready(self) -> bool:
        return self.plugged_s >= self.spec.ready_after_s

    @property
    def can_discharge(self) -> bool:
        return self.spec.bidirectional and self.spec.digital and self.spec.max_discharge_w > 0

    def limit(self, power_w: float) -> float:
        """The power nearest to `power_w` that this vehicle takes part in now; W, charging positive."""
        if power_w > 0:
            return 0.0 if self.soc_percent >= 100 else min(power_w, self.spec.max_charge_w)
        if not self.can_discharge or self.soc_percent <= self.spec.own_min_soc_percent:
            return 0.0
        return max(power_w, -self.spec.max_discharge_w)

    def step(self, dt_s: float, power_w: float, ambient_c: float) -> None:
        """Advance `dt_s` s at `power_w` measured at the connector."""
        self.plugged_s += dt_s
        cell_w = power_w * ONE_WAY_EFFICIENCY if power_w > 0 else power_w / ONE_WAY_EFFICIENCY
        usable_wh = self.spec.capacity_wh * self.spec.state_of_health_percent / 100
        self.soc_percent = min(100.0, max(0.0, self.soc_percent + cell_w * dt_s / 36 / usable_wh))
        self.cells.step(dt_s, cell_w / PACK_VOLTAGE_V, ambient_c)
