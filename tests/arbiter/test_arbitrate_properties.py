"""Laws that hold for anything that anybody may say (architecture.md section 6)."""

from hypothesis import given
from hypothesis import strategies as st

from edge.arbiter import Arbiter, arbitrate, check_constraint
from edge.model import REMOTE_SOURCES, After, Constraint, EvseModel, EvsePlan, FeederModel, Scope, ScopeKind, SiteModel, Source

S = 1_000_000_000
NOW = 1_000 * S
SITE = SiteModel(
    id="site-1",
    evses=(EvseModel("evse-1", "row-a", -10_000, 22_000), EvseModel("evse-2", "main", 0, 11_000)),
    feeders=(FeederModel("main", None, -50_000, 60_000), FeederModel("row-a", "main", -40_000, 40_000)),
    cloud_lost_delay_ns=7 * S,
)
SCOPES = [Scope(ScopeKind.EVSE, "evse-1"), Scope(ScopeKind.EVSE, "evse-2"), Scope(ScopeKind.SITE, "site-1")]

power = st.integers(-30_000, 30_000)
end = st.none() | st.integers(NOW - 10 * S, NOW + 10 * S)


@st.composite
def constraints(draw: st.DrawFn, sources: tuple[Source, ...] = tuple(Source)) -> Constraint:
    source = draw(st.sampled_from(sources))

    def bounds() -> tuple[int | None, int | None]:
        if source in REMOTE_SOURCES:
            return draw(st.none() | st.integers(-30_000, 0)), draw(st.none() | st.integers(0, 30_000))
        low, high = sorted((draw(power), draw(power)))
        return draw(st.sampled_from([low, None])), draw(st.sampled_from([high, None]))

    min_w, max_w = bounds()
    after = None
    if draw(st.booleans()):
        after = After(*bounds(), draw(st.none() | power))
    constraint = Constraint(
        source,
        draw(st.sampled_from(SCOPES)),
        min_w=min_w,
        max_w=max_w,
        target_w=draw(st.none() | power),
        ramp_w_s=draw(st.none() | st.integers(1, 9_999)),
        until_ns=draw(end),
        after=after,
    )
    check_constraint(SITE, constraint)
    return constraint


remote = constraints(tuple(sorted(REMOTE_SOURCES)))
several = st.lists(constraints(), max_size=6)


def envelope(plan: EvsePlan) -> tuple[int, int]:
    """How far from 0 the EVSE may go."""
    return min(plan.min_w, 0), max(plan.max_w, 0)


@given(several, constraints())
def test_one_more_constraint_never_widens(said: list[Constraint], more: Constraint) -> None:
    if more.source is Source.LOCAL:  # a fresh local mode is the one thing that lifts a lost cloud's fallback
        said = [c for c in said if c.source is not Source.AGGREGATOR]
    before, after = arbitrate(SITE, said, NOW), arbitrate(SITE, [*said, more], NOW)
    for evse_id, plan in before.evses.items():
        low, high = envelope(after.evses[evse_id])
        assert envelope(plan)[0] <= low and high <= envelope(plan)[1]
    for feeder_id, feeder in before.feeders.items():
        assert feeder.export_w <= after.feeders[feeder_id].export_w
        assert after.feeders[feeder_id].import_w <= feeder.import_w


@given(several, st.randoms(use_true_random=False))
def test_the_order_in_which_sources_spoke_does_not_matter(said: list[Constraint], random: object) -> None:
    shuffled = list(said)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert arbitrate(SITE, said, NOW) == arbitrate(SITE, shuffled, NOW)


@given(several, constraints())
def test_saying_the_same_twice_changes_nothing(said: list[Constraint], again: Constraint) -> None:
    once, twice = Arbiter(SITE), Arbiter(SITE)
    once.put([*said, again])
    twice.put([*said, again, again])
    assert once.renew(NOW) == twice.renew(NOW)


@given(constraints(), constraints())
def test_what_a_source_says_replaces_what_it_said_for_the_same_scope(first: Constraint, second: Constraint) -> None:
    both, only = Arbiter(SITE), Arbiter(SITE)
    both.put([first, second])
    only.put([second] if (first.source, first.scope) == (second.source, second.scope) else [first, second])
    assert both.renew(NOW).evses == only.renew(NOW).evses


@given(several, st.integers(0, 30 * S))
def test_time_alone_never_loosens(said: list[Constraint], wait_ns: int) -> None:
    said = [c for c in said if c.source is not Source.LOCAL]
    early, late = arbitrate(SITE, said, NOW), arbitrate(SITE, said, NOW + wait_ns)
    for evse_id, plan in early.evses.items():
        low, high = envelope(late.evses[evse_id])
        assert envelope(plan)[0] <= low and high <= envelope(plan)[1]


@given(st.lists(remote, max_size=6))
def test_remote_sources_can_never_push_zero_out(said: list[Constraint]) -> None:
    for plan in arbitrate(SITE, said, NOW).evses.values():
        assert plan.min_w <= 0 <= plan.max_w
        assert plan.after_min_w <= 0 <= plan.after_max_w


@given(several)
def test_a_plan_is_always_sound(said: list[Constraint]) -> None:
    plan = arbitrate(SITE, said, NOW)
    for evse in SITE.evses:
        p = plan.evses[evse.id]
        assert evse.min_w <= p.min_w <= p.target_w <= p.max_w <= evse.max_w or p.min_w == p.max_w == 0
        assert p.min_w <= p.max_w and p.after_min_w <= p.after_target_w <= p.after_max_w
        assert NOW < p.until_ns <= plan.lease_until_ns
        after_envelope = min(p.after_min_w, 0), max(p.after_max_w, 0)
        assert envelope(p)[0] <= after_envelope[0] and after_envelope[1] <= envelope(p)[1]


@given(several)
def test_what_was_announced_for_the_end_is_no_looser_than_what_comes(said: list[Constraint]) -> None:
    plan = arbitrate(SITE, said, NOW)
    for evse_id, p in plan.evses.items():
        then = arbitrate(SITE, said, p.until_ns).evses[evse_id]
        assert envelope(then)[0] <= min(p.after_min_w, 0) and max(p.after_max_w, 0) <= envelope(then)[1]
