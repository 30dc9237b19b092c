"""Device profiles: what a Modbus device offers, as data (contracts.md section 4).

No register is invented: what the named source doesn't state is left out. `load_profile` finds packaged profiles by name.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from edge.strict_yaml import Problem, Refusal, Shown, read_tree, validate

PROFILES = Path(__file__).parent / "profiles"

MS = 1_000_000

WORDS = {"bit": 1, "int16": 1, "uint16": 1, "int32": 2, "uint32": 2, "float32": 2, "int64": 4, "uint64": 4, "float64": 4}
"""16-bit registers of each type."""


class Unit(NamedTuple):
    """A unit of a profile in the core's unit of the same quantity."""

    core: str
    factor: Fraction


UNITS = {
    "W": Unit("W", Fraction(1)),
    "kW": Unit("W", Fraction(1000)),
    "A": Unit("mA", Fraction(1000)),
    "mA": Unit("mA", Fraction(1)),
    "V": Unit("0.1 V", Fraction(10)),
    "mV": Unit("0.1 V", Fraction(1, 100)),
    "Hz": Unit("mHz", Fraction(1000)),
    "mHz": Unit("mHz", Fraction(1)),
    "Wh": Unit("Wh", Fraction(1)),
    "kWh": Unit("Wh", Fraction(1000)),
    "degC": Unit("0.1 degC", Fraction(10)),
    "%": Unit("0.01 %", Fraction(100)),
    "s": Unit("ms", Fraction(1000)),
    "ms": Unit("ms", Fraction(1)),
    "": Unit("", Fraction(1)),
    "1": Unit("", Fraction(1)),
}
"""Every unit that a profile may write."""

SIGNALS = {
    "power_w": "W",
    "power_l1_w": "W",
    "power_l2_w": "W",
    "power_l3_w": "W",
    "voltage_l1_v": "0.1 V",
    "voltage_l2_v": "0.1 V",
    "voltage_l3_v": "0.1 V",
    "current_l1_a": "mA",
    "current_l2_a": "mA",
    "current_l3_a": "mA",
    "frequency_hz": "mHz",
    "energy_import_wh": "Wh",
    "energy_export_wh": "Wh",
    "soc_percent": "0.01 %",
    "connector_c": "0.1 degC",
    "cable_c": "0.1 degC",
    "charger_c": "0.1 degC",
    "cell_max_c": "0.1 degC",
    "cell_min_c": "0.1 degC",
    "max_charge_w": "W",
    "max_discharge_w": "W",
    "capacity_wh": "Wh",
    "state": "",
    "fault": "",
    "bidirectional": "",
    "contactor": "",
    "ev_present": "",
    "following": "",
    "e_stop": "",
    "failsafe": "",
    "sample_count": "",
}
"""Every signal that something in the gateway reads, and the core's unit of it. Power: import (charging) positive."""

EVSE_FLAGS = ("fault", "bidirectional", "contactor", "ev_present", "following", "e_stop", "failsafe")
"""Signals of an EVSE that are true when their register isn't 0 (or their bit is set)."""
EVSE_NEEDS = ("state", "power_w")
"""Without these nobody knows whether a vehicle is there, and what it draws."""
State = Literal["A", "B", "C", "D", "E", "F", "transfer"]
"""IEC 61851-1: A no vehicle, B connected, C and D ready, E and F not available; transfer: energy flows."""


