"""The keys of config.yaml as frozen models. The schema, the page docs/config.md and the checks come from here.

A description ends with the source of its default: [S: …] read there, [C] our choice, [M] from memory of a paywalled text.
Attribute names carry the inner unit where the file's key has none or another one (`period_ns` is `period: 10ms`).
"""

from __future__ import annotations

import base64
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from edge.config.units import CELSIUS, HOUR, MINUTE, MS, SECOND, SOC, Duration
from edge.model import check_id
from edge.strict_yaml import Refusal


def _id(text: str) -> str:
    try:
        return check_id(text)
    except ValueError:
        raise Refusal("an id is 1 to 48 characters of A-Z a-z 0-9 _ . : -", "choose another id") from None


Id = Annotated[str, AfterValidator(_id)]
Port = Annotated[int, Field(ge=1, le=65535)]
TimeOfDay = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
PowerW = Annotated[int, Field(ge=0, le=4_000_000)]
"""W; the bound is V2G_POWER_MAX_W of native/include/v2g.h."""
PathText = Annotated[str, Field(min_length=1, max_length=500)]

GridProfile = Literal["none", "ieee1547-cat1", "ieee1547-cat2", "ieee1547-cat3", "en50549-1", "g99"]
Service = Literal[
    "nordic-ffr-1.3s",
    "nordic-ffr-1.0s",
    "nordic-ffr-0.7s",
    "nordic-ffr-1.3s-short",
    "nordic-ffr-1.0s-short",
    "nordic-ffr-0.7s-short",
    "ercot-ffr",
    "neso-dc",
]


