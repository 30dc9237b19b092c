"""What the arbiter makes of what the sources say, on a small site."""

from dataclasses import replace

import pytest

from edge.arbiter import Arbiter, UnsupportedConstraint, arbitrate, cloud_lost_delay_ns
from edge.model import (
    After,
    Constraint,
    EvseModel,
    EvsePlan,
    FeederModel,
    Quantity,
    Scope,
    ScopeKind,
    SiteModel,
    Source,
)

S = 1_000_000_000
NOW = 1_000 * S
SITE = SiteModel(
    id="site-1",
    evses=(EvseModel("evse-1", "row-a", -10_000, 22_000), EvseModel("evse-2", "main", 0, 11_000, weight=2.0)),
    feeders=(FeederModel("main", None, -50_000, 60_000), FeederModel("row-a", "main", -40_000, 40_000)),
)
EVSE_1 = Scope(ScopeKind.EVSE, "evse-1")
WHOLE_SITE = Scope(ScopeKind.SITE, "site-1")


def aggregator(scope: Scope = EVSE_1, **said: object) -> Constraint:
    return Constraint(**{"source": Source.AGGREGATOR, "scope": scope, "until_ns": NOW + 60 * S} | said)  # type: ignore[arg-type]


def evse_1(*constraints: Constraint, at_ns: int = NOW, site: SiteModel = SITE) -> EvsePlan:
    return arbitrate(site, constraints, at_ns).evses["evse-1"]


def test_without_any_wish_an_evse_charges_as_much_as_it_may() -> None:
    plan = evse_1()
    assert (plan.min_w, plan.max_w, plan.target_w, plan.min_by) == (-10_000, 22_000, 22_000, "rating")


def test_a_wish_is_clamped_by_everybodys_bounds_and_each_bound_names_who_set_it() -> None:
    plan = evse_1(
        aggregator(target_w=-9_000, name="c-17"),
        Constraint(Source.UTILITY, EVSE_1, min_w=-4_000),
        Constraint(Source.CSMS, EVSE_1, max_w=7_000, name="profile 3"),
    )
    assert (plan.min_w, plan.max_w, plan.target_w) == (-4_000, 7_000, -4_000)
    assert (plan.min_by, plan.max_by, plan.target_by) == ("utility", "csms profile 3", "aggregator c-17")


def test_the_technicians_wish_goes_before_the_aggregators() -> None:
    plan = evse_1(aggregator(target_w=-9_000), Constraint(Source.TECHNICIAN, EVSE_1, target_w=1_500))
    assert (plan.target_w, plan.target_by) == (1_500, "technician")


def test_a_newer_constraint_of_a_source_replaces_its_older_one() -> None:
    arbiter = Arbiter(SITE)
    arbiter.put([aggregator(max_w=3_000)])
    arbiter.put([aggregator(max_w=8_000)])
    assert arbiter.renew(NOW).evses["evse-1"].max_w == 8_000


def test_a_lease_that_ends_leaves_its_after_bounds_but_never_more_than_it_had() -> None:
    command = aggregator(min_w=-5_000, max_w=2_000, target_w=-5_000, after=After(min_w=0, max_w=9_000, target_w=1_000))
    before, later = evse_1(command), evse_1(command, at_ns=NOW + 61 * S)
    assert (before.min_w, before.max_w, before.target_w) == (-5_000, 2_000, -5_000)
    assert (later.min_w, later.max_w, later.target_w) == (0, 2_000, 1_000)


def test_a_lease_that_ends_without_after_leaves_the_fallback() -> None:
    later = evse_1(aggregator(target_w=-9_000), at_ns=NOW + 60 * S)
    assert (later.min_w, later.max_w, later.target_w) == (0, 4_200, 4_200)
    assert later.min_by == "fallback (aggregator ended)"


def test_a_site_that_lost_the_cloud_waits_its_own_random_delay_before_the_fallback() -> None:
    site = replace(SITE, cloud_lost_delay_ns=cloud_lost_delay_ns(SITE.id))
    assert 0 <= site.cloud_lost_delay_ns < 30 * S
    assert cloud_lost_delay_ns("site-1") != cloud_lost_delay_ns("site-2")
    end = NOW + 60 * S + site.cloud_lost_delay_ns
    assert evse_1(aggregator(target_w=-9_000), at_ns=end - 1, site=site).target_w == -9_000
    assert evse_1(aggregator(target_w=-9_000), at_ns=end, site=site).target_w == 4_200