class ProfileError(Exception):
    """A profile was refused. `problems` holds every error, `str()` one line for each."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(p) for p in problems))
        self.problems = problems


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _known_unit(unit: str) -> str:
    if unit not in UNITS:
        raise Refusal(f"known units are {', '.join(u for u in UNITS if u)}", "convert with `scale`")
    return unit


def _invalid_codes(value: object) -> object:
    """One code or a list of them."""
    return value if isinstance(value, tuple) else (value,)


Code = int | Literal["nan"]
MAX_CODES = 32


class Register(_Part):
    """One value in consecutive 16-bit registers. `address` is the protocol address, counted from 0."""

    table: Literal["holding", "input", "coil", "discrete"] = "holding"
    address: int = Field(ge=0, le=65535, description="Protocol address, counted from 0.")
    type: Literal["bit", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
    bit: int = Field(default=0, ge=0, le=15, description="type bit in a register: which of its bits, 0 the lowest.")
    words: Literal["big", "little"] = Field(default="big", description="Which 16-bit word of a longer value comes first.")
    unit: Annotated[str, AfterValidator(_known_unit)] = Field(default="", description="Unit of raw value × scale.")
    scale: float = Field(default=1.0, description="Raw value × scale = value in `unit`; a negative one turns the sign.")
    invalid: Annotated[tuple[Code, ...], BeforeValidator(_invalid_codes, json_schema_input_type=Code | tuple[Code, ...])] = (
        Field(default=(), description="Raw codes that mean 'no value': nan or numbers such as 0x8000.")
    )

    @model_validator(mode="after")
    def _fits(self) -> Register:
        if self.address + self.count > 65536:
            raise Refusal(
                f"{self.table} registers end at 65535", f"a {self.type} needs {self.count} registers: lower the address"
            )
        if self.scale == 0:
            raise Refusal("a scale of 0 leaves nothing", "use the document's scale")
        coils = self.table in ("coil", "discrete")
        if coils and (self.type != "bit" or self.bit):
            raise Refusal("coils and discrete inputs hold one bit each", "give them type bit and no `bit`")
        if self.bit and self.type != "bit":
            raise Refusal(f"a {self.type} has no single bit", "use type bit")
        if "nan" in self.invalid and not self.type.startswith("float"):
            raise Refusal(f"a {self.type} is never nan", "give the raw code, such as 0x8000")
        return self

    @property
    def count(self) -> int:
        """16-bit registers that it takes."""
        return WORDS[self.type]

    @property
    def core_scale(self) -> Fraction:
        """Raw value × this = value in the core's unit (W, mA, 0.1 V, mHz, Wh, 0.1 °C, 0.01 %), exactly."""
        return Fraction(str(self.scale)) * UNITS[self.unit].factor


class Reading(Register):
    signal: str = Field(description="What it is; the names are those of `SIGNALS`.")
    every: int = Field(default=1, ge=1, le=1000, description="Read in every n-th poll.")
    codes: dict[State, tuple[int, ...]] = Field(
        default={}, description="`state`: the device's codes for each state of IEC 61851-1; any other code is no value."
    )

    @model_validator(mode="after")
    def _known_codes(self) -> Reading:
        if (self.signal == "state") != bool(self.codes):
            raise Refusal("`codes` belong to the signal state, and it needs them", "say which codes mean which state")
        codes = [code for each in self.codes.values() for code in each]
        if len(set(codes)) < len(codes) or len(codes) > MAX_CODES:
            raise Refusal(f"each code has one meaning, and there are at most {MAX_CODES}", "correct `codes`")
        return self

    @model_validator(mode="after")
    def _known_signal(self) -> Reading:
        if self.signal not in SIGNALS:
            raise Refusal(f"{self.signal!r} is no known signal", f"use one of {', '.join(SIGNALS)}")
        if UNITS[self.unit].core != SIGNALS[self.signal]:
            fitting = ", ".join(u for u, unit in UNITS.items() if unit.core == SIGNALS[self.signal]) or "none"
            raise Refusal(f"{self.signal} can't be in {self.unit or 'no unit'}", f"write `unit:` with one of {fitting}")
        return self


class Action(Register):
    """A raw value in a register: a command of the device."""

    value: int = Field(description="Raw value that is written.")

    @model_validator(mode="after")
    def _writable(self) -> Action:
        if self.table not in ("holding", "coil"):
            raise Refusal(f"a {self.table} can't be written", "use a holding register or coil")
        if self.type in ("float32", "float64"):
            raise Refusal("commands are integers", "use the register's integer type")
        return self


