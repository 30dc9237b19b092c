"""Constraints in, plan out. Pure: no clock, no state, no I/O (architecture.md sections 2 and 6).

Per scope all bounds are intersected and each bound remembers who set it. Wishes are not intersected: the fresh wish of the
highest rank is taken and clamped. What a lease leaves behind when it ends never loosens anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from edge.model import (
    Constraint,
    EvseModel,
    EvsePlan,
    FeederModel,
    FeederPlan,
    Plan,
    Quantity,
    ScopeKind,
    SiteModel,
    Source,
    VehicleNeed,
)

PLAN_LEASE_NS = 2_000_000_000
"""How long the core follows a plan that is not renewed (numbers.md part 2)."""

RANK = (
    Source.TECHNICIAN,
    Source.OPERATOR,
    Source.UTILITY,
    Source.CSMS,
    Source.AGGREGATOR,
    Source.LOCAL,
    Source.VEHICLE,
    Source.CONFIG,
)
"""Whose wish counts, first to last. Bounds know no rank: all of them hold."""

NEVER_NS = 2**63 - 1


@dataclass(frozen=True, slots=True)
class _Bounds:
    """What binds one scope at one instant. `end_ns`: when the first of the leases in it ends."""

    min_w: int
    max_w: int
    min_by: str
    max_by: str
    wish_w: int | None
    wish_by: str
    wish_rank: int
    ramp_w_s: int | None
    end_ns: int


def lease_end_ns(constraint: Constraint, site: SiteModel) -> int:
    """When the constraint stops holding as said. A lease of the aggregator without `after` means the cloud was lost: it is
    carried on for the site's random delay, so that a fleet doesn't switch at one instant."""
    if constraint.until_ns is None:
        return NEVER_NS
    if constraint.source is Source.AGGREGATOR and constraint.after is None:
        return constraint.until_ns + site.cloud_lost_delay_ns
    return constraint.until_ns


def said_by(constraint: Constraint) -> str:
    """Who set a bound, as it is shown: the source and its name for it."""
    return f"{constraint.source} {constraint.name}".rstrip()


def _intersect(
    constraints: Iterable[Constraint],
    site: SiteModel,
    rating: tuple[int, int],
    fallback: tuple[int, int],
    now_ns: int,
) -> _Bounds:
    lows = [(rating[0], len(RANK), "rating")]
    highs = [(rating[1], len(RANK), "rating")]
    wishes: list[tuple[int, int, int, str]] = []
    ramps: list[int] = []
    end_ns = NEVER_NS
    ordered = sorted(constraints, key=lambda c: (RANK.index(c.source), c.name))
    local_mode = any(c.source is Source.LOCAL and now_ns < lease_end_ns(c, site) for c in ordered)
    for constraint in ordered:
        rank, who = RANK.index(constraint.source), said_by(constraint)
        fresh = now_ns < lease_end_ns(constraint, site)
        after = constraint.after
        limits = [(constraint.min_w, constraint.max_w, who)]  # the own bounds stay after the end: expiry never loosens
        wish_w = constraint.target_w if fresh else None
        if fresh:
            end_ns = min(end_ns, lease_end_ns(constraint, site))
            if constraint.ramp_w_s is not None:
                ramps.append(constraint.ramp_w_s)
        elif after is not None:
            limits.append((after.min_w, after.max_w, f"{who} (after)"))
            wish_w = after.target_w
        elif not (constraint.source is Source.AGGREGATOR and local_mode):
            limits.append((*fallback, f"fallback ({who} ended)"))
        for min_w, max_w, by in limits:
            if min_w is not None:
                lows.append((min_w, rank, by))
            if max_w is not None:
                highs.append((max_w, rank, by))
        if wish_w is not None:
            wishes.append((rank, abs(wish_w), wish_w, who))

    min_w, _, min_by = min(lows, key=lambda low: (-low[0], low[1], low[2]))
    max_w, _, max_by = min(highs)
    if min_w > max_w:  # only possible with a local source that insists on power: 0 is inside every other bound
        min_by = max_by = f"conflict: {min_by} / {max_by}"
        min_w = max_w = 0
    wish_rank, _, wish_w, wish_by = min(wishes, default=(len(RANK), 0, None, ""))
    return _Bounds(min_w, max_w, min_by, max_by, wish_w, wish_by, wish_rank, min(ramps, default=None), end_ns)


def _clamp(value: int, low: int, high: int) -> int:
    return max(low, min(value, high))


def _evse_plan(
    evse: EvseModel,
    own: list[Constraint],
    locks: list[Constraint],
    site: SiteModel,
    site_rank: int,
    need: VehicleNeed,
    now_ns: int,
    lease_until_ns: int,
) -> EvsePlan:
    rating, fallback = (evse.min_w, evse.max_w), (evse.fallback_min_w, evse.fallback_max_w)
    now = _intersect(own, site, rating, fallback, now_ns)
    until_ns = min(lease_until_ns, now.end_ns)
    if locks:
        by = f"lock-out by {', '.join(said_by(lock) for lock in sorted(locks, key=said_by))}"
        return EvsePlan(0, 0, 0, until_ns, 0, 0, 0, locked=True, min_by=by, max_by=by, target_by=by)

    target_w = _clamp(now.max_w if now.wish_w is None else now.wish_w, now.min_w, now.max_w)
    heeds_site = site_rank < now.wish_rank
    needs_more = need.charge_w > 0 and (heeds_site or target_w < min(need.charge_w, now.max_w))
    if need.charge_w > 0:  # a departure that can't wait is a wish before all others; bounds still hold
        target_w = max(target_w, _clamp(need.charge_w, now.min_w, now.max_w))
    # From `until_ns` the core is on its own: a lease ended, or nobody renews the plan. Both are answered with what the leases
    # leave behind, inside the fallback; a living arbiter replaces this within the cycle (`Arbiter.next_change_ns`).
    then = _intersect(own, site, rating, fallback, until_ns)
    after_min_w, after_max_w = max(then.min_w, now.min_w, fallback[0]), min(then.max_w, now.max_w, fallback[1])
    if after_min_w > after_max_w:
        after_min_w = after_max_w = 0
    after_wish_w = now.max_w if then.wish_w is None else then.wish_w
    return EvsePlan(
        min_w=now.min_w,
        max_w=now.max_w,
        target_w=target_w,
        until_ns=until_ns,
        after_min_w=after_min_w,
        after_max_w=after_max_w,
        after_target_w=_clamp(after_wish_w, after_min_w, after_max_w),
        site_target=heeds_site and need.charge_w == 0,
        ramp_w_s=now.ramp_w_s,
        soc_floor=need.soc_floor,
        soc_floor_by=need.by,
        weight=evse.weight,
        discharge_weight=evse.weight,
        min_by=now.min_by,
        max_by=now.max_by,
        target_by="departure" if needs_more else now.wish_by,
    )


def _feeder_plan(
    feeder: FeederModel, own: list[Constraint], site: SiteModel, now_ns: int, lease_until_ns: int
) -> tuple[FeederPlan, int]:
    """The feeder's plan and the rank of its wish."""
    rating = (feeder.export_w, feeder.import_w)
    now = _intersect(own, site, rating, feeder.fallback, now_ns)
    until_ns = min(lease_until_ns, now.end_ns)
    then = _intersect(own, site, rating, feeder.fallback, until_ns)
    by = now.max_by if now.min_by == now.max_by else f"export {now.min_by}, import {now.max_by}"
    plan = FeederPlan(
        export_w=min(now.min_w, 0),
        import_w=max(now.max_w, 0),
        until_ns=until_ns,
        after_export_w=min(max(then.min_w, now.min_w), 0),
        after_import_w=max(min(then.max_w, now.max_w), 0),
        target_w=None if now.wish_w is None else _clamp(now.wish_w, now.min_w, now.max_w),
        by=by,
    )
    return plan, now.wish_rank


