"""The arithmetic of a commit: exact, rounded towards 0, never above the line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config import Settings, load
from edge.config.derive import (
    DERATE_STEPS,
    NO_METER,
    NO_PARENT,
    age_limit_ns,
    derate_table,
    derive_evses,
    derive_feeders,
    guard_timeout_ns,
    per_cycle_q8,
    soc_margin,
)
from edge.config.settings import Connector
from edge.config.units import MS, SECOND

SITE = """\
site: {id: site-1, grid: {import_limit_w: 60000, export_limit_w: 5000}}
feeders:
  - {id: row-a, parent: main, rating_a: 63, fallback_w: 8000}
  - {id: main, rating_a: 100, base_load_w: 9000, base_slew_w_s: 1000, meter: grid}
buses: [{id: can0, kind: can, channel: vcan0}, {id: net, kind: modbus-tcp}]
meters: [{id: grid, bus: net, host: h, profile: sim-meter}]
evses:
  - {id: e1, bus: can0, dbc: evse-generic, node: 1, feeder: row-a, rating_w: 30000, cable_a: 32, min_soc_threshold: 40}
  - {id: e2, bus: can0, dbc: evse-generic, node: 2, feeder: row-a, rating_w: 11000, discharge_rating_w: 0,
     min_soc_threshold: 10}
  - {id: e3, bus: can0, dbc: evse-generic, node: 3, feeder: main, rating_w: 7000, phase_map: [2], soc_source: none}
