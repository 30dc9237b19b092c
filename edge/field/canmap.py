"""A DBC file and its map → flat tables of plain integers, as native/include/v2g_runtime.h wants them.

The map (`NAME.map.yaml` beside `NAME.dbc`) says which DBC signal is which field of the core; it is the only place that knows
the device's sign. Received values: `raw × mul ÷ 2^shift (towards 0) + offset` in the core's unit. Transmitted: the same way
from the core's unit to raw. `decode` and `encode` here are the plain reading of these tables; tests hold them against cantools.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum, IntFlag
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from edge.field.dbc_sizes import oversized
from edge.field.e2e import LIST_LENGTH, LOST_MOST, IdMode, Proof, Protection, protected
from edge.strict_yaml import KeyPath, Problem, Shown, Tree, read_tree, validate

if TYPE_CHECKING:
    from cantools.database.can import Database, Message, Signal

DBC_FOLDER = Path(__file__).parent / "dbc"

MS = 1_000_000
POWER_MAX_W = 4_000_000
MAX_BITS = 32
MAX_SHIFT = 40
INT32_MAX = 2**31 - 1
MAX_MUX_BITS = 16
STANDARD_ID_MAX = 0x7FF
EXTENDED_ID_MAX = 0x1FFF_FFFF
FD_LENGTHS = (1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64)
"""Lengths of a CAN FD frame (ISO 11898-1); the first eight are a classic frame's too."""


class EvseField(IntEnum):
    """Where a received value goes: `enum v2g_field` of native/include/v2g.h (a test compares them)."""

    STATE = 0
    FLAGS = 1
    POWER = 2
    SOC = 3
    T_CONNECTOR = 4
    T_CABLE = 5
    T_CHARGER = 6
    T_CELL_MAX = 7
    T_CELL_MIN = 8
    MAX_CHARGE = 9
    MAX_DISCHARGE = 10
    CAPACITY = 11
    P_L1 = 12
    P_L2 = 13
    P_L3 = 14
    I_L1 = 15
    I_L2 = 16
    I_L3 = 17
    CP_DUTY = 18
    SOH = 19


class EvseFlag(IntFlag):
    """Bits of `EvseField.FLAGS`: `enum v2g_flag`."""

    FAULT = 1
    BIDIRECTIONAL = 2
    CONTACTOR = 4
    EV_PRESENT = 8
    FOLLOWING = 16
    E_STOP = 32
    FAILSAFE = 64
    SILENCE_UNKNOWN = 128
    """Set by the core itself: its fallback registers don't hold what the config wants."""


class SetpointSource(IntEnum):
    """What a transmitted signal carries: `enum v2g_can_source`."""

    TARGET = 0
    MAX = 1
    MIN = 2
    MODE = 3


class Option(IntFlag):
    """`enum v2g_can_signal_option`."""

    SIGNED = 1
    BIG_ENDIAN = 2
    MAGNITUDE = 4
    HAS_INVALID = 8
    FLAG = 16
    MULTIPLEXED = 32


@dataclass(frozen=True, slots=True)
class Multiplexor:
    """Where a message says which of its pages it carries; an unsigned number."""

    start: int
    bits: int
    option: Option
    pages: int
    """How many different pages the DBC knows; each comes so many times less often than the message."""


@dataclass(frozen=True, slots=True)
class RxSignal:
    """One received value. Outside `minimum` to `maximum` (core's unit) or at the raw code `invalid` there is no value."""

    name: str
    field: EvseField
    start: int
    """Bit number as in the DBC: of the least significant bit, with BIG_ENDIAN of the most significant one."""
    bits: int
    option: Option
    mul: int
    """With FLAG: the bit of the field."""
    shift: int
    offset: int
    minimum: int
    maximum: int
    invalid: int
    mux: int = 0
    """With MULTIPLEXED: the page that carries it."""


@dataclass(frozen=True, slots=True)
class TxSignal:
    """One transmitted value, cut to what its bits hold."""

    name: str
    source: SetpointSource
    start: int
    bits: int
    option: Option
    mul: int
    shift: int
    offset: int