class Setpoint(Register):
    """Power that the device is to take, charging positive; or (`unit: A`) current per phase, from W at nominal voltage."""

    min: int = Field(
        default=0, ge=0, le=4_000_000, description="Smallest magnitude above 0 that the device accepts, W; of a current A."
    )
    never_write: tuple[int, ...] = Field(
        default=(), max_length=4, description="Raw values that the device must never be given; `stop` is written instead."
    )
    stop: Action | None = Field(default=None, description="How it is stopped where writing 0 does not.")
    start: Action | None = Field(default=None, description="Written after the first setpoint that follows a stop.")
    function: Literal[6, 16, 23] | None = Field(
        default=None, description="Modbus function; none: 6 for one register, 16 for more. 23 reads back in the same request."
    )

    @model_validator(mode="after")
    def _stoppable(self) -> Setpoint:
        if self.stop is None and 0 in self.never_write:
            raise Refusal("0 is never written and there is no `stop`", "add the register and value that stop the device")
        if self.table != "holding":
            raise Refusal("input registers can't be written", "use the holding register")
        if self.type in ("float64", "bit"):
            raise Refusal(f"a setpoint can't be a {self.type}", "use the device's integer or float32 register")
        if UNITS[self.unit].core not in ("W", "mA"):
            raise Refusal(f"a setpoint can't be in {self.unit or 'no unit'}", "write `unit:` with W, kW, A or mA")
        if self.function == 6 and self.count != 1:
            raise Refusal(f"function 6 writes one register, a {self.type} has {self.count}", "use 16 or leave it out")
        return self


class Write(_Part):
    min_interval_ms: int = Field(default=1000, ge=0, le=3_600_000, description="Shortest time between two writes.")
    refresh_ms: int | None = Field(default=None, ge=10, le=3_600_000, description="Repeat an unchanged setpoint this often.")
    nonvolatile: bool = Field(default=False, description="The setpoint lies in memory that wears out.")

    @model_validator(mode="after")
    def _spares_the_flash(self) -> Write:
        if self.nonvolatile and self.refresh_ms is not None:
            raise Refusal("a register in nonvolatile memory is never written cyclically", "remove refresh_ms")
        return self


class Timeout(Register):
    value: int | None = Field(default=None, ge=1, description="Raw value that is written at start; none: only read back.")


class Heartbeat(Register):
    """A sign of life that the device wants: a number that rises with every write, as long as a setpoint holds."""

    period_ms: int = Field(default=1000, ge=10, le=600_000, description="It is written this often.")

    @model_validator(mode="after")
    def _countable(self) -> Heartbeat:
        if self.table != "holding" or self.type not in ("uint16", "uint32"):
            raise Refusal(f"a heartbeat can't be a {self.type} in the {self.table} table", "use a holding uint16 or uint32")
        return self


class Fallback(Register):
    """What the device does by itself when nobody writes: the registers are written at start and read back on and on."""

    value: int = Field(default=0, description="Raw value that means 0 W: written at start, and expected.")
    timeout: Timeout = Field(description="After this time without a write the device takes the fallback value by itself.")
    nonvolatile: bool = Field(default=False, description="Memory that wears out: only read back, set it at commissioning.")
    every: int = Field(default=20, ge=1, le=1000, description="Read back in every n-th poll.")

    @model_validator(mode="after")
    def _readable(self) -> Fallback:
        if self.table not in ("holding", "input") or self.timeout.table not in ("holding", "input"):
            raise Refusal("fallback registers are holding or input registers", "correct `table`")
        if UNITS[self.timeout.unit].core != "ms":
            raise Refusal("the time-out's unit is s or ms", "write `unit: s`")
        return self


