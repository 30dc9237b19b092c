"""The simulated EVSE does what contracts.md section 3 asks of a real one, and breaks on command as real ones do."""

from __future__ import annotations

import math
from pathlib import Path

import cantools
import pytest
from hypothesis import given
from hypothesis import strategies as st
from v2g_sim import frames
from v2g_sim.e2e import frame_crc
from v2g_sim.evse import Evse, EvseSpec
from v2g_sim.faults import FRAMES, PARAMETERS, FaultError
from v2g_sim.frames import Mode, State
from v2g_sim.thermal import ThermalNode
from v2g_sim.vehicle import VehicleSpec

DBC = cantools.database.load_file(Path(__file__).resolve().parents[2] / "edge/field/dbc/evse-generic.dbc", strict=True)
DT = 0.01


class Bench:
    """An EVSE with a vehicle that is ready, and a gateway that commands it every 10 ms."""

    def __init__(self, spec: EvseSpec | None = None, vehicle: VehicleSpec | None = None) -> None:
        self.evse = Evse(spec or EvseSpec("evse-1", 1), vehicle or VehicleSpec())
        self.counter = 0
        self.run(0.3)

    def command(self, target_w: float, max_w: float = 22000, min_w: float = -22000, mode: Mode = Mode.BIDIRECTIONAL) -> bool:
        self.counter = (self.counter + 1) % 15
        return self.evse.on_cmd(frames.encode_cmd(1, self.counter, mode, target_w, max_w, min_w))

    def run(self, seconds: float, *command: float, mode: Mode = Mode.BIDIRECTIONAL) -> None:
        for _ in range(round(seconds / DT)):
            if command:
                self.command(*command, mode=mode)
            self.evse.step(DT)

    def read(self, name: str) -> dict:
        message = {"status_a": "StatusA", "status_b": "StatusB", "status_c": "StatusC", "limits": "Limits"}[name]
        can_id, data = self.evse.frame(name)
        assert can_id == DBC.get_message_by_name(message).frame_id
        assert data[0] == frame_crc(can_id, data)
        return DBC.decode_message(can_id, data, decode_choices=False)


def test_a_commanded_evse_reaches_full_power_within_half_a_second():
    bench = Bench()
    bench.run(0.5, 22000)
    status = bench.read("status_a")
    assert (status["power_w"], status["state"], status["contactor"], status["following"]) == (
        22000,
        State.ENERGY_TRANSFER,
        1,
        1,
    )
    assert bench.read("status_b")["current_l1_a"] == pytest.approx(22000 / 3 / 230, abs=0.05)


def test_an_evse_behind_a_slow_backend_follows_later_and_gradually():
    bench = Bench()
    bench.evse.dead_time_s, bench.evse.lag_s = 1.0, 0.3
    bench.run(0.98, 10_000)
    assert bench.evse.power_w == 0
    bench.run(0.3, 10_000)
    assert bench.evse.power_w == pytest.approx(10_000 * (1 - math.exp(-1)), rel=0.05)
    bench.run(3, 10_000)
    assert bench.evse.power_w == pytest.approx(10_000)
    bench.evse.set_fault("e_stop")
    bench.run(0.01, 10_000)
    assert bench.evse.power_w == 0


def test_an_evse_discharges_only_in_the_bidirectional_mode():
    bench = Bench()
    bench.run(0.5, -5000)
    assert bench.evse.power_w == -5000
    bench.run(0.5, -5000, mode=Mode.CHARGE_ONLY)
    assert bench.evse.power_w == 0
    bench.run(0.5, 5000, mode=Mode.STOP)
    assert bench.evse.power_w == 0


@given(*[st.integers(-3000, 3000)] * 3, st.sampled_from(Mode))
def test_the_commands_own_bounds_hold_whatever_the_target_says(target, high, low, mode):
    bench = Bench()
    bench.run(0.5, target * 10, high * 10, low * 10, mode=mode)
    assert bench.evse.power_w == 0 or low * 10 <= bench.evse.power_w <= high * 10
    assert abs(bench.evse.power_w) <= 22000
    assert bench.evse.power_w >= 0 or mode == Mode.BIDIRECTIONAL


def test_below_the_device_minimum_the_evse_holds_zero():
    bench = Bench(EvseSpec("evse-1", 1, min_charge_w=1400))
    bench.run(0.5, 1390)
    assert bench.evse.power_w == 0
    bench.run(0.5, 1400)
    assert bench.evse.power_w == 1400


