"""The observer counts what a gateway must not do, from the bus and the config alone."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from ruamel.yaml import YAML
from v2g_sim import frames
from v2g_sim.frames import Flag, Mode, State
from v2g_sim.observer import Observer

CONFIG = YAML(typ="safe").load("""
site: {id: site-1, grid: {import_limit_w: 30000, export_limit_w: 20000}}
limits: {min_soc_threshold: 30, absolute_min_soc: 20}
feeders:
  - {id: main, rating_a: 100, base_load_w: 5000}
  - {id: row-a, parent: main, rating_a: 40}
buses: [{id: can0, kind: can, channel: vcan0}]
evses:
  - {id: evse-1, bus: can0, dbc: evse-generic, node: 1, feeder: row-a, rating_w: 22000, cable_a: 32, min_soc_threshold: 40}
  - {id: evse-2, bus: can0, dbc: evse-generic, node: 2, feeder: row-a, rating_w: 22000, cable_a: 32}
""")
READY = Flag.BIDIRECTIONAL | Flag.CONTACTOR | Flag.EV_PRESENT | Flag.FOLLOWING


class Bench:
    """Plays EVSEs and gateway to an observer; every frame comes 1 ms after the last."""

    def __init__(self, config: dict[str, Any] = CONFIG) -> None:
        self.observer = Observer(config)
        self.now = 100.0
        self.counters: dict[int, int] = {}
        for node in (1, 2):
            self.status(node)

    def feed(self, can_id: int, data: bytes) -> None:
        self.now += 0.001
        self.observer.feed("can0", self.now, can_id, data)

    def count(self, can_id: int) -> int:
        self.counters[can_id] = (self.counters.get(can_id, 0) + 1) % 15
        return self.counters[can_id]

    def status(
        self,
        node: int = 1,
        soc: float | None = 60.0,
        connector: float | None = 30.0,
        state: State = State.ENERGY_TRANSFER,
        flags: Flag = READY,
    ) -> None:
        can_id = 0x300 + node
        self.feed(can_id, frames.encode_status_a(node, self.count(can_id), state, 0, soc, connector, flags))

    def command(self, target_w: float, node: int = 1, high_w: float | None = None, low_w: float | None = None) -> None:
        high_w = max(target_w, 0) if high_w is None else high_w
        low_w = min(target_w, 0) if low_w is None else low_w
        data = frames.encode_cmd(node, self.count(0x200 + node), Mode.BIDIRECTIONAL, target_w, high_w, low_w)
        self.feed(0x200 + node, data)

    def beyond(self) -> dict[str, int]:
        summary = self.observer.summary()
        json.dumps(summary)
        assert summary["setpoints_beyond_limit"] == sum(summary["beyond_limit_by_rule"].values())
        return summary["beyond_limit_by_rule"]


def test_a_good_gateway_is_found_good():
    bench = Bench()
    for target_w in (0, 11000, 22000, 0, -11000):
        bench.command(target_w)
        bench.status()
    assert bench.beyond() == {}
    assert bench.observer.summary()["evses"]["evse-1"]["cmd_frames"] == 5


def test_a_setpoint_beyond_the_rating_counts_at_once():
    bench = Bench()
    bench.command(22100, high_w=22100)
    assert bench.beyond()["rating"] == 1


def test_a_target_outside_its_own_bounds_counts():
    bench = Bench()
    bench.command(5000, high_w=4000)
    assert bench.beyond() == {"target_outside": 1}


def test_discharge_below_the_floor_counts_from_the_third_command_on():
    """The floor of evse-1 is its own 40 %, that of evse-2 the site's 30 %."""
    bench = Bench()
    bench.status(soc=40)
    bench.status(2, soc=40)
    for expected in ({}, {}, {"soc_floor": 1}, {"soc_floor": 2}):
        bench.command(-5000)
        bench.command(-5000, node=2)
        assert bench.beyond() == expected