@dataclass(frozen=True, slots=True)
class RxMessage:
    name: str
    can_id: int
    extended: bool
    length: int
    period_ns: int
    """Expected period; an age limit is 3 of them."""
    proof: Proof
    signals: tuple[RxSignal, ...]
    fd: bool = False
    multiplexor: Multiplexor | None = None

    @property
    def deadline_ns(self) -> int:
        """After so long a silence the counter may have come round, so it proves nothing."""
        return (self.proof.protection.counters - LOST_MOST) * self.period_ns

    def field_period_ns(self, *fields: EvseField) -> int:
        """How often the slowest of these fields comes; 0: none of them is in it."""
        wanted = [s for s in self.signals if s.field in fields]
        if self.multiplexor is not None and any(s.option & Option.MULTIPLEXED for s in wanted):
            return self.period_ns * self.multiplexor.pages
        return self.period_ns if wanted else 0


@dataclass(frozen=True, slots=True)
class TxMessage:
    name: str
    can_id: int
    extended: bool
    length: int
    period_ns: int
    proof: Proof
    signals: tuple[TxSignal, ...]
    fd: bool = False


@dataclass(frozen=True, slots=True)
class CanNode:
    """The frames of one EVSE on a bus."""

    rx: tuple[RxMessage, ...]
    tx: tuple[TxMessage, ...]
    silence_timeout_ns: int | None
    """After this time without a command the device goes to its own fallback, as its document says; None: unknown."""

    def period_ns(self, *fields: EvseField) -> int | None:
        """The longest period in which one of these fields comes; None: none of them is in any frame."""
        return max((m.field_period_ns(*fields) for m in self.rx), default=0) or None

    @property
    def fd_messages(self) -> frozenset[str]:
        """Names of the messages that need a CAN FD bus."""
        return frozenset(m.name for m in self.rx if m.fd) | frozenset(m.name for m in self.tx if m.fd)

    @property
    def fields(self) -> frozenset[EvseField]:
        """What the device tells."""
        return frozenset(s.field for m in self.rx for s in m.signals)

    @property
    def refresh_ns(self) -> int:
        """A frame carries what the device knows when it sends it."""
        return 0


class CanMapError(Exception):
    """A DBC file or its map was refused. `problems` holds every error, `str()` one line for each."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(p) for p in problems))
        self.problems = problems


# ---- The map file ----------------------------------------------------------------------------------------------------------

RxName = Literal[
    "state", "power", "soc", "t_connector", "t_cable", "t_charger", "t_cell_max", "t_cell_min", "max_charge", "max_discharge",
    "capacity", "i_l1", "i_l2", "i_l3", "cp_duty", "soh", "fault", "bidirectional", "contactor", "ev_present", "following",
    "e_stop", "failsafe",
]  # fmt: skip
TxName = Literal["target", "max", "min", "mode"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _short(value: object) -> object:
    """`power_w: power` is short for `power_w: {field: power}`."""
    return {"field": value} if isinstance(value, str) else value


class _RxEntry(_Part):
    field: RxName
    invalid: int | None = Field(default=None, ge=0, description="Raw code that means 'no value'.")


class _TxEntry(_Part):
    field: TxName


Byte = Annotated[int, Field(ge=0, le=255)]
DataId = (
    Annotated[int, Field(ge=0, le=0xFFFF)] | Annotated[tuple[Byte, ...], Field(min_length=LIST_LENGTH, max_length=LIST_LENGTH)]
)


class DeviceMap(_Part):
    """NAME.map.yaml: what the signals of NAME.dbc mean."""

    sign: Literal["charging-positive", "discharging-positive"]
    first_node: int = Field(
        default=1, ge=0, le=255, description="The node whose identifiers the DBC shows; node n adds n − it."
    )
    protection: Literal["plain", "sae-j1850", "autosar-p01", "autosar-p02"] = "plain"
    data_id_mode: Literal["both", "alternating", "low", "nibble"] = Field(
        default="both", description="autosar-p01: how the data identifier gets into the CRC (variants 1A both, 1B, 1C nibble)."
    )
    data_ids: dict[str, DataId] = Field(
        default={},
        description="By message. autosar-p01: data identifier of the first node, node n adds n − it; autosar-p02: 16 of them.",
    )
    silence_timeout_ms: int | None = Field(default=None, ge=1, description="Its own time-out, as its document says.")
    receive: dict[str, dict[str, Annotated[_RxEntry, BeforeValidator(_short, json_schema_input_type=RxName | _RxEntry)]]]
    transmit: dict[str, dict[str, Annotated[_TxEntry, BeforeValidator(_short, json_schema_input_type=TxName | _TxEntry)]]]


UNITS: dict[str, Fraction] = {
    "W": Fraction(1),
    "kW": Fraction(1000),
    "A": Fraction(1000),
    "mA": Fraction(1),
    "degC": Fraction(10),
    "%": Fraction(100),
    "Wh": Fraction(1),
    "kWh": Fraction(1000),
    "": Fraction(1),
}
"""Units of a DBC signal in the core's unit: W, mA, 0.1 °C, 0.01 %, Wh."""

