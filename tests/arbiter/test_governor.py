"""Whoever signs a command, one site moves only so far, so fast and so often."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from edge.arbiter import Arbiter, Governor, GovernorSettings
from edge.model import After, Constraint, EvseModel, FeederModel, Plan, Scope, ScopeKind, SiteModel, Source

S = 1_000_000_000
NOW = 1_000 * S
SITE = SiteModel(
    id="site-1",
    evses=tuple(EvseModel(f"evse-{n}", "main", -10_000, 10_000) for n in range(1, 5)),
    feeders=(FeederModel("main", None, -50_000, 60_000),),
)
EVSE_1 = Scope(ScopeKind.EVSE, "evse-1")
WHOLE_SITE = Scope(ScopeKind.SITE, "site-1")


def governed(**settings: float | int) -> Arbiter:
    """A site of 80 kW range; unless a test says otherwise nothing is free and nothing starts late."""
    governor = Governor(SITE, GovernorSettings(**({"free_share": 0, "start_spread_s": 0} | settings)), random.Random(1))  # type: ignore[arg-type]
    arbiter = Arbiter(SITE, governor=governor)
    arbiter.power_w = {EVSE_1: 0, WHOLE_SITE: 20_000}
    arbiter.renew(NOW)
    return arbiter


def command(arbiter: Arbiter, now_ns: int = NOW, scope: Scope = EVSE_1, **said: int) -> None:
    arbiter.put([Constraint(Source.AGGREGATOR, scope, until_ns=now_ns + 600 * S, **said)], now_ns)  # type: ignore[arg-type]


def target(arbiter: Arbiter, seconds: float) -> int:
    return arbiter.renew(NOW + round(seconds * S)).evses["evse-1"].target_w


def site_plan(plan: Plan) -> tuple[int | None, int]:
    return plan.feeders["main"].target_w, plan.feeders["main"].import_w


def test_an_ordinary_dispatch_acts_at_once() -> None:
    arbiter = governed(free_share=0.25, start_spread_s=5)
    command(arbiter, target_w=-10_000)
    assert target(arbiter, 0) == -10_000


def test_a_remote_stop_of_one_evse_acts_at_once() -> None:
    arbiter = governed(free_share=0.25, start_spread_s=5)
    arbiter.power_w = {EVSE_1: 10_000}
    command(arbiter, max_w=0, target_w=0)
    plan = arbiter.renew(NOW).evses["evse-1"]
    assert (plan.target_w, plan.max_w) == (0, 0)


def test_a_mass_command_takes_effect_along_the_ramp() -> None:
    arbiter = governed(ramp_share_s=0.1)
    command(arbiter, target_w=-10_000)
    assert [target(arbiter, s) for s in (0, 1, 2.5, 5, 60)] == [0, -2_000, -5_000, -10_000, -10_000]


def test_a_stop_of_the_whole_site_follows_a_ramp_too_but_a_faster_one() -> None:
    arbiter = governed(stop_share_s=0.1, ramp_share_s=0.01)
    command(arbiter, scope=WHOLE_SITE, max_w=0, target_w=0)
    plans = [site_plan(arbiter.renew(NOW + s * S)) for s in (0, 1, 2, 3)]
    assert plans == [(20_000, 20_000), (12_000, 12_000), (4_000, 4_000), (0, 0)]


def test_a_whole_site_is_stopped_within_the_bound_of_the_defaults() -> None:
    defaults = GovernorSettings()
    arbiter = governed(**{name: getattr(defaults, name) for name in ("free_share", "start_spread_s", "stop_share_s")})
    arbiter.power_w = {WHOLE_SITE: 40_000}
    command(arbiter, scope=WHOLE_SITE, max_w=0, target_w=0)
    assert site_plan(arbiter.renew(NOW)) == (40_000, 40_000)
    assert site_plan(arbiter.renew(NOW + round((defaults.start_spread_s + 1) * S))) == (0, 0)


def test_a_released_bound_of_the_whole_site_follows_the_ramp() -> None:
    arbiter = governed(ramp_share_s=0.1)
    command(arbiter, scope=WHOLE_SITE, max_w=0)
    arbiter.renew(NOW + 60 * S)
    command(arbiter, NOW + 60 * S, scope=WHOLE_SITE, max_w=60_000)
    assert [site_plan(arbiter.renew(NOW + (60 + s) * S))[1] for s in (0, 1, 5, 8)] == [0, 8_000, 40_000, 60_000]


def test_many_small_commands_use_up_the_same_allowance_as_a_large_one() -> None:
    arbiter = governed(free_share=0.25, ramp_share_s=0.1)
    arbiter.power_w = {Scope(ScopeKind.EVSE, evse.id): 0 for evse in SITE.evses}
    for n in range(1, 5):
        command(arbiter, scope=Scope(ScopeKind.EVSE, f"evse-{n}"), target_w=-10_000)
    reached = [evse.target_w for evse in arbiter.renew(NOW).evses.values()]
    assert reached[:2] == [-10_000, -10_000] and all(watts > -10_000 for watts in reached[2:])


def test_the_allowance_comes_back_with_time() -> None:
    arbiter = governed(free_share=0.25, ramp_share_s=0.1)
    command(arbiter, target_w=-10_000)
    command(arbiter, target_w=10_000)
    assert target(arbiter, 0) < 10_000
    command(arbiter, NOW + 60 * S, target_w=-10_000)
    assert target(arbiter, 60) == -10_000


def test_a_renewal_of_the_same_wish_goes_on_along_its_way() -> None:
    arbiter = governed(ramp_share_s=0.1, start_spread_s=0)
    for s in range(6):
        command(arbiter, NOW + s * S, target_w=-10_000)
    assert target(arbiter, 5) == -10_000


def test_the_same_wish_after_its_lease_ended_begins_anew() -> None:
    arbiter = governed(ramp_share_s=0.1)
    command(arbiter, target_w=-10_000)
    later = NOW + 700 * S
    arbiter.renew(later)
    command(arbiter, later, target_w=-10_000)
    assert arbiter.renew(later).evses["evse-1"].target_w == 0


def test_a_lease_ends_as_much_later_as_its_mass_command_began() -> None:
    arbiter = governed(start_spread_s=10)
    after = After(max_w=0, target_w=0)
    arbiter.put([Constraint(Source.AGGREGATOR, EVSE_1, target_w=10_000, until_ns=NOW + S // 1000, after=after)], NOW)
    ends = {arbiter.renew(NOW + n * S // 2).evses["evse-1"].max_w == 0 for n in range(40)}
    assert ends == {False, True}
    assert arbiter.renew(NOW + S // 100).evses["evse-1"].max_w > 0


def test_a_limit_of_the_utility_acts_at_once() -> None:
    arbiter = governed(ramp_share_s=0.1)
    arbiter.put([Constraint(Source.UTILITY, WHOLE_SITE, max_w=0)], NOW)
    assert arbiter.renew(NOW).feeders["main"].import_w == 0


def test_a_step_is_bounded_and_the_preview_shows_it() -> None:
    arbiter = governed(step_share=0.25)
    wish = Constraint(Source.AGGREGATOR, EVSE_1, target_w=-9_000, until_ns=NOW + 600 * S)
    assert arbiter.preview([wish], NOW).evses["evse-1"].target_w == -5_000
    arbiter.put([wish], NOW)
    assert target(arbiter, 100) == -5_000


def test_only_so_many_changes_of_direction_an_hour_then_the_evse_rests_at_zero() -> None:
    arbiter = governed(direction_changes_per_h=3, ramp_share_s=10)
    reached = []
    for n in range(8):
        now_ns = NOW + n * 10 * S
        command(arbiter, now_ns, target_w=5_000 if n % 2 else -5_000)
        reached.append(arbiter.renew(now_ns + 5 * S).evses["evse-1"].target_w)
    assert reached == [-5_000, 5_000, -5_000, 5_000, 0, 5_000, 0, 5_000]
    later = NOW + 4_000 * S
    command(arbiter, later, target_w=-5_000)
    assert arbiter.renew(later + 5 * S).evses["evse-1"].target_w == -5_000


def test_a_mass_command_starts_at_a_random_time_and_a_small_one_at_once() -> None:
    arbiter = governed(free_share=0.25, start_spread_s=10, ramp_share_s=10)
    command(arbiter, target_w=-5_000)
    assert target(arbiter, 0.1) == -5_000
    command(arbiter, scope=WHOLE_SITE, target_w=-40_000)
    starts = [s for s in range(12) if site_plan(arbiter.renew(NOW + s * S))[0] != 20_000]
    assert 0 < starts[0] <= 10


def test_over_a_slow_link_a_change_is_spread_over_twice_the_dead_time() -> None:
    arbiter = governed(ramp_share_s=10)
    assert arbiter.governor is not None
    arbiter.governor.round_trip_s = 3.0
    command(arbiter, target_w=-6_000)
    assert [target(arbiter, s) for s in (0, 3, 6)] == [0, -3_000, -6_000]


def test_over_a_slow_link_the_step_shrinks_with_the_dead_time_but_a_stop_stays_a_stop() -> None:
    arbiter = governed(free_share=0.25)
    assert arbiter.governor is not None
    arbiter.governor.round_trip_s = 4.0
    wish = Constraint(Source.AGGREGATOR, EVSE_1, target_w=-9_000, until_ns=NOW + 600 * S)
    assert arbiter.preview([wish], NOW).evses["evse-1"].target_w == -5_000
    arbiter.power_w = {EVSE_1: 10_000}
    stop = Constraint(Source.AGGREGATOR, EVSE_1, target_w=0, until_ns=NOW + 600 * S)
    assert arbiter.preview([stop], NOW).evses["evse-1"].target_w == 0


def test_the_same_command_again_does_not_start_the_ramp_anew() -> None:
    arbiter = governed(ramp_share_s=0.1)
    said = Constraint(Source.AGGREGATOR, EVSE_1, target_w=-10_000, until_ns=NOW + 600 * S)
    arbiter.put([said], NOW)
    target(arbiter, 2)
    arbiter.put([said], NOW + 2 * S)
    assert target(arbiter, 5) == -10_000


power = st.integers(-10_000, 10_000)
evse_ids = st.sampled_from([evse.id for evse in SITE.evses])


@given(st.lists(st.tuples(evse_ids, power, st.integers(0, 5)), min_size=1, max_size=20))
def test_no_series_of_commands_moves_a_site_further_than_its_allowance_and_its_ramps(
    series: list[tuple[str, int, int]],
) -> None:
    arbiter = governed(free_share=0.25, ramp_share_s=0.1, stop_share_s=0.2)
    arbiter.power_w = {Scope(ScopeKind.EVSE, evse.id): 0 for evse in SITE.evses}
    for evse in SITE.evses:
        command(arbiter, NOW - 3600 * S, Scope(ScopeKind.EVSE, evse.id), target_w=0)
    now_ns, moved_w = NOW, 0
    before = {evse_id: plan.target_w for evse_id, plan in arbiter.renew(now_ns).evses.items()}
    for evse_id, wish_w, quarters in series:
        command(arbiter, now_ns, Scope(ScopeKind.EVSE, evse_id), target_w=wish_w)
        for _ in range(quarters + 1):
            after = {evse_id: plan.target_w for evse_id, plan in arbiter.renew(now_ns).evses.items()}
            moved_w += sum(abs(after[evse_id] - before[evse_id]) for evse_id in after)
            before = after
            now_ns += S // 4
    allowed_w = 80_000 * (0.25 + (0.1 + 0.2) * (now_ns - NOW) / S)
    assert moved_w <= allowed_w + 20 * 4 * len(series)  # rounding