class Section(BaseModel):
    """Unknown keys are refused, nothing is converted silently, nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Grid(Section):
    profile: GridProfile = Field(
        default="none",
        description="Grid code that the site follows; the EU sets are named but disabled. Announced at start. [C, M]",
    )
    nominal_hz: Literal[50, 60] = Field(default=50, description="Nominal frequency in Hz. [C]")
    nominal_v: int = Field(
        default=230, ge=100, le=400, description="Nominal voltage phase to neutral in V; turns A into W. [C]"
    )
    import_limit_w: PowerW | None = Field(
        default=None, description="Most that the site may draw, W; none: the root feeder's rating. [C]"
    )
    export_limit_w: PowerW = Field(default=0, description="Most that the site may feed back, W. [C: no export unless agreed]")
    services: tuple[Service, ...] = Field(
        default=(),
        max_length=3,
        description="Fast services on local frequency; refused when meter and EVSE are too slow for one. [C]",
    )
    service_w: PowerW | None = Field(
        default=None,
        description="Power that takes part in `services`, W, kept free by whoever plans; none: all rated power. [C]",
    )
    enter_delay_ns: Annotated[int, Duration("0s", "10min")] | None = Field(
        default=None,
        alias="enter_delay",
        description="Good voltage and frequency before service is entered, up to a fifth more; none: the profile's. [M: range]",
    )
    enter_ramp_ns: Annotated[int, Duration("1s", "1000s")] | None = Field(
        default=None, alias="enter_ramp", description="Ramp of entering service; none: the profile's. [M: range]"
    )
    droop: bool = Field(default=True, description="Frequency-watt of the grid profile. [S: IEEE 1547-2018, enabled by default]")
    volt_watt: bool = Field(
        default=False, description="Volt-watt of the grid profile. [S: IEEE 1547-2018, disabled by default]"
    )


class Site(Section):
    id: Id = Field(description="The site's name in every topic and document.")
    grid: Grid = Field(default=Grid(), description="The connection to the grid.")


class Cycle(Section):
    period_ns: Annotated[int, Duration("10ms", "50ms")] = Field(
        default=10 * MS, alias="period", description="Period of the control cycle. [S: the user's document, 10 to 50 ms]"
    )
    cpu: int | None = Field(
        default=None, ge=0, le=1023, description="Core that the cycle thread is pinned to; none: not pinned. [C]"
    )


class Guard(Section):
    socket: str = Field(default="/run/v2g-edge/guard.sock", description="Where v2g-guard listens. [C]")
    required: bool = Field(default=True, description="Without a running guard no power flows (`lab: true` lifts this). [C]")
    timeout_ns: Annotated[int, Duration("20ms", "10s")] | None = Field(
        default=None,
        alias="timeout",
        description="Silence of the cycle after which the guard takes over; none: 100ms on a real-time kernel, else 500ms. [C]",
    )


class Limits(Section):
    min_soc_threshold: Annotated[int, SOC] = Field(
        default=3000, description="No discharge at or below this state of charge, %. An EVSE can have its own. [C]"
    )
    absolute_min_soc: Annotated[int, SOC] = Field(
        default=2000, description="Floor that no remote command can go below, %; changed only in this file. [C]"
    )
    soc_hysteresis: Annotated[int, SOC] = Field(
        default=200,
        description="Discharge is allowed again this much above the floor, charge this much below the ceiling, %. [C]",
    )
    max_soc: Annotated[int, SOC] = Field(default=10000, description="No charging at or above this state of charge, %. [C]")
    soc_error: Annotated[int, SOC] = Field(default=100, description="Error assumed of a reported state of charge, %. [C]")
    soc_tolerance: Annotated[int, SOC] = Field(
        default=300,
        description="SOC and counted energy may differ by this + a quarter of the counted change, %; 0: not compared. [C]",
    )
    smallest_battery_wh: int = Field(
        default=10_000, ge=500, le=1_000_000, description="Smallest battery expected; bounds the drift of an old SOC, Wh. [C]"
    )


class Connector(Section):
    """Also the shape of `cable` and `charger`."""

    derate_from_dc: Annotated[int, CELSIUS] = Field(
        default=700, alias="derate_from_c", description="Full power up to here, °C. [C]"
    )
    derate_to_dc: Annotated[int, CELSIUS] = Field(
        default=850, alias="derate_to_c", description="No power from here on, °C. [C]"
    )
    stop_dc: Annotated[int, CELSIUS] = Field(default=900, alias="stop_c", description="Hard stop with latch, °C. [M]")
    resume_dc: Annotated[int, CELSIUS] = Field(default=650, alias="resume_c", description="The latch opens below this, °C. [C]")
    resume_hold_ns: Annotated[int, Duration("1s", "1h")] = Field(
        default=60 * SECOND, alias="resume_hold", description="… once it held for this long. [C]"
    )


class Cell(Section):
    derate_from_dc: Annotated[int, CELSIUS] = Field(
        default=450, alias="derate_from_c", description="Full power up to here, °C. [C]"
    )
    derate_to_dc: Annotated[int, CELSIUS] = Field(
        default=550, alias="derate_to_c", description="No power from here on, °C. [C]"
    )
    stop_dc: Annotated[int, CELSIUS] = Field(default=600, alias="stop_c", description="Hard stop with latch, °C. [C]")
    resume_dc: Annotated[int, CELSIUS] = Field(default=400, alias="resume_c", description="The latch opens below this, °C. [C]")
    resume_hold_ns: Annotated[int, Duration("1s", "1h")] = Field(
        default=60 * SECOND, alias="resume_hold", description="… once it held for this long. [C]"
    )
    cold_no_charge_dc: Annotated[int, CELSIUS] = Field(
        default=0, alias="cold_no_charge_c", description="No charging below this, °C. [C; the vehicle's own limits rule]"
    )


class Thermal(Section):
    connector: Connector = Field(default=Connector(), description="Contact temperature at the connector.")
    cable: Connector = Field(default=Connector(), description="Cable temperature. [C: as the connector]")
    charger: Connector = Field(default=Connector(), description="Power electronics. [C: as the connector]")
    cell: Cell = Field(default=Cell(), description="Battery cells, from the vehicle.")
    sensor_lost_charge_pct: int = Field(
        default=50,
        ge=0,
        le=100,
        description="A lost sensor: no discharge, and charge at most min(last limit, this % of rating). [C]",
    )
    contact_tau_ns: Annotated[int, Duration("10s", "2h")] = Field(
        default=8 * MINUTE,
        alias="contact_tau",
        description="Start value of the contact's time constant; fitted per product. [M]",
    )
    cable_tau_ns: Annotated[int, Duration("10s", "2h")] = Field(
        default=20 * MINUTE, alias="cable_tau", description="Start value of the cable's time constant; fitted per product. [M]"
    )
    ambient_dc: Annotated[int, CELSIUS] = Field(
        default=400, alias="ambient_c", description="Highest temperature expected around connector and cable, °C. [C]"
    )
    contact_rise_k: int = Field(
        default=10,
        ge=0,
        le=200,
        description="Rise of the contact over the cable at rated power, K; 0: no model. Fitted per product. [C]",
    )
    cable_rise_k: int = Field(
        default=15,
        ge=0,
        le=200,
        description="Rise of the cable over ambient at rated power, K; 0: no model. Fitted per product. [C]",
    )
    contact_alarm_k: int = Field(
        default=25,
        ge=0,
        le=200,
        description="A connector this much hotter than its model calls for maintenance, K; 0: never. [C]",
    )
    horizon_ns: Annotated[int, Duration("10s", "10min")] = Field(
        default=60 * SECOND, alias="horizon", description="Temperatures are limited by where they will be after this time. [C]"
    )


class Ramp(Section):
    """Movement away from 0 in % of the EVSE's rating per second; towards 0 is immediate."""

    normal_pct_s: int = Field(default=10, ge=1, le=1000, description="Normal operation, %/s. [C]")
    frequency_pct_s: int = Field(default=200, ge=1, le=10000, description="Frequency service, reserved headroom only, %/s. [C]")
    after_failsafe_pct_s: int = Field(default=10, ge=1, le=1000, description="After a fail-safe, %/s. [C]")