def test_a_fresh_local_mode_takes_over_from_a_lost_cloud_inside_the_clouds_last_bounds() -> None:
    local = Constraint(Source.LOCAL, EVSE_1, min_w=-3_000, target_w=-3_000, until_ns=NOW + 100 * S)
    later = evse_1(aggregator(min_w=-2_000), local, at_ns=NOW + 90 * S)
    assert (later.min_w, later.target_w) == (-2_000, -2_000)
    assert evse_1(aggregator(min_w=-2_000), local, at_ns=NOW + 100 * S).min_w == 0


def test_until_ns_is_the_earliest_end_of_a_lease_and_after_is_what_holds_then() -> None:
    plan = evse_1(aggregator(target_w=-9_000, until_ns=NOW + S, after=After(min_w=-1_000, max_w=2_000, target_w=500)))
    assert plan.until_ns == NOW + S
    assert (plan.after_min_w, plan.after_max_w, plan.after_target_w) == (0, 2_000, 500)


def test_a_plan_that_nobody_renews_ends_in_the_fallback_after_two_seconds() -> None:
    plan = evse_1(aggregator(target_w=-9_000))
    assert plan.until_ns == NOW + 2 * S
    assert (plan.after_min_w, plan.after_max_w, plan.after_target_w) == (0, 4_200, 0)


def test_a_feeder_bound_reaches_the_feeders_plan_and_names_its_source() -> None:
    row_a = Scope(ScopeKind.FEEDER, "row-a")
    plan = arbitrate(SITE, [Constraint(Source.UTILITY, row_a, min_w=-1_000, max_w=12_000)], NOW)
    assert (plan.feeders["row-a"].export_w, plan.feeders["row-a"].import_w) == (-1_000, 12_000)
    assert plan.feeders["row-a"].by == "utility"
    assert plan.feeders["main"].import_w == 60_000


def test_a_site_target_is_shared_out_unless_the_evse_has_a_wish_of_the_same_or_a_higher_rank() -> None:
    wish = aggregator(WHOLE_SITE, target_w=-30_000, max_w=50_000)
    plan = arbitrate(SITE, [wish, aggregator(target_w=2_000)], NOW)
    assert (plan.feeders["main"].target_w, plan.feeders["main"].import_w) == (-30_000, 50_000)
    assert not plan.evses["evse-1"].site_target
    assert plan.evses["evse-2"].site_target


def test_a_lock_out_of_a_feeder_locks_the_evses_below_it_until_its_owner_releases_it() -> None:
    arbiter = Arbiter(SITE)
    row_a = Scope(ScopeKind.FEEDER, "row-a")
    for name in ("anna", "bert"):
        arbiter.put([Constraint(Source.TECHNICIAN, row_a, Quantity.PERMIT, name=name)])
    assert arbiter.withdraw(Source.TECHNICIAN, row_a, Quantity.PERMIT, "anna")
    assert not arbiter.withdraw(Source.OPERATOR, row_a, Quantity.PERMIT, "bert")
    locked, other = arbiter.renew(NOW).evses["evse-1"], arbiter.renew(NOW).evses["evse-2"]
    assert locked.locked and (locked.min_w, locked.max_w, locked.target_w) == (0, 0, 0)
    assert locked.target_by == "lock-out by technician bert"
    assert not other.locked


def test_a_technician_who_insists_on_power_against_anothers_bound_gets_zero_and_a_conflict() -> None:
    plan = evse_1(Constraint(Source.TECHNICIAN, EVSE_1, min_w=2_000), aggregator(max_w=500))
    assert (plan.min_w, plan.max_w, plan.target_w) == (0, 0, 0)
    assert plan.min_by == "conflict: technician / aggregator"


