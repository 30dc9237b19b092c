"""What goes into the reference model and what comes out: the data sheet native/include/v2g.h as plain dataclasses.

Names, units and ranges are those of the data sheet. Two things are said differently here, so that both sides can't share a
mistake: each latch is a flag of its own instead of a bit, and each value of a device carries its own stamps.
"""

from __future__ import annotations

from dataclasses import dataclass, field

NEVER = -(2**63)
"""A stamp that is always too old."""

NOBODY = 0xFFFF
"""No such feeder, meter or table."""

EVSE_FIELDS = (
    *("state", "flags", "power", "soc"),
    *("t_connector", "t_cable", "t_charger", "t_cell_max", "t_cell_min"),
    *("max_charge", "max_discharge", "capacity"),
    *("p_l1", "p_l2", "p_l3", "i_l1", "i_l2", "i_l3", "cp_duty", "soh"),
)
METER_FIELDS = ("p_l1", "p_l2", "p_l3", "p_total", "u_l1", "u_l2", "u_l3", "frequency", "liveness")
SENSORS = ("t_connector", "t_cable", "t_charger", "t_cell_max")
"""The temperatures that derate, in the order of an EVSE's `derate`."""


@dataclass(slots=True)
class Reading:
    """One value of a device."""

    value: int = 0
    valid: bool = False
    acquired_ns: int = NEVER
    changed_ns: int = NEVER


def no_readings(names: tuple[str, ...]) -> dict[str, Reading]:
    return {name: Reading() for name in names}


@dataclass(slots=True)
class Estimate:
    """What step 5 makes of one EVSE; every temperature 0.1 degC."""

    predicted: list[int] = field(default_factory=lambda: [-1000] * 4)
    model_contact: int = -1000
    model_cable: int = -1000
    soc_doubt: bool = False
    contact_alarm: bool = False


@dataclass(slots=True)
class Proposal:
    """What site control proposes for one EVSE."""

    target_w: int = 0
    share_charge_w: int = 0
    share_discharge_w: int = 0
    grid_charge: int = 0
    grid_discharge: int = 0
    why_charge: int = 0
    why_discharge: int = 0
    why_target: int = 0
    asks: bool = False
    """`target_w` stands in for the plan's own wish."""
    shares: bool = False
    """The shares hold."""
    fast: bool = False
    """The ramp may be that of a frequency service."""


@dataclass(slots=True)
class Image:
    """All inputs as they stood at the start of a cycle."""

    realtime: bool
    guard: bool
    on_time: bool
    evses: list[dict[str, Reading]]
    meters: list[dict[str, Reading]]
    estimates: list[Estimate]
    proposals: list[Proposal]


@dataclass(slots=True)
class Derate:
    """Absolute limits over the temperature of a sensor."""

    start: int
    shift: int
    limit_w: list[int]
    stop: int
    resume: int
    resume_hold_ns: int


@dataclass(slots=True)
class EvseConfig:
    """One EVSE of a site; every field as in `struct v2g_evse_config`."""

    key: int
    may_discharge: bool
    soc_source: bool
    silence_tested: bool
    balanced: bool
    feeder: int
    phases: tuple[bool, bool, bool]
    rating_charge_w: int
    rating_discharge_w: int
    min_charge_w: int
    min_discharge_w: int
    fallback_charge_w: int
    fallback_discharge_w: int
    sensor_lost_charge_w: int
    soc_floor: int
    soc_ceiling: int
    soc_hysteresis: int
    soc_margin: int
    cell_cold: int
    derate: list[int]
    ramp_q8: int
    ramp_return_q8: int
    ramp_frequency_q8: int
    follow_tolerance_w: int
    ambient: int
    contact_alarm: int
    soc_tolerance: int
    contact_q44: int
    cable_q44: int
    contact_step_q32: int
    cable_step_q32: int
    contact_ahead_q32: int
    cable_ahead_q32: int
    rise_step_q32: int
    link_age_ns: int
    soc_age_ns: int
    temp_age_ns: int
    phase_age_ns: int
    limits_age_ns: int
    reaction_ns: int


@dataclass(slots=True)
class FeederConfig:
    """One feeder; lists have the lanes phase 1, 2, 3 and the sum."""

    key: int
    parent: int
    meter: int
    import_w: list[int]
    export_w: list[int]
    base_w: list[int]
    fallback_w: list[int]
    share_w: int
    slew_q8: int
    meter_age_ns: int
    liveness_age_ns: int
    refresh_ns: int


@dataclass(slots=True)
class Config:
    """A site."""

    lab: bool
    guard_required: bool
    period_ns: int
    meters: int
    evses: list[EvseConfig]
    feeders: list[FeederConfig]
    derates: list[Derate]
    intact: bool = True
    """False: a bit of a limit has flipped since the commit."""