def arbitrate(
    site: SiteModel,
    constraints: Iterable[Constraint],
    now_ns: int,
    epoch: int = 1,
    limits_epoch: int = 1,
    lease_ns: int = PLAN_LEASE_NS,
    needs: Mapping[str, VehicleNeed] = MappingProxyType({}),
) -> Plan:
    """Merge the constraints of every source into one plan for the whole site. `needs`: of the vehicles, by EVSE.

    `now_ns` and every `until_ns` are CLOCK_MONOTONIC. The order of `constraints` doesn't matter; those for unknown scopes don't
    count (`check_constraint` refuses them earlier). With no wish at all an EVSE charges as much as its bounds allow.
    """
    powers: dict[tuple[ScopeKind, str], list[Constraint]] = {}
    locks: dict[tuple[ScopeKind, str], list[Constraint]] = {}
    for constraint in constraints:
        by_scope = locks if constraint.quantity is Quantity.PERMIT else powers
        by_scope.setdefault((constraint.scope.kind, constraint.scope.id), []).append(constraint)

    lease_until_ns = now_ns + lease_ns
    feeders: dict[str, FeederPlan] = {}
    site_rank = len(RANK)
    for feeder in site.feeders:
        own = list(powers.get((ScopeKind.FEEDER, feeder.id), ()))
        if feeder.parent is None:
            own += powers.get((ScopeKind.SITE, site.id), ())
        feeders[feeder.id], rank = _feeder_plan(feeder, own, site, now_ns, lease_until_ns)
        if feeder.parent is None:
            site_rank = rank

    evses: dict[str, EvsePlan] = {}
    for evse in site.evses:
        scopes = [(ScopeKind.EVSE, evse.id), (ScopeKind.SITE, site.id)]
        scopes += [(ScopeKind.FEEDER, feeder_id) for feeder_id in site.feeders_above(evse)]
        locked_by = [lock for scope in scopes for lock in locks.get(scope, ())]
        own = powers.get((ScopeKind.EVSE, evse.id), [])
        evses[evse.id] = _evse_plan(
            evse, own, locked_by, site, site_rank, needs.get(evse.id, VehicleNeed()), now_ns, lease_until_ns
        )
    return Plan(epoch, limits_epoch, now_ns, lease_until_ns, evses, feeders)