@pytest.mark.parametrize(
    ("constraint", "code"),
    [
        (aggregator(min_w=1), "bounds_without_zero"),
        (aggregator(max_w=-1), "bounds_without_zero"),
        (aggregator(after=After(min_w=5)), "bounds_without_zero"),
        (aggregator(Scope(ScopeKind.EVSE, "evse-9")), "unknown_scope"),
        (aggregator(Scope(ScopeKind.SITE, "site-2")), "unknown_scope"),
        (aggregator(Scope(ScopeKind.FEEDER, "row-a"), target_w=5), "feeder_target"),
        (aggregator(min_w=2**40), "range"),
        (Constraint(Source.TECHNICIAN, EVSE_1, min_w=5, max_w=4), "empty_bounds"),
        (aggregator(ramp_w_s=0), "ramp"),
        (aggregator(quantity=Quantity.PERMIT, name="x"), "lock_source"),
        (Constraint(Source.OPERATOR, EVSE_1, Quantity.PERMIT), "lock_form"),
    ],
)
def test_what_the_site_cannot_honour_is_refused_with_a_code_and_changes_nothing(constraint: Constraint, code: str) -> None:
    arbiter = Arbiter(SITE)
    with pytest.raises(UnsupportedConstraint) as refused:
        arbiter.put([aggregator(max_w=1_000), constraint])
    assert refused.value.code == code
    assert arbiter.store.all() == ()


def test_only_a_new_statement_raises_the_limits_epoch() -> None:
    arbiter = Arbiter(SITE)
    arbiter.put([aggregator(max_w=1_000)])
    first = arbiter.renew(NOW)
    arbiter.put([aggregator(max_w=1_000)])
    later = arbiter.renew(NOW + 100 * S)
    assert (later.epoch, later.limits_epoch) == (first.epoch + 1, first.limits_epoch)
    arbiter.withdraw(Source.AGGREGATOR, EVSE_1)
    assert arbiter.renew(NOW).limits_epoch == first.limits_epoch
    arbiter.put([aggregator(max_w=2_000)])
    assert arbiter.renew(NOW).limits_epoch == first.limits_epoch + 1


def test_the_arbiter_tells_when_to_renew_next_and_reports_each_ended_lease_once() -> None:
    arbiter = Arbiter(SITE)
    assert arbiter.next_change_ns(NOW) is None
    arbiter.put([aggregator(max_w=1_000), Constraint(Source.CSMS, EVSE_1, max_w=5, until_ns=NOW + 7 * S)])
    assert arbiter.next_change_ns(NOW) == NOW + 7 * S
    assert [c.source for c in arbiter.store.expire(NOW + 7 * S)] == [Source.CSMS]
    assert arbiter.store.expire(NOW + 8 * S) == []
    assert arbiter.next_change_ns(NOW + 8 * S) == NOW + 60 * S


def test_a_preview_changes_nothing() -> None:
    arbiter = Arbiter(SITE)
    assert arbiter.preview([aggregator(max_w=1_000)], NOW).evses["evse-1"].max_w == 1_000
    assert arbiter.renew(NOW).evses["evse-1"].max_w == 22_000


def test_another_vehicle_inherits_the_bounds_but_no_wish() -> None:
    arbiter = Arbiter(SITE)
    arbiter.put([aggregator(max_w=6_000, target_w=-9_000), Constraint(Source.VEHICLE, EVSE_1, max_w=3_000)])
    arbiter.store.forget_session("evse-1")
    plan = arbiter.renew(NOW).evses["evse-1"]
    assert (plan.max_w, plan.target_w, plan.target_by) == (6_000, 6_000, "")


def test_a_changed_config_drops_only_what_no_longer_fits() -> None:
    arbiter = Arbiter(SITE)
    arbiter.put([aggregator(max_w=1_000), aggregator(Scope(ScopeKind.EVSE, "evse-2"), max_w=2_000)])
    dropped = arbiter.adopt_site(replace(SITE, evses=SITE.evses[:1]))
    assert [c.scope.id for c in dropped] == ["evse-2"]
    assert arbiter.renew(NOW).evses["evse-1"].max_w == 1_000


def test_a_site_whose_tree_is_broken_is_refused() -> None:
    with pytest.raises(ValueError, match="exactly one root"):
        SiteModel("s", (), (FeederModel("a", None, 0, 1), FeederModel("b", None, 0, 1)))
    with pytest.raises(ValueError, match="doesn't reach the root"):
        SiteModel("s", (), (FeederModel("a", None, 0, 1), FeederModel("b", "c", 0, 1), FeederModel("c", "b", 0, 1)))
    with pytest.raises(ValueError, match="no feeder 'x'"):
        SiteModel("s", (EvseModel("e", "x", 0, 1),), (FeederModel("a", None, 0, 1),))
