"""The shapes of the documents of the local API (contracts.md section 6); `edge.local.builders` fills them.

Every document has `schema`, `boot`, `ts` (Unix UTC, ms), and every value carries its age and quality. Units are natural ones:
W, Wh, %, °C, A, V, Hz, ms; charging is positive. The JSON schemas in `edge/local/schemas` are generated from these shapes.
"""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict

LevelText = Literal["ok", "degraded", "fault"]
Quality = Literal["good", "stale", "frozen", "invalid", "missing", "estimated"]


class ValueDoc(TypedDict):
    """One value. `age_ms`: since the frame or transaction that brought it; `changed_ms`: since it last differed."""

    value: float | None
    unit: str
    age_ms: int | None
    changed_ms: int | None
    limit_ms: int | None
    quality: Quality


class ReasonDoc(TypedDict):
    code: str
    title: str


class SetpointDoc(TypedDict):
    """What the EVSE is told, W; `band` is what the chain would have allowed."""

    target_w: int
    min_w: int
    max_w: int
    band_min_w: int
    band_max_w: int
    mode: str
    reason: ReasonDoc
    reason_min: ReasonDoc
    reason_max: ReasonDoc


class AnswerDoc(TypedDict):
    """What binds, how old is what we know, what happens next."""

    binds: str
    age: str
    next: str


class ShareDoc(TypedDict):
    """What it gets of what all have in common, W, magnitudes; null: nothing of that bounds it. `target_w`: its part of the
    site's target, null where it follows its own wish."""

    target_w: int | None
    charge_w: int | None
    discharge_w: int | None
    reason: ReasonDoc
    weight: float
    discharge_weight: float


class ThermalDoc(TypedDict):
    """Where a temperature begins to cost power, and where it stops everything; °C."""

    derate_c: float
    stop_c: float


class LockDoc(TypedDict):
    by: str
    reason: str
    since: int


class EvseBody(TypedDict):
    id: str
    feeder: str
    bus: str
    device: str
    level: LevelText
    state: str | None
    state_text: str
    flags: list[str]
    latches: list[str]
    wish_w: int | None
    wish_by: str
    setpoint: SetpointDoc
    share: ShareDoc
    answer: AnswerDoc
    soc_floor_percent: float
    soc_ceiling_percent: float
    rating_charge_w: int
    rating_discharge_w: int
    thermal: dict[str, ThermalDoc]
    locks: list[LockDoc]
    frames: int
    bad_frames: int
    age_ms: int | None
    values: dict[str, ValueDoc]


class FeederDoc(TypedDict):
    """`power` is measured at its meter, else estimated (declared base load + EVSEs). Lists: phase 1, phase 2, phase 3, sum."""

    id: str
    parent: str | None
    meter: str | None
    lost: bool
    power: ValueDoc
    evse_power_w: int
    import_w: list[int]
    export_w: list[int]
    room_import_w: list[int]
    room_export_w: list[int]
    base_w: list[int]


class MeterDoc(TypedDict):
    id: str
    device: str
    reads: int
    failures: int
    last_error: str
    values: dict[str, ValueDoc]


class BusDoc(TypedDict):
    id: str
    kind: str
    channel: str
    up: bool
    transport: str
    frames_in: int
    frames_out: int
    errors: int
    load_percent: float | None
    detail: str


class CertificateDoc(TypedDict):
    name: str
    subject: str
    not_after: int


class UplinkDoc(TypedDict):
    state: str
    broker: str
    tls_version: str
    since_ms: int | None
    last_error: str
    published: int
    outbox_records: int
    outcomes: dict[str, int]
    command_age_ms: int | None
    round_trip_ms: float | None
    loss: float | None
    uplink_mb_per_day: float | None
    budget_mb_per_day: float | None
    clock: str
    certificates: list[CertificateDoc]


class CoreDoc(TypedDict):
    state: str
    period_us: int
    cycles: int
    missed: int
    realtime: bool
    scheduling: str
    cpu: int | None
    guard: str
    guard_required: bool
    heartbeat_age_ms: int | None
    plan_epoch: int
    plan_age_ms: int | None
    plan_lease_ms: int | None
    config_epoch: int


