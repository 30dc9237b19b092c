"""One EVSE's firmware and physics (contracts.md section 3). Pure: frames in, frames out, time advances by `step`."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

from v2g_sim import frames
from v2g_sim.e2e import COUNTER_MODULO
from v2g_sim.faults import FRAMES, READINGS, Faults
from v2g_sim.frames import Cmd, Flag, Mode, State
from v2g_sim.thermal import ThermalNode
from v2g_sim.vehicle import Vehicle, VehicleSpec

FAIL_SAFE_AFTER_S = 0.1
"""Without a valid Cmd for this long the EVSE goes to 0 W (contracts.md section 3)."""

MAX_COUNTER_STEP = 4
"""Up to three lost frames in a row are forgiven; a repeated counter never is."""

FULL_RAMP_S = 0.25
"""Default ramp: from 0 W to the rating in this time."""


@dataclass(frozen=True, slots=True)
class EvseSpec:
    """One charge point. `rating_w` W for all phases together; `ramp_w_s` W/s (None: full power in 0.25 s).

    `min_charge_w`, `min_discharge_w`: below this magnitude the hardware holds 0 W.
    `phase_map`: the site's phase (1 to 3) behind the EVSE's own first, second, third one.
    """

    id: str
    node: int
    rating_w: float = 22_000
    phase_map: tuple[int, ...] = (1, 2, 3)
    min_charge_w: float = 0
    min_discharge_w: float = 0
    ramp_w_s: float | None = None
    ambient_c: float = 20
    fail_safe_after_s: float = FAIL_SAFE_AFTER_S

    def __post_init__(self) -> None:
        if not 1 <= self.node <= frames.MAX_NODE:
            raise ValueError(f"evse {self.id}: node {self.node} is not in 1 to {frames.MAX_NODE}")
        if not self.phase_map or len(set(self.phase_map)) < len(self.phase_map) or not set(self.phase_map) <= {1, 2, 3}:
            raise ValueError(f"evse {self.id}: phase_map {list(self.phase_map)} names phases 1 to 3, each once")


@dataclass(frozen=True, slots=True)
class Readings:
    """What the sensors say; None: no valid value. Temperatures °C, power W and currents A positive into the vehicle."""

    power_w: float
    soc_percent: float | None
    currents_a: tuple[float, float, float]
    connector: float | None
    cable: float | None
    charger: float | None
    cell_max: float | None
    cell_min: float | None


class Evse:
    """Firmware and physics of one EVSE. Call `on_cmd` for each Cmd frame, `step` once a period, `frame` to send."""

    def __init__(self, spec: EvseSpec, vehicle: VehicleSpec | None = None) -> None:
        self.spec = spec
        self.faults = Faults()
        self.voltage_v = 230.0
        self.power_w = 0.0
        self.wanted_w = 0.0
        self.vehicle: Vehicle | None = None
        # Contact and cable of a 32 A connector (time constants: numbers.md part 2; the rises are this simulator's choice):
        # 0.5 mohm and 50 K/W warm the contact by 27 K at 32 A, 3 mohm and 6 K/W the cable by 20 K.
        self.connector = ThermalNode(0.0005, 50, 480, spec.ambient_c)
        self.cable = ThermalNode(0.003, 6, 1200, spec.ambient_c)
        # Converter: 3 % of the power as heat, cooled by a fan
        self.charger = ThermalNode(0, 0.04, 300, spec.ambient_c)
        self.valid_cmds = 0
        self.invalid_cmds = 0
        self._cmd: Cmd | None = None
        self._cmd_counter: int | None = None
        self.fail_safe_after_s = spec.fail_safe_after_s
        self.fallback_w = 0.0
        """What it charges with while nobody commands; a setting of its own."""
        self.dead_time_s = 0.0
        """What is commanded is done this much later, as behind a slow backend."""
        self.lag_s = 0.0
        """Time constant with which power follows; 0: only the ramp bounds it."""
        self._underway: deque[tuple[float, float]] = deque()
        self._clock_s = 0.0
        self._cmd_age_s = spec.fail_safe_after_s
        self._cmd_fresh = False
        self._counters = dict.fromkeys(FRAMES, 0)
        self._frozen: Readings | None = None
        self._held_w = 0.0
        if vehicle is not None:
            self.plug(vehicle)

    # ---- vehicle and faults ----

    def plug(self, vehicle: VehicleSpec) -> None:
        """A vehicle arrives; the one that was there has left."""
        self.unplug()
        self.vehicle = Vehicle(vehicle, self.spec.ambient_c)

    def unplug(self) -> None:
        self.vehicle = None
        self.power_w = self.wanted_w = 0.0

    def set_fault(self, name: str, **parameters: object) -> None:
        """Switch a fault on (v2g_sim.faults.PARAMETERS)."""
        before = self.readings()
        self.faults.set(name, **parameters)
        if name == "frozen":
            self._frozen = before
        if name == "not_following":
            self._held_w = self.faults.number(name, "power_w", self.power_w)

    def clear_fault(self, name: str) -> None:
        self.faults.clear(name)

    # ---- reception ----

    def on_cmd(self, data: bytes | bytearray) -> bool:
        """Take one Cmd frame; False when length, CRC or counter are wrong (it is then as if it had not come)."""
        cmd = frames.decode_cmd(frames.CMD_BASE + self.spec.node, data)
        if cmd is None or not cmd.crc_ok or cmd.counter >= COUNTER_MODULO or cmd.mode > Mode.BIDIRECTIONAL:
            self.invalid_cmds += 1
            return False
        last, self._cmd_counter = self._cmd_counter, cmd.counter
        in_sequence = last is None or 1 <= (cmd.counter - last) % COUNTER_MODULO <= MAX_COUNTER_STEP
        if not in_sequence:
            self.invalid_cmds += 1
            return False
        self.take(cmd)
        return True

    def take(self, cmd: Cmd) -> None:
        """Follow a command that is known to be good."""
        self._cmd, self._cmd_fresh = cmd, True
        self.valid_cmds += 1

    @property
    def fail_safe(self) -> bool:
        """No valid Cmd for too long."""
        return self._cmd_age_s >= self.fail_safe_after_s

    # ---- state ----

    @property
    def stopped(self) -> bool:
        """E-stop, fault or no Control Pilot: the contactor is open whatever is commanded."""
        return any(self.faults.on(name) for name in ("e_stop", "fault", "pilot_lost"))

    @property
    def phases(self) -> int:
        """How many phases the present vehicle and the EVSE use together."""
        return min(len(self.spec.phase_map), self.vehicle.spec.phases) if self.vehicle else len(self.spec.phase_map)

    @property
    def contactor(self) -> bool:
        return self.wanted_w != 0 or self.power_w != 0

    @property
    def bidirectional(self) -> bool:
        return self.vehicle is not None and self.vehicle.can_discharge and not self.faults.on("no_bidirectional")

    @property
    def state(self) -> State:
        if self.stopped:
            return State.E_NO_PILOT if self.faults.on("pilot_lost") else State.F_UNAVAILABLE
        if self.vehicle is None:
            return State.A_NO_VEHICLE
        if not self.vehicle.ready:
            return State.B_CONNECTED
        if self.contactor:
            return State.ENERGY_TRANSFER
        return State.D_READY_VENTILATION if self.vehicle.spec.needs_ventilation else State.C_READY

    @property
    def pilot_duty_percent(self) -> float:
        """IEC 61851-1: 0 % no pilot, 100 % no PWM, 5 % digital communication, else the current limit as I / 0.6 A."""
        if self.faults.on("pilot_lost"):
            return 0
        if self.vehicle is None or self.stopped:
            return 100
        if self.vehicle.spec.digital:
            return 5
        limit_w = 0 if self._cmd is None or self.fail_safe else self._cmd.max_w
        current_a = limit_w / (self.phases * self.voltage_v)
        return 100 if current_a < 6 else min(85, current_a / 0.6)

    @property
    def currents_a(self) -> tuple[float, float, float]:
        """Current of the EVSE's own phases 1 to 3."""
        each = self.power_w / (self.phases * self.voltage_v)
        one, two, three = (each if index < self.phases else 0.0 for index in range(3))
        return one, two, three

    @property
    def site_powers_w(self) -> tuple[float, float, float]:
        """Power per phase of the site."""
        powers = [0.0, 0.0, 0.0]
        for phase in self.spec.phase_map[: self.phases]:
            powers[phase - 1] = self.power_w / self.phases
        return powers[0], powers[1], powers[2]

    @property
    def flags(self) -> Flag:
        wrong_by_w = abs(self.power_w - self.wanted_w)
        following = not self.faults.on("not_following") or wrong_by_w <= max(100, 0.03 * self.spec.rating_w)
        bits = (
            (self.faults.on("fault"), Flag.FAULT),
            (self.bidirectional, Flag.BIDIRECTIONAL),
            (self.contactor, Flag.CONTACTOR),
            (self.vehicle is not None, Flag.EV_PRESENT),
            (following, Flag.FOLLOWING),
            (self.faults.on("e_stop"), Flag.E_STOP),
            (self.fail_safe, Flag.FAIL_SAFE),
        )
        flags = Flag(0)
        for on, flag in bits:
            if on:
                flags |= flag
        return flags

    @property
    def max_charge_w(self) -> float:
        """What EVSE and vehicle can charge with in this session, W."""
        if self.vehicle is None:
            return 0
        return min(self._rating_w, self.vehicle.spec.max_charge_w)

    @property
    def max_discharge_w(self) -> float:
        if self.vehicle is None or not self.bidirectional:
            return 0
        return min(self._rating_w, self.vehicle.spec.max_discharge_w)

    @property
    def _rating_w(self) -> float:
        """The rating on the phases in use: the current per phase is what the hardware limits."""
        return self.spec.rating_w * self.phases / len(self.spec.phase_map)

    # ---- time ----

    def step(self, dt_s: float) -> None:
        """Advance by `dt_s` s: command age, power, battery, temperatures."""
        self._cmd_age_s = 0.0 if self._cmd_fresh else self._cmd_age_s + dt_s
        self._cmd_fresh = False
        if self.fail_safe:
            self._cmd_counter = None  # the first frame after silence may have any counter
        self._clock_s += dt_s
        self.wanted_w = self._after_dead_time(self._commanded_w())
        self._move_power(dt_s)
        if self.vehicle is not None:
            self.vehicle.step(dt_s, self.power_w, self.spec.ambient_c)
        current_a = abs(self.currents_a[0])
        self.connector.step(dt_s, current_a, self.spec.ambient_c, self.faults.number("hot_connector", "heat_w", 0))
        self.cable.step(dt_s, current_a, self.spec.ambient_c)
        self.charger.step(dt_s, 0, self.spec.ambient_c, extra_w=0.03 * abs(self.power_w))

    def _commanded_w(self) -> float:
        """The power that command, vehicle and hardware allow; never outside the command's own bounds."""
        cmd, vehicle = self._cmd, self.vehicle
        if vehicle is None or self.stopped or not vehicle.ready:
            return 0.0
        if self.fail_safe:
            return vehicle.limit(min(self._rating_w, self.fallback_w))
        if cmd is None or cmd.min_w > cmd.max_w:
            return 0.0
        low_w = cmd.min_w if cmd.mode == Mode.BIDIRECTIONAL and self.bidirectional else max(0, cmd.min_w)
        if cmd.mode == Mode.STOP or low_w > cmd.max_w:
            return 0.0
        power_w = vehicle.limit(max(-self._rating_w, min(self._rating_w, max(low_w, min(cmd.max_w, cmd.target_w)))))
        least_w = self.spec.min_charge_w if power_w > 0 else self.spec.min_discharge_w
        return power_w if abs(power_w) >= least_w and low_w <= power_w <= cmd.max_w else 0.0

    def _after_dead_time(self, power_w: float) -> float:
        """What was commanded `dead_time_s` ago; what the EVSE does on its own waits for nothing."""
        if self.dead_time_s == 0 or self.vehicle is None or self.stopped or self.fail_safe:
            self._underway.clear()
            return power_w
        self._underway.append((self._clock_s + self.dead_time_s, power_w))
        wanted_w = self.wanted_w
        while self._underway[0][0] <= self._clock_s:
            wanted_w = self._underway.popleft()[1]
        return wanted_w

    def _move_power(self, dt_s: float) -> None:
        if self.stopped or self.vehicle is None:
            self.power_w = 0.0
            return
        if self.faults.on("not_following") and not self.fail_safe:
            self.power_w = self._held_w
            return
        most_w = (self.spec.ramp_w_s or self.spec.rating_w / FULL_RAMP_S) * dt_s
        way_w = self.wanted_w - self.power_w
        if self.lag_s > 0 and abs(way_w) > 1:
            way_w *= 1 - math.exp(-dt_s / self.lag_s)
        self.power_w += max(-most_w, min(most_w, way_w))

    # ---- sending ----

    def readings(self) -> Readings:
        """What the sensors say now, sensor faults included."""
        vehicle = self.vehicle
        soc = vehicle.soc_percent if vehicle and vehicle.spec.digital and not self.faults.on("soc_unknown") else None
        cells = vehicle.cells.temperature_c if vehicle and vehicle.spec.digital else None
        now = Readings(
            power_w=self.power_w,
            soc_percent=soc,
            currents_a=self.currents_a,
            connector=self.connector.temperature_c + self.faults.number("hot_connector", "offset_c", 40),
            cable=self.cable.temperature_c,
            charger=self.charger.temperature_c,
            cell_max=cells,
            cell_min=None if cells is None else cells - 2,
        )
        changed: dict[str, Any] = {}
        if self._frozen is not None and self.faults.on("frozen"):
            changed |= {name: getattr(self._frozen, name) for name in self.faults.active["frozen"].get("values", READINGS)}
        if self.faults.on("says"):
            changed |= self.faults.active["says"].get("values", {})
        if self.faults.on("sensor_invalid"):
            changed |= dict.fromkeys(self.faults.active["sensor_invalid"].get("sensors", ("connector",)), None)
        return replace(now, **changed)

    def frame(self, name: str) -> tuple[int, bytes] | None:
        """The next frame `name` (of FRAMES) as (identifier, 8 bytes); None while it is silent."""
        if self.faults.hits("silent", "frames", name, FRAMES):
            return None
        counter = self._next_counter(name)
        can_id, data = getattr(self, f"_{name}")(counter, self.readings())
        if self.faults.hits("wrong_crc", "frames", name, FRAMES):
            data = bytes((data[0] ^ 0x5A,)) + data[1:]
        return can_id, data

    def _next_counter(self, name: str) -> int:
        step = 1
        if self.faults.hits("stuck_counter", "frames", name, FRAMES):
            step = 0
        elif self.faults.hits("wrong_counter", "frames", name, FRAMES):
            step = 7
        self._counters[name] = (self._counters[name] + step) % COUNTER_MODULO
        return self._counters[name]

    def _status_a(self, counter: int, r: Readings) -> tuple[int, bytes]:
        node = self.spec.node
        data = frames.encode_status_a(node, counter, self.state, r.power_w, r.soc_percent, r.connector, self.flags)
        return frames.STATUS_A_BASE + node, data

    def _status_b(self, counter: int, r: Readings) -> tuple[int, bytes]:
        return frames.STATUS_B_BASE + self.spec.node, frames.encode_status_b(self.spec.node, counter, r.currents_a)

    def _status_c(self, counter: int, r: Readings) -> tuple[int, bytes]:
        health = self.vehicle.spec.state_of_health_percent if self.vehicle else 0
        temperatures = (r.cable, r.charger, r.cell_max, r.cell_min)
        data = frames.encode_status_c(self.spec.node, counter, *temperatures, self.pilot_duty_percent, health)
        return frames.STATUS_C_BASE + self.spec.node, data

    def _limits(self, counter: int, r: Readings) -> tuple[int, bytes]:
        capacity_wh = self.vehicle.spec.capacity_wh if self.vehicle and self.vehicle.spec.digital else 0
        data = frames.encode_limits(self.spec.node, counter, self.max_charge_w, self.max_discharge_w, capacity_wh)
        return frames.LIMITS_BASE + self.spec.node, data

    def as_json(self) -> dict[str, object]:
        """The truth about this EVSE (not what faulty sensors say), for humans and tests."""
        return {
            "id": self.spec.id,
            "node": self.spec.node,
            "state": self.state.name,
            "power_w": round(self.power_w, 1),
            "wanted_w": round(self.wanted_w, 1),
            "soc_percent": round(self.vehicle.soc_percent, 3) if self.vehicle else None,
            "connector_c": round(self.connector.temperature_c, 2),
            "cable_c": round(self.cable.temperature_c, 2),
            "fail_safe": self.fail_safe,
            "valid_cmds": self.valid_cmds,
            "invalid_cmds": self.invalid_cmds,
            "faults": self.faults.active,
        }
