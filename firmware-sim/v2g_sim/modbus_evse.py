"""A simulated EVSE behind Modbus; register map: edge/field/profiles/sim-evse.yaml.

It keeps the last setpoint until its time-out (register 111) is over without a new one, then charges with its fallback (110):
out of the box 6 kW after 60 s, as a real one might, so a gateway that doesn't set them is found out.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from v2g_sim.evse import Evse
from v2g_sim.frames import Cmd, Mode

SETPOINT, RUN = 100, 102
FALLBACK_W, TIMEOUT_MS = 110, 111
REGISTERS = 112
RUNNING = 1
_VALUES = struct.Struct(">HHiHhhhhhIIIhhhHHHII")
"""State, flags, power, SOC, five temperatures, three limits, currents, voltages, two energies: 26 registers from 0."""
NO_SOC, NO_TEMPERATURE = 0xFFFF, -0x8000


def _tenths(value: float | None) -> int:
    return NO_TEMPERATURE if value is None else round(10 * value)


class ModbusEvse:
    """The registers of one EVSE. `lock` guards the EVSE, which another thread advances."""

    def __init__(self, evse: Evse, unit: int, lock: threading.Lock) -> None:
        self.evse, self.unit = evse, unit
        self.register_count = REGISTERS
        self._lock = lock
        self._kept = [0] * REGISTERS
        self._kept[FALLBACK_W], self._kept[TIMEOUT_MS] = 6000, 60_000
        self._import_wh = self._export_wh = 0.0
        self._settle()

    def step(self, dt_s: float) -> None:
        """Advance the EVSE, and its meter with it."""
        self.evse.step(dt_s)
        self._import_wh += max(0.0, self.evse.power_w) * dt_s / 3600
        self._export_wh += max(0.0, -self.evse.power_w) * dt_s / 3600

    @property
    def id(self) -> str:
        return self.evse.spec.id

    @property
    def line_faults(self) -> Mapping[str, Mapping[str, Any]]:
        return self.evse.faults.active

    def read(self) -> list[int]:
        """Every register as a client reads it now."""
        evse = self.evse
        with self._lock:
            seen = evse.readings()
            temperatures = (seen.connector, seen.cable, seen.charger, seen.cell_max, seen.cell_min)
            data = _VALUES.pack(
                int(evse.state),
                int(evse.flags),
                round(seen.power_w),
                NO_SOC if seen.soc_percent is None else round(100 * seen.soc_percent),
                *(_tenths(t) for t in temperatures),
                round(evse.max_charge_w),
                round(evse.max_discharge_w),
                round(evse.vehicle.spec.capacity_wh) if evse.vehicle else 0,
                *(round(10 * current_a) for current_a in seen.currents_a),
                *[round(10 * evse.voltage_v)] * 3,
                int(self._import_wh) % 2**32,
                int(self._export_wh) % 2**32,
            )
            return [*struct.unpack(f">{len(data) // 2}H", data), *self._kept[len(data) // 2 :]]

    def write(self, address: int, values: Sequence[int]) -> bool:
        """Setpoint (two registers), run, fallback and time-out; every other address is read-only."""
        writable = {SETPOINT, SETPOINT + 1, RUN, FALLBACK_W, TIMEOUT_MS}
        if not writable.issuperset(range(address, address + len(values))):
            return False
        with self._lock:
            self._kept[address : address + len(values)] = values
            self._settle()
            if address <= RUN:
                self._command()
        return True

    def _settle(self) -> None:
        self.evse.fallback_w = float(self._kept[FALLBACK_W])
        self.evse.fail_safe_after_s = self._kept[TIMEOUT_MS] / 1000

    def _command(self) -> None:
        (target_w,) = struct.unpack(">i", struct.pack(">2H", *self._kept[SETPOINT : SETPOINT + 2]))
        mode = Mode.BIDIRECTIONAL if self._kept[RUN] == RUNNING else Mode.STOP
        self.evse.take(Cmd(0, mode, target_w, max(0, target_w), min(0, target_w), crc_ok=True))


class ModbusEvses:
    """All of them, advanced together; their registers are served elsewhere."""

    def __init__(self, evses: Sequence[ModbusEvse]) -> None:
        self._evses = evses

    def poll(self) -> None:
        """Writes come by themselves."""

    def step(self, dt_s: float) -> None:
        for evse in self._evses:
            evse.step(dt_s)

    def shutdown(self) -> None:
        """Nothing is open here."""