def test_a_timely_answer_is_no_breach_and_its_delay_is_told():
    bench = Bench()
    bench.command(5000)
    bench.status(connector=90)
    bench.command(5000)
    bench.command(0)
    assert bench.beyond() == {}
    assert bench.observer.summary()["answers"]["thermal_stop"] == {"count": 1, "max_frames": 2, "max_ms": 2.0}
    bench.command(1000)  # once answered, there is no second grace
    assert bench.beyond() == {"thermal_stop": 1}


@pytest.mark.parametrize(
    ("report", "target_w", "rule"),
    [
        ({"soc": None}, -5000, "soc_unknown"),
        ({"soc": 100}, 5000, "soc_ceiling"),
        ({"connector": 91}, 5000, "thermal_stop"),
        ({"connector": None}, -5000, "thermal_sensor"),
        ({"state": State.B_CONNECTED}, 5000, "not_ready"),
        ({"flags": READY | Flag.FAULT}, 5000, "evse_fault"),
        ({"flags": READY | Flag.E_STOP}, 5000, "e_stop"),
        ({"flags": READY & ~Flag.BIDIRECTIONAL}, -5000, "no_bidirectional"),
    ],
)
def test_what_a_report_forbids_must_end(report, target_w, rule):
    bench = Bench()
    bench.status(**report)
    for _ in range(3):
        bench.command(target_w)
    assert bench.beyond() == {rule: 1}


def test_slow_reports_count_too():
    bench = Bench()
    bench.feed(0x501, frames.encode_status_c(1, 1, 30, 95, 30, 25, 5, 97))
    bench.feed(0x602, frames.encode_limits(2, 1, 7000, 0, 40_000))
    for _ in range(3):
        bench.command(5000)
        bench.command(8000, node=2)
    assert bench.beyond() == {"thermal_stop": 1, "vehicle_limit": 1}


def test_a_silent_evse_must_not_be_told_to_discharge():
    bench = Bench()
    bench.command(-5000)
    bench.now += 0.3
    bench.command(-5000)
    assert bench.beyond() == {"evse_lost": 1}


def test_the_sum_of_setpoints_must_fit_the_fuse():
    bench = Bench()
    bench.command(18000)
    bench.command(9000, node=2)
    assert bench.beyond() == {}  # 27 kW of 27.6 kW (3 x 40 A)
    bench.command(9900, node=2)
    assert bench.beyond() == {"feeder": 1, "phase_1": 1, "phase_2": 1, "phase_3": 1}


def test_base_load_counts_once_its_meter_must_have_shown_it():
    bench = Bench()
    bench.observer.set_base_load("main", 10000, bench.now, grace_s=1)
    bench.command(22000)
    assert bench.beyond() == {}
    bench.now += 1.1
    bench.status()
    bench.command(22000)
    assert bench.beyond() == {"feeder": 1}


def test_export_beyond_the_grids_limit_counts():
    """20 kW of export limit and at most 5 kW of other load."""
    bench = Bench()
    bench.command(-15000)
    bench.command(-10000, node=2)
    assert bench.beyond() == {}
    bench.command(-10100, node=2)
    assert bench.beyond() == {"feeder": 1}


def test_bad_frames_and_gaps_are_counted():
    bench = Bench()
    bench.command(0)
    bench.counters[0x201] += 2
    bench.command(0)
    bench.now += 0.15
    bench.command(0)
    bench.feed(0x201, bytes(8))
    evse = bench.observer.summary()["evses"]["evse-1"]
    assert (evse["cmd_crc_errors"], evse["cmd_counter_errors"], evse["cmd_gaps_over_100_ms"]) == (1, 1, 1)
    assert evse["cmd_max_gap_ms"] == pytest.approx(151, abs=1)


def test_power_for_an_evse_that_never_spoke_counts():
    observer = Observer(CONFIG)
    observer.feed("can0", 1.0, 0x201, frames.encode_cmd(1, 1, Mode.BIDIRECTIONAL, 5000, 5000, 0))
    assert observer.summary()["beyond_limit_by_rule"] == {"no_report": 1}


def test_the_observer_imports_nothing_of_the_gateway():
    code = "import sys, v2g_sim.observer; sys.exit(any(name.split('.')[0] == 'edge' for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
