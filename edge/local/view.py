"""What the local API needs to know about the gateway: facts in the core's own units, and the view that hands them out.

The composition root implements `GatewayView` from snapshots of the core; nothing here reaches into the core. Facts keep the
core's units (W, 0.1 °C, 0.01 %, mA, 0.1 V, mHz, ns of CLOCK_MONOTONIC), so that filling them is copying.
`edge.local.documents` turns them into the documents that people and programs read, and is the only place that converts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from edge.model.plan import EvsePlan
from edge.model.reason import Reason


class LocalError(Exception):
    """The local API can't start, or refuses a request. The message names what, the value, the limit and the remedy."""


@dataclass(frozen=True, slots=True)
class FieldInfo:
    """One value of a device: its name in documents, the divisor from the core's integer to `unit`, and what it is called."""

    name: str
    unit: str
    divisor: int
    title: str


EVSE_FIELDS: tuple[FieldInfo, ...] = (
    FieldInfo("state", "", 1, "state (IEC 61851-1)"),
    FieldInfo("flags", "", 1, "flags"),
    FieldInfo("power", "W", 1, "power"),
    FieldInfo("soc", "%", 100, "state of charge"),
    FieldInfo("t_connector", "°C", 10, "connector temperature"),
    FieldInfo("t_cable", "°C", 10, "cable temperature"),
    FieldInfo("t_charger", "°C", 10, "charger temperature"),
    FieldInfo("t_cell_max", "°C", 10, "hottest cell"),
    FieldInfo("t_cell_min", "°C", 10, "coldest cell"),
    FieldInfo("max_charge", "W", 1, "most the vehicle and EVSE charge"),
    FieldInfo("max_discharge", "W", 1, "most they discharge"),
    FieldInfo("capacity", "Wh", 1, "battery capacity"),
    FieldInfo("p_l1", "W", 1, "load of phase 1"),
    FieldInfo("p_l2", "W", 1, "load of phase 2"),
    FieldInfo("p_l3", "W", 1, "load of phase 3"),
    FieldInfo("i_l1", "A", 1000, "current of phase 1"),
    FieldInfo("i_l2", "A", 1000, "current of phase 2"),
    FieldInfo("i_l3", "A", 1000, "current of phase 3"),
    FieldInfo("cp_duty", "%", 1, "Control Pilot duty"),
    FieldInfo("soh", "%", 1, "state of health"),
)
"""In the order of `enum v2g_field` (a test compares them)."""

METER_FIELDS: tuple[FieldInfo, ...] = (
    FieldInfo("p_l1", "W", 1, "power of phase 1"),
    FieldInfo("p_l2", "W", 1, "power of phase 2"),
    FieldInfo("p_l3", "W", 1, "power of phase 3"),
    FieldInfo("p_total", "W", 1, "power"),
    FieldInfo("u_l1", "V", 10, "voltage of phase 1"),
    FieldInfo("u_l2", "V", 10, "voltage of phase 2"),
    FieldInfo("u_l3", "V", 10, "voltage of phase 3"),
    FieldInfo("frequency", "Hz", 1000, "frequency"),
    FieldInfo("liveness", "", 1, "liveness signal"),
)
"""In the order of `enum v2g_meter_field` (a test compares them)."""


STATES = ("A", "B", "C", "D", "E", "F", "T")
STATE_TEXTS = {
    "A": "no vehicle",
    "B": "vehicle connected, not ready",
    "C": "ready for energy",
    "D": "ready, needs ventilation",
    "E": "error, no power",
    "F": "EVSE not available",
    "T": "energy transfer",
}
FLAGS = ("fault", "bidirectional", "contactor", "ev_present", "following", "e_stop", "failsafe", "silence_unknown")


def state_letter(code: int | None) -> str | None:
    """The letter of a state as the EVSE reports it; None when it is unknown or out of range."""
    return STATES[code] if code is not None and 0 <= code < len(STATES) else None