FIELD_UNITS: dict[str, tuple[str, ...]] = {
    "state": ("",),
    "power": ("W", "kW"),
    "soc": ("%",),
    "t_connector": ("degC",),
    "t_cable": ("degC",),
    "t_charger": ("degC",),
    "t_cell_max": ("degC",),
    "t_cell_min": ("degC",),
    "max_charge": ("W", "kW"),
    "max_discharge": ("W", "kW"),
    "capacity": ("Wh", "kWh"),
    "i_l1": ("A", "mA"),
    "i_l2": ("A", "mA"),
    "i_l3": ("A", "mA"),
    "cp_duty": ("%",),
    "soh": ("%",),
    "target": ("W", "kW"),
    "max": ("W", "kW"),
    "min": ("W", "kW"),
    "mode": ("",),
}
WHOLE_PERCENT = ("cp_duty", "soh")
"""Shown only: the core keeps them in %."""
SIGNED_FIELDS = ("power", "i_l1", "i_l2", "i_l3", "target", "max", "min")
"""Fields whose sign follows `sign` of the map; the others are magnitudes."""
FIELD_RANGE: dict[str, tuple[int, int]] = {
    "state": (0, 6),
    "power": (-POWER_MAX_W, POWER_MAX_W),
    "soc": (0, 10_000),
    "max_charge": (0, POWER_MAX_W),
    "max_discharge": (0, POWER_MAX_W),
    "capacity": (1, INT32_MAX),
}
"""What the core accepts where the DBC says nothing narrower; a capacity of 0 is no value."""


# ---- Compiling --------------------------------------------------------------------------------------------------------------


class _Refused(Exception):
    """One signal can't be compiled: value, limit, remedy."""


