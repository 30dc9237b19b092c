"""Arbiter and core together: plans are renewed in time, constraints reach the core at once, commands are followed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from edge.arbiter import Arbiter, Governor, GovernorSettings
from edge.arbiter.weights import Need, weigh
from edge.core import Core, EvseSnapshot, Snapshot
from edge.field.canmap import EvseField
from edge.model import Constraint, Plan, Reason, Scope, ScopeKind, SiteModel

if TYPE_CHECKING:
    from edge.uplink import Progress
    from edge.wire import AckEvse

RENEW_NS = 250_000_000
"""≥ 4 Hz (numbers.md part 2)."""
ROOM = 0.8
"""Share of the renewal period after which the next one begins: a busy event loop may be late by the rest."""
LEASE_MAX_NS = 5_000_000_000
"""V2G_LEASE_MAX_MS of native/include/v2g.h."""
LOOK_S = 0.02
FOLLOW_S = 30.0
"""A command is followed this long; an EVSE that is not where it should be by then is reported as it is."""
TOTAL = 3
"""Lane of a feeder's sum."""
SETTLED_S = 1.0
"""A setpoint that is not the wish and stays so for this long is what came of the command."""


WEIGH_S = 5.0
"""How often the vehicles' states of charge are looked at for the weights of sharing."""