def flag_names(flags: int) -> list[str]:
    """The bits of `enum v2g_flag` that are set."""
    return [name for bit, name in enumerate(FLAGS) if flags >> bit & 1]


@dataclass(frozen=True, slots=True)
class Reading:
    """One value with its two stamps. `value` None: an invalid code, or it never came (then `acquired_ns` is None too)."""

    value: int | None
    acquired_ns: int | None
    changed_ns: int | None
    limit_ns: int = 0
    """Age limit; 0: the value is only shown, nothing depends on it."""
    frozen: bool = False
    """The profile's liveness signal has stood still for longer than its limit."""


@dataclass(frozen=True, slots=True)
class SetpointFacts:
    """`struct v2g_setpoint`; W, charging positive."""

    target_w: int
    min_w: int
    max_w: int
    band_min_w: int
    band_max_w: int
    reason: Reason
    reason_min: Reason
    reason_max: Reason
    mode: int


@dataclass(frozen=True, slots=True)
class SensorLimits:
    """One derate table, as far as it is shown; 0.1 °C."""

    sensor: str
    """`connector`, `cable`, `charger` or `cell_max`; its reading is `t_` + this."""
    start: int
    stop: int
    resume: int
    hold_ns: int


@dataclass(frozen=True, slots=True)
class LockFacts:
    """Who locked an EVSE and why. `since_ms` is Unix UTC."""

    by: str
    reason: str
    since_ms: int


@dataclass(frozen=True, slots=True)
class ShareFacts:
    """What site control leaves an EVSE of what all have in common; W, magnitudes; None: nothing of that bounds it."""

    charge_w: int | None = None
    discharge_w: int | None = None
    why_charge: Reason = Reason.NONE
    why_discharge: Reason = Reason.NONE
    target_w: int | None = None
    """Its part of the site's target; None: it follows its own wish."""
    weight: float = 1.0
    discharge_weight: float = 1.0


@dataclass(frozen=True, slots=True)
class EvseFacts:
    """One EVSE as the core sees it. SOC limits are in 0.01 %, ratings are magnitudes in W."""

    id: str
    feeder: str
    bus: str
    device: str
    """Where it is: `can0 node 1`, `ocpp CP-7/1`."""
    readings: Mapping[str, Reading]
    """By the names of EVSE_FIELDS; a value that this EVSE cannot have is left out."""
    setpoint: SetpointFacts
    latches: int
    """Bits of `enum v2g_latch`."""
    plan: EvsePlan | None
    rating_charge_w: int
    rating_discharge_w: int
    soc_floor: int
    soc_ceiling: int
    soc_hysteresis: int
    sensors: Sequence[SensorLimits] = ()
    locks: Sequence[LockFacts] = ()
    frames: int = 0
    """Good frames since start."""
    bad_frames: int = 0
    """Frames with a wrong CRC or counter since start."""
    share: ShareFacts = ShareFacts()


@dataclass(frozen=True, slots=True)
class MeterFacts:
    id: str
    device: str
    """Where it is: `10.0.0.5 unit 1`."""
    readings: Mapping[str, Reading]
    """By the names of METER_FIELDS."""
    reads: int = 0
    failures: int = 0
    last_error: str = ""


@dataclass(frozen=True, slots=True)
class FeederFacts:
    """One fused section. The tuples hold phase 1, phase 2, phase 3 and the sum, in W; magnitudes."""

    id: str
    parent: str | None
    meter: str | None
    import_w: tuple[int, int, int, int]
    export_w: tuple[int, int, int, int]
    room_import_w: tuple[int, int, int, int]
    """What all EVSEs below may draw together, as last computed."""
    room_export_w: tuple[int, int, int, int]
    base_w: tuple[int, int, int, int]
    """Load that is not ours, as last estimated."""
    lost: bool
    """The meter is lost: the fallback holds."""


