"""A checked config laid out for the core: what each index stands for, and in which cells each Modbus device's values lie.

The cells of one config lie in one of two banks, so that a new config's values never mix with the old one's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from edge.config.derive import EvseLimits, FeederLimits, age_limit_ns, derive_evses, derive_feeders, poll_ns
from edge.config.devices import Devices
from edge.config.settings import CanBus, Evse, Meter, ModbusRtuBus, Settings
from edge.core._native import lib
from edge.core.errors import CoreError
from edge.core.kinds import MeterField
from edge.core.snapshot import Ids
from edge.field.canmap import EvseField, EvseFlag
from edge.field.profile import EVSE_FLAGS, UNITS, Profile, Register

MS = 1_000_000
BANK_CELLS: int = lib.V2G_MAX_CELLS // 2
READ_WRITE = 23
"""Modbus function that writes and reads in one request."""
BANK_WRITE_CELLS: int = lib.V2G_MAX_WRITE_CELLS // 2

DEFAULT_AGE_NS = 1_000_000_000
"""Age limit of a value that no frame carries: never reached by a value, but the core wants a number."""
SENSOR_FIELDS = (EvseField.T_CONNECTOR, EvseField.T_CABLE, EvseField.T_CHARGER, EvseField.T_CELL_MAX)
"""In the order of `enum v2g_sensor`."""
AGE_GROUPS: dict[str, tuple[EvseField, ...]] = {
    "link_age_ns": (EvseField.STATE, EvseField.FLAGS, EvseField.POWER),
    "soc_age_ns": (EvseField.SOC,),
    "temp_age_ns": (*SENSOR_FIELDS, EvseField.T_CELL_MIN),
    "phase_age_ns": (EvseField.P_L1, EvseField.P_L2, EvseField.P_L3),
    "limits_age_ns": (EvseField.MAX_CHARGE, EvseField.MAX_DISCHARGE, EvseField.CAPACITY),
}
"""The age limits of `struct v2g_evse_config` and the values that each is for; other values are only shown."""

LANE_FIELDS = (MeterField.P_L1, MeterField.P_L2, MeterField.P_L3)
METER_SIGNALS = {
    "power_w": MeterField.P_TOTAL,
    "power_l1_w": MeterField.P_L1,
    "power_l2_w": MeterField.P_L2,
    "power_l3_w": MeterField.P_L3,
    "voltage_l1_v": MeterField.U_L1,
    "voltage_l2_v": MeterField.U_L2,
    "voltage_l3_v": MeterField.U_L3,
    "frequency_hz": MeterField.FREQUENCY,
}
EVSE_SIGNALS = {
    "state": EvseField.STATE,
    "power_w": EvseField.POWER,
    "soc_percent": EvseField.SOC,
    "connector_c": EvseField.T_CONNECTOR,
    "cable_c": EvseField.T_CABLE,
    "charger_c": EvseField.T_CHARGER,
    "cell_max_c": EvseField.T_CELL_MAX,
    "cell_min_c": EvseField.T_CELL_MIN,
    "max_charge_w": EvseField.MAX_CHARGE,
    "max_discharge_w": EvseField.MAX_DISCHARGE,
    "capacity_wh": EvseField.CAPACITY,
}
"""Signals of a profile that are one value each; currents and flags are more than that."""
PRESENT = frozenset({"B", "C", "D", "transfer"})
"""States in which a vehicle is there."""
STATES = ("A", "B", "C", "D", "E", "F", "transfer")
"""In the order of `enum v2g_pilot`."""


class EvseSource(Protocol):
    """Where the values of an EVSE come from: frames of a CAN node or registers of a Modbus device."""

    @property
    def fields(self) -> frozenset[EvseField]:
        """What the device tells."""

    @property
    def refresh_ns(self) -> int:
        """A value may be this old inside the device."""

    def period_ns(self, *fields: EvseField) -> int | None:
        """The longest period in which one of these fields comes; None: none of them does."""


def group_age_ns(source: EvseSource, group: str) -> int:
    """The age limit of one of AGE_GROUPS: three of the longest period in which its values come, and the device's refresh."""
    period_ns = source.period_ns(*AGE_GROUPS[group])
    return age_limit_ns(period_ns, source.refresh_ns) if period_ns else DEFAULT_AGE_NS


def field_age_ns(source: EvseSource, field: EvseField) -> int:
    """The age limit of one value; 0: it is only shown."""
    return next((group_age_ns(source, group) for group, fields in AGE_GROUPS.items() if field in fields), 0)


