"""The messages of contracts.md section 2, field by field.

Times are integer ms, Unix UTC; powers W, charging positive; energies Wh; SOC 0.01 %; temperatures 0.1 °C; currents mA;
voltages 0.1 V; durations and ages ms. A value that isn't known is left out.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from edge.model import Outcome
from edge.model.ids import ID_PATTERN
from edge.wire.codec import Message, Part

Id = Annotated[str, StringConstraints(pattern=f"^{ID_PATTERN}$")]
Text = Annotated[str, StringConstraints(max_length=200)]
Word = Annotated[str, StringConstraints(max_length=48)]
Int64 = Annotated[int, Field(ge=-(2**63), lt=2**63)]
TimeMs = Annotated[int, Field(ge=0, lt=2**53)]
Seq = Annotated[int, Field(ge=0, lt=2**53)]
Soc = Annotated[int, Field(ge=0, le=10_000)]
Phases = Annotated[list[Int64], Field(min_length=3, max_length=3)]

MAX_CONSTRAINTS = 256
"""Most constraints in one command: one for each EVSE of the largest site."""


class Setpoint(Part):
    min_w: Int64
    max_w: Int64
    target_w: Int64


class Temperatures(Part):
    """0.1 °C."""

    connector: Int64 | None = None
    cable: Int64 | None = None
    charger: Int64 | None = None
    cell_max: Int64 | None = None


class Capacity(Part):
    """What the EVSE could still give: `up` is more export or less import, `down` the reverse; W, and Wh for how long."""

    up_w: Int64 | None = None
    down_w: Int64 | None = None
    up_wh: Int64 | None = None
    down_wh: Int64 | None = None


class Share(Part):
    """What site control makes of what all have in common. `site_target_w`, `site_power_w`: at the grid connection, import
    positive; `target_w`: the EVSE's part of it; `max_w`, `min_w`: no more than this is left to it, for `reason`."""

    site_target_w: Int64 | None = None
    site_power_w: Int64 | None = None
    target_w: Int64 | None = None
    max_w: Int64 | None = None
    min_w: Int64 | None = None
    reason: Word | None = None


class Telemetry(Message):
    """`v2g/fleet/telemetry/<evse_id>`: QoS 0, live only."""

    max_bytes: ClassVar[int] = 2 * 1024

    site: Id
    evse: Id
    boot: Id
    ts: TimeMs
    state: Word
    """IEC 61851 state A to F, or `transfer`."""
    power_w: Int64 | None = None
    setpoint: Setpoint
    reason: Word
    """Name of the `Reason` that bound the setpoint."""
    share: Share | None = None
    """Left out while it follows no site target and nothing that all have in common bounds it."""
    soc: Soc | None = None
    soc_source: Word | None = None
    temperature: Temperatures = Temperatures()
    currents_ma: Phases | None = None
    voltages_dv: Phases | None = None
    import_wh: Int64 | None = None
    export_wh: Int64 | None = None
    capacity: Capacity = Capacity()
    age_ms: Annotated[int, Field(ge=0)] | None = None
    """Age of the measured power."""


class Ratings(Part):
    charge_w: Int64
    discharge_w: Int64
    """A magnitude."""


class BirthEvse(Part):
    id: Id
    capability: Word
    """`bidirectional`, `charge_only` or `unknown`: learnt, never assumed."""
    phases: Annotated[int, Field(ge=1, le=3)]
    ratings: Ratings
    real_time: bool | None = None
    """False: its bus is not real-time, so it doesn't discharge. Left out: it is."""


class BirthFeeder(Part):
    id: Id
    parent: Id | None = None
    rating_w: Int64 | None = None


class Birth(Message):
    """`v2g/site/<site_id>/birth`: QoS 1, retained."""

    max_bytes: ClassVar[int] = 128 * 1024

    boot: Id
    ts: TimeMs
    sw: Word
    config_hash: Word
    evses: list[BirthEvse]
    feeders: list[BirthFeeder]
    clock: Word
    """`trusted` or `untrusted`."""
    uplink_mb_per_day: Annotated[float, Field(ge=0)] | None = None
    """What the uplink would send in a day at the rate of the last hour, MB."""