def test_without_a_valid_command_for_100_ms_the_evse_goes_to_zero_and_says_so():
    bench = Bench()
    bench.run(0.5, 22000)
    bench.run(0.09)
    assert bench.read("status_a")["fail_safe_active"] == 0
    bench.run(0.02)
    assert bench.read("status_a")["fail_safe_active"] == 1
    bench.run(0.3)
    assert bench.evse.power_w == 0
    bench.run(0.5, 22000)
    assert bench.evse.power_w == 22000


def test_commands_with_a_wrong_crc_or_a_stuck_counter_do_not_count():
    bench = Bench()
    bench.run(0.5, 10000)
    good = frames.encode_cmd(1, (bench.counter + 1) % 15, Mode.BIDIRECTIONAL, 10000, 22000, -22000)
    assert not bench.evse.on_cmd(bytes((good[0] ^ 1,)) + good[1:])
    assert not bench.evse.on_cmd(good[:7])
    assert bench.evse.on_cmd(good)
    assert not bench.evse.on_cmd(good)
    for _ in range(12):
        bench.evse.on_cmd(good)
        bench.evse.step(DT)
    assert bench.evse.fail_safe


def test_a_few_lost_commands_are_forgiven():
    bench = Bench()
    bench.run(0.5, 10000)
    bench.counter += 3
    assert bench.command(10000)
    bench.counter += 4
    assert not bench.command(10000)


def test_a_vehicle_that_leaves_takes_its_power_and_its_soc_along():
    bench = Bench()
    bench.run(0.5, 22000)
    bench.evse.unplug()
    status, limits = bench.read("status_a"), bench.read("limits")
    assert (status["state"], status["power_w"], status["ev_present"]) == (State.A_NO_VEHICLE, 0, 0)
    assert status["soc_percent"] == pytest.approx(655.35)  # raw 0xFFFF
    assert (limits["max_charge_w"], limits["capacity_wh"]) == (0, 0)
    bench.evse.plug(VehicleSpec(capacity_wh=40_000, soc_percent=25, bidirectional=False, phases=1, max_charge_w=7400))
    assert bench.read("status_a")["state"] == State.B_CONNECTED
    bench.run(0.5, 22000)
    status, limits = bench.read("status_a"), bench.read("limits")
    assert status["soc_percent"] == pytest.approx(25, abs=0.1)
    assert (status["power_w"], status["bidirectional"], limits["capacity_wh"]) == (7330, 0, 40_000)
    assert bench.read("status_b")["current_l2_a"] == 0


def test_a_plain_ac_vehicle_tells_no_soc_and_gets_its_limit_by_the_pilot():
    bench = Bench(vehicle=VehicleSpec(digital=False))
    bench.run(0.5, 11040, 11040)
    assert bench.read("status_a")["soc_percent"] == pytest.approx(655.35)
    assert bench.read("status_c")["pilot_duty_percent"] == 27  # 16 A / 0.6
    assert bench.read("limits")["max_discharge_w"] == 0


def test_an_hour_at_ten_kilowatts_stores_what_physics_allows():
    bench = Bench(vehicle=VehicleSpec(capacity_wh=100_000, soc_percent=30, state_of_health_percent=100))
    bench.run(0.5, 10000)
    for _ in range(3600):
        bench.command(10000)
        bench.evse.step(1)
    assert bench.evse.vehicle.soc_percent == pytest.approx(30 + 9.5, abs=0.01)


def test_thermal_step_is_exact_and_independent_of_its_length():
    coarse, fine = (ThermalNode(0.0, 2.0, 480, 20) for _ in range(2))
    coarse.step(480, 0, 20, extra_w=10)
    for _ in range(480):
        fine.step(1, 0, 20, extra_w=10)
    assert coarse.temperature_c == pytest.approx(20 + 20 * (1 - math.exp(-1)))
    assert fine.temperature_c == pytest.approx(coarse.temperature_c)


def test_the_contact_warms_under_load_and_more_with_a_bad_contact():
    healthy, bad = Bench(), Bench()
    bad.evse.set_fault("hot_connector", heat_w=2, offset_c=0)
    for bench in (healthy, bad):
        bench.run(0.5, 22000)
        for _ in range(3600):
            bench.command(22000)
            bench.evse.step(1)
    assert 40 < healthy.evse.connector.temperature_c < 60
    assert bad.evse.connector.temperature_c > healthy.evse.connector.temperature_c + 90