class Fallback(Section):
    """What one EVSE may do when the aggregator, the plan or a meter is lost."""

    charge_w: PowerW = Field(
        default=4200, description="Charge per EVSE, W, less where the feeder's budget is smaller. [S: §14a EnWG]"
    )
    discharge_w: PowerW = Field(default=0, description="Discharge per EVSE, W. [C]")


class Plan(Section):
    renew_ns: Annotated[int, Duration("10ms", "250ms")] = Field(
        default=250 * MS, alias="renew", description="Python renews the plan at least this often. [C]"
    )
    lease_ns: Annotated[int, Duration("500ms", "10s")] = Field(
        default=2 * SECOND, alias="lease", description="A plan older than this falls to its `after` bounds. [C]"
    )


class Modbus(Section):
    tcp_timeout_ns: Annotated[int, Duration("5ms", "5s")] = Field(
        default=50 * MS, alias="tcp_timeout", description="Answer awaited this long where the profile has no `reply_ms`. [C]"
    )
    retries: int = Field(
        default=0, ge=0, le=3, description="Repeats of an unanswered request. [C: the next poll is the repeat]"
    )
    backoff_min_ns: Annotated[int, Duration("100ms", "10min")] = Field(
        default=SECOND, alias="backoff_min", description="First pause of a device that doesn't answer. [C]"
    )
    backoff_max_ns: Annotated[int, Duration("100ms", "1h")] = Field(
        default=30 * SECOND, alias="backoff_max", description="Longest pause of a device that doesn't answer. [C]"
    )


