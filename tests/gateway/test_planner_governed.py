"""What the uplink measures and what the bus shows reach the governor of commands."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edge.arbiter import GovernorSettings
from edge.core import Core
from edge.field.canmap import EvseField
from edge.gateway.planner import Planner, measured_w
from edge.model import Constraint, EvseModel, FeederModel, Plan, Scope, ScopeKind, SiteModel, Source

S = 1_000_000_000
SITE = SiteModel(
    id="site-1",
    evses=tuple(EvseModel(f"evse-{n}", "main", -10_000, 10_000) for n in range(1, 5)),
    feeders=(FeederModel("main", None, -50_000, 60_000),),
)
EVSE_1 = Scope(ScopeKind.EVSE, "evse-1")


class Bus:
    """A core whose EVSEs show what they are told to show; time is ours."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns = 1_000 * S
        self.power_w: dict[str, int | None] = {evse.id: 0 for evse in SITE.evses}
        self.plans: list[Plan] = []
        monkeypatch.setattr(time, "monotonic_ns", lambda: self.now_ns)

    def snapshot(self) -> Any:
        def evse(evse_id: str, power_w: int | None) -> Any:
            return SimpleNamespace(
                id=evse_id, inputs=SimpleNamespace(value=lambda field: power_w if field is EvseField.POWER else None)
            )

        root = SimpleNamespace(id="main", lost=False, base_low_w=(0, 0, 0, 4_000), base_high_w=(0, 0, 0, 6_000))
        return SimpleNamespace(evses=[evse(*item) for item in self.power_w.items()], feeders=[root])

    def submit_plan(self, plan: Plan) -> None:
        self.plans.append(plan)


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> Bus:
    return Bus(monkeypatch)


@pytest.fixture
def planner(bus: Bus) -> Planner:
    return Planner(cast(Core, bus), SITE, 2 * S, GovernorSettings(start_spread_s=0))


def wish(target_w: int) -> Constraint:
    return Constraint(Source.AGGREGATOR, EVSE_1, target_w=target_w, until_ns=2_000 * S)


def targets(planner: Planner, bus: Bus, *seconds: float) -> list[int]:
    began_ns, found = bus.now_ns, []
    for second in seconds:
        bus.now_ns = began_ns + round(second * S)
        found.append(planner.renew().evses["evse-1"].target_w)
    return found


def test_over_a_fast_link_an_ordinary_command_is_in_the_next_plan(planner: Planner, bus: Bus) -> None:
    planner.round_trip_ms = lambda: 40.0
    assert planner.apply([wish(-6_000)]).evses["evse-1"].target_w == -6_000
    assert bus.plans[-1].evses["evse-1"].target_w == -6_000


def test_over_a_slow_link_the_same_command_is_spread_over_twice_the_round_trip(planner: Planner, bus: Bus) -> None:
    planner.round_trip_ms = lambda: 3_000.0
    planner.apply([wish(-6_000)])
    assert targets(planner, bus, 0, 3, 6) == [0, -3_000, -6_000]


def test_a_mass_command_starts_from_what_is_measured(planner: Planner, bus: Bus) -> None:
    bus.power_w = {evse.id: 9_000 for evse in SITE.evses}
    stop = [Constraint(Source.AGGREGATOR, Scope(ScopeKind.EVSE, e.id), target_w=0, until_ns=2_000 * S) for e in SITE.evses]
    planner.apply(stop)
    assert targets(planner, bus, 0, 0.2, 0.9) == [9_000, 7_000, 0]


def test_an_evse_that_is_not_heard_has_no_measured_power_and_the_site_has_its_other_loads(bus: Bus) -> None:
    bus.power_w = {"evse-1": 9_000, "evse-2": None, "evse-3": -2_000}
    known = measured_w(bus.snapshot(), SITE)
    assert known == {EVSE_1: 9_000, Scope(ScopeKind.EVSE, "evse-3"): -2_000, Scope(ScopeKind.SITE, "site-1"): 12_000}


def test_a_reload_changes_the_bounds_and_keeps_what_the_governor_remembers(planner: Planner) -> None:
    before = planner.arbiter.governor
    planner.govern(GovernorSettings(free_share=0.5))
    assert planner.arbiter.governor is before and before is not None and before.settings.free_share == 0.5
    planner.govern(None)
    assert planner.arbiter.governor is None
