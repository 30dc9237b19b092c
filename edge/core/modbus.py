"""The Modbus engines as Python sees them: one for all of TCP, one for each serial line; started once, their statistics read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edge.core._native import ffi, lib
from edge.core.errors import CoreError
from edge.core.layout import BANK_CELLS, BANK_WRITE_CELLS, Line, NativeConfig
from edge.core.pack_modbus import FOREVER_NS, fixed_values, pack_line, pack_modbus

FIFO_PRIORITY = 70
ERROR_BYTES = 256
STATES = ("idle", "connecting", "up", "pausing")
"""In the order of `enum v2g_modbus_state`."""


@dataclass(frozen=True, slots=True)
class DeviceStats:
    """`struct v2g_modbus_stats` of one device; counts since the engine was made."""

    up: bool
    polls: int
    late_polls: int
    requests: int
    replies: int
    timeouts: int
    exceptions: int
    bad_frames: int
    invalid_values: int
    connects: int
    connect_failures: int
    writes: int
    stops: int
    last_error: str
    """What went wrong last, while the device is lost; empty: it answers."""
    last_reply_ns: int
    reply_min_ns: int
    """Of good answers, from the request; 0: none yet."""
    reply_mean_ns: int
    reply_max_ns: int


@dataclass(frozen=True, slots=True)
class LineFigures:
    """How full a serial line is, as worked out when its config was committed: `struct v2g_rtu_schedule`."""

    bus: str
    baud: int
    devices: int
    use_percent: float
    longest_ns: int
    slack_ns: int

    def __str__(self) -> str:
        return (
            f"{self.devices} devices need {self.use_percent:.1f} % of the line at {self.baud} baud, "
            f"{self.slack_ns / 1e6:.1f} ms to spare"
        )


class LineEngine:
    """One thread that serves the devices of one line of one config. CoreError when the config can't run."""

    def __init__(self, arena: Any, config: NativeConfig, line: Line) -> None:
        self.line = line
        self._arena = arena
        self._bank = config.bank
        self._config = ffi.new("struct v2g_modbus_config *")
        self._port = ffi.new("struct v2g_rtu_line *")
        pack_modbus(self._config, config, line)
        if line.bus is not None:
            pack_line(self._port, line.bus)
        self.figures = self._check()
        self._memory = ffi.NULL
        self._block: Any = None
        self.fifo = False

    def _check(self) -> LineFigures | None:
        error = ffi.new("char[]", ERROR_BYTES)
        schedule = ffi.new("struct v2g_rtu_schedule *")
        bus = self.line.bus
        if bus is None:
            refused: int = lib.v2g_modbus_check(self._config, error, ERROR_BYTES)
        else:
            refused = lib.v2g_rtu_check(self._config, self._port, schedule, error, ERROR_BYTES)
        if refused:
            raise CoreError(self._refusal(error))
        if bus is None:
            return None
        use_percent = schedule.use_ppm / 10_000
        return LineFigures(bus.id, bus.baud, len(self.line.wirings), use_percent, schedule.longest_ns, schedule.slack_ns)

    def _refusal(self, error: Any) -> str:
        """The engine's own words, with the device's name for its number."""
        text = ffi.string(error).decode()
        for index, wiring in enumerate(self.line.wirings):
            text = text.replace(f"device {index} ", f"{wiring.kind} {wiring.device.id} ")
        remedy = "correct the device or its profile"
        if self.line.bus is not None:
            remedy = "lengthen `poll` of its devices, raise baud, or use a second line"
        return f"{self.line.name}: {text}: {remedy}"

    def shape(self) -> tuple[bytes, ...]:
        """What makes two engines the same, wherever their cells lie."""
        count = self._config.device_count
        head = bytes(ffi.buffer(self._config, ffi.offsetof("struct v2g_modbus_config", "devices")))
        devices = bytes(ffi.buffer(self._config.devices))[: count * ffi.sizeof("struct v2g_modbus_device")]
        return head, bytes(ffi.buffer(self._port)), devices, *self._registers(), *self._writes()

    def _registers(self) -> list[bytes]:
        found = []
        for i in range(self._config.register_count):
            entry = ffi.new("struct v2g_modbus_register *", self._config.registers[i])
            entry.cell -= self._bank * BANK_CELLS
            found.append(bytes(ffi.buffer(entry)))
        return found

    def _writes(self) -> list[bytes]:
        found = []
        for i in range(self._config.write_count):
            entry = ffi.new("struct v2g_modbus_write *", self._config.writes[i])
            entry.write_cell -= self._bank * BANK_WRITE_CELLS
            found.append(bytes(ffi.buffer(entry)))
        return found

    def fallbacks(self) -> tuple[bytes, ...]:
        """What stops each device that is told setpoints, as a `struct v2g_guard_fallback`; one on a serial line has none."""
        found: dict[bytes, None] = {}
        setpoints = {wiring.first_write for wiring in self.line.wirings if not wiring.serial}
        for i in range(self._config.write_count):
            write = self._config.writes[i]
            device = self._config.devices[write.device]
            if write.write_cell not in setpoints or write.flags & lib.V2G_MODBUS_HEARTBEAT:
                continue
            entry = ffi.new("struct v2g_guard_fallback *")
            entry.family, entry.unit, entry.port = device.family, device.unit, device.port
            entry.scope_id, entry.address, entry.stop = device.scope_id, device.address, write.stop
            found[bytes(ffi.buffer(entry))] = None  # several setpoints of one device often have the same stop
        return tuple(found)

    def silence(self, device: int, silence_ns: int, look_ns: int) -> None:
        """`v2g_modbus_silence` for the device with this index; CoreError when its times are out of range."""
        begin = lib.v2g_modbus_silence if self.line.bus is None else lib.v2g_rtu_silence
        if begin(self._memory, device, silence_ns, look_ns) != 0:
            raise CoreError(f"{self.line.name}: a silence of {silence_ns / 1e9:g} s: at most an hour")

    def start(self) -> None:
        """Begin to poll. CoreError when the thread can't start; refused SCHED_FIFO runs without."""
        serial = self.line.bus is not None
        size = lib.v2g_rtu_engine_size() if serial else lib.v2g_modbus_engine_size()
        # Aligned as the engine wants it: cffi's own memory is aligned to 16 only.
        self._block = ffi.new("uint8_t[]", size + 64)
        base = int(ffi.cast("uintptr_t", self._block))
        kind = "struct v2g_rtu_engine *" if serial else "struct v2g_modbus_engine *"
        self._memory = ffi.cast(kind, base + (-base % 64))
        for wiring in self.line.wirings:
            for cell, value in fixed_values(wiring):
                lib.v2g_write_cell_put(self._arena, cell, value, FOREVER_NS)
        self._init()
        thread = ffi.new("struct v2g_thread *", {"policy": os.SCHED_FIFO, "priority": FIFO_PRIORITY, "cpu": -1})
        begin = lib.v2g_rtu_start if serial else lib.v2g_modbus_start
        refused: int = begin(self._memory, thread)
        self.fifo = refused == 0
        if refused > 0:  # it runs, without SCHED_FIFO
            return
        if refused:
            raise CoreError(f"{self.line.name}: its thread can't start: {os.strerror(-refused)}: check the service's limits")

    def _init(self) -> None:
        memory = ffi.new("struct v2g_modbus_memory *")
        memory.cells = self._arena.cell
        memory.write_cells = self._arena.write_cell
        memory.stats = ffi.addressof(self._arena.modbus, self.line.wirings[0].stats)
        error = ffi.new("char[]", ERROR_BYTES)
        if self.line.bus is None:
            refused = lib.v2g_modbus_init(self._memory, self._config, memory, error, ERROR_BYTES)
        else:
            refused = lib.v2g_rtu_init(self._memory, self._config, self._port, memory, error, ERROR_BYTES)
        if refused:
            self._memory = ffi.NULL
            raise CoreError(self._refusal(error))

    def stop(self) -> None:
        """End the thread and close the connections; does nothing when none runs."""
        if self._memory == ffi.NULL:
            return
        if self.line.bus is None:
            lib.v2g_modbus_stop(self._memory)
            lib.v2g_modbus_close(self._memory)
        else:
            lib.v2g_rtu_stop(self._memory)
            lib.v2g_rtu_close(self._memory)
        self._memory = ffi.NULL
        self._block = None