class Feeder(Section):
    id: Id = Field(description="Name of the fused cable section.")
    parent: Id | None = Field(
        default=None, description="The feeder that supplies it; exactly one has none: the grid connection."
    )
    rating_a: int = Field(ge=1, le=6300, description="Rating of the fuse per phase, A.")
    phases: Literal[1, 3] = Field(default=3, description="Number of phases. [C]")
    phase: Literal[1, 2, 3] = Field(default=1, description="Which phase of the site a one-phase feeder uses. [C]")
    meter: Id | None = Field(default=None, description="The meter that measures it; none: only its declared load is known.")
    base_load_w: PowerW = Field(
        default=0,
        description="Largest load other than EVSEs connected to this section itself, W (not that of its children). [C]",
    )
    base_slew_w_s: PowerW | None = Field(
        default=None, description="How fast that load may rise, W/s; none: 10 % of the feeder's rating per second. [C]"
    )
    fallback_w: PowerW | None = Field(
        default=None,
        description="For all its EVSEs together while its meter is lost, W; none: a static share of what is left. [C]",
    )


class Energy(Section):
    """What is assumed of every vehicle's battery when energy is planned; nothing here can loosen a limit."""

    efficiency_pct: int = Field(default=92, ge=50, le=100, description="One way, connector to cells, %. [C]")
    default_capacity_wh: int = Field(
        default=60_000, ge=1_000, le=2_000_000, description="Battery, Wh, where the vehicle doesn't tell. [C]"
    )
    early_ns: Annotated[int, Duration("0s", "4h")] = Field(
        default=15 * MINUTE, alias="early", description="A departure's need is met this much earlier. [C]"
    )
    battery_eur_per_kwh: float = Field(
        default=120.0, ge=0, le=10_000, description="Price of a battery, EUR/kWh, that discharging wears. [C]"
    )
    max_wear_eur_per_kwh: float | None = Field(
        default=None, gt=0, le=100, description="No discharge where a kWh wears more than this, EUR; none: never barred. [C]"
    )


class TariffWindow(Section):
    begin: TimeOfDay = Field(alias="from", description="Local time of day, HH:MM.")
    end: TimeOfDay = Field(alias="to", description="Its end; over midnight when it is not after the begin.")
    eur_per_kwh: float = Field(ge=-10, le=100, description="Price, EUR/kWh.")


class Tariff(Section):
    """Prices of a day: charge when it is cheapest, cover own load from the vehicles when that is worth its wear."""

    windows: tuple[TariffWindow, ...] = Field(min_length=1, max_length=48, description="The first that holds counts.")
    otherwise_eur_per_kwh: float = Field(ge=-10, le=100, description="Outside all windows, EUR/kWh.")


class LocalModes(Section):
    """What the site does on its own while no aggregator speaks."""

    solar_surplus: bool = Field(default=False, description="Charge with what the site would feed back, and no more. [C]")
    demand_limit_w: PowerW | None = Field(
        default=None, description="Most the site draws, W; vehicles help. None: no limit. [C]"
    )
    tariff: Tariff | None = Field(default=None, description="Prices of the day; none: no tariff. [C]")


class CanBus(Section):
    id: Id = Field(description="Name of the bus.")
    kind: Literal["can", "python-can"] = Field(
        description="can: opened by the core. python-can: only that library opens it; not real-time, its EVSEs don't discharge."
    )
    channel: str = Field(
        min_length=1,
        max_length=100,
        description="can: a network interface, or `hub:` and a socket's path. python-can: as the interface wants it.",
    )
    interface: str | None = Field(
        default=None, pattern=r"^[a-z][a-z0-9_]{1,30}$", description="python-can: its interface (pcan, slcan, gs_usb, …)."
    )
    options: dict[str, str | int | bool] = Field(default={}, description="python-can: further arguments of its interface.")
    bitrate: int = Field(
        default=500_000,
        ge=10_000,
        le=1_000_000,
        description="bit/s; for the bus load, set on the interface itself. [contracts 3]",
    )
    fd: bool = Field(default=False, description="CAN FD, with bit-rate switch. [C]")
    data_bitrate: int = Field(
        default=2_000_000,
        ge=10_000,
        le=8_000_000,
        description="bit/s of the data phase of CAN FD frames; for the bus load. [numbers 3]",
    )
    restart_ns: Annotated[int, Duration("100ms", "60s")] = Field(
        default=SECOND,
        alias="restart",
        description="A bus that has been off or blocked for so long is restarted, again and again. [C]",
    )

    @property
    def real_time(self) -> bool:
        return self.kind == "can"