class Notice(TypedDict):
    """Something that the reader must not miss, with what to do."""

    level: LevelText
    code: str
    text: str
    remedy: str


class Envelope(TypedDict):
    schema: str
    boot: str
    ts: int


class SiteControlDoc(TypedDict):
    """What site control sees and wants at the grid connection; W, import positive; null: unknown, or not there."""

    target_w: int | None
    measured_w: int | None
    base_w: int
    trim_w: int
    asked_w: int
    frequency_hz: float | None
    voltage_low_v: float | None
    voltage_high_v: float | None
    response_percent: float
    service: str
    reason: ReasonDoc
    enters_in_ms: int | None
    waiting_evses: int


class StatusDoc(Envelope):
    site: str
    version: str
    config_hash: str
    uptime_ms: int
    level: LevelText
    lab: bool
    grid_profile: str
    notices: list[Notice]
    core: CoreDoc
    site_control: SiteControlDoc
    uplink: UplinkDoc
    feeders: list[FeederDoc]
    evses: list[EvseBody]
    meters: list[MeterDoc]
    buses: list[BusDoc]


class EvseDoc(Envelope):
    evse: EvseBody


class SideDoc(TypedDict):
    """One direction after one row: what is left (magnitude, W) and why. `tightens`: this row took something away; `binds`: it
    took the last, so that nothing after it matters."""

    limit_w: int
    reason: ReasonDoc
    tightens: bool
    binds: bool


class RowDoc(TypedDict):
    row: int
    title: str
    charge: SideDoc
    discharge: SideDoc
    facts: list[str]
    next: str


class ExplainDoc(Envelope):
    evse: EvseBody
    wish_w: int
    rows: list[RowDoc]


class EventBody(TypedDict):
    seq: int
    ts: int
    level: LevelText
    kind: str
    subject: str
    code: str
    text: str


class EventsDoc(Envelope):
    last: int
    events: list[EventBody]


class HistogramDoc(TypedDict):
    """Values in µs; `counts` is one longer than `bounds`: the last counts all above."""

    bounds: list[float]
    counts: list[int]
    p50: float
    p99: float
    p99_9: float
    max: float


class RtDoc(Envelope):
    period_us: int
    cycles: int
    missed: int
    realtime: bool
    scheduling: str
    cpu: int | None
    page_faults: int
    preemptions: int
    lateness_us: HistogramDoc
    compute_us: HistogramDoc
    drain_us: HistogramDoc
    send_us: HistogramDoc
    slack_us: HistogramDoc
    meter_age_us: HistogramDoc
    command_age_us: HistogramDoc
    reaction_us: HistogramDoc


class SessionBody(TypedDict):
    evse: str
    started: int
    ended: int | None
    charged_wh: int
    discharged_wh: int
    soc_start_percent: float | None
    soc_last_percent: float | None


class SessionsDoc(Envelope):
    sessions: list[SessionBody]


class CheckDoc(TypedDict):
    """One line of the doctor; `remedy` is empty when all is well."""

    name: str
    level: LevelText
    text: str
    remedy: str


class DoctorDoc(Envelope):
    level: LevelText
    checks: list[CheckDoc]


class StretchDoc(TypedDict):
    """From sample `first` on this bound the target, until the next stretch."""

    first: int
    code: str


class HistoryDoc(Envelope):
    """The last minutes of one EVSE, one sample every `period_ms`, oldest first; null: not known at that moment. `min_w` and
    `max_w`: what the chain allowed."""

    evse: str
    period_ms: int
    power_w: list[int | None]
    target_w: list[int | None]
    min_w: list[int | None]
    max_w: list[int | None]
    soc_percent: list[float | None]
    connector_c: list[float | None]
    cable_c: list[float | None]
    charger_c: list[float | None]
    cell_max_c: list[float | None]
    reasons: list[StretchDoc]


class ErrorDoc(TypedDict):
    error: str
