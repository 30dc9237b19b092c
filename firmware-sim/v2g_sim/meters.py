"""Simulated Modbus meters; register map: edge/field/profiles/sim-meter.yaml."""

from __future__ import annotations

import asyncio
import struct
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from v2g_sim.site import Flow

_REGISTERS = struct.Struct(">11f2IH")
"""Float32 power total and L1 to L3, current, voltage, frequency; uint32 energies; uint16 sample count: 27 registers from 0."""

REGISTER_COUNT = _REGISTERS.size // 2

FAULTS: dict[str, frozenset[str]] = {
    "silent": frozenset(),
    "frozen": frozenset(),
    "slow": frozenset({"delay_s"}),
    "garbage": frozenset(),
    "nan": frozenset(),
}
"""silent: no answer. frozen: registers no longer change. slow: answers `delay_s` s late (default 1). garbage: answers of
random bytes after a correct header. nan: every float reads "not a number"."""


ANSWERS_KEPT = 64


class MeterError(ValueError):
    """A meter command or setting that doesn't fit."""


@dataclass(frozen=True, slots=True)
class MeterSpec:
    """A meter on `feeder`. It renews its registers every `refresh_s`; a value shows `delay_s` after it was measured."""

    id: str
    feeder: str
    host: str = "127.0.0.1"
    port: int = 5020
    unit: int = 1
    rtu: bool = False
    refresh_s: float = 0.1
    delay_s: float = 0.0


@dataclass(slots=True)
class Meter:
    """Measures a Flow, integrates energy, keeps the registers. Pure: `refresh` is told the time."""

    spec: MeterSpec
    faults: dict[str, dict[str, Any]] = field(default_factory=dict)
    energy_import_wh: float = 0.0
    energy_export_wh: float = 0.0
    samples: int = 0
    registers: bytes = bytes(_REGISTERS.size)
    reads: int = 0
    answers: deque[dict[str, float]] = field(default_factory=lambda: deque(maxlen=ANSWERS_KEPT))
    """What was read last, for whoever judges a reaction: Unix time, sample, Hz, V of L1."""
    _last_s: float | None = None
    _pending: deque[tuple[float, bytes]] = field(default_factory=deque)

    def refresh(self, now_s: float, flow: Flow) -> None:
        """Take a sample when one is due, and show what is `delay_s` old."""
        due = self._last_s is None or now_s - self._last_s >= self.spec.refresh_s - 1e-6
        if due and "frozen" not in self.faults:
            self._sample(now_s, flow)
        while self._pending and self._pending[0][0] <= now_s:
            self.registers = self._pending.popleft()[1]

    def _sample(self, now_s: float, flow: Flow) -> None:
        hours = 0.0 if self._last_s is None else (now_s - self._last_s) / 3600
        self._last_s = now_s
        self.samples = (self.samples + 1) % 65536
        self.energy_import_wh += max(0.0, flow.power_w) * hours
        self.energy_export_wh += max(0.0, -flow.power_w) * hours
        values = (flow.power_w, *flow.powers_w, *flow.currents_a, *flow.voltages_v, flow.frequency_hz)
        energies = (int(self.energy_import_wh) % 2**32, int(self.energy_export_wh) % 2**32)
        self._pending.append((now_s + self.spec.delay_s, _REGISTERS.pack(*values, *energies, self.samples)))

    @property
    def id(self) -> str:
        return self.spec.id

    @property
    def unit(self) -> int:
        return self.spec.unit

    @property
    def register_count(self) -> int:
        return REGISTER_COUNT

    @property
    def line_faults(self) -> Mapping[str, Mapping[str, Any]]:
        return self.faults

    def write(self, address: int, values: Sequence[int]) -> bool:
        """A meter takes no writes."""
        return False

    def read(self) -> list[int]:
        """The registers as a client reads them now."""
        self.reads += 1
        data = self.registers
        if "nan" in self.faults:
            data = struct.pack(">11f", *[float("nan")] * 11) + data[44:]
        *_, voltage_v, _, _, frequency_hz, _, _, sample = _REGISTERS.unpack(data)
        self.answers.append(
            {"time_s": time.time(), "sample": sample, "frequency_hz": round(frequency_hz, 3), "voltage_v": round(voltage_v, 1)}
        )
        return list(struct.unpack(f">{REGISTER_COUNT}H", data))

    def set_fault(self, name: str, **parameters: Any) -> None:
        if name not in FAULTS:
            raise MeterError(f"no meter fault {name!r}; known: {', '.join(sorted(FAULTS))}")
        unknown = parameters.keys() - FAULTS[name]
        if unknown:
            raise MeterError(f"meter fault {name} takes {sorted(FAULTS[name])}, not {sorted(unknown)}")
        if not isinstance(parameters.get("delay_s", 0), int | float):
            raise MeterError(f"meter fault {name}: delay_s is a number of seconds")
        self.faults[name] = parameters

    def clear_fault(self, name: str) -> None:
        if name == "all":
            self.faults.clear()
        elif name in FAULTS:
            self.faults.pop(name, None)
        else:
            raise MeterError(f"no meter fault {name!r}; known: {', '.join(sorted(FAULTS))}")

    def as_json(self) -> dict[str, object]:
        power_w, *_ = _REGISTERS.unpack(self.registers)
        return {"id": self.spec.id, "power_w": round(power_w, 1), "reads": self.reads, "faults": self.faults} | {
            "answers": list(self.answers)
        }


async def refresh_forever(meters: Sequence[Meter], flow_of: Callable[[str], Flow], clock: Callable[[], float]) -> None:
    """Keep all registers current; steps at the fastest meter's refresh period, at least every 100 ms."""
    period_s = min([0.1, *(meter.spec.refresh_s for meter in meters)])
    while True:
        for meter in meters:
            meter.refresh(clock(), flow_of(meter.spec.feeder))
        await asyncio.sleep(period_s)
