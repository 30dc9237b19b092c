"""The arbiter as the gateway runs it: the store, the governor of remote commands, the plan's epochs and the renewals."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping

from edge.arbiter.arbitrate import PLAN_LEASE_NS, arbitrate, lease_end_ns
from edge.arbiter.governor import Governor
from edge.arbiter.store import ConstraintStore, check_constraint
from edge.model import Constraint, Plan, Quantity, Scope, ScopeKind, SiteModel, Source, VehicleNeed

CLOUD_LOST_DELAY_MAX_NS = 30_000_000_000
"""Upper end of the random delay before a lost cloud's site goes to its fallback (numbers.md part 2)."""


def cloud_lost_delay_ns(site_id: str, max_ns: int = CLOUD_LOST_DELAY_MAX_NS) -> int:
    """The site's delay, 0 up to `max_ns`: differs from site to site, is the same after every restart."""
    return random.Random(f"cloud lost {site_id}").randrange(max_ns + 1)  # no secret: spreads a fleet in time


class Arbiter:
    """Keeps what the sources said and makes plans of it.

    The composition root calls `renew` at least four times a second and once more at `next_change_ns`, and gives the plan to
    the core; the core holds a plan for 2 s. Not thread-safe: lives on the event loop. Without a governor remote commands
    take effect whole and at once.
    """

    def __init__(self, site: SiteModel, lease_ns: int = PLAN_LEASE_NS, governor: Governor | None = None) -> None:
        self.site = site
        self.store = ConstraintStore(site)
        self.governor = governor
        self.power_w: Mapping[Scope, int] = {}
        """Measured power of EVSEs, feeders and the site, W, as far as known: where the governor's ramps start. The
        composition root keeps it up to date; a scope that is missing starts from the last plan's wish."""
        self.needs: Mapping[str, VehicleNeed] = {}
        """What the vehicles' departures ask, by EVSE; the composition root keeps it up to date."""
        self._lease_ns = lease_ns
        self._epoch = 0
        self._last: Plan | None = None

    def put(self, constraints: Iterable[Constraint], now_ns: int | None = None) -> None:
        """Take all of these constraints or, raising UnsupportedConstraint, none. `now_ns` (CLOCK_MONOTONIC) starts the ramps
        of a governed command; None: the time of the last plan."""
        batch = list(constraints)
        for constraint in batch:
            check_constraint(self.site, constraint)
        if self.governor is not None:
            now_ns = now_ns if now_ns is not None else self._last.made_ns if self._last is not None else 0
            present_w = self._present_w()
            batch = [self.governor.admit(c, present_w.get(c.scope), now_ns) for c in batch]
            self.governor.start(batch, self.store.of_source(Source.AGGREGATOR), present_w, now_ns)
        for constraint in batch:
            self.store.put(constraint)

    def withdraw(self, source: Source, scope: Scope, quantity: Quantity = Quantity.P_W, name: str = "") -> bool:
        """The source takes its own constraint back; False when there was none."""
        return self.store.withdraw(source, scope, quantity, name)

    def renew(self, now_ns: int) -> Plan:
        """The plan as of now (CLOCK_MONOTONIC), with a new epoch and a new lease."""
        self._epoch += 1
        limits_epoch = self.store.limits_epoch + 1  # the core counts from 1; the first thing ever said must be newer
        self._last = arbitrate(self.site, self._governed(now_ns), now_ns, self._epoch, limits_epoch, self._lease_ns, self.needs)
        return self._last

    def _governed(self, now_ns: int) -> tuple[Constraint, ...]:
        """What was said, as far as the governor lets it take effect by now."""
        if self.governor is None:
            return self.store.all()
        return tuple(self.governor.shape(constraint, now_ns) for constraint in self.store.all())

    def preview(self, constraints: Iterable[Constraint], now_ns: int) -> Plan:
        """The plan that these constraints lead to in the end, without taking them. Raises UnsupportedConstraint."""
        batch = list(constraints)
        if self.governor is not None:
            present_w = self._present_w()
            batch = [self.governor.admit(c, present_w.get(c.scope), now_ns) for c in batch]
        trial = ConstraintStore(self.site)
        for constraint in (*self.store.all(), *batch):
            trial.put(constraint)
        return arbitrate(self.site, trial.all(), now_ns, self._epoch, self.store.limits_epoch, self._lease_ns, self.needs)

    def _present_w(self) -> dict[Scope, int]:
        """Where each scope stands: its measured power, else what the last plan wished."""
        wished: dict[Scope, int] = {}
        if self._last is not None:
            wished = {Scope(ScopeKind.EVSE, evse_id): plan.target_w for evse_id, plan in self._last.evses.items()}
            site_w = self._last.feeders[self.site.root.id].target_w
            if site_w is not None:
                wished[Scope(ScopeKind.SITE, self.site.id)] = site_w
        return {**wished, **self.power_w}

    def next_change_ns(self, now_ns: int) -> int | None:
        """When the next lease ends (CLOCK_MONOTONIC): renew at that instant. None: no lease is running."""
        ends = (lease_end_ns(c, self.site) for c in self._governed(now_ns) if c.until_ns is not None)
        return min((end for end in ends if end > now_ns), default=None)

    def adopt_site(self, site: SiteModel) -> list[Constraint]:
        """A changed config; returns the constraints that no longer fit and were dropped."""
        self.site = site
        if self.governor is not None:
            self.governor.site = site
        return self.store.adopt_site(site)