class ModbusTcpBus(Section):
    id: Id = Field(description="Name of the bus.")
    kind: Literal["modbus-tcp"]


class ModbusRtuBus(Section):
    id: Id = Field(description="Name of the bus.")
    kind: Literal["modbus-rtu"]
    port: Annotated[str, Field(pattern=r"^(/.{1,106}|tcp:[A-Za-z0-9_.-]{1,80}:[0-9]{1,5})$")] = Field(
        description="Serial device, or `tcp:HOST:PORT` of a serial server that passes RTU frames on."
    )
    baud: Literal[1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200, 230400] = Field(
        default=19200, description="bit/s of the line. [S: Modbus over Serial Line V1.02, 2.5.1]"
    )
    parity: Literal["even", "odd", "none"] = Field(default="even", description="[S: Modbus over Serial Line V1.02, 2.5.1]")
    stop_bits: Literal[1, 2] | None = Field(
        default=None, description="None: 1, without parity 2. [S: Modbus over Serial Line V1.02, 2.5.1]"
    )
    rs485: Literal["off", "try", "required"] = Field(
        default="try", description="Direction control by the kernel's driver: where it has it, never, or not without it. [C]"
    )


Bus = Annotated[CanBus | ModbusTcpBus | ModbusRtuBus, Field(discriminator="kind")]


class ModbusDevice(Section):
    """Where a Modbus device is and how it is spoken to."""

    profile: PathText | None = Field(default=None, description="Device profile: a packaged name or the path of a YAML file.")
    host: str | None = Field(default=None, min_length=1, max_length=253, description="Modbus/TCP: address or name.")
    port: Port = Field(default=502, description="Modbus/TCP port. [S: Modbus/TCP]")
    unit: int = Field(default=1, ge=0, le=255, description="Unit identifier. [C]")
    poll_ns: Annotated[int, Duration("10ms", "60s")] | None = Field(
        default=None, alias="poll", description="Poll period; none: the cycle's period on TCP, 500ms on a serial line. [C]"
    )
    timeout_ns: Annotated[int, Duration("5ms", "5s")] | None = Field(
        default=None,
        alias="timeout",
        description="Answer awaited this long; none: the profile's `reply_ms`, else `modbus`. [C]",
    )
    window: int = Field(
        default=1,
        ge=1,
        le=16,
        description="Modbus/TCP: requests at once; used only as far as `edgectl probe DEVICE` proved it on this gateway. [C]",
    )
    accept_unverified: bool = Field(
        default=False, description="Allow writes with a profile that was only read in a document. [C]"
    )


class Meter(ModbusDevice):
    id: Id = Field(description="Name of the meter.")
    bus: Id = Field(description="The Modbus bus it is on.")


class Departure(Section):
    """When vehicles leave this EVSE every day, and what they must have by then."""

    by: TimeOfDay = Field(description="Local time of day, HH:MM.")
    soc: Annotated[int, SOC] = Field(description="State of charge by then, %.")