"""


@pytest.fixture
def site(tmp_path: Path):
    def of(old: str = "", new: str = "") -> Settings:
        path = tmp_path / "config.yaml"
        path.write_text(SITE.replace(old, new, 1))
        return load(path)

    return of


def test_parents_come_before_their_children(site):
    main, row = derive_feeders(site())
    assert (main.id, main.parent, main.depth, main.meter) == ("main", NO_PARENT, 0, 0)
    assert (row.id, row.parent, row.depth, row.meter) == ("row-a", 0, 1, NO_METER)


def test_a_fuse_is_its_current_times_nominal_voltage(site):
    main, row = derive_feeders(site())
    assert main.import_w == (23000, 23000, 23000, 60000)
    assert main.export_w == (23000, 23000, 23000, 5000)
    assert row.import_w == (14490, 14490, 14490, 43470)
    assert row.export_w == row.import_w


def test_another_nominal_voltage_gives_other_ratings(site):
    main, _ = derive_feeders(site("import_limit_w: 60000", "nominal_v: 120"))
    assert main.import_w == (12000, 12000, 12000, 36000)


def test_declared_loads_add_up_towards_the_grid(site):
    main, row = derive_feeders(site("fallback_w: 8000", "fallback_w: 8000, base_load_w: 1000, base_slew_w_s: 0"))
    assert row.base_w == (334, 334, 334, 1000)
    assert main.base_w == (3334, 3334, 3334, 10000)
    assert main.base_slew_w_s == 1000
    assert main.base_slew_q8 == 2560


def test_a_lost_meter_leaves_each_evse_its_share(site):
    main, row = derive_feeders(site())
    assert row.fallback_w[3] == 8000
    assert row.share_w == 4000
    assert main.fallback_w[3] == 51000
    assert main.fallback_w[0] == 20000
    assert main.share_w == 20000 // 3
    assert main.share_w * main.evses <= main.fallback_w[3]


def test_chargers_that_load_phases_evenly_get_larger_shares(site):
    single = site("rating_a: 63, fallback_w: 8000", "rating_a: 16")
    assert derive_feeders(single)[1].share_w == 3680 // 2
    text = SITE.replace("rating_a: 63, fallback_w: 8000", "rating_a: 16").replace(
        "feeder: row-a,", "feeder: row-a, balanced: true,"
    )
    assert derive_feeders(site(SITE, text))[1].share_w == 11040 // 2


def test_the_floor_is_the_highest_of_threshold_and_absolute(site):
    e1, e2, e3 = derive_evses(site())
    assert (e1.soc_floor, e2.soc_floor, e3.soc_floor) == (4000, 2000, 3000)


def test_the_rating_is_the_smaller_of_evse_and_cable(site):
    e1, e2, _ = derive_evses(site())
    assert (e1.rating_charge_w, e1.rating_discharge_w) == (22080, 22080)
    assert (e2.rating_charge_w, e2.rating_discharge_w) == (11000, 0)
    assert (e1.discharge_allowed, e2.discharge_allowed) == (True, False)


def test_phases_and_soc_source_are_carried_over(site):
    e1, _, e3 = derive_evses(site())
    assert (e1.phase_mask, e3.phase_mask) == (0b111, 0b010)
    assert (e1.soc_known, e3.soc_known) == (True, False)


def test_a_fallback_is_the_default_where_the_budget_allows_it(site):
    assert [e.fallback_charge_w for e in derive_evses(site())] == [4200, 4200, 4200]
    small = site("rating_a: 63, fallback_w: 8000", "rating_a: 16, base_load_w: 10000")
    assert [e.fallback_charge_w for e in derive_evses(small)] == [520, 520, 4200]


def test_ramps_are_shares_of_the_rating(site):
    e1, _, _ = derive_evses(site())
    assert (e1.ramp_normal_w_s, e1.ramp_frequency_w_s, e1.ramp_after_failsafe_w_s) == (2208, 44160, 2208)
    assert e1.ramp_normal_q8 == 2208 * 256 // 100
    assert per_cycle_q8(0, 10 * MS) == 1


def test_an_old_soc_is_trusted_less(site):
    settings = site()
    assert soc_margin(settings, 0, 60 * MS) == 100
    assert soc_margin(settings, 22000, 60 * MS) == 101
    assert soc_margin(settings, 36000, 1000 * SECOND) == 100 + 10_000


def test_ages_and_guard_follow_the_numbers_page(site):
    assert age_limit_ns(10 * MS, 100 * MS) == 130 * MS
    assert guard_timeout_ns(site(), realtime_kernel=True) == 100 * MS
    assert guard_timeout_ns(site(), realtime_kernel=False) == 500 * MS


def limits(low: int, high: int) -> Connector:
    return Connector(derate_from_c=low / 10, derate_to_c=high / 10, stop_c=150, resume_c=-40)


SPANS = st.tuples(st.integers(-400, 1400), st.integers(1, 400)).map(lambda t: (t[0], min(1500, t[0] + t[1])))
RATINGS = st.integers(0, 4_000_000)


@given(SPANS, RATINGS, st.integers(-500, 1600), st.integers(0, 300))
def test_hotter_never_gives_more(span, rating_w, temperature_dc, hotter_dc):
    table = derate_table(limits(*span), rating_w)
    cool, hot = table.limit_at_w(temperature_dc), table.limit_at_w(temperature_dc + hotter_dc)
    assert (rating_w if hot is None else hot) <= (rating_w if cool is None else cool)


@given(SPANS, RATINGS, st.integers(-500, 1600))
def test_the_steps_are_never_above_the_line(span, rating_w, temperature_dc):
    low, high = span
    limit_w = derate_table(limits(low, high), rating_w).limit_at_w(temperature_dc)
    if limit_w is None:
        assert temperature_dc < low
    else:
        assert limit_w * (high - low) <= rating_w * max(0, high - temperature_dc)
        assert limit_w == 0 or temperature_dc < high


@given(SPANS, RATINGS)
def test_a_table_fits_the_header(span, rating_w):
    table = derate_table(limits(*span), rating_w)
    assert len(table.limit_w) == DERATE_STEPS
    assert 0 <= table.shift <= 8
    assert table.start_dc + (DERATE_STEPS << table.shift) >= span[1]
    assert list(table.limit_w) == sorted(table.limit_w, reverse=True)
    assert table.resume_dc < table.stop_dc


@given(
    st.lists(st.tuples(st.integers(0, 3), st.one_of(st.none(), st.integers(0, 20_000))), min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(6, 400), st.integers(0, 60_000)), min_size=4, max_size=4),
)
def test_default_fallbacks_never_exceed_a_feeder(plugs, fuses):
    """Whatever the site looks like: where no explicit fallback is too much, the shared-out ones aren't either."""
    settings = Settings.model_validate(
        {
            "site": {"id": "s"},
            "feeders": tuple(
                {"id": f"f{i}", "rating_a": a, "base_load_w": w} | ({"parent": f"f{(i - 1) // 2}"} if i else {})
                for i, (a, w) in enumerate(fuses)
            ),
            "buses": ({"id": "can0", "kind": "can", "channel": "vcan0"},),
            "evses": tuple(
                {"id": f"e{i}", "bus": "can0", "feeder": f"f{feeder}", "rating_w": 22_000}
                | ({"fallback_charge_w": own_w} if own_w is not None else {})
                for i, (feeder, own_w) in enumerate(plugs)
            ),
        }
    )
    feeders, evses = derive_feeders(settings), derive_evses(settings)
    for index, feeder in enumerate(feeders):
        spare_w = feeder.import_w[3] - feeder.base_w[3]
        children_w = sum(f.fallback_w[3] for f in feeders if f.parent == index)
        direct = [(e, c) for e, c in zip(evses, settings.evses, strict=True) if e.feeder == index]
        explicit_w = sum(e.fallback_charge_w for e, c in direct if c.fallback_charge_w is not None)
        shared_w = sum(e.fallback_charge_w for e, c in direct if c.fallback_charge_w is None)
        assert explicit_w > max(0, spare_w) or explicit_w + shared_w + children_w <= max(0, spare_w)
        assert feeder.share_w * feeder.evses <= feeder.fallback_w[3] or feeder.evses == 0


def test_on_a_bus_that_is_not_real_time_nobody_discharges(site):
    slow = "kind: python-can, interface: slcan, channel: /dev/ttyACM0"
    kept = derive_evses(site("kind: can, channel: vcan0", slow))
    assert not any(evse.discharge_allowed for evse in kept)
    assert [evse.rating_charge_w for evse in kept] == [evse.rating_charge_w for evse in derive_evses(site())]