def check_lines(config: NativeConfig) -> list[LineFigures]:
    """Every serial line's figures; CoreError when one can't keep its schedule. Touches nothing."""
    engines = [LineEngine(ffi.NULL, config, line) for line in config.lines if line.bus is not None]
    return [engine.figures for engine in engines if engine.figures is not None]


class Engine:
    """Every Modbus engine of one config. CoreError when the config can't run."""

    def __init__(self, arena: Any, config: NativeConfig) -> None:
        self.bank = config.bank
        self._arena = arena
        self._lines = [LineEngine(arena, config, line) for line in config.lines]

    def same(self, other: Engine) -> bool:
        """Whether both serve the same devices in the same way, wherever the values lie."""
        return [line.shape() for line in self._lines] == [line.shape() for line in other._lines]

    @property
    def figures(self) -> Sequence[LineFigures]:
        """Of every serial line."""
        return [line.figures for line in self._lines if line.figures is not None]

    def fallbacks(self) -> tuple[bytes, ...]:
        """What the guard writes to stop the devices that take setpoints: `struct v2g_guard_fallback`, one each."""
        return tuple(each for line in self._lines for each in line.fallbacks())

    @property
    def fifo(self) -> bool:
        return all(line.fifo for line in self._lines)

    def start(self) -> None:
        """Forget the bank's old values and poll. CoreError: nothing runs."""
        lib.v2g_cells_clear(self._arena, self.bank * BANK_CELLS, BANK_CELLS)
        lib.v2g_write_cells_clear(self._arena, self.bank * BANK_WRITE_CELLS, BANK_WRITE_CELLS)
        try:
            for line in self._lines:
                line.start()
        except CoreError:
            self.stop()
            raise

    def stop(self) -> None:
        """End every thread."""
        for line in self._lines:
            line.stop()

    def silence(self, device_id: str, silence_ns: int, look_ns: int) -> None:
        """Say nothing to a device for `silence_ns`, then only read it for `look_ns`: for commissioning. KeyError: not here."""
        for line in self._lines:
            ids = [wiring.device.id for wiring in line.line.wirings]
            if device_id in ids:
                line.silence(ids.index(device_id), silence_ns, look_ns)
                return
        raise KeyError(device_id)

    def stats(self, device: int) -> DeviceStats:
        """Of the device with this index (`Wiring.stats`)."""
        s = self._arena.modbus[device]
        up = s.state == lib.V2G_MODBUS_STATE_UP
        return DeviceStats(
            up=up,
            polls=s.polls,
            late_polls=s.late_polls,
            requests=s.requests,
            replies=s.replies,
            timeouts=s.timeouts,
            exceptions=s.exceptions,
            bad_frames=s.bad_frames,
            invalid_values=s.invalid_values,
            connects=s.connects,
            connect_failures=s.connect_failures,
            writes=s.writes,
            stops=s.stops,
            last_error=_refusal(s) if up else _last_error(s),
            last_reply_ns=s.last_reply_ns,
            reply_min_ns=s.rtt_min_ns,
            reply_mean_ns=s.rtt_sum_ns // s.replies if s.replies else 0,
            reply_max_ns=s.rtt_max_ns,
        )

    def value(self, cell: int) -> int | None:
        """The newest value of a cell in the core's unit; None: it never came. For display: nothing is decided on it."""
        entry = self._arena.cell[cell]
        value: int = entry.value
        return value if entry.count else None


EXCEPTIONS = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "server device failure",
    6: "server device busy",
    10: "gateway path unavailable",
    11: "gateway target device failed to respond",
}
"""Modbus Application Protocol V1.1b3, section 7."""


def _refusal(stats: Any) -> str:
    """What a device that answers refuses; empty: nothing yet."""
    if not stats.exceptions:
        return ""
    meaning = EXCEPTIONS.get(stats.last_exception, "no standard meaning")
    return f"it refused {stats.exceptions} of {stats.replies} requests, exception {stats.last_exception}: {meaning}"


def _last_error(stats: Any) -> str:
    """Why a device is lost: the system's word where there is one, else what its answers looked like."""
    if stats.last_errno:
        return os.strerror(stats.last_errno)
    if stats.bad_frames and not stats.timeouts:
        return f"{stats.bad_frames} answers that are not Modbus"
    if stats.timeouts:
        return f"no answer in time, {stats.timeouts} times"
    return ""