class Evse(ModbusDevice):
    id: Id = Field(description="Name of the EVSE, also in its telemetry topic.")
    bus: Id = Field(description="The bus it is on.")
    feeder: Id = Field(description="The feeder that supplies it.")
    dbc: PathText | None = Field(default=None, description="CAN: packaged DBC name or the path of a .dbc file (map beside it).")
    node: int | None = Field(default=None, ge=1, le=255, description="CAN: node number n, added to the DBC's base identifiers.")
    phase_map: tuple[Literal[1, 2, 3], ...] = Field(
        default=(1, 2, 3), min_length=1, max_length=3, description="Which phase of the site each of its phases is on. [C]"
    )
    balanced: bool = Field(
        default=False, description="It loads its phases evenly by construction (a DC charger), whatever the vehicle. [C]"
    )
    rating_w: PowerW = Field(description="Rated charging power, W.")
    discharge_rating_w: PowerW | None = Field(
        default=None,
        description="Rated discharging power, W; none: as rating_w. Capability itself is learnt, never assumed. [C]",
    )
    cable_a: int | None = Field(
        default=None, ge=1, le=1000, description="Rating of its cable per phase, A; bounds the power too."
    )
    min_charge_w: PowerW = Field(default=0, description="Smallest charging power above 0 that it accepts, W. [C]")
    min_discharge_w: PowerW = Field(default=0, description="Smallest discharging power above 0 that it accepts, W. [C]")
    soc_source: Literal["evse", "vehicle", "none"] = Field(
        default="evse", description="Where the state of charge comes from; none: no discharge, charging allowed. [C]"
    )
    priority_weight: float = Field(default=1.0, gt=0, le=100, description="Share in a common budget. [S: the user's document]")
    min_soc_threshold: Annotated[int, SOC] | None = Field(
        default=None, description="Its own floor, %; none: that of `limits`. The absolute floor holds in any case. [C]"
    )
    max_soc: Annotated[int, SOC] | None = Field(default=None, description="Its own ceiling, %; none: that of `limits`. [C]")
    departure: Departure | None = Field(
        default=None, description="What its vehicles need every day; discharging never puts that at risk. None: nothing. [C]"
    )
    follow_tolerance_w: PowerW | None = Field(
        default=None, description="Power this far outside its limits is not following, W; none: 5 % of its rating. [C]"
    )
    silence_tested: bool = Field(
        default=False,
        description="Its own time-out and fallback were seen at commissioning; else no discharge, booked at its rating. [C]",
    )
    reaction_time_ns: Annotated[int, Duration("10ms", "60s")] = Field(
        default=500 * MS,
        alias="reaction_time",
        description="From a setpoint to the measured power; until then it stays booked. [C]",
    )
    response_ns: Annotated[int, Duration("10ms", "60s")] | None = Field(
        default=None,
        alias="response",
        description="Dead time and lag of its power after a setpoint, as measured at commissioning; none: reaction_time. [C]",
    )
    fallback_charge_w: PowerW | None = Field(
        default=None,
        description="Charge in fallback, W, guaranteed; none: that of `fallback`, less where the budget is smaller. [C]",
    )
    fallback_discharge_w: PowerW | None = Field(
        default=None, description="Discharge in fallback, W; none: that of `fallback`. [C]"
    )


def _pin(text: str) -> str:
    try:
        digest = base64.b64decode(text, validate=True)
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise Refusal(
            "a pin is 32 bytes in base64",
            "openssl x509 -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64",
        )
    return text


Pin = Annotated[str, AfterValidator(_pin)]


class CommandKey(Section):
    kid: Id = Field(description="Key id of the command envelope.")
    key: PathText = Field(description="PEM file with the Ed25519 public key.")


class Governor(Section):
    """What any remote command may do at most, whoever signed it, in % of the power range (largest discharge to largest charge)
    of what it names. What the site itself limits is not governed: it acts at once."""

    step_pct: int = Field(
        default=100,
        ge=1,
        le=100,
        description="Most that a command moves a wish away from 0; shrinks with a round trip above `max_round_trip`. [C]",
    )
    free_pct: int = Field(
        default=25,
        ge=0,
        le=100,
        description="What commands may move at once, of the site's range; refilled at `ramp_pct_s`. Beyond it a command is a "
        "mass command: late and ramped. [C: one of four EVSEs from full charge to full discharge]",
    )
    ramp_pct_s: int = Field(default=10, ge=1, le=100, description="Mass command away from 0, %/s. [C: as `ramp.normal_pct_s`]")
    stop_pct_s: int = Field(
        default=50, ge=1, le=1000, description="Mass command towards 0, %/s. [C: a site stops within 2 s of its start]"
    )
    start_spread_ns: Annotated[int, Duration("0s", "10min")] = Field(
        default=5 * SECOND,
        alias="start_spread",
        description="A mass command starts after a random delay up to this. [C: 1 GW of sites moves 200 MW a second]",
    )
    direction_changes_per_h: int = Field(
        default=12, ge=1, le=3600, description="Changes between charge and discharge; the next one is held at 0 W. [C]"
    )