def watt_scale(nominal_v: int) -> tuple[int, int]:
    """(mul, shift): mA × mul ÷ 2^shift = W at nominal voltage, rounded up."""
    return -(-nominal_v * 2**20 // 1000), 20


@dataclass(frozen=True, slots=True)
class MeterInput:
    """One value of a meter on its way into the image: cell × mul ÷ 2^shift."""

    cell: int
    field: MeterField
    mul: int = 1
    shift: int = 0


@dataclass(frozen=True, slots=True)
class EvseInput:
    """One value of an EVSE on its way into the image: `struct v2g_input`."""

    cell: int
    field: EvseField
    use: int = lib.V2G_USE_VALUE
    mul: int = 1
    """Of a value its factor; of flags the bits that they set."""
    shift: int = 0
    codes: tuple[tuple[int, int, int], ...] = ()
    """V2G_USE_CODE: raw code, state, flags."""
    expected: tuple[int, int] = (0, 0)
    """V2G_USE_EXPECTED: least and most, in the cell's unit."""


@dataclass(frozen=True, slots=True)
class Wiring:
    """Where a Modbus device is, and which cells and statistics are its own."""

    device: Meter | Evse
    profile: Profile
    poll_ns: int
    serial: bool
    first_cell: int
    first_write: int
    stats: int
    """Index in the arena's statistics."""

    @property
    def kind(self) -> str:
        return "meter" if isinstance(self.device, Meter) else "EVSE"

    @property
    def place(self) -> str:
        """`10.0.0.5:502 unit 1` or, on a line, `rs485 unit 1`."""
        return f"{self.device.bus if self.serial else f'{self.device.host}:{self.device.port}'} unit {self.device.unit}"

    @property
    def registers(self) -> tuple[tuple[Register, int], ...]:
        """Everything that is read, with the number of polls between two reads: values, the fallback's two, and what function
        23 reads back."""
        profile = self.profile
        found: list[tuple[Register, int]] = [(r, r.every) for r in profile.registers]
        if profile.fallback is not None:
            found += [(profile.fallback, profile.fallback.every), (profile.fallback.timeout, profile.fallback.every)]
        if profile.setpoint is not None and profile.setpoint.function == READ_WRITE:
            found.append((profile.setpoint, 1))
        return tuple(found)

    @property
    def writes(self) -> int:
        """Write cells: the setpoint's, then the fallback's two."""
        return 0 if self.profile.setpoint is None else 3 if self.writes_fallback else 1

    @property
    def writes_fallback(self) -> bool:
        """Its fallback registers are written at start; else they are only read back."""
        fallback = self.profile.fallback
        return fallback is not None and not fallback.nonvolatile and fallback.timeout.value is not None

    def cell(self, signal: str) -> int | None:
        """The cell of a signal; None: the profile doesn't have it."""
        names = [r.signal for r in self.profile.registers]
        return self.first_cell + names.index(signal) if signal in names else None

    @property
    def refresh_ns(self) -> int:
        return self.profile.refresh_ms * MS


@dataclass(frozen=True, slots=True)
class MeterPlace:
    """A meter with its registers laid out over cells, and the age limits of its values."""

    meter: Meter
    wiring: Wiring

    @property
    def profile(self) -> Profile:
        return self.wiring.profile

    @property
    def poll_ns(self) -> int:
        return self.wiring.poll_ns

    def cell(self, signal: str) -> int | None:
        """The cell of a signal; None: the profile doesn't have it."""
        return self.wiring.cell(signal)

    @property
    def age_ns(self) -> int:
        return age_limit_ns(self.poll_ns, self.wiring.refresh_ns)

    def inputs(self, nominal_v: int) -> Iterable[MeterInput]:
        """Every value that the image holds. A phase without a power of its own is its current at nominal voltage; without
        that, the whole power: no phase carries more than all, as long as none feeds back."""
        total = self.cell("power_w")
        for signal, field in METER_SIGNALS.items():
            cell = self.cell(signal)
            if cell is not None:
                yield MeterInput(cell, field)
            elif field in LANE_FIELDS:
                current = self.cell(signal.replace("power", "current").replace("_w", "_a"))
                if current is not None:
                    mul, shift = watt_scale(nominal_v)
                    yield MeterInput(current, field, mul, shift)
                elif total is not None:
                    yield MeterInput(total, field)
        if self.profile.liveness is not None:
            cell = self.cell(self.profile.liveness.signal)
            if cell is not None:
                yield MeterInput(cell, MeterField.LIVENESS)


@dataclass(frozen=True, slots=True)
class EvsePlace:
    """An EVSE on Modbus: its registers laid out over cells, and the cells that its setpoint is written from."""

    evse: Evse
    wiring: Wiring
    reaction_ns: int

    @property
    def profile(self) -> Profile:
        return self.wiring.profile

    @property
    def refresh_ns(self) -> int:
        return self.wiring.refresh_ns

    def inputs(self, nominal_v: int) -> Iterator[EvseInput]:
        """Every value that the image holds; those of the flags stand side by side, as the core wants them."""
        for signal, field in EVSE_SIGNALS.items():
            cell = self.wiring.cell(signal)
            if cell is not None and field is EvseField.STATE:
                yield EvseInput(cell, field, lib.V2G_USE_CODE, codes=self._codes())
            elif cell is not None:
                yield EvseInput(cell, field)
        yield from self._currents(nominal_v)
        yield from self._flags()

    def _codes(self) -> tuple[tuple[int, int, int], ...]:
        state = next(r for r in self.profile.registers if r.signal == "state")
        return tuple(
            (code, STATES.index(name), int(EvseFlag.EV_PRESENT) if name in PRESENT else 0)
            for name, codes in state.codes.items()
            for code in codes
        )

    def _currents(self, nominal_v: int) -> Iterator[EvseInput]:
        """A phase's current is shown, and its magnitude at nominal voltage is what the fuse of the site's phase carries."""
        mul, shift = watt_scale(nominal_v)
        for own, site in enumerate(self.evse.phase_map, 1):
            cell = self.wiring.cell(f"current_l{own}_a")
            if cell is not None:
                yield EvseInput(cell, EvseField(EvseField.I_L1 + site - 1))
                yield EvseInput(cell, EvseField(EvseField.P_L1 + site - 1), lib.V2G_USE_MAGNITUDE, mul, shift)

    def _flags(self) -> Iterator[EvseInput]:
        state = self.wiring.cell("state")
        if state is not None:
            yield EvseInput(state, EvseField.FLAGS, lib.V2G_USE_CODE, codes=self._codes())
        for signal in EVSE_FLAGS:
            cell = self.wiring.cell(signal)
            if cell is not None:
                yield EvseInput(cell, EvseField.FLAGS, lib.V2G_USE_BITS, int(EvseFlag[signal.upper()]))
        fallback = self.profile.fallback
        if fallback is not None:
            first = self.wiring.first_cell + len(self.profile.registers)
            wanted = round(fallback.value * fallback.core_scale)
            unknown = int(EvseFlag.SILENCE_UNKNOWN)
            yield EvseInput(first, EvseField.FLAGS, lib.V2G_USE_EXPECTED, unknown, expected=(wanted, wanted))
            limit_ms = self.reaction_ns // MS
            yield EvseInput(first + 1, EvseField.FLAGS, lib.V2G_USE_EXPECTED, unknown, expected=(1, limit_ms))

    @property
    def fields(self) -> frozenset[EvseField]:
        return frozenset(i.field for i in self.inputs(1))

    def period_ns(self, *fields: EvseField) -> int | None:
        """The longest period in which one of these fields is read; what is only expected of a register is not its age."""
        registers = self.wiring.registers
        polls = [
            registers[i.cell - self.wiring.first_cell][1]
            for i in self.inputs(1)
            if i.field in fields and i.use != lib.V2G_USE_EXPECTED
        ]
        return max(polls) * self.wiring.poll_ns if polls else None

    def raw_w(self, nominal_v: int) -> Fraction:
        """W of one raw unit of the setpoint register; a current flows in every connected phase, at nominal voltage."""
        setpoint = self.profile.setpoint
        assert setpoint is not None  # config check
        if UNITS[setpoint.unit].core == "W":
            return setpoint.core_scale
        return setpoint.core_scale * nominal_v * len(self.evse.phase_map) / 1000

    def min_w(self, nominal_v: int) -> int:
        """Smallest power above 0 that the device accepts, rounded up."""
        setpoint = self.profile.setpoint
        assert setpoint is not None  # config check
        if UNITS[setpoint.unit].core == "W":
            return setpoint.min
        return setpoint.min * nominal_v * len(self.evse.phase_map)


@dataclass(frozen=True, slots=True)
class Line:
    """The devices that one Modbus engine serves: all of TCP, or those of one serial line."""

    bus: ModbusRtuBus | None
    """None: Modbus/TCP."""
    wirings: tuple[Wiring, ...]

    @property
    def name(self) -> str:
        return "Modbus/TCP" if self.bus is None else f"bus {self.bus.id}"


@dataclass(frozen=True, slots=True)
class NativeConfig:
    """One config, ready to be packed: settings, device tables, and where each device's values lie."""

    settings: Settings
    devices: Devices
    evses: tuple[EvseLimits, ...]
    feeders: tuple[FeederLimits, ...]
    meters: tuple[MeterPlace, ...]
    points: dict[str, EvsePlace]
    """EVSEs on Modbus, by id."""
    lines: tuple[Line, ...]
    """Modbus engines; none without a device."""
    buses: tuple[CanBus, ...]
    """CAN buses, in the order of their indices."""
    bank: int
    """0 or 1: where the cells lie."""
    ids: Ids

    def source(self, evse_id: str) -> EvseSource:
        """Where an EVSE's values come from."""
        return self.points[evse_id] if evse_id in self.points else self.devices.can[evse_id]


class _Layout:
    """Gives every Modbus device its cells and its place in the statistics."""

    def __init__(self, settings: Settings, devices: Devices, bank: int) -> None:
        self._settings, self._devices, self._bank = settings, devices, bank
        self._cell, self._write = bank * BANK_CELLS, bank * BANK_WRITE_CELLS
        self._serial = {b.id for b in settings.buses if isinstance(b, ModbusRtuBus)}
        modbus = {b.id for b in settings.buses if not isinstance(b, CanBus)}
        members: list[Meter | Evse] = [*settings.meters, *(e for e in settings.evses if e.bus in modbus)]
        lines: list[str | None] = [None, *(b.id for b in settings.buses if isinstance(b, ModbusRtuBus))]
        members.sort(key=lambda d: lines.index(d.bus if d.bus in self._serial else None))  # each line's statistics side by side
        self.wirings = {device.id: self._wire(device, stats) for stats, device in enumerate(members)}
        self._check_room()

    def _wire(self, device: Meter | Evse, stats: int) -> Wiring:
        serial = device.bus in self._serial
        period_ns = poll_ns(self._settings, device.poll_ns, serial=serial)
        profile = self._devices.profiles[device.id]
        wiring = Wiring(device, profile, period_ns, serial, self._cell, self._write, stats)
        self._cell += len(wiring.registers)
        self._write += wiring.writes
        return wiring

    def _check_room(self) -> None:
        for what, used, room in (
            ("registers", self._cell - self._bank * BANK_CELLS, BANK_CELLS),
            ("written registers", self._write - self._bank * BANK_WRITE_CELLS, BANK_WRITE_CELLS),
        ):
            if used > room:
                raise CoreError(f"Modbus devices: {used} {what}, more than {room}: use profiles with fewer registers")

    def lines(self) -> tuple[Line, ...]:
        """TCP first, then the serial lines in the file's order."""
        tcp = tuple(w for w in self.wirings.values() if not w.serial)
        serial = [
            Line(bus, tuple(w for w in self.wirings.values() if w.device.bus == bus.id))
            for bus in self._settings.buses
            if isinstance(bus, ModbusRtuBus)
        ]
        return tuple(line for line in (Line(None, tcp), *serial) if line.wirings)


def native_config(settings: Settings, devices: Devices, bank: int) -> NativeConfig:
    """Lay a checked config out. `bank` 0 or 1: where its cells lie. CoreError when the devices have more values than a bank."""
    layout = _Layout(settings, devices, bank)
    buses = tuple(b for b in settings.buses if isinstance(b, CanBus))
    evses, feeders = derive_evses(settings), derive_feeders(settings)
    ids = Ids(
        tuple(e.id for e in evses),
        tuple(m.id for m in settings.meters),
        tuple(f.id for f in feeders),
        tuple(b.id for b in buses),
    )
    return NativeConfig(
        settings=settings,
        devices=devices,
        evses=evses,
        feeders=feeders,
        meters=tuple(MeterPlace(m, layout.wirings[m.id]) for m in settings.meters),
        points={e.id: EvsePlace(e, layout.wirings[e.id], e.reaction_time_ns) for e in settings.evses if e.id in layout.wirings},
        lines=layout.lines(),
        buses=buses,
        bank=bank,
        ids=ids,
    )
