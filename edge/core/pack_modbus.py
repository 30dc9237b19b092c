"""Modbus devices of a config → the cells that the cycle reads and writes, and the configs of the engines that serve them."""

from __future__ import annotations

import ipaddress
import socket
from fractions import Fraction
from typing import Any

from edge.config.settings import ModbusRtuBus
from edge.core._native import ffi, lib
from edge.core.errors import CoreError
from edge.core.layout import MS, READ_WRITE, EvseInput, EvsePlace, Line, MeterInput, NativeConfig, Wiring
from edge.field.canmap import SetpointSource
from edge.field.profile import Action, Heartbeat, Register

CONNECT_TIMEOUT_NS = 1_000_000_000
FALLBACK_INTERVAL_NS = 5_000_000_000
"""A fallback register is written at most this often: after a loss, until it is read back as wanted."""
RTU_REPLY_NS = 100_000_000
"""A slave begins to answer within this time where neither profile nor config says otherwise (our choice)."""
INT32_MAX = 2**31 - 1
FOREVER_NS = 2**63 - 1
TABLES = {
    "coil": lib.V2G_MODBUS_COIL,
    "discrete": lib.V2G_MODBUS_DISCRETE,
    "holding": lib.V2G_MODBUS_HOLDING,
    "input": lib.V2G_MODBUS_INPUT,
}
REGISTER_TYPES = {
    "bit": lib.V2G_MODBUS_BIT,
    "uint16": lib.V2G_MODBUS_U16,
    "int16": lib.V2G_MODBUS_I16,
    "uint32": lib.V2G_MODBUS_U32,
    "int32": lib.V2G_MODBUS_I32,
    "uint64": lib.V2G_MODBUS_U64,
    "int64": lib.V2G_MODBUS_I64,
    "float32": lib.V2G_MODBUS_F32,
    "float64": lib.V2G_MODBUS_F64,
}
ORDERS = {"big": lib.V2G_MODBUS_BIG, "little": lib.V2G_MODBUS_LITTLE}
PARITIES = {"none": lib.V2G_RTU_NONE, "even": lib.V2G_RTU_EVEN, "odd": lib.V2G_RTU_ODD}
RS485 = {"off": lib.V2G_RTU_RS485_OFF, "try": lib.V2G_RTU_RS485_TRY, "required": lib.V2G_RTU_RS485_REQUIRED}


# ---- What the cycle reads and writes ----------------------------------------------------------------------------------------


class _Codes:
    """Gives each list of codes its place; equal lists share one."""

    def __init__(self, native: Any) -> None:
        self._native = native
        self._first: dict[tuple[tuple[int, int, int], ...], int] = {}

    def first(self, codes: tuple[tuple[int, int, int], ...]) -> int:
        if codes not in self._first:
            at = self._native.codes
            if at + len(codes) > lib.V2G_MAX_CODES:
                raise CoreError(f"EVSEs: more than {lib.V2G_MAX_CODES} state codes: use fewer different profiles")
            for i, (raw, state, flags) in enumerate(codes, at):
                entry = self._native.code[i]
                entry.raw, entry.state, entry.flags = raw, state, flags
            self._native.codes = at + len(codes)
            self._first[codes] = at
        return self._first[codes]


def _pack_evse_input(entry: Any, wanted: EvseInput, codes: _Codes) -> None:
    entry.use = wanted.use
    if wanted.codes:
        entry.code, entry.codes = codes.first(wanted.codes), len(wanted.codes)
    entry.minimum, entry.maximum = wanted.expected


def pack_cells(native: Any, config: NativeConfig) -> None:
    """Fill `struct v2g_cell_config` (all zero before)."""
    nominal_v = config.settings.site.grid.nominal_v
    codes = _Codes(native)
    indices = {evse_id: i for i, evse_id in enumerate(config.ids.evses)}
    wanted: list[tuple[int, int, MeterInput | EvseInput]] = [
        (lib.V2G_INPUT_METER, i, each) for i, place in enumerate(config.meters) for each in place.inputs(nominal_v)
    ]
    wanted += [(lib.V2G_INPUT_EVSE, indices[name], each) for name, p in config.points.items() for each in p.inputs(nominal_v)]
    if len(wanted) > lib.V2G_MAX_INPUTS:
        raise CoreError(f"Modbus devices: {len(wanted)} values, more than {lib.V2G_MAX_INPUTS}: use fewer devices")
    for at, (kind, index, each) in enumerate(wanted):
        entry = native.input[at]
        entry.kind, entry.index, entry.cell, entry.field = kind, index, each.cell, int(each.field)
        entry.mul, entry.shift = each.mul, each.shift
        if isinstance(each, EvseInput):
            _pack_evse_input(entry, each, codes)
    native.inputs = len(wanted)
    for at, (name, place) in enumerate(config.points.items()):
        entry = native.output[at]
        entry.write_cell, entry.evse, entry.source = place.wiring.first_write, indices[name], int(SetpointSource.TARGET)
    native.outputs = len(config.points)