class Uplink(Section):
    host: str = Field(min_length=1, max_length=253, description="The broker's name as in its certificate.")
    port: Port = Field(default=8883, description="MQTT over TLS. [S: IANA secure-mqtt]")
    ca: PathText = Field(description="PEM file of the authority that signed the broker's certificate.")
    cert: PathText = Field(description="PEM file of this gateway's certificate.")
    key: PathText = Field(description="PEM file of its private key, readable by the service only; may be a TPM's key.")
    server_name: str | None = Field(
        default=None,
        min_length=1,
        max_length=253,
        description="Name that the broker's certificate must have; none: `host`. For a broker reached by an address. [C]",
    )
    pins: tuple[Pin, ...] = Field(
        default=(),
        max_length=8,
        description="SHA-256 of the broker's public key (SPKI), base64; one must fit. None: any certificate of `ca`. [C]",
    )
    command_keys: tuple[CommandKey, ...] = Field(
        default=(), description="Whose commands are obeyed; none: no remote command. [C]"
    )
    keep_alive_ns: Annotated[int, Duration("5s", "10min")] = Field(
        default=15 * SECOND, alias="keep_alive", description="MQTT keep-alive. [C]"
    )
    session_expiry_ns: Annotated[int, Duration("1min", "720h")] = Field(
        default=24 * HOUR, alias="session_expiry", description="MQTT session expiry. [C]"
    )
    command_window_ns: Annotated[int, Duration("100ms", "1min")] = Field(
        default=2 * SECOND,
        alias="command_window",
        description="A command is received at most this long after it was issued. [C]",
    )
    replay_window_ns: Annotated[int, Duration("1h", "168h")] = Field(
        default=24 * HOUR, alias="replay_window", description="Command ids are remembered this long. [C]"
    )
    valid_for_ns: Annotated[int, Duration("1s", "24h")] = Field(
        default=60 * SECOND, alias="valid_for", description="Hold of a remote constraint that names none. [C]"
    )
    leave_jitter_ns: Annotated[int, Duration("0s", "10min")] = Field(
        default=30 * SECOND,
        alias="leave_jitter",
        description="Random delay, up to this, of leaving remote control when it ends. [C]",
    )
    max_round_trip_ns: Annotated[int, Duration("10ms", "1min")] = Field(
        default=SECOND, alias="max_round_trip", description="Dispatch is damped above this round trip. [S: the user's document]"
    )
    governor: Governor = Field(default=Governor(), description="What a remote command may do at most.")
    budget_mb_per_day: float = Field(
        default=60.0, gt=0, le=1e6, description="Sent in a day (UTC), MB, before an alarm is raised. [C: 8 EVSEs, typical day]"
    )
    telemetry_active_ns: Annotated[int, Duration("1s", "5s")] = Field(
        default=SECOND, alias="telemetry_active", description="While something changes. [S: the user's document, 1 to 5 s]"
    )
    telemetry_idle_ns: Annotated[int, Duration("1s", "1h")] = Field(
        default=5 * SECOND, alias="telemetry_idle", description="Otherwise. [S: the user's document]"
    )
    outbox_keep_ns: Annotated[int, Duration("1h", "720h")] = Field(
        default=72 * HOUR, alias="outbox_keep", description="History kept while the broker is away. [C; Victron keeps 48 h (S)]"
    )
    outbox_max_mib: int = Field(default=512, ge=1, le=65536, description="… and at most this much, MiB. [C]")
    clock_step_ns: Annotated[int, Duration("10ms", "1h")] = Field(
        default=SECOND, alias="clock_step", description="A wall-clock step above this blocks commands until trusted again. [C]"
    )
    require_sync: bool | None = Field(
        default=None,
        description="No command before something synchronised the kernel's clock; none: true, but not with `lab: true`. [C]",
    )


