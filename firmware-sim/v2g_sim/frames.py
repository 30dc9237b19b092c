"""Frames of the generic EVSE on classic CAN (contracts.md section 3), packed by hand: independent of the DBC and its readers.

Units here are those of the physical model (W, Wh, A, °C, %); rounding to the frame's resolution happens at packing.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag

from v2g_sim.e2e import frame_crc

CMD_BASE, STATUS_A_BASE, STATUS_B_BASE, STATUS_C_BASE, LIMITS_BASE = 0x200, 0x300, 0x400, 0x500, 0x600
MAX_NODE = 0xFF
SOC_UNKNOWN = 0xFFFF
TEMPERATURE_INVALID = 0xFF

_CMD = struct.Struct("<BBhhh")
_STATUS_A = struct.Struct("<BBhHBB")
_STATUS_B = struct.Struct("<BBhhh")
_STATUS_C = struct.Struct("<BBBBBBBB")
_LIMITS = struct.Struct("<BBHHH")


class Mode(IntEnum):
    """What a Cmd permits."""

    STOP = 0
    CHARGE_ONLY = 1
    BIDIRECTIONAL = 2


class State(IntEnum):
    """State of the EVSE: A to F of IEC 61851-1, and energy transfer."""

    A_NO_VEHICLE = 0
    B_CONNECTED = 1
    C_READY = 2
    D_READY_VENTILATION = 3
    E_NO_PILOT = 4
    F_UNAVAILABLE = 5
    ENERGY_TRANSFER = 6


class Flag(IntFlag):
    """Byte 7 of StatusA."""

    FAULT = 1
    BIDIRECTIONAL = 2
    CONTACTOR = 4
    EV_PRESENT = 8
    FOLLOWING = 16
    E_STOP = 32
    FAIL_SAFE = 64


@dataclass(frozen=True, slots=True)
class Cmd:
    """A decoded command; W, charging positive."""

    counter: int
    mode: int
    target_w: int
    max_w: int
    min_w: int
    crc_ok: bool


def _clamp(value: float, low: int, high: int) -> int:
    return max(low, min(high, round(value)))


def _power(power_w: float) -> int:
    return _clamp(power_w / 10, -32768, 32767)


def _temperature(celsius: float | None) -> int:
    return TEMPERATURE_INVALID if celsius is None else _clamp(celsius + 40, 0, 254)


def _sealed(can_id: int, data: bytes) -> bytes:
    return bytes((frame_crc(can_id, data),)) + data[1:]


def decode_cmd(can_id: int, data: bytes | bytearray) -> Cmd | None:
    """The command in a Cmd frame, or None when it hasn't 8 bytes."""
    if len(data) != _CMD.size:
        return None
    crc, counter_mode, target, high, low = _CMD.unpack(data)
    return Cmd(counter_mode & 0x0F, counter_mode >> 4, target * 10, high * 10, low * 10, crc == frame_crc(can_id, data))


def encode_cmd(node: int, counter: int, mode: int, target_w: float, max_w: float, min_w: float) -> bytes:
    """A Cmd frame, as a gateway sends it (for tests and the demo)."""
    counter_mode = counter & 0x0F | mode << 4
    return _sealed(CMD_BASE + node, _CMD.pack(0, counter_mode, _power(target_w), _power(max_w), _power(min_w)))


def encode_status_a(
    node: int, counter: int, state: State, power_w: float, soc_percent: float | None, connector_c: float | None, flags: Flag
) -> bytes:
    soc = SOC_UNKNOWN if soc_percent is None else _clamp(soc_percent * 100, 0, SOC_UNKNOWN - 1)
    data = _STATUS_A.pack(0, counter | state << 4, _power(power_w), soc, _temperature(connector_c), flags)
    return _sealed(STATUS_A_BASE + node, data)


def encode_status_b(node: int, counter: int, currents_a: tuple[float, float, float]) -> bytes:
    tenths = [_clamp(current * 10, -32768, 32767) for current in currents_a]
    return _sealed(STATUS_B_BASE + node, _STATUS_B.pack(0, counter, *tenths))


def encode_status_c(
    node: int,
    counter: int,
    cable_c: float | None,
    charger_c: float | None,
    cell_max_c: float | None,
    cell_min_c: float | None,
    pilot_duty_percent: float,
    state_of_health_percent: float,
) -> bytes:
    temperatures = [_temperature(celsius) for celsius in (cable_c, charger_c, cell_max_c, cell_min_c)]
    rest = [_clamp(percent, 0, 100) for percent in (pilot_duty_percent, state_of_health_percent)]
    return _sealed(STATUS_C_BASE + node, _STATUS_C.pack(0, counter, *temperatures, *rest))


def encode_limits(node: int, counter: int, max_charge_w: float, max_discharge_w: float, capacity_wh: float) -> bytes:
    values = [min(65535, int(value)) for value in (max_charge_w / 10, max_discharge_w / 10, capacity_wh / 100)]  # never more
    return _sealed(LIMITS_BASE + node, _LIMITS.pack(0, counter, *values))