@dataclass(frozen=True, slots=True)
class BusFacts:
    id: str
    kind: str
    """`can`, `modbus-tcp`, `modbus-rtu`."""
    channel: str
    up: bool
    transport: str = ""
    """CAN only: `can`, `vcan`, `hub` (the stand-in on a socket, no real bus), `python-can` (that library: not real-time)."""
    frames_in: int = 0
    frames_out: int = 0
    errors: int = 0
    load_percent: float | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    name: str
    """What it is for: `gateway`, `broker CA`."""
    subject: str
    not_after_ms: int


@dataclass(frozen=True, slots=True)
class UplinkFacts:
    """`state`: `off` (no uplink in the config), `connecting`, `connected`."""

    state: Literal["off", "connecting", "connected"]
    broker: str = ""
    tls_version: str = ""
    since_ns: int | None = None
    last_error: str = ""
    published: int = 0
    outbox_records: int = 0
    outcomes: Mapping[str, int] = field(default_factory=dict)
    """Commands by `Outcome`."""
    command_ns: int | None = None
    """When the last valid command came."""
    round_trip_ms: float | None = None
    loss: float | None = None
    """Share of what was sent that had to be sent again, 0 to 1."""
    mb_per_day: float | None = None
    """What would be sent in a day at the present rate, MB."""
    budget_mb_per_day: float | None = None
    clock_distrust: str = ""
    """Why no command is obeyed; empty: the wall clock is trusted."""
    alarms: Sequence[tuple[str, str, str]] = ()
    """(code, text, remedy) of what needs somebody."""
    certificates: Sequence[CertificateFacts] = ()


@dataclass(frozen=True, slots=True)
class Granted:
    """What the kernel granted the cycle's thread, read back by the thread itself."""

    fifo_error: str = ""
    """Why SCHED_FIFO was refused; empty: granted."""
    rtprio_limit: int = 99
    """RLIMIT_RTPRIO."""
    memory_error: str = ""
    """Why memory isn't locked; empty: it is."""
    latency_error: str = ""
    """Why /dev/cpu_dma_latency isn't held; empty: it is."""
    timer_slack_ns: int = 1
    throttle_us: int | None = 950_000
    """Real-time threads run for at most this long in each `throttle_period_us`; None: as long as they like."""
    throttle_period_us: int = 1_000_000
    user_mode_linux: bool = False


@dataclass(frozen=True, slots=True)
class CoreFacts:
    """The cycle, its scheduling as *granted*, and the guard."""

    state: Literal["init", "run", "safe"]
    period_ns: int
    cycles: int
    missed: int
    """Grid points that were skipped because a cycle was late."""
    realtime: bool
    """SCHED_FIFO was granted and the kernel is PREEMPT_RT."""
    scheduling: Literal["fifo", "other"]
    cpu: int | None
    guard: Literal["off", "alive", "lost"]
    guard_required: bool
    heartbeat_ns: int | None
    """When the last cycle ended."""
    plan_epoch: int
    plan_made_ns: int | None
    plan_lease_ns: int | None
    config_epoch: int
    safe_reason: str = ""
    page_faults: int = 0
    """Of the cycle's thread since its first cycle."""
    preemptions: int = 0
    """Times something else took its core."""
    granted: Granted = Granted()


@dataclass(frozen=True, slots=True)
class SiteControlFacts:
    """What site control sees and wants at the grid connection; W, import positive; None: unknown or not there."""

    target_w: int | None = None
    measured_w: int | None = None
    base_w: int = 0
    trim_w: int = 0
    asked_w: int = 0
    """Of all EVSEs that follow the target together."""
    nominal_mhz: int = 50_000
    """What the config says; far from what is measured, it is wrong there."""
    frequency_mhz: int | None = None
    low_dv: int | None = None
    high_dv: int | None = None
    response_permille: int = 0
    """What the frequency asks of rated power."""
    service: Literal["in", "out", "waiting", "entering"] = "in"
    reason: Reason = Reason.NONE
    enter_ns: int | None = None
    parked: int = 0
    """EVSEs that wait for their turn."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole site at one moment."""

    now_ns: int
    ts_ms: int
    """Unix UTC."""
    boot: str
    site: str
    version: str
    config_hash: str
    started_ns: int
    lab: bool
    grid_profile: str
    core: CoreFacts
    evses: Sequence[EvseFacts]
    feeders: Sequence[FeederFacts]
    """Parents before children; the first is the grid connection."""
    meters: Sequence[MeterFacts]
    buses: Sequence[BusFacts]
    uplink: UplinkFacts
    site_control: SiteControlFacts = SiteControlFacts()