# ---- What an engine is told -------------------------------------------------------------------------------------------------


def _ratio(scale: Fraction, wiring: Wiring, what: str) -> tuple[int, int]:
    if abs(scale.numerator) > INT32_MAX or scale.denominator > INT32_MAX:
        raise CoreError(
            f"{wiring.kind} {wiring.device.id}: scale of {what} is {scale}, beyond 32-bit integers: use a simpler scale"
        )
    return scale.numerator, scale.denominator


def _invalid_code(register: Register) -> int | None:
    codes = [code for code in register.invalid if code != "nan"]
    return int(codes[0]) & 0xFFFF_FFFF_FFFF_FFFF if codes else None


def _pack_register(entry: Any, device: int, cell: int, wiring: Wiring, register: Register, every: int) -> None:
    entry.device, entry.cell, entry.every = device, cell, every
    entry.table = TABLES[register.table]
    entry.type, entry.address, entry.bit = REGISTER_TYPES[register.type], register.address, register.bit
    entry.order = ORDERS[register.words]
    entry.multiplier, entry.divisor = _ratio(register.core_scale, wiring, f"register {register.address}")
    code = _invalid_code(register)
    if code is not None:
        entry.flags, entry.invalid = lib.V2G_MODBUS_HAS_INVALID, code & ((1 << 16 * register.count) - 1)


