"""The Modbus engines as a test sees them: the product's binding, and a builder for their config."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edge.core._native import ffi, lib

MS = 1_000_000
CELLS = 4096
QUALITY = ("none", "good", "invalid", "stale_device", "exception")
STATE = ("idle", "connecting", "up", "backoff")


def eventually(condition: Callable[[], bool], seconds: float = 30, every_s: float = 0.005) -> None:
    """The condition becomes true; the limit only ends a test that has failed."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen"
        time.sleep(every_s)


@dataclass(frozen=True, slots=True)
class Sample:
    value: int
    quality: str
    count: int
    acquired_ns: int
    changed_ns: int


class Rig:
    """One engine for Modbus/TCP with its config, its cells and its thread."""

    prefix = "v2g_modbus"

    def __init__(self) -> None:
        self.config = ffi.new("struct v2g_modbus_config *")
        self.config.cell_count = CELLS
        self.config.write_cell_count = 64
        self.config.write_scan_ns = 5 * MS
        self.config.backoff_min_ns = 200 * MS
        self.config.backoff_max_ns = 800 * MS
        self.cells = ffi.new("struct v2g_cell[]", CELLS)
        self.write_cells = ffi.new("struct v2g_write_cell[]", 64)
        self._stats = ffi.new("struct v2g_modbus_stats[]", 1024)
        self._engine: Any = None
        self._memory: Any = None

    def device(self, host: str, port: int, *, poll_ms: float = 20, timeout_ms: int = 2000, **fields: int) -> int:
        """Adds a device; the generous time-out keeps a slow machine from failing a healthy one."""
        ip = ipaddress.ip_address(host)
        index: int = self.config.device_count
        device = self.config.devices[index]
        device.family, device.port, device.unit = ip.version, port, 1
        ffi.memmove(device.address, ip.packed, len(ip.packed))
        device.window, device.max_words = 1, 125
        device.poll_ns = int(poll_ms * MS)
        device.reply_timeout_ns = timeout_ms * MS
        device.connect_timeout_ns = timeout_ms * MS
        self._set(device, fields)
        self.config.device_count += 1
        return index

    def register(self, device: int, table: str, address: int, kind: str = "U16", **fields: int) -> int:
        """Adds a register and returns its cell."""
        index: int = self.config.register_count
        reg = self.config.registers[index]
        reg.device, reg.address, reg.cell = device, address, index
        reg.table = getattr(lib, f"V2G_MODBUS_{table.upper()}")
        reg.type = getattr(lib, f"V2G_MODBUS_{kind}")
        reg.every, reg.multiplier, reg.divisor = 1, 1, 1
        self._set(reg, fields)
        self.config.register_count += 1
        return index

    def write(self, device: int, function: int, address: int, kind: str = "U16", **fields: int) -> int:
        """Adds a setpoint register (its stop: 0 in the same register) and returns its write cell."""
        index: int = self.config.write_count
        write = self.config.writes[index]
        write.device, write.function, write.address, write.write_cell = device, function, address, index
        write.type = getattr(lib, f"V2G_MODBUS_{kind}")
        write.result, write.read_back = CELLS - 1 - index, lib.V2G_MODBUS_NONE
        write.multiplier, write.divisor = 1, 1
        write.minimum, write.maximum = -(1 << 40), 1 << 40
        write.stop.function, write.stop.count, write.stop.address = (5 if function in (5, 15) else 6), 1, address
        self._set(write, fields)
        self.config.write_count += 1
        return index

    @staticmethod
    def _set(struct: Any, fields: dict[str, int]) -> None:
        for name, value in fields.items():
            setattr(struct, name, value)

    def start(self) -> None:
        error = ffi.new("char[]", 256)
        self._raw = ffi.new("char[]", self._call("engine_size") + 64)
        at = self._raw + (-int(ffi.cast("uintptr_t", self._raw))) % 64
        self._memory = ffi.new("struct v2g_modbus_memory *", [self.cells, self.write_cells, self._stats])
        engine = ffi.cast(f"struct {self.prefix}_engine *", at)
        if self._call("init", engine, self.config, *self._where(), self._memory, error, 256) != 0:
            raise ValueError(ffi.string(error).decode())
        self._engine = engine
        thread = ffi.new("struct v2g_thread *", {"policy": 0, "priority": 0, "cpu": -1})
        assert self._call("start", engine, thread) == 0

    def stop(self) -> None:
        if self._engine is not None:
            self._call("stop", self._engine)
            self._call("close", self._engine)
            self._engine = None

    def silence(self, device: int, silence_s: float, look_s: float) -> None:
        assert self._call("silence", self._engine, device, int(silence_s * 1e9), int(look_s * 1e9)) == 0

    def _call(self, verb: str, *arguments: Any) -> int:
        result: int = getattr(lib, f"{self.prefix}_{verb}")(*arguments)
        return result

    def _where(self) -> list[Any]:
        return []

    def read(self, cell: int) -> Sample:
        """A consistent copy of a cell."""
        raw = self.cells[cell]
        while True:
            seq = raw.seq
            sample = Sample(raw.value, QUALITY[raw.quality], raw.count, raw.acquired_ns, raw.changed_ns)
            if seq % 2 == 0 and raw.seq == seq:
                return sample

    def ask(self, write_cell: int, value: int, valid_s: float = 60) -> None:
        """What the cycle does: the newest setpoint and how long it holds."""
        cell = self.write_cells[write_cell]
        cell.seq += 1
        cell.value, cell.valid_until_ns = value, time.monotonic_ns() + int(valid_s * 1e9)
        cell.seq += 1

    def result(self, write_cell: int) -> Sample:
        return self.read(CELLS - 1 - write_cell)

    def stats(self, device: int) -> Any:
        return self._stats[device]

    def state(self, device: int) -> str:
        return STATE[self._stats[device].state]


class LineRig(Rig):
    """One engine for a serial line."""

    prefix = "v2g_rtu"

    def __init__(self, path: str, baud: int = 19200) -> None:
        super().__init__()
        self.line = ffi.new("struct v2g_rtu_line *", {"baud": baud, "parity": lib.V2G_RTU_EVEN, "stop_bits": 1})
        self.line.path = path.encode()

    def over_tcp(self, port: int) -> None:
        self.line.family, self.line.port = 4, port
        ffi.memmove(self.line.address, bytes((127, 0, 0, 1)), 4)

    def slave(self, unit: int, *, poll_ms: float = 100, timeout_ms: int = 2000, **fields: int) -> int:
        index = self.device("127.0.0.1", 1, poll_ms=poll_ms, timeout_ms=timeout_ms, **fields)
        self.config.devices[index].family, self.config.devices[index].unit = 0, unit
        return index

    def _where(self) -> list[Any]:
        return [self.line]
