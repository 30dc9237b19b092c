"""Departures and wear of the config, seen from a snapshot: what the arbiter is told, and what telemetry says is spare."""

from pathlib import Path

import pytest

from edge.arbiter import Arbiter
from edge.config import Settings, load
from edge.core import Snapshot
from edge.field.canmap import EvseField
from edge.gateway.energy import EnergyPlanner, departure_ns, minutes
from edge.gateway.model import site_model
from edge.model import Constraint, Scope, ScopeKind, Source
from tests.gateway.pictures import picture_of

CONFIG = """
site: {id: site-1, grid: {import_limit_w: 60000, export_limit_w: 50000}}
feeders: [{id: main, rating_a: 100, base_load_w: 5000}]
buses: [{id: can0, kind: can, channel: vcan0}]
evses:
  - {id: evse-1, bus: can0, dbc: evse-generic, node: 1, feeder: main, rating_w: 22000, departure: {by: "07:30", soc: 80}}
  - {id: evse-2, bus: can0, dbc: evse-generic, node: 2, feeder: main, rating_w: 22000}
"""


def settings(folder: Path, more: str = "") -> Settings:
    path = folder / "config.yaml"
    path.write_text(CONFIG + more)
    return load(path, files=False)


def planner(own: Settings, trusted: bool = False) -> tuple[EnergyPlanner, Arbiter]:
    arbiter = Arbiter(site_model(own))
    return EnergyPlanner(arbiter, own, lambda: trusted), arbiter


def vehicle(soc: int, **more: int) -> Snapshot:
    values = {EvseField[name.upper()]: value for name, value in more.items()}
    return picture_of(
        {EvseField.FLAGS: 8, EvseField.SOC: soc, EvseField.CAPACITY: 60_000, EvseField.MAX_DISCHARGE: 22_000} | values
    )


@pytest.mark.parametrize(
    ("by", "minute", "hours"), [("07:30", 7 * 60, 0.5), ("07:30", 8 * 60, 23.5), ("00:00", 23 * 60, 1.0), ("07:30", None, 0)]
)
def test_a_departure_is_the_next_time_of_that_hour_and_now_without_a_clock(by: str, minute: int | None, hours: float) -> None:
    assert departure_ns(by, 5, minute) == 5 + round(hours * 3600) * 1_000_000_000
    assert minutes("07:30") == 450


def test_without_a_clock_a_departure_keeps_its_whole_need_and_charges_now(tmp_path: Path) -> None:
    own, arbiter = planner(settings(tmp_path))
    own.update(vehicle(soc=5_000))
    assert arbiter.needs["evse-1"].soc_floor == 8_000
    assert arbiter.needs["evse-1"].charge_w > 0
    assert arbiter.needs["evse-1"].by == "departure 07:30"
    assert own.flexibilities["evse-1"].up_wh == 0
    assert "evse-2" not in arbiter.needs


def test_nobody_in_the_way_who_has_what_is_needed(tmp_path: Path) -> None:
    own, arbiter = planner(settings(tmp_path))
    own.update(vehicle(soc=9_000))
    assert arbiter.needs["evse-1"].charge_w == 0
    assert 0 < own.flexibilities["evse-1"].up_wh <= 6_000


@pytest.mark.parametrize(("most", "cell", "barred"), [(0.001, 250, True), (10, 250, False), (10, -100, True)])
def test_wear_above_the_limit_or_unknown_bars_discharging(tmp_path: Path, most: float, cell: int, barred: bool) -> None:
    own, arbiter = planner(settings(tmp_path, f"energy: {{max_wear_eur_per_kwh: {most}}}\n"))
    own.update(vehicle(soc=9_000, t_cell_max=cell))
    assert (arbiter.needs["evse-1"].soc_floor == 10_000) is barred
    assert (own.flexibilities["evse-1"].up_wh == 0) is barred


def test_local_modes_fall_silent_while_the_aggregator_speaks(tmp_path: Path) -> None:
    own, arbiter = planner(settings(tmp_path, "local_modes: {solar_surplus: true}\n"))
    own.update(vehicle(soc=5_000))
    epoch = arbiter.store.limits_epoch
    own.update(vehicle(soc=5_100))
    assert arbiter.store.of_source(Source.LOCAL)
    assert arbiter.store.limits_epoch == epoch, "the same again is no new word"
    arbiter.put([Constraint(Source.AGGREGATOR, Scope(ScopeKind.SITE, "site-1"), target_w=0, until_ns=2**62)])
    own.update(vehicle(soc=5_100))
    assert not arbiter.store.of_source(Source.LOCAL)


def test_a_changed_config_counts_at_once(tmp_path: Path) -> None:
    before = settings(tmp_path)
    own, arbiter = planner(before)
    own.adopt(before.model_copy(update={"evses": tuple(e.model_copy(update={"departure": None}) for e in before.evses)}))
    own.update(vehicle(soc=5_000))
    assert arbiter.needs == {}


def test_an_empty_place_needs_nothing(tmp_path: Path) -> None:
    own, arbiter = planner(settings(tmp_path))
    own.update(picture_of({EvseField.FLAGS: 0, EvseField.SOC: 100}))
    assert arbiter.needs == {} and own.flexibilities == {}
