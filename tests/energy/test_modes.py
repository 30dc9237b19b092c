"""What the site does alone: sun, demand limit, tariff."""

import pytest

from edge.arbiter import Arbiter
from edge.energy import Goal, Modes, Tariff, Window, goal, local_constraints
from edge.model import EvseModel, FeederModel, Plan, ScopeKind, SiteModel, VehicleNeed

SITE = SiteModel(
    "site-1",
    tuple(EvseModel(f"evse-{n}", "main", -10_000, 22_000) for n in (1, 2)),
    (FeederModel("main", None, -50_000, 60_000),),
)
NIGHT, PEAK = Window(22 * 60, 6 * 60, 0.10), Window(17 * 60, 20 * 60, 0.60)
TARIFF = Tariff((NIGHT, PEAK), otherwise_eur_per_kwh=0.20, wear_eur_per_kwh=0.05, efficiency=0.9)


def plan(modes: Modes, base_w: int | None = 10_000, minute: int | None = 12 * 60) -> Plan:
    arbiter = Arbiter(SITE)
    arbiter.put(local_constraints(modes, SITE, base_w, minute))
    return arbiter.renew(1)


def test_a_window_over_midnight_holds_on_both_sides_of_it() -> None:
    assert [NIGHT.holds(60 * hour) for hour in (21, 22, 0, 5, 6)] == [False, True, True, True, False]


def test_a_kwh_is_worth_discharging_above_its_price_with_losses_and_wear() -> None:
    assert TARIFF.cheapest == 0.10
    assert pytest.approx(0.10 / 0.81 + 0.05) == TARIFF.worth_discharging


@pytest.mark.parametrize(
    ("modes", "hour", "expected"),
    [
        (Modes(), 12, Goal.CHARGE),
        (Modes(solar_surplus=True), 12, Goal.SURPLUS),
        (Modes(tariff=TARIFF), 2, Goal.CHARGE),
        (Modes(tariff=TARIFF), 12, Goal.OWN_LOAD),
        (Modes(tariff=TARIFF), 18, Goal.OWN_LOAD),
        (Modes(tariff=Tariff((NIGHT,), 0.15, 0.05, 0.9)), 12, Goal.WAIT),
        (Modes(solar_surplus=True, tariff=Tariff((NIGHT,), 0.15, 0.05, 0.9)), 12, Goal.SURPLUS),
        (Modes(solar_surplus=True, tariff=TARIFF), None, Goal.SURPLUS),
        (Modes(tariff=TARIFF), None, Goal.CHARGE),
    ],
)
def test_the_goal_follows_price_and_clock(modes: Modes, hour: int | None, expected: Goal) -> None:
    assert goal(modes, None if hour is None else 60 * hour) is expected


def test_the_sun_charges_and_nothing_is_discharged_for_it() -> None:
    made = plan(Modes(solar_surplus=True))
    assert made.feeders["main"].target_w == 0
    assert [(e.min_w, e.max_w, e.site_target) for e in made.evses.values()] == [(0, 22_000, True)] * 2


def test_a_demand_limit_bounds_the_site_and_calls_the_vehicles_to_help() -> None:
    made = plan(Modes(demand_limit_w=40_000), base_w=45_000)
    assert (made.feeders["main"].import_w, made.feeders["main"].target_w) == (40_000, 40_000)
    assert all(e.min_w == -10_000 for e in made.evses.values())


def test_with_the_sun_the_vehicles_still_help_above_the_demand_limit() -> None:
    below, above = (plan(Modes(solar_surplus=True, demand_limit_w=40_000), base_w=load) for load in (30_000, 45_000))
    assert (below.feeders["main"].target_w, below.evses["evse-1"].min_w) == (0, 0)
    assert (above.feeders["main"].target_w, above.evses["evse-1"].min_w) == (40_000, -10_000)


def test_waiting_for_a_lower_price_wishes_nothing_and_bounds_nothing() -> None:
    made = plan(Modes(tariff=Tariff((NIGHT,), 0.15, 0.05, 0.9)))
    assert [(e.target_w, e.max_w) for e in made.evses.values()] == [(0, 22_000)] * 2
    assert made.evses["evse-1"].target_by == "local tariff: waiting for a lower price"


def test_a_mode_that_says_the_same_again_is_no_new_word() -> None:
    for base_w in (1_000, 9_000, -5_000):
        said = local_constraints(Modes(solar_surplus=True, demand_limit_w=40_000), SITE, base_w, 700)
        assert said == local_constraints(Modes(solar_surplus=True, demand_limit_w=40_000), SITE, 0, 701)


def test_a_departure_that_cannot_wait_goes_before_the_tariff_and_keeps_every_bound() -> None:
    arbiter = Arbiter(SITE)
    arbiter.put(local_constraints(Modes(tariff=Tariff((NIGHT,), 0.15, 0.05, 0.9)), SITE, 0, 720))
    arbiter.needs = {"evse-1": VehicleNeed(soc_floor=6_000, charge_w=30_000)}
    made = arbiter.renew(1)
    assert (made.evses["evse-1"].target_w, made.evses["evse-1"].soc_floor) == (22_000, 6_000)
    assert (made.evses["evse-1"].target_by, made.evses["evse-2"].target_w) == ("departure", 0)


def test_only_site_and_evses_are_spoken_of() -> None:
    said = local_constraints(Modes(solar_surplus=True, demand_limit_w=1, tariff=TARIFF), SITE, 5, 0)
    assert {c.scope.kind for c in said} <= {ScopeKind.SITE, ScopeKind.EVSE}


def test_a_departure_that_takes_an_evse_out_of_the_sites_target_is_named() -> None:
    arbiter = Arbiter(SITE)
    arbiter.put(local_constraints(Modes(solar_surplus=True), SITE, 0, 720))
    arbiter.needs = {"evse-1": VehicleNeed(charge_w=5_000)}
    made = arbiter.renew(1)
    assert [(evse.site_target, evse.target_by) for evse in made.evses.values()][:2] == [(False, "departure"), (True, "")]
