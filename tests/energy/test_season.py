"""A few days of the season (make bench runs all 90)."""

from tests.energy.season import run


def test_in_a_few_days_every_feasible_departure_is_met_and_no_limit_is_broken() -> None:
    season = run(days=2, seed=7)
    assert season.limit_violations == 0, season.first_violations
    assert season.needs_met == season.needs_feasible > 25
    assert season.to_grid_kwh > 20
    assert season.wear_eur > 0