def test_e_stop_and_fault_open_the_contactor_at_once():
    for name, flag in (("e_stop", "e_stop"), ("fault", "fault")):
        bench = Bench()
        bench.run(0.5, 22000)
        bench.evse.set_fault(name)
        bench.run(0.01, 22000)
        status = bench.read("status_a")
        assert (status["power_w"], status["state"], status[flag], status["contactor"]) == (0, State.F_UNAVAILABLE, 1, 0)
        bench.evse.clear_fault(name)
        bench.run(0.5, 22000)
        assert bench.evse.power_w == 22000


def test_a_lost_pilot_shows_as_state_e_and_ends_the_transfer():
    bench = Bench()
    bench.run(0.5, 22000)
    bench.evse.set_fault("pilot_lost")
    bench.run(0.01, 22000)
    status = bench.read("status_a")
    assert (status["state"], status["power_w"], bench.read("status_c")["pilot_duty_percent"]) == (State.E_NO_PILOT, 0, 0)


def test_faults_show_on_the_bus():
    bench = Bench()
    bench.run(0.5, 10000)
    bench.evse.set_fault("hot_connector", offset_c=70)
    assert bench.read("status_a")["connector_c"] == 90
    bench.evse.set_fault("sensor_invalid")
    assert bench.read("status_a")["connector_c"] == 215  # raw 0xFF
    bench.evse.set_fault("soc_unknown")
    assert bench.read("status_a")["soc_percent"] == pytest.approx(655.35)
    bench.evse.set_fault("no_bidirectional")
    assert (bench.read("status_a")["bidirectional"], bench.read("limits")["max_discharge_w"]) == (0, 0)
    bench.evse.clear_fault("all")
    assert bench.read("status_a")["connector_c"] == 20


def test_a_frozen_evse_repeats_its_readings_with_living_counters():
    bench = Bench()
    bench.run(0.5, 10000)
    before = bench.read("status_a")
    bench.evse.set_fault("frozen")
    bench.run(0.5, -10000)
    after = bench.read("status_a")
    assert after["power_w"] == before["power_w"] == 10000
    assert after["counter"] != before["counter"]
    assert bench.evse.power_w == -10000


def test_an_evse_that_does_not_follow_holds_its_power_and_does_not_claim_to_follow():
    bench = Bench()
    bench.run(0.5, 10000)
    bench.evse.set_fault("not_following")
    bench.run(0.5, 0)
    status = bench.read("status_a")
    assert (status["power_w"], status["following"]) == (10000, 0)
    bench.run(0.5)
    assert bench.evse.power_w == 0  # its own fail-safe still works


def test_silence_bad_crc_and_bad_counters_hit_the_named_frames_only():
    evse = Bench().evse
    evse.set_fault("silent", frames=["status_a"])
    assert evse.frame("status_a") is None
    assert evse.frame("status_b") is not None
    evse.set_fault("wrong_crc", frames=["limits"])
    can_id, data = evse.frame("limits")
    assert data[0] != frame_crc(can_id, data)
    evse.set_fault("stuck_counter", frames=["status_b"])
    assert len({evse.frame("status_b")[1][1] for _ in range(5)}) == 1
    evse.set_fault("wrong_counter", frames=["status_c"])
    one, two = (evse.frame("status_c")[1][1] for _ in range(2))
    assert (two - one) % 15 == 7


def test_a_misspelt_fault_is_refused_with_what_is_known():
    evse = Evse(EvseSpec("evse-1", 1))
    with pytest.raises(FaultError, match="hot_connector"):
        evse.set_fault("hot_conector")
    with pytest.raises(FaultError, match="takes"):
        evse.set_fault("silent", values=["power_w"])
    with pytest.raises(FaultError, match="status_a"):
        evse.set_fault("silent", frames=["status_x"])


@given(st.lists(st.sampled_from(sorted(PARAMETERS)), max_size=5), st.booleans())
def test_no_combination_of_faults_breaks_the_firmware(names, plugged):
    bench = Bench()
    for name in names:
        bench.evse.set_fault(name)
    if not plugged:
        bench.evse.unplug()
    bench.run(0.2, 22000)
    for name in FRAMES:
        frame = bench.evse.frame(name)
        assert frame is None or len(frame[1]) == 8
