"""`site.grid` of a config becomes the core's grid config: every figure in the core's units, nothing lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from core_site import CONFIG, EVSE

from edge.config.devices import load_devices
from edge.config.gridcode import PROFILES
from edge.config.loader import load
from edge.core._native import ffi, lib
from edge.core.layout import native_config
from edge.core.pack_site import pack_site

SECOND_NS = 10**9


def packed(folder: Path, grid: str) -> Any:
    """`struct v2g_site_config` of a site with these keys of `site.grid`; nothing of it runs."""
    evses = "\n".join(EVSE.format(id=f"evse-{node}", node=node) for node in (1, 2))
    text = CONFIG.format(hub=folder / "none", port=502, page=8088, folder=folder, floor=30, evses=evses)
    text = text.replace("export_limit_w: 50000", f"export_limit_w: 50000, {grid}")
    path = folder / "config.yaml"
    path.write_text(text.replace("reaction_time: 1s", "reaction_time: 1s, response: 200ms"))
    settings = load(path)
    native = ffi.new("struct v2g_site_config *")
    pack_site(native, native_config(settings, load_devices(settings, folder), 0))
    return native


def test_without_profile_and_services_there_is_no_grid_to_answer(tmp_path: Path):
    native = packed(tmp_path, "profile: none")
    assert native.grid.present == 0
    assert list(native.response_ns)[:2] == [200_000_000] * 2


def test_every_stage_of_a_profile_becomes_a_watch_in_the_cores_units(tmp_path: Path):
    profile = PROFILES["ieee1547-cat3"]
    grid = packed(tmp_path, "profile: ieee1547-cat3, nominal_hz: 60, nominal_v: 240").grid
    assert (grid.present, grid.trips, grid.nominal_mhz, grid.nominal_dv) == (1, 1, 60_000, 2400)
    watches = [w for w in grid.watch if w.kind != lib.V2G_WATCH_NONE]
    voltage = [(s.limit * 2400, s.delay_s * SECOND_NS, s.over, s.cease) for s in profile.voltage]
    frequency = [(s.limit * 1000, s.delay_s * SECOND_NS, s.over, s.cease) for s in profile.frequency]
    for kind, stages in ((lib.V2G_WATCH_VOLTAGE, voltage), (lib.V2G_WATCH_FREQUENCY, frequency)):
        told = [(w.limit, w.delay_ns, bool(w.over), bool(w.cease)) for w in watches if w.kind == kind]
        assert told == [pytest.approx(stage, abs=1) for stage in stages]
    assert len(watches) == len(voltage) + len(frequency)
    assert (grid.enter_low_dv, grid.enter_high_dv, grid.enter_low_mhz, grid.enter_high_mhz) == (2201, 2520, 59_500, 60_100)


def test_service_is_entered_after_the_profiles_delay_and_up_to_a_fifth_more(tmp_path: Path):
    grid = packed(tmp_path, "profile: ieee1547-cat2, nominal_hz: 60").grid
    assert 300 * SECOND_NS <= grid.enter_delay_ns <= 360 * SECOND_NS
    assert grid.enter_ramp_ns == 300 * SECOND_NS
    assert grid.enter_step_q32 == 10_000_000 * 2**32 // grid.enter_ramp_ns


def test_a_utility_may_ask_for_another_delay_and_ramp(tmp_path: Path):
    grid = packed(tmp_path, "profile: ieee1547-cat2, nominal_hz: 60, enter_delay: 10s, enter_ramp: 20s").grid
    assert 10 * SECOND_NS <= grid.enter_delay_ns <= 12 * SECOND_NS
    assert grid.enter_ramp_ns == 20 * SECOND_NS


def test_a_service_answers_with_the_power_kept_for_it(tmp_path: Path):
    grid = packed(tmp_path, "services: [neso-dc], service_w: 11000").grid
    rated_w = 2 * 22_000
    answer = grid.answer[0]
    assert (grid.present, grid.trips, grid.meters) == (1, 0, 1)
    assert answer.scale_q16 == 11_000 * 2**16 // rated_w
    assert [answer.from_mhz[0], answer.from_mhz[1]] == [15, 200]
    assert answer.value_q16[1] == round(0.05 * 2**16)
    assert grid.answer[1].scale_q16 == 0


def test_the_droop_of_a_profile_can_be_left_out(tmp_path: Path):
    assert packed(tmp_path, "profile: ieee1547-cat1, nominal_hz: 60").grid.answer[0].scale_q16 == 2**16
    assert packed(tmp_path, "profile: ieee1547-cat1, nominal_hz: 60, droop: false").grid.answer[0].scale_q16 == 0
