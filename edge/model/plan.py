"""What Python last told the core. The arbiter makes it, `edge.core` packs it into `struct v2g_plan`."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class VehicleNeed:
    """What a vehicle's departure asks of its EVSE: never below `soc_floor` (0.01 %), and at least `charge_w` (W) now."""

    soc_floor: int = 0
    charge_w: int = 0
    by: str = ""
    """What asks for the floor, as it is shown: `departure 07:30`."""


@dataclass(frozen=True, slots=True)
class EvsePlan:
    """Bounds and wish of one EVSE; W, charging positive.

    Until `until_ns` (CLOCK_MONOTONIC) the first triple holds, from then on the `after` triple *intersected* with the first
    (expiry never loosens). `min_by`/`max_by`/`target_by` name who set each (for explain, telemetry and acks).
    """

    min_w: int
    max_w: int
    target_w: int
    until_ns: int
    after_min_w: int
    after_max_w: int
    after_target_w: int
    locked: bool = False
    site_target: bool = False
    """The wish is this EVSE's share of the site's target, computed by site control; `target_w` holds without it."""
    ramp_w_s: int | None = None
    soc_floor: int = 0
    """0.01 %: reserve for the departure; the core takes it when it is above its own floor."""
    soc_floor_by: str = ""
    weight: float = 1.0
    """Share of charging in what all have in common: a feeder's room, the site's target; relative."""
    discharge_weight: float = 1.0
    """The same for discharging."""
    min_by: str = ""
    max_by: str = ""
    target_by: str = ""


@dataclass(frozen=True, slots=True)
class FeederPlan:
    """Bounds of one feeder's *total* power (base load included), W, import positive; `export_w` ≤ 0 ≤ `import_w`.

    The site is its root feeder. `target_w` (root only) is the site's wish at the grid connection; None: no wish.
    """

    export_w: int
    import_w: int
    until_ns: int
    after_export_w: int
    after_import_w: int
    target_w: int | None = None
    by: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """One consistent answer for the whole site. `epoch` rises by one with each plan that differs in an explicit limit or is
    renewed; `limits_epoch` rises only when a source said something new (leaving a fail-safe needs that)."""

    epoch: int
    limits_epoch: int
    made_ns: int
    lease_until_ns: int
    evses: dict[str, EvsePlan] = field(default_factory=dict)
    feeders: dict[str, FeederPlan] = field(default_factory=dict)
    damp_ns: int = 0
    """While the backhaul is slow: time constant with which the site's target is taken over; 0: at once."""