class Liveness(_Part):
    signal: str = Field(description="A signal that must change while the device works.")
    kind: Literal["counter", "energy", "frequency"] = Field(
        description="counter: always counts; energy: while power flows; frequency: its last digit."
    )
    within_ms: int | None = Field(
        default=None, ge=100, le=3_600_000, description="It changes at least this often; none: see `Profile.liveness_ns`."
    )


class Requirement(Register):
    """A setting without which the rest of the profile doesn't hold. The gateway never writes it: set it at commissioning."""

    value: int = Field(description="Raw value that the register must hold.")
    about: str = Field(min_length=1, description="What it brings about.")


class Profile(_Part):
    """One device type. Times in ms."""

    profile: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$", description="vendor-model, the file's name without .yaml")
    kind: Literal["meter", "evse", "inverter"]
    verified: Literal["document", "simulator", "hardware"] = Field(description="How far the registers were tried.")
    source: str = Field(min_length=1, description="Title, version, page.")
    transport: Literal["modbus"]
    refresh_ms: int = Field(
        default=1000,
        ge=0,
        le=600_000,
        description="The device renews its registers this often; left out: not stated, so 1000 is assumed (numbers.md part 3).",
    )
    reply_ms: int | None = Field(default=None, ge=1, le=60_000, description="It answers within this time.")
    gap_ms: int = Field(default=0, ge=0, le=60_000, description="Pause that it needs between two requests.")
    tables: dict[Literal["holding", "input", "coil", "discrete"], tuple[int, int]] = Field(
        default={}, description="First and last address that exist, where the source states it."
    )
    liveness: Liveness | None = None
    registers: tuple[Reading, ...] = Field(min_length=1, max_length=128)
    setpoint: Setpoint | None = None
    write: Write = Field(default=Write(), description="How often it may be written.")
    fallback: Fallback | None = None
    heartbeat: Heartbeat | None = None
    max_words: int = Field(default=125, ge=1, le=125, description="Registers that one request may read at most.")
    requires: tuple[Requirement, ...] = Field(default=(), max_length=16, description="Settings that must be made first.")

    @model_validator(mode="after")
    def _readable_in_one_request(self) -> Profile:
        longest = max(self.registers, key=lambda r: r.count)
        if longest.count > self.max_words:
            raise Refusal(f"{longest.signal} takes {longest.count} registers", f"max_words must be at least {longest.count}")
        return self

    def signal(self, name: str) -> Reading | None:
        """The register of a signal, None when the device doesn't offer it."""
        return next((r for r in self.registers if r.signal == name), None)

    def liveness_ns(self, poll_ns: int) -> int | None:
        """How long the liveness signal may stand still, ns; None: the profile names none.

        Our choice where the profile says nothing: an energy register 60 s (1 Wh at 60 W), the frequency 10 s, a counter
        three polls and renewals.
        """
        if self.liveness is None:
            return None
        if self.liveness.within_ms is not None:
            return self.liveness.within_ms * MS
        if self.liveness.signal.startswith("energy"):
            return 60_000 * MS
        if self.liveness.signal.startswith("frequency"):
            return 10_000 * MS
        return 3 * (poll_ns + self.refresh_ms * MS)

    @property
    def writable(self) -> bool:
        return self.setpoint is not None

    @property
    def writes_verified(self) -> bool:
        """Tried on a simulator or on hardware, so writes need no `accept_unverified`."""
        return self.verified != "document"


def profile_path(name_or_path: str, base: Path | None = None) -> Path:
    """A packaged profile by name, else a file (relative to `base`): anything with a slash or ending in .yaml."""
    if "/" in name_or_path or name_or_path.endswith(".yaml"):
        return (base or Path()) / name_or_path
    return PROFILES / f"{name_or_path}.yaml"