class Planner:
    """What the uplink sees as its command sink; lives on the event loop."""

    def __init__(
        self,
        core: Core,
        site: SiteModel,
        lease_ns: int,
        governor: GovernorSettings | None = None,
        renew_ns: int = RENEW_NS,
    ) -> None:
        """`governor` bounds the aggregator's commands; None: there is no aggregator."""
        self.core = core
        self.arbiter = Arbiter(site, min(lease_ns, LEASE_MAX_NS))
        self._renew_s = renew_ns / 1e9 * ROOM
        self.govern(governor)
        self.round_trip_ms: Callable[[], float | None] = lambda: None
        """What the uplink measures; over a slow link commands are damped."""
        self.stalls = 0
        """How often the plan was not renewed for longer than its lease: Python stood still."""
        self.stall_ns = 0
        """How long that took the last time."""
        self.plan: Plan = self.arbiter.renew(time.monotonic_ns())
        self.sharing_needs: Mapping[str, Need] = {}
        """What is known of the vehicles, by EVSE; the composition root keeps it up to date."""
        self._needs: dict[str, Need] = {}
        self._weighed_s = -WEIGH_S

    def govern(self, settings: GovernorSettings | None) -> None:
        """New bounds for commands; what the governor remembers stays."""
        governor = self.arbiter.governor
        if settings is None:
            self.arbiter.governor = None
        elif governor is None:
            self.arbiter.governor = Governor(self.arbiter.site, settings)
        else:
            governor.settings = settings

    def _feed_governor(self) -> None:
        """What the governor must know at this moment: where the power stands and how slow the link is."""
        governor = self.arbiter.governor
        if governor is None:
            return
        governor.round_trip_s = (self.round_trip_ms() or 0.0) / 1e3
        self.arbiter.power_w = measured_w(self.core.snapshot(), self.arbiter.site)

    def renew(self) -> Plan:
        """Make a plan now and give it to the core."""
        now_ns = time.monotonic_ns()
        if now_ns / 1e9 - self._weighed_s >= WEIGH_S:
            self._weighed_s = now_ns / 1e9
            self._needs = dict(self.sharing_needs)
        priorities = {evse.id: evse.weight for evse in self.arbiter.site.evses}
        plan = weigh(self.arbiter.renew(now_ns), priorities, self._needs)
        self.plan = replace(plan, damp_ns=self._damp_ns())
        self.core.submit_plan(self.plan)
        return self.plan

    def _damp_ns(self) -> int:
        """Time constant with which site control takes over a site target: whoever commands over a slow backhaul sees the
        answer late, so the site moves no faster than is seen."""
        governor, round_trip_s = self.arbiter.governor, (self.round_trip_ms() or 0.0) / 1e3
        return round(round_trip_s * 1e9) if governor is not None and round_trip_s > governor.settings.slow_link_s else 0

    async def run(self) -> None:
        """Renew until cancelled, and once more at the instant at which a lease ends."""
        while True:
            gap_ns = time.monotonic_ns() - self.plan.made_ns
            if gap_ns > self.plan.lease_until_ns - self.plan.made_ns:
                self.stalls, self.stall_ns = self.stalls + 1, gap_ns
            self.renew()
            now_ns = time.monotonic_ns()
            change_ns = self.arbiter.next_change_ns(now_ns)
            wait_s = self._renew_s if change_ns is None else min(self._renew_s, max(0.0, (change_ns - now_ns) / 1e9))
            await asyncio.sleep(wait_s)

    def put(self, constraints: Iterable[Constraint]) -> Plan:
        """Take constraints and give their plan to the core. UnsupportedConstraint: nothing has changed."""
        self.arbiter.put(constraints)
        return self.renew()

    # ---- edge.uplink.CommandSink ----

    def preview(self, constraints: Sequence[Constraint]) -> Plan:
        self._feed_governor()
        return self.arbiter.preview(constraints, time.monotonic_ns())

    def apply(self, constraints: Sequence[Constraint]) -> Plan:
        self._feed_governor()
        self.arbiter.put(constraints, time.monotonic_ns())
        return self.renew()

    async def follow(self, plan: Plan, evse_ids: Sequence[str]) -> AsyncIterator[Progress]:
        """Adopted and on the bus; then what the EVSEs are told once they follow it, or after FOLLOW_S as it stands."""
        from edge.uplink import Progress  # only an uplink asks, so it is loaded already

        goal = self.arbiter.preview((), time.monotonic_ns())  # where a governed command leads to in the end
        ids = [evse_id for evse_id in evse_ids or plan.evses if evse_id in plan.evses]
        deadline_s = time.monotonic() + FOLLOW_S
        snapshot = await self._adopted(plan, deadline_s)
        if snapshot is None:
            return
        # The frames of a snapshot's cycle were sent before the snapshot was published.
        adopted_ms, sent_ms = _unix_ms(snapshot.now_ns), _unix_ms(max(self.core.heartbeat_ns, snapshot.now_ns))
        yield Progress(adopted=adopted_ms, on_bus=sent_ms)
        bound_since_s = time.monotonic()
        while time.monotonic() < deadline_s:
            told = [snapshot.evse(evse_id) for evse_id in ids if evse_id in self.core.ids.evses]
            arrived = all(self.plan.evses[e.id].target_w == goal.evses[e.id].target_w for e in told if e.id in self.plan.evses)
            if not arrived or not all(self._follows(evse) for evse in told):
                bound_since_s = time.monotonic()
            elif all(e.setpoint.target_w == goal.evses[e.id].target_w for e in told) or (
                time.monotonic() - bound_since_s >= SETTLED_S
            ):
                confirmed_ms = _unix_ms(snapshot.now_ns)
                yield Progress(adopted=adopted_ms, on_bus=sent_ms, confirmed=confirmed_ms, evses=_told(told))
                return
            await asyncio.sleep(LOOK_S)
            snapshot = self.core.snapshot()
        yield Progress(adopted=adopted_ms, on_bus=sent_ms, evses=_told(told))

    async def _adopted(self, plan: Plan, deadline_s: float) -> Snapshot | None:
        """The first snapshot that shows the plan or a newer one; None: it didn't come in time."""
        while time.monotonic() < deadline_s:
            await asyncio.sleep(LOOK_S)
            snapshot = self.core.snapshot()
            if snapshot.plan_epoch >= plan.epoch:
                return snapshot
        return None

    def _follows(self, evse: EvseSnapshot) -> bool:
        """It is where it is told to be, and not on the way to somewhere else."""
        tolerance_w = next(limits.follow_tolerance_w for limits in self.core.config.evses if limits.id == evse.id)
        power_w = evse.inputs.value(EvseField.POWER) or 0
        return evse.setpoint.reason is not Reason.RAMP and abs(power_w - evse.setpoint.target_w) <= tolerance_w


def measured_w(snapshot: Snapshot, site: SiteModel) -> dict[Scope, int]:
    """Measured power of every EVSE that is heard and of the grid connection, W; what isn't known is left out."""
    power_w = {
        Scope(ScopeKind.EVSE, evse.id): watts
        for evse in snapshot.evses
        if (watts := evse.inputs.value(EvseField.POWER)) is not None
    }
    root = next((feeder for feeder in snapshot.feeders if feeder.id == site.root.id), None)
    if root is not None and not root.lost:
        base_w = (root.base_low_w[TOTAL] + root.base_high_w[TOTAL]) // 2
        power_w[Scope(ScopeKind.SITE, site.id)] = base_w + sum(power_w.values())
    return power_w


def _told(evses: Sequence[EvseSnapshot]) -> tuple[AckEvse, ...]:
    from edge.wire import AckEvse

    return tuple(
        AckEvse(
            id=e.id,
            min_w=e.setpoint.min_w,
            max_w=e.setpoint.max_w,
            target_w=e.setpoint.target_w,
            reason=e.setpoint.reason.name,
        )
        for e in evses
    )


def _unix_ms(monotonic_ns: int) -> int:
    return (time.time_ns() - (time.monotonic_ns() - monotonic_ns)) // 1_000_000