@dataclass(frozen=True, slots=True)
class RowFacts:
    """One row of `struct v2g_trace`: the magnitudes in W that are left after it, and who set them."""

    charge_w: int
    discharge_w: int
    reason_charge: Reason
    reason_discharge: Reason


@dataclass(frozen=True, slots=True)
class Trace:
    """`struct v2g_trace`: the chain of one EVSE as the next cycle would see it."""

    wish_w: int
    rows: Sequence[RowFacts]
    """Eight, row 1 first."""


@dataclass(frozen=True, slots=True)
class Event:
    """One change of state. `seq` rises by one with each; `subject` is the id of an EVSE, feeder, meter, bus, or the site."""

    seq: int
    ts_ms: int
    kind: str
    subject: str
    code: str
    text: str
    level: Literal["ok", "degraded", "fault"] = "ok"


@dataclass(frozen=True, slots=True)
class HistogramFacts:
    """`counts[i]` values lie at or below `bounds_ns[i]`, and above the bound before; the last count is for all above."""

    bounds_ns: Sequence[int]
    counts: Sequence[int]
    """One longer than `bounds_ns`."""
    max_ns: int
    sum_ns: int


@dataclass(frozen=True, slots=True)
class RtFacts:
    lateness: HistogramFacts
    """Wake-up after the grid point."""
    compute: HistogramFacts
    """From wake-up to the frames sent."""
    drain: HistogramFacts
    """Taking every frame off every bus."""
    send: HistogramFacts
    """Sending every setpoint."""
    slack: HistogramFacts
    """From the end of a cycle to the next grid point."""
    meter_age: HistogramFacts
    """Age of a meter's power when it is used."""
    command_age: HistogramFacts
    """From making a plan with something new to adopting it."""
    reaction: HistogramFacts
    """From the newest frame of an EVSE to the tighter setpoint that went out in answer."""


@dataclass(frozen=True, slots=True)
class Session:
    """One vehicle's stay; energies in Wh, SOC in 0.01 %, times Unix UTC in ms."""

    evse: str
    started_ms: int
    ended_ms: int | None
    charged_wh: int
    discharged_wh: int
    soc_start: int | None
    soc_last: int | None


class GatewayView(Protocol):
    """Read-only. Every call takes one snapshot and returns at once; it never waits for the cycle."""

    def status(self) -> Snapshot: ...

    def explain(self, evse_id: str) -> Trace:
        """The chain of one EVSE. KeyError: no such EVSE."""
        ...

    def events(self, since: int) -> Sequence[Event]:
        """Remembered events with `seq` > since, oldest first, at most the newest 1000."""
        ...

    def rt(self) -> RtFacts: ...

    def sessions(self) -> Sequence[Session]:
        """Running and remembered sessions, newest first."""
        ...

    def subscribe(self) -> AsyncIterator[Event]:
        """Events from now on; ends when the gateway stops."""
        ...


class Actions(Protocol):
    """What may be done on the UNIX socket. Every method raises LocalError with the remedy when it refuses."""

    async def lock(self, evse_id: str, by: str, reason: str) -> None:
        """Hold an EVSE at 0 W until `by` releases it; survives a restart."""
        ...

    async def unlock(self, evse_id: str, by: str) -> None:
        """Release the lock that `by` set."""
        ...

    async def reload(self) -> str:
        """Apply the config file, whole or not at all; returns the hash of what now holds."""
        ...

    @property
    def commission(self) -> Mapping[str, Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]]:
        """Steps of commissioning by name (`POST /v1/commission/<name>`)."""
        ...