def load_profile(name_or_path: str, base: Path | None = None) -> Profile:
    """A packaged profile by name or a file; ProfileError with every problem, each with file, line, key and remedy."""
    path = profile_path(name_or_path, base)
    if path.parent == PROFILES and not path.exists():
        names = ", ".join(sorted(p.stem for p in PROFILES.glob("*.yaml"))) or "none"
        remedy = f"packaged profiles: {names}; or give the path of a .yaml file"
        raise ProfileError([Problem(name_or_path, 0, "", "", "no packaged profile has this name", remedy)])
    tree, problems = read_tree(path)
    if not tree.lines:
        raise ProfileError(problems)
    profile, invalid = validate(Profile, tree)
    problems += invalid
    if profile is not None:
        problems += [tree.problem(at, value, limit, remedy) for at, value, limit, remedy in _cross_checks(profile, path.stem)]
    if profile is None or problems:
        raise ProfileError(sorted(problems, key=lambda p: p.line))
    return profile


def _cross_checks(profile: Profile, stem: str) -> list[tuple[tuple[str | int, ...], object, str, str]]:
    """(key path, value, limit, remedy) of what one key can't know about another."""
    found: list[tuple[tuple[str | int, ...], object, str, str]] = []
    if profile.profile != stem:
        found.append((("profile",), profile.profile, f"the file is named {stem}.yaml", "give both the same name"))
    seen: set[str] = set()
    for i, register in enumerate(profile.registers):
        at = ("registers", i)
        if register.signal in seen:
            found.append((at, register.signal, "this signal is given twice", "keep one of the two"))
        seen.add(register.signal)
        found += _outside_table(profile, at, register)
    if profile.liveness is not None and profile.liveness.signal not in seen:
        limit = "no register has this signal"
        found.append((("liveness", "signal"), profile.liveness.signal, limit, f"use one of {', '.join(sorted(seen))}"))
    if profile.setpoint is not None:
        found += _outside_table(profile, ("setpoint",), profile.setpoint)
        if profile.kind == "meter":
            found.append((("setpoint",), profile.setpoint.address, "a meter takes no setpoint", "change kind or remove it"))
        for name, action in (("stop", profile.setpoint.stop), ("start", profile.setpoint.start)):
            if action is not None:
                found += _outside_table(profile, ("setpoint", name), action)
    if profile.heartbeat is not None:
        found += _outside_table(profile, ("heartbeat",), profile.heartbeat)
        if profile.setpoint is None:
            found.append((("heartbeat",), profile.heartbeat.address, "there is no setpoint to be alive for", "remove it"))
    if profile.kind == "evse":
        for needed in EVSE_NEEDS:
            if needed not in seen:
                found.append((("registers",), Shown(f"no {needed}"), "an EVSE must tell it", "add its register"))
    if profile.fallback is not None:
        found += _too_slow(profile, profile.fallback)
        found += _outside_table(profile, ("fallback",), profile.fallback)
        found += _outside_table(profile, ("fallback", "timeout"), profile.fallback.timeout)
    return found


def _too_slow(profile: Profile, fallback: Fallback) -> list[tuple[tuple[str | int, ...], object, str, str]]:
    """A setpoint that is repeated more slowly than the device's time-out lets it fall back in the middle of charging."""
    refresh_ms, timeout = profile.write.refresh_ms, fallback.timeout
    if timeout.value is None or refresh_ms is None or 2 * refresh_ms <= timeout.value * timeout.core_scale:
        return []
    limit = f"the device falls back after {round(timeout.value * timeout.core_scale)} ms without a write"
    return [(("write", "refresh_ms"), refresh_ms, limit, "repeat the setpoint at least twice in that time")]


def _outside_table(
    profile: Profile, at: tuple[str | int, ...], register: Register
) -> list[tuple[tuple[str | int, ...], object, str, str]]:
    if register.table not in profile.tables:
        return []
    first, last = profile.tables[register.table]
    end = register.address + register.count - 1
    if first <= register.address and end <= last:
        return []
    limit = f"outside the {register.table} table, which holds {first} to {last}"
    return [((*at, "address"), register.address, limit, "correct address, type or tables")]