def _address(place: str, host: str, port: int) -> tuple[int, bytes, int]:
    """(IP version, packed address, scope) of a host; CoreError names `place` when it has none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as err:
        raise CoreError(f"{place}: host {host}: {err.strerror or err}: correct it, or use an address") from err
    address = ipaddress.ip_address(found[4][0])
    return address.version, address.packed, int(found[4][3]) if len(found[4]) == 4 else 0


def _words(register: Register, value: int) -> list[int]:
    """The registers of a raw integer, first on the wire first."""
    raw = (value & ((1 << 16 * register.count) - 1)).to_bytes(2 * register.count, "big")
    words = [int.from_bytes(raw[i : i + 2], "big") for i in range(0, len(raw), 2)]
    return words if register.words == "big" else words[::-1]


def _pack_action(native: Any, register: Register, value: int) -> None:
    """A write of a raw value: function 5 for a coil, 6 for one register, 16 for more."""
    native.address = register.address
    if register.table == "coil":
        native.function, native.count, native.words[0] = 5, 1, 1 if value else 0
        return
    words = _words(register, value)
    native.function, native.count = 6 if len(words) == 1 else 16, len(words)
    for i, word in enumerate(words):
        native.words[i] = word


def _pack_setpoint(entry: Any, device: int, place: EvsePlace, config: NativeConfig, read_back: int) -> None:
    setpoint, write = place.profile.setpoint, place.profile.write
    assert setpoint is not None  # config check
    limits = next(e for e in config.evses if e.id == place.evse.id)
    entry.device, entry.write_cell, entry.result = device, place.wiring.first_write, lib.V2G_MODBUS_NONE
    entry.function = setpoint.function or (6 if setpoint.count == 1 else 16)
    entry.read_back = read_back if setpoint.function == READ_WRITE else lib.V2G_MODBUS_NONE
    entry.type, entry.address, entry.order = REGISTER_TYPES[setpoint.type], setpoint.address, ORDERS[setpoint.words]
    scale = place.raw_w(config.settings.site.grid.nominal_v)
    entry.multiplier, entry.divisor = _ratio(scale, place.wiring, "setpoint")
    entry.minimum = -limits.rating_discharge_w
    entry.maximum = limits.rating_charge_w
    entry.min_interval_ns, entry.refresh_ns = write.min_interval_ms * MS, (write.refresh_ms or 0) * MS
    mask = (1 << 16 * setpoint.count) - 1
    never = dict.fromkeys((*setpoint.never_write, *((0,) if setpoint.stop else ())))
    entry.never_count = len(never)
    for i, raw in enumerate(never):
        entry.never[i] = raw & mask
    stop: Action | None = setpoint.stop
    _pack_action(entry.stop, stop or setpoint, 0 if stop is None else stop.value)
    if setpoint.start is not None:
        _pack_action(entry.start, setpoint.start, setpoint.start.value)


def _pack_fixed(entry: Any, device: int, write_cell: int, register: Register, value: int, read_back: int) -> None:
    """A register that is to hold one raw value for ever: also what counts as its stop."""
    entry.device, entry.write_cell, entry.result, entry.read_back = device, write_cell, lib.V2G_MODBUS_NONE, read_back
    entry.function = 6 if register.count == 1 else 16
    entry.type, entry.address, entry.order = REGISTER_TYPES[register.type], register.address, ORDERS[register.words]
    entry.multiplier = entry.divisor = 1
    entry.minimum = entry.maximum = value
    entry.min_interval_ns = FALLBACK_INTERVAL_NS
    _pack_action(entry.stop, register, value)


def _pack_heartbeat(entry: Any, device: int, place: EvsePlace, heartbeat: Heartbeat) -> None:
    """Beats as long as the setpoint in its write cell holds."""
    entry.device, entry.write_cell, entry.flags = device, place.wiring.first_write, lib.V2G_MODBUS_HEARTBEAT
    entry.result = entry.read_back = lib.V2G_MODBUS_NONE
    entry.function = 6 if heartbeat.count == 1 else 16
    entry.type, entry.address, entry.order = REGISTER_TYPES[heartbeat.type], heartbeat.address, ORDERS[heartbeat.words]
    entry.multiplier = entry.divisor = 1
    entry.maximum = (1 << 16 * heartbeat.count) - 1
    entry.min_interval_ns = heartbeat.period_ms * MS


def fixed_values(wiring: Wiring) -> list[tuple[int, int]]:
    """(write cell, raw value) of what is written once and holds for ever."""
    fallback = wiring.profile.fallback
    if not wiring.writes_fallback or fallback is None or fallback.timeout.value is None:
        return []
    return [(wiring.first_write + 1, fallback.value), (wiring.first_write + 2, fallback.timeout.value)]


def _pack_writes(native: Any, device: int, place: EvsePlace, config: NativeConfig, first_register: int) -> None:
    """The fallback goes first: before it holds, the EVSE is given nothing that it may not fall back from."""
    fallback = place.profile.fallback
    values = len(place.profile.registers)
    registers = ((fallback, 0), (fallback.timeout, 1)) if fallback is not None else ()
    for (cell, value), (register, offset) in zip(fixed_values(place.wiring), registers, strict=False):
        _pack_fixed(native.writes[native.write_count], device, cell, register, value, first_register + values + offset)
        native.write_count += 1
    last = first_register + len(place.wiring.registers) - 1
    _pack_setpoint(native.writes[native.write_count], device, place, config, last)
    native.write_count += 1
    if place.profile.heartbeat is not None:
        _pack_heartbeat(native.writes[native.write_count], device, place, place.profile.heartbeat)
        native.write_count += 1


def _pack_device(entry: Any, wiring: Wiring, config: NativeConfig) -> None:
    modbus, profile, device = config.settings.modbus, wiring.profile, wiring.device
    entry.unit, entry.max_words = device.unit, profile.max_words
    entry.window = 1 if wiring.serial else device.window
    entry.poll_ns, entry.gap_ns = wiring.poll_ns, profile.gap_ms * MS
    reply_ns = None if profile.reply_ms is None else profile.reply_ms * MS
    default_ns = RTU_REPLY_NS if wiring.serial else modbus.tcp_timeout_ns
    entry.reply_timeout_ns = device.timeout_ns or reply_ns or default_ns
    entry.connect_timeout_ns = CONNECT_TIMEOUT_NS
    if not wiring.serial:
        assert device.host is not None  # config check
        place = f"{wiring.kind} {device.id}"
        entry.family, packed, entry.scope_id = _address(place, device.host, device.port)
        entry.port = device.port
        ffi.buffer(entry.address)[: len(packed)] = packed


def pack_modbus(native: Any, config: NativeConfig, line: Line) -> None:
    """Fill `struct v2g_modbus_config` (all zero before) for one engine. CoreError names a device that has no address."""
    modbus = config.settings.modbus
    native.cell_count, native.write_cell_count = lib.V2G_MAX_CELLS, lib.V2G_MAX_WRITE_CELLS
    native.write_scan_ns = config.settings.cycle.period_ns
    native.backoff_min_ns, native.backoff_max_ns = modbus.backoff_min_ns, modbus.backoff_max_ns
    native.device_count = len(line.wirings)
    for index, wiring in enumerate(line.wirings):
        _pack_device(native.devices[index], wiring, config)
        first = native.register_count
        for offset, (register, every) in enumerate(wiring.registers):
            _pack_register(native.registers[first + offset], index, wiring.first_cell + offset, wiring, register, every)
        native.register_count = first + len(wiring.registers)
        if wiring.device.id in config.points:
            _pack_writes(native, index, config.points[wiring.device.id], config, first)


def pack_line(native: Any, bus: ModbusRtuBus) -> None:
    """Fill `struct v2g_rtu_line` (all zero before)."""
    native.baud, native.parity, native.rs485 = bus.baud, PARITIES[bus.parity], RS485[bus.rs485]
    native.stop_bits = bus.stop_bits or (2 if bus.parity == "none" else 1)
    path = bus.port.encode()
    ffi.buffer(native.path)[: len(path)] = path
    if bus.port.startswith("tcp:"):
        _, host, port = bus.port.split(":")
        native.family, packed, _ = _address(f"bus {bus.id}", host, int(port))
        native.port = int(port)
        ffi.buffer(native.address)[: len(packed)] = packed