@dataclass(frozen=True, slots=True)
class CanDevice:
    """A DBC file with its map, parsed once; `node()` gives the tables of one EVSE."""

    name: str
    map: DeviceMap
    tree: Tree
    database: Database
    _shapes: dict[tuple[int, int], CanNode] = field(default_factory=dict, repr=False, compare=False)

    def node(self, node: int, nominal_v: int, cycle_ns: int) -> CanNode:
        """The tables of EVSE number `node`. `nominal_v` turns phase currents into the power a fuse sees, `cycle_ns` is the
        period of transmitted frames. All nodes share the same signal tuples. CanMapError with every problem."""
        shape = self._shapes.get((nominal_v, cycle_ns))
        if shape is None:
            shape = self._shapes[nominal_v, cycle_ns] = self._compile(nominal_v, cycle_ns)
        step = node - self.map.first_node
        messages: tuple[RxMessage | TxMessage, ...] = (*shape.rx, *shape.tx)
        for message in messages:
            can_id, highest = message.can_id + step, EXTENDED_ID_MAX if message.extended else STANDARD_ID_MAX
            if not 0 <= can_id <= highest:
                limit = f"node {node} would need identifier {can_id:#x} for {message.name}, beyond {highest:#x}"
                raise CanMapError([self.tree.problem(("first_node",), Shown(""), limit, "use a smaller node number")])
        return CanNode(
            rx=tuple(replace(m, can_id=m.can_id + step, proof=_of_node(m.proof, step)) for m in shape.rx),
            tx=tuple(replace(m, can_id=m.can_id + step, proof=_of_node(m.proof, step)) for m in shape.tx),
            silence_timeout_ns=shape.silence_timeout_ns,
        )

    def _compile(self, nominal_v: int, cycle_ns: int) -> CanNode:
        """The tables with the identifiers that the DBC shows."""
        problems: list[Problem] = []
        rx = [self._rx(name, nominal_v, problems) for name in self.map.receive]
        tx = [self._tx(name, cycle_ns, problems) for name in self.map.transmit]
        if problems:
            raise CanMapError(sorted(problems, key=lambda p: p.line))
        timeout_ms = self.map.silence_timeout_ms
        return CanNode(
            rx=tuple(m for m in rx if m is not None),
            tx=tuple(m for m in tx if m is not None),
            silence_timeout_ns=None if timeout_ms is None else timeout_ms * MS,
        )

    def _message(self, section: str, name: str, problems: list[Problem]) -> Message | None:
        path: KeyPath = (section, name)
        known = {m.name: m for m in self.database.messages}
        message = known.get(name)
        if message is None:
            problems.append(self.tree.problem(path, Shown(""), f"no such message in {self.name}.dbc", _nearest(name, known)))
            return None
        if message.length not in FD_LENGTHS[: None if is_fd(message) else 8]:
            limit = f"no CAN frame has {message.length} bytes"
            problems.append(self.tree.problem(path, Shown(""), limit, f"use one of {', '.join(map(str, FD_LENGTHS))}"))
            return None
        return message

    def _proof(self, section: str, message: Message, problems: list[Problem]) -> Proof:
        protection = Protection(self.map.protection)
        data_id = self.map.data_ids.get(message.name)
        needed = {Protection.P01: int, Protection.P02: tuple}.get(protection)
        if needed is not None and not isinstance(data_id, needed):
            limit = f"{protection} needs {'its data identifier' if needed is int else f'{LIST_LENGTH} data identifiers'}"
            problems.append(self.tree.problem((section, message.name), Shown(""), limit, "add the message to `data_ids`"))
        if protection is not Protection.PLAIN and message.length < 3:
            limit = f"{message.length} bytes hold nothing beside CRC and counter"
            problems.append(self.tree.problem((section, message.name), Shown(""), limit, "correct the DBC or `protection`"))
        return Proof(
            protection,
            IdMode(self.map.data_id_mode),
            data_id if isinstance(data_id, int) else 0,
            data_id if isinstance(data_id, tuple) else (),
        )

    def _rx(self, name: str, nominal_v: int, problems: list[Problem]) -> RxMessage | None:
        message = self._message("receive", name, problems)
        if message is None:
            return None
        if not message.cycle_time:
            remedy = 'set BA_ "GenMsgCycleTime" of the message'
            problems.append(
                self.tree.problem(
                    ("receive", name), Shown(""), f"no period in {self.name}.dbc, so its age can't be judged", remedy
                )
            )
        signals: list[RxSignal] = []
        for signal_name, entry in self.map.receive[name].items():
            signal = self._signal(("receive", name, signal_name), message, problems)
            if signal is None:
                continue
            try:
                signals += _paged(signal, message, _compile_rx(signal, entry, self.map.sign, nominal_v))
            except _Refused as refused:
                problems.append(self.tree.problem(("receive", name, signal_name), *refused.args))
        return RxMessage(
            name=name,
            can_id=message.frame_id,
            extended=message.is_extended_frame,
            length=message.length,
            period_ns=(message.cycle_time or 0) * MS,
            proof=self._proof("receive", message, problems),
            signals=tuple(signals),
            fd=is_fd(message),
            multiplexor=_multiplexor(message) if any(s.option & Option.MULTIPLEXED for s in signals) else None,
        )

    def _tx(self, name: str, cycle_ns: int, problems: list[Problem]) -> TxMessage | None:
        message = self._message("transmit", name, problems)
        if message is None:
            return None
        signals: list[TxSignal] = []
        for signal_name, entry in self.map.transmit[name].items():
            signal = self._signal(("transmit", name, signal_name), message, problems)
            if signal is None:
                continue
            try:
                signals.append(_compile_tx(signal, entry.field, self.map.sign))
            except _Refused as refused:
                problems.append(self.tree.problem(("transmit", name, signal_name), *refused.args))
        return TxMessage(
            name=name,
            can_id=message.frame_id,
            extended=message.is_extended_frame,
            length=message.length,
            period_ns=cycle_ns,
            proof=self._proof("transmit", message, problems),
            signals=tuple(signals),
            fd=is_fd(message),
        )

    def _signal(self, path: KeyPath, message: Message, problems: list[Problem]) -> Signal | None:
        name = str(path[-1])
        known = {s.name: s for s in message.signals}
        signal = known.get(name)
        if signal is None:
            limit = f"no such signal in message {message.name} of {self.name}.dbc"
            problems.append(self.tree.problem(path, Shown(""), limit, _nearest(name, known)))
        return signal