class Death(Message):
    """`v2g/site/<site_id>/death`: the will, QoS 1, retained. `boot` tells whether it is older than the birth beside it."""

    boot: Id


class Envelope(Message):
    """`v2g/site/<site_id>/command`: what was signed, by which key, and the signature."""

    kid: Id
    body: Annotated[bytes, Field(max_length=15 * 1024)]
    sig: Annotated[bytes, Field(min_length=64, max_length=64)]


class CommandScope(Part):
    """Exactly one of the three."""

    evse: Id | None = None
    feeder: Id | None = None
    site: Id | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(part is not None for part in (self.evse, self.feeder, self.site)) != 1:
            raise ValueError("want exactly one of evse, feeder, site")
        return self


class CommandAfter(Part):
    min_w: Int64 | None = None
    max_w: Int64 | None = None
    target_w: Int64 | None = None


class CommandConstraint(Part):
    scope: CommandScope
    quantity: Word
    """Any word: a quantity that the gateway doesn't support is refused as such."""
    min_w: Int64 | None = None
    max_w: Int64 | None = None
    target_w: Int64 | None = None
    ramp_w_s: Int64 | None = None
    valid_for_ms: Annotated[int, Field(ge=1, le=86_400_000)] | None = None
    """Left out: the gateway's `uplink.valid_for`, 60 s unless its config says otherwise."""
    after: CommandAfter | None = None


class CommandBody(Message):
    """What the envelope's body holds. Absolute values only, so a repeat can't add up."""

    max_bytes: ClassVar[int] = 15 * 1024
    versioned: ClassVar[bool] = False  # the signature's prefix says v1

    id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
    site: Id
    seq: Annotated[int, Field(ge=1, lt=2**53)]
    issued: TimeMs
    accept_until: TimeMs
    constraints: Annotated[list[CommandConstraint], Field(min_length=1, max_length=MAX_CONSTRAINTS)]


class AckEvse(Part):
    """What an EVSE named by the command is told now."""

    id: Id
    min_w: Int64
    max_w: Int64
    target_w: Int64
    reason: Word


class AckStamps(Part):
    """The way of a command. `issued` is the aggregator's clock, the others the gateway's."""

    issued: TimeMs | None = None
    received: TimeMs | None = None
    adopted: TimeMs | None = None
    on_bus: TimeMs | None = None
    confirmed: TimeMs | None = None


class Ack(Message):
    """`v2g/site/<site_id>/ack`: QoS 1. The same id may be acknowledged again with more stamps; the last one is the fullest."""

    max_bytes: ClassVar[int] = 64 * 1024

    id: Annotated[str, StringConstraints(max_length=64)]
    """Empty when not even that could be read."""
    seq: Seq | None = None
    outcome: Annotated[Outcome, Field(strict=False)]
    code: Text | None = None
    evses: list[AckEvse] = Field(default=[])
    stamps: AckStamps = AckStamps()


class Record(Part):
    """One history record; what else it holds depends on `kind`: `event`, `agg60`, `energy15` or `session`."""

    model_config = ConfigDict(extra="allow")

    seq: Seq
    ts: TimeMs
    kind: Word

    def details(self) -> dict[str, Any]:
        """What belongs to the kind."""
        return dict(self.model_extra or {})


class History(Message):
    """`v2g/site/<site_id>/history`: QoS 1, oldest first.

    `first` is the oldest record that the gateway still has. When `records` begins with it, they are consecutive records of the
    outbox: a number that is left out was dropped there and never comes.
    """

    max_bytes: ClassVar[int] = 256 * 1024

    first: Seq
    records: Annotated[list[Record], Field(max_length=10_000)]


class Watermark(Message):
    """`v2g/site/<site_id>/watermark`: QoS 1, retained: the highest history record that the aggregator has stored."""

    seq: Seq