class Page(Section):
    bind: tuple[str, ...] = Field(
        default=("127.0.0.1",), max_length=8, description="Addresses of the local page and /metrics. [C]"
    )
    port: Port = Field(default=8088, description="Its port. [contracts 1]")


class Local(Section):
    socket: PathText = Field(default="/run/v2g-edge/local.sock", description="UNIX socket of the local API. [contracts 6]")
    state_dir: PathText = Field(default="/var/lib/v2g-edge", description="What survives a restart: locks, latches, outbox. [C]")
    page: Page = Field(default=Page(), description="The local page.")


class DigitalInput(Section):
    id: Id = Field(description="Name in events and texts.")
    chip: PathText = Field(default="/dev/gpiochip0", description="GPIO chip (`gpiodetect` lists them). [C]")
    line: int = Field(ge=0, le=1023, description="Line of the chip (`gpioinfo` lists them).")
    active: Literal["high", "low"] = Field(
        description="Level at which it acts. Wire an emergency stop so that a broken wire reads as this."
    )
    bias: Literal["as_is", "disabled", "pull_up", "pull_down"] = Field(
        default="as_is", description="Resistor of the chip, where it has one. [C]"
    )
    means: Literal["emergency-stop", "limit"] = Field(
        description="Stop every EVSE; or limit a feeder, as a ripple-control or §14a EnWG relay does."
    )
    feeder: Id | None = Field(default=None, description="`limit`: the feeder that is limited; none: the grid connection.")
    max_charge_w: PowerW | None = Field(default=None, description="`limit`: most that the feeder may draw, W.")
    max_discharge_w: PowerW | None = Field(default=None, description="`limit`: most that the feeder may feed back, W.")


class Settings(Section):
    """The whole of config.yaml, every default filled in."""

    site: Site = Field(description="The site and its grid connection.")
    lab: bool = Field(
        default=False, description="Bench or demo: no guard and no real-time scheduling needed; shown everywhere. [C]"
    )
    cycle: Cycle = Field(default=Cycle(), description="The control cycle.")
    guard: Guard = Field(default=Guard(), description="The process that watches the cycle.")
    limits: Limits = Field(default=Limits(), description="State-of-charge limits of every EVSE.")
    thermal: Thermal = Field(default=Thermal(), description="Temperature limits.")
    ramp: Ramp = Field(default=Ramp(), description="How fast power may move away from 0.")
    fallback: Fallback = Field(default=Fallback(), description="What holds when something is lost.")
    plan: Plan = Field(default=Plan(), description="The plan between Python and the core.")
    modbus: Modbus = Field(default=Modbus(), description="All Modbus devices.")
    feeders: tuple[Feeder, ...] = Field(min_length=1, max_length=64, description="The fuse tree.")
    buses: tuple[Bus, ...] = Field(min_length=1, max_length=32, description="CAN and Modbus buses.")
    meters: tuple[Meter, ...] = Field(default=(), max_length=64, description="Meters.")
    evses: tuple[Evse, ...] = Field(min_length=1, max_length=256, description="Charge points.")
    inputs: tuple[DigitalInput, ...] = Field(
        default=(), max_length=16, description="Contacts: emergency stop, relays of the utility. One that can't be read acts."
    )
    uplink: Uplink | None = Field(default=None, description="The aggregator's broker; none: the site runs alone. [C]")
    energy: Energy = Field(default=Energy(), description="What is assumed of the vehicles' batteries.")
    local_modes: LocalModes = Field(default=LocalModes(), description="What the site does while no aggregator speaks.")
    local: Local = Field(default=Local(), description="Status API and page.")