def is_fd(message: Message) -> bool:
    """A CAN FD frame: said by the DBC, or longer than a classic one can be."""
    return bool(message.is_fd) or message.length > 8


def _of_node(proof: Proof, step: int) -> Proof:
    return replace(proof, data_id=(proof.data_id + step) & 0xFFFF) if proof.protection is Protection.P01 else proof


def _nearest(name: str, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(name, names, 1)
    return f"did you mean {near[0]}?" if near else f"use one of {', '.join(names)}"


def load_can_device(name_or_path: str, base: Path | None = None) -> CanDevice:
    """A packaged DBC by name, or a .dbc file (relative to `base`), with the map beside it; else CanMapError."""
    if "/" in name_or_path or name_or_path.endswith(".dbc"):
        path = (base or Path()) / name_or_path
    else:
        path = DBC_FOLDER / f"{name_or_path}.dbc"
    if path.parent == DBC_FOLDER and not path.exists():
        names = ", ".join(sorted(p.stem for p in DBC_FOLDER.glob("*.dbc")))
        remedy = f"packaged ones: {names}; or give the path of a .dbc file"
        raise CanMapError([Problem(name_or_path, 0, "", "", "no packaged DBC has this name", remedy)])
    database = _load_dbc(path)
    tree, problems = read_tree(path.with_suffix(".map.yaml"))
    if not tree.lines:
        raise CanMapError(problems)
    device_map, invalid = validate(DeviceMap, tree)
    if device_map is None or problems:
        raise CanMapError(problems + invalid)
    return CanDevice(path.stem, device_map, tree, database)


def _load_dbc(path: Path) -> Database:
    import cantools.database

    try:
        problems = list(oversized(str(path), path.read_bytes().decode("cp1252", errors="replace")))
    except OSError as err:
        raise CanMapError([Problem(str(path), 0, "", "", f"can't be read: {err.strerror}", "correct the path")]) from None
    if problems:
        raise CanMapError(problems)
    try:
        database: Any = cantools.database.load_file(path, database_format="dbc", strict=True)
    except Exception as err:  # cantools raises parser, database and plain errors for bad files
        what = " ".join(str(err).split())
        raise CanMapError([Problem(str(path), 0, "", "", f"not a DBC file: {what}", "repair it with a DBC editor")]) from None
    return database  # type: ignore[no-any-return]


def _compile_rx(signal: Signal, entry: _RxEntry, sign: str, nominal_v: int) -> list[RxSignal]:
    """One signal; a phase current gives two: mA to show, and W at nominal voltage, which a fuse sees."""
    name = entry.field
    _check_shape(signal)
    if name.upper() in EvseFlag.__members__:
        if signal.length != 1:
            raise _Refused(Shown(f"{signal.length} bits"), f"{name} is one bit", "map a signal of length 1")
        flag = EvseFlag[name.upper()]
        option = Option.FLAG | _order(signal)
        return [RxSignal(signal.name, EvseField.FLAGS, signal.start, 1, option, int(flag), 0, 0, 0, 0, 0)]
    scale, offset = _scaling(signal, name, sign)
    result = [_rx_signal(signal, entry, EvseField[name.upper()], scale, offset, Option(0))]
    if name.startswith("i_l"):
        volts = Fraction(nominal_v, 1000)
        result.append(_rx_signal(signal, entry, EvseField[f"P_L{name[-1]}"], scale * volts, offset * volts, Option.MAGNITUDE))
    return result


def _rx_signal(signal: Signal, entry: _RxEntry, field: EvseField, scale: Fraction, offset: Fraction, extra: Option) -> RxSignal:
    raw_low, raw_high = _raw_range(signal)
    mul, shift = _multiplier(scale, max(abs(raw_low), abs(raw_high)), signal)
    option = _order(signal) | extra
    if signal.is_signed:
        option |= Option.SIGNED
    if entry.invalid is not None:
        if entry.invalid >= 1 << signal.length:
            raise _Refused(Shown(hex(entry.invalid)), f"more than {signal.length} bits hold", "correct `invalid`")
        option |= Option.HAS_INVALID
    minimum, maximum = _range(signal, entry.field, scale, offset, extra)
    add = _towards_zero(offset)
    if add != offset:
        raise _Refused(Shown(str(float(offset))), "its offset is no whole number of the core's unit", "leave the signal out")
    return RxSignal(
        signal.name, field, signal.start, signal.length, option, mul, shift, add, minimum, maximum, entry.invalid or 0
    )


def _multiplexor(message: Message) -> Multiplexor:
    """The one signal that names the page; _Refused where there are several, or one that the core can't read."""
    found = [s for s in message.signals if s.is_multiplexer]
    if len(found) != 1 or found[0].is_signed or found[0].length > MAX_MUX_BITS:
        shown = Shown(", ".join(f"{s.name}, {s.length} bits" for s in found))
        limit = f"one unsigned multiplexor of up to {MAX_MUX_BITS} bits is compiled"
        raise _Refused(shown, limit, "leave the signal out")
    pages = {page for s in message.signals for page in s.multiplexer_ids or ()}
    return Multiplexor(found[0].start, found[0].length, _order(found[0]), len(pages))


def _paged(signal: Signal, message: Message, compiled: list[RxSignal]) -> list[RxSignal]:
    """A multiplexed signal stands in the table once for each page that carries it."""
    if not signal.multiplexer_ids:
        return compiled
    _multiplexor(message)
    return [replace(s, option=s.option | Option.MULTIPLEXED, mux=page) for page in signal.multiplexer_ids for s in compiled]


def _compile_tx(signal: Signal, name: str, sign: str) -> TxSignal:
    _check_shape(signal)
    if signal.multiplexer_ids:
        raise _Refused(Shown(signal.name), "multiplexed setpoints are not compiled", "leave the signal out")
    scale, offset = _scaling(signal, name, sign)
    if offset != 0:
        raise _Refused(Shown(str(float(offset))), "a setpoint with an offset has no safe 0", "use a signal without offset")
    mul, shift = _multiplier(1 / scale, POWER_MAX_W, signal)
    option = _order(signal) | (Option.SIGNED if signal.is_signed else Option(0))
    return TxSignal(signal.name, SetpointSource[name.upper()], signal.start, signal.length, option, mul, shift, 0)


def _check_shape(signal: Signal) -> None:
    if signal.is_float or signal.length > MAX_BITS:
        shown = Shown(f"{signal.length} bits{', float' if signal.is_float else ''}")
        raise _Refused(shown, f"only integers of up to {MAX_BITS} bits are compiled", "leave the signal out")
    if signal.is_multiplexer:
        raise _Refused(Shown(signal.name), "it only says which page the frame carries", "leave the signal out")


def _order(signal: Signal) -> Option:
    return Option.BIG_ENDIAN if signal.byte_order == "big_endian" else Option(0)


def _scaling(signal: Signal, name: str, sign: str) -> tuple[Fraction, Fraction]:
    """(scale, offset) from raw to the core's unit and sign, exactly."""
    unit = signal.unit or ""
    if unit not in FIELD_UNITS[name]:
        fitting = ", ".join(FIELD_UNITS[name]) or "no unit"
        raise _Refused(Shown(f"unit {unit!r}"), f"{name} is in {fitting or 'no unit'}", "correct the unit in the DBC")
    factor = Fraction(1) if name in WHOLE_PERCENT else UNITS[unit]
    if sign == "discharging-positive" and name in SIGNED_FIELDS:
        factor = -factor
    scale = _exactly(signal.scale)
    if scale == 0:
        raise _Refused(Shown("0"), "a scale of 0 leaves nothing", "correct the DBC")
    return scale * factor, _exactly(signal.offset) * factor


def _exactly(number: float) -> Fraction:
    if not math.isfinite(number):
        raise _Refused(Shown(str(number)), "no number that can be computed with", "correct the DBC")
    return Fraction(str(number))


def _raw_range(signal: Signal) -> tuple[int, int]:
    if signal.is_signed:
        return -(1 << (signal.length - 1)), (1 << (signal.length - 1)) - 1
    return 0, (1 << signal.length) - 1


def _range(signal: Signal, name: str, scale: Fraction, offset: Fraction, extra: Option) -> tuple[int, int]:
    """Core-unit bounds: what the DBC declares, inside what the core accepts."""
    ends = sorted(raw * scale + offset for raw in _raw_range(signal))
    lowest, highest = signal.minimum, signal.maximum
    if lowest is not None and highest is not None and lowest < highest:
        raws = [(_exactly(end) - _exactly(signal.offset)) / _exactly(signal.scale) for end in (lowest, highest)]
        declared = sorted(raw * scale + offset for raw in raws)
        ends = [max(ends[0], declared[0]), min(ends[1], declared[1])]
    low, high = _towards_zero(ends[0]), _towards_zero(ends[1])
    if extra & Option.MAGNITUDE:
        low, high = 0, max(abs(low), abs(high))
    core_low, core_high = FIELD_RANGE.get(name, (-INT32_MAX, INT32_MAX))
    return max(low, core_low), min(high, core_high)


def _towards_zero(value: Fraction) -> int:
    return int(value)


def _multiplier(scale: Fraction, largest: int, signal: Signal) -> tuple[int, int]:
    """(mul, shift) so that `value × mul ÷ 2^shift` towards 0 is value × scale towards 0 for every |value| ≤ `largest`.

    mul is rounded away from 0, which makes the result too large by value × error ÷ (2^shift × denominator); value × scale is a
    multiple of 1 ÷ denominator, so while value × error < 2^shift it doesn't reach the next whole number.
    """
    sign, size = (-1, -scale) if scale < 0 else (1, scale)
    for shift in range(MAX_SHIFT + 1):
        mul = -(-(size.numerator << shift) // size.denominator)
        if mul > INT32_MAX:
            break
        error = mul * size.denominator - (size.numerator << shift)
        if largest * error < 1 << shift:
            return sign * mul, shift
    raise _Refused(Shown(f"scale {signal.scale}"), "can't be computed exactly with 32-bit integers", "use another scale")


# ---- The plain reading of the tables: oracle of the tests -------------------------------------------------------------------


def _bit_shift(start: int, bits: int, option: Option, length: int) -> int:
    """How far the signal's last bit is from the end of the frame read as one integer in the signal's byte order."""
    if option & Option.BIG_ENDIAN:
        first = (start & ~7) + 7 - (start & 7)
        return length * 8 - first - bits
    return start


def _frame_order(option: Option) -> Literal["big", "little"]:
    return "big" if option & Option.BIG_ENDIAN else "little"


def _scaled(value: int, mul: int, shift: int) -> int:
    product = value * mul
    return -(-product >> shift) if product < 0 else product >> shift


def _raw(signal: RxSignal | Multiplexor, data: bytes) -> int:
    whole = int.from_bytes(data, _frame_order(signal.option))
    return whole >> _bit_shift(signal.start, signal.bits, signal.option, len(data)) & ((1 << signal.bits) - 1)


def decode(message: RxMessage, data: bytes) -> dict[EvseField, int | None]:
    """Every field of a frame in the core's unit, None where there is no value; {} for a frame that is too short."""
    if len(data) < message.length:
        return {}
    data = data[: message.length]
    values: dict[EvseField, int | None] = {}
    page = None if message.multiplexor is None else _raw(message.multiplexor, data)
    for signal in message.signals:
        if signal.option & Option.MULTIPLEXED and signal.mux != page:
            continue
        raw = _raw(signal, data)
        if signal.option & Option.FLAG:
            values[signal.field] = (values.get(signal.field) or 0) | (signal.mul if raw else 0)
            continue
        number = raw - (1 << signal.bits) if signal.option & Option.SIGNED and raw >> (signal.bits - 1) else raw
        value = _scaled(number, signal.mul, signal.shift) + signal.offset
        if signal.option & Option.MAGNITUDE:
            value = abs(value)
        none = bool(signal.option & Option.HAS_INVALID) and raw == signal.invalid
        values[signal.field] = None if none or not signal.minimum <= value <= signal.maximum else value
    return values


def encode(message: TxMessage, setpoint: Mapping[SetpointSource, int], counter: int) -> bytes:
    """A frame from a setpoint (W, charging positive; mode 0 stop, 1 charge only, 2 bidirectional) and its counter."""
    data = bytearray(message.length)
    for signal in message.signals:
        low, high = -(1 << (signal.bits - 1)), (1 << (signal.bits - 1)) - 1
        if not signal.option & Option.SIGNED:
            low, high = 0, (1 << signal.bits) - 1
        raw = min(max(_scaled(setpoint[signal.source], signal.mul, signal.shift) + signal.offset, low), high)
        order = _frame_order(signal.option)
        at = _bit_shift(signal.start, signal.bits, signal.option, message.length)
        whole = int.from_bytes(data, order) | (raw & ((1 << signal.bits) - 1)) << at
        data = bytearray(whole.to_bytes(message.length, order))
    return protected(message.proof, message.can_id, bytes(data), counter)