@dataclass(slots=True)
class EvsePlan:
    """What Python last said about one EVSE."""

    min_w: int = 0
    max_w: int = 0
    target_w: int = 0
    after_min_w: int = 0
    after_max_w: int = 0
    after_target_w: int = 0
    until_ns: int = NEVER
    soc_floor: int = 0
    ramp_q8: int = 0
    locked: bool = False
    site_target: bool = False


@dataclass(slots=True)
class FeederPlan:
    """What Python last said about one feeder."""

    import_w: int = 0
    export_w: int = 0
    after_import_w: int = 0
    after_export_w: int = 0
    until_ns: int = NEVER


@dataclass(slots=True)
class Plan:
    """What Python last said."""

    evses: list[EvsePlan]
    feeders: list[FeederPlan]
    epoch: int = 0
    limits_epoch: int = 0
    made_ns: int = NEVER
    lease_ns: int = NEVER


@dataclass(slots=True)
class EvseMemory:
    """What is remembered of one EVSE. A process that has just started remembers the tightest."""

    ramp_q8: int = 0
    target_w: int = 0
    book_charge_w: int = 0
    book_discharge_w: int = 0
    thermal_w: int = 0
    at_floor: bool = True
    at_ceiling: bool = False
    hot: list[bool] = field(default_factory=lambda: [False] * 4)
    lost: bool = True
    not_following: bool = False
    returning: bool = True
    plugged: bool = False
    balanced: bool = False
    starting: bool = True
    fresh: int = 0
    lost_epoch: int = 0
    follow_epoch: int = 0
    seen_ns: int = NEVER
    lowered_ns: int = NEVER
    outside_ns: int = NEVER
    plugged_ns: int = NEVER
    cool_ns: list[int] = field(default_factory=lambda: [NEVER] * 4)


@dataclass(slots=True)
class EstimateMemory:
    """What the estimate remembers of one EVSE."""

    contact_q32: int = 0
    cable_q32: int = 0
    past_q32: list[int] = field(default_factory=lambda: [0] * 4)
    counted_w_ms: int = 0
    plugged_ns: int = NEVER
    anchor_soc: int = -1
    model_started: bool = False
    past_started: list[bool] = field(default_factory=lambda: [False] * 4)


def four_zeros() -> list[int]:
    return [0, 0, 0, 0]


@dataclass(slots=True)
class FeederMemory:
    """What is remembered of one feeder."""

    base_high_w: list[int] = field(default_factory=four_zeros)
    base_low_w: list[int] = field(default_factory=four_zeros)
    past_min_w: list[int] = field(default_factory=four_zeros)
    past_max_w: list[int] = field(default_factory=four_zeros)
    run_min_w: list[int] = field(default_factory=four_zeros)
    run_max_w: list[int] = field(default_factory=four_zeros)
    room_import_w: list[int] = field(default_factory=four_zeros)
    room_export_w: list[int] = field(default_factory=four_zeros)
    drift_q8: int = 0
    fresh: int = 0
    lost: bool = True
    lost_epoch: int = 0
    seen_ns: int = NEVER
    sample_ns: int = NEVER
    run_ns: int = NEVER


@dataclass(slots=True)
class Memory:
    """Everything that is remembered from cycle to cycle."""

    evses: list[EvseMemory]
    estimates: list[EstimateMemory]
    feeders: list[FeederMemory]
    damaged: bool = False


def fresh_memory(config: Config) -> Memory:
    """Of a process that has just started."""
    return Memory(
        evses=[EvseMemory() for _ in config.evses],
        estimates=[EstimateMemory() for _ in config.evses],
        feeders=[FeederMemory() for _ in config.feeders],
    )


def empty_image(config: Config) -> Image:
    """Before the first value has come."""
    return Image(
        realtime=False,
        guard=False,
        on_time=False,
        evses=[no_readings(EVSE_FIELDS) for _ in config.evses],
        meters=[no_readings(METER_FIELDS) for _ in range(config.meters)],
        estimates=[Estimate() for _ in config.evses],
        proposals=[Proposal() for _ in config.evses],
    )


def safe_plan(config: Config) -> Plan:
    """Under which every EVSE is at 0 W."""
    return Plan([EvsePlan() for _ in config.evses], [FeederPlan() for _ in config.feeders])


@dataclass(slots=True)
class Setpoint:
    """What one EVSE is told; numbers of reasons are those of edge.model.Reason, of modes those of `enum v2g_mode`."""

    target_w: int
    min_w: int
    max_w: int
    band_min_w: int
    band_max_w: int
    reason: int
    reason_min: int
    reason_max: int
    mode: int
    valid_until_ns: int
