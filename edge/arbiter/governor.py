"""What any remote command may do at most, whoever signed it: a step, so many changes of direction, a ramp, a random start.

A stolen key or a faulty aggregator commands thousands of sites at one instant. Each bound is local and makes the sum of all
sites slow and spread out, for a stop as well as for a discharge. An ordinary dispatch acts at once: the site has an allowance
of free movement, refilled at the ramp; only what goes beyond it starts at a random time and follows the ramp, and many small
commands use up the same allowance as a large one. Limits of the site itself are not governed: they act at once.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from edge.model import Constraint, EvseModel, Scope, ScopeKind, SiteModel, Source

HOUR_NS = 3_600_000_000_000
SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class GovernorSettings:
    """Shares are of a scope's whole power range (largest discharge to largest charge). All are our choice."""

    step_share: float = 1.0
    """Most that one command may move a wish away from 0; 1: anything inside the rating. Over a slow link it shrinks as the
    round trip grows."""
    direction_changes_per_h: int = 12
    """Changes between charging and discharging within an hour; the next one is held at 0 W."""
    free_share: float = 0.25
    """What commands may move at once of the site's range: one of four EVSEs from full charge to full discharge. Beyond it a
    command is a mass command."""
    ramp_share_s: float = 0.1
    """How fast a mass command takes effect away from 0, and how fast the allowance refills (numbers.md: 10 %/s)."""
    stop_share_s: float = 0.5
    """How fast a mass command takes effect towards 0: a whole site stops within a second of its start."""
    start_spread_s: float = 5.0
    """A mass command starts after a random delay up to this: a lost gigawatt becomes 200 MW a second."""
    slow_link_s: float = 1.0
    """Round trip above which a command is damped (numbers.md: 1000 ms)."""


@dataclass(frozen=True, slots=True)
class _Course:
    """The way from what was to what a command asks. What it starts from is None where the command holds at once."""

    wish_w: int | None
    min_w: int | None
    max_w: int | None
    moved_w: int
    """The longest of its ways."""
    stops: bool
    """Every way leads towards 0."""
    start_ns: int = 0
    rate_w_s: float = math.inf
    delay_ns: int = 0

    @property
    def end_ns(self) -> int:
        return self.start_ns + math.ceil(self.moved_w / self.rate_w_s * SECOND_NS)


class Governor:
    """Bounds the commands of the aggregator. The arbiter asks it; times are CLOCK_MONOTONIC, ns.

    `round_trip_s` is what the uplink measures: over a slow link the sender sees the answer late, so a change is spread over
    twice the dead time (the gain that keeps a loop with a dead time from swinging) and its step shrinks.
    """

    def __init__(self, site: SiteModel, settings: GovernorSettings, rng: random.Random | None = None) -> None:
        self.site = site
        self.settings = settings
        self.round_trip_s = 0.0
        self.mass_commands = 0
        """How often a command went beyond the allowance since the start."""
        self._rng = rng or random.SystemRandom()
        self._courses: dict[Scope, _Course] = {}
        self._direction: dict[Scope, int] = {}
        self._changes_ns: dict[Scope, deque[int]] = {}
        self._spent_w = 0.0
        self._spent_ns = 0

    @property
    def slow(self) -> bool:
        return self.round_trip_s > self.settings.slow_link_s

    def admit(self, constraint: Constraint, present_w: int | None, now_ns: int) -> Constraint:
        """The command with its wish inside the allowed step and directions. Changes nothing."""
        if constraint.source is not Source.AGGREGATOR or constraint.target_w is None:
            return constraint
        target_w = constraint.target_w
        if present_w is not None:
            step_w = round(self._step_share() * self._range_w(constraint.scope))
            target_w = max(min(present_w, 0) - step_w, min(target_w, max(present_w, 0) + step_w))
        if self._turns(constraint.scope, target_w) and self._turned_too_often(constraint.scope, now_ns):
            target_w = 0
        return constraint if target_w == constraint.target_w else replace(constraint, target_w=target_w)

    def start(
        self, batch: Sequence[Constraint], standing: Mapping[Scope, Constraint], present_w: Mapping[Scope, int], now_ns: int
    ) -> None:
        """Admitted constraints of one command take effect from now: remember their ways. `standing`: what the aggregator said
        before for these scopes. The same wish again goes on along its way."""
        new = [c for c in batch if c.source is Source.AGGREGATOR and not self._goes_on(c, standing.get(c.scope), now_ns)]
        courses = {c.scope: self._course(c, standing.get(c.scope), present_w.get(c.scope), now_ns) for c in new}
        mass = self._spend(sum(course.moved_w for course in courses.values()), now_ns)
        delay_ns = round(self._rng.uniform(0.0, self.settings.start_spread_s) * SECOND_NS) if mass else 0
        for constraint in new:
            scope, course = constraint.scope, courses[constraint.scope]
            if constraint.target_w is not None:
                self._count_turn(scope, constraint.target_w, now_ns)
            rate_w_s = self._rate_w_s(scope, course, mass=mass)
            self._courses[scope] = replace(course, start_ns=now_ns + delay_ns, rate_w_s=rate_w_s, delay_ns=delay_ns)

    def shape(self, constraint: Constraint, now_ns: int) -> Constraint:
        """What of a command has taken effect by now. A lease ends as much later as its command began later."""
        course = self._courses.get(constraint.scope)
        if (
            constraint.source is not Source.AGGREGATOR
            or course is None
            or (course.rate_w_s == math.inf and not course.delay_ns)
        ):
            return constraint
        low_w, high_w = self._rating(constraint.scope)
        moved_w = max(0, now_ns - course.start_ns) / SECOND_NS * course.rate_w_s if now_ns > course.start_ns else 0.0
        target_w, min_w, max_w = constraint.target_w, constraint.min_w, constraint.max_w
        if target_w is not None and course.wish_w is not None:
            target_w = _towards(course.wish_w, target_w, moved_w)
        if course.max_w is not None and now_ns < course.end_ns:
            max_w = max(0, _towards(course.max_w, high_w if max_w is None else max_w, moved_w))
        if course.min_w is not None and now_ns < course.end_ns:
            min_w = min(0, _towards(course.min_w, low_w if min_w is None else min_w, moved_w))
        until_ns = constraint.until_ns
        if until_ns is not None:
            until_ns = max(until_ns + course.delay_ns, course.end_ns)
        return replace(constraint, target_w=target_w, min_w=min_w, max_w=max_w, until_ns=until_ns)

    def _goes_on(self, new: Constraint, standing: Constraint | None, now_ns: int) -> bool:
        """Whether a command only renews one whose lease still runs."""
        if standing is None or (standing.until_ns is not None and now_ns >= (self.shape(standing, now_ns).until_ns or 0)):
            return False
        return (new.target_w, new.min_w, new.max_w) == (standing.target_w, standing.min_w, standing.max_w)

    def _course(self, c: Constraint, before: Constraint | None, present_w: int | None, now_ns: int) -> _Course:
        """Where a command's wish and bounds start from: what was wished until now, else what is measured."""
        shaped = None if before is None else self.shape(before, now_ns)
        fresh = shaped is not None and (shaped.until_ns is None or now_ns < shaped.until_ns)
        wish_w = None
        ways: list[tuple[int, int]] = []
        if c.target_w is not None:
            wish_w = shaped.target_w if shaped is not None and fresh and shaped.target_w is not None else present_w
            ways.append((wish_w if wish_w is not None else c.target_w - self._range_w(c.scope), c.target_w))
        low_w, high_w = self._rating(c.scope)
        max_w = _bound_start(_or(c.max_w, high_w), _or(None if shaped is None else shaped.max_w, high_w), present_w)
        min_w = _bound_start(-_or(c.min_w, low_w), -_or(None if shaped is None else shaped.min_w, low_w), _minus(present_w))
        min_w = _minus(min_w)
        for start_w, end_w in ((max_w, _or(c.max_w, high_w)), (min_w, _or(c.min_w, low_w))):
            tightens = start_w is not None and abs(end_w) < abs(start_w)
            if start_w is not None and (tightens or c.target_w is None):  # beside a wish, a wider bound moves nothing
                ways.append((start_w, end_w))
        moved_w = max((abs(end_w - start_w) for start_w, end_w in ways), default=0)
        return _Course(wish_w, min_w, max_w, moved_w, all(_leads_to_zero(*way) for way in ways))

    def _spend(self, moved_w: int, now_ns: int) -> bool:
        """Take a movement off the site's allowance; True: it goes beyond it. A debt is paid off at the ramp."""
        range_w = sum(evse.max_w - evse.min_w for evse in self.site.evses)
        refill_w = self.settings.ramp_share_s * range_w * (now_ns - self._spent_ns) / SECOND_NS
        self._spent_w = max(0.0, self._spent_w - refill_w) + moved_w
        self._spent_ns = now_ns
        mass = moved_w > 0 and self._spent_w > self.settings.free_share * range_w
        self.mass_commands += mass
        return mass

    def _rate_w_s(self, scope: Scope, course: _Course, *, mass: bool) -> float:
        share_s = self.settings.stop_share_s if course.stops else self.settings.ramp_share_s
        rate_w_s = share_s * self._range_w(scope) if mass else math.inf
        if self.slow and course.moved_w:
            rate_w_s = min(rate_w_s, course.moved_w / (2 * self.round_trip_s))
        return max(rate_w_s, 1.0)

    def _step_share(self) -> float:
        share = self.settings.step_share
        return share * self.settings.slow_link_s / self.round_trip_s if self.slow else share

    def _range_w(self, scope: Scope) -> int:
        return sum(evse.max_w - evse.min_w for evse in self._evses(scope))

    def _evses(self, scope: Scope) -> Iterable[EvseModel]:
        if scope.kind is ScopeKind.EVSE:
            return [evse for evse in self.site.evses if evse.id == scope.id]
        if scope.kind is ScopeKind.FEEDER:
            return [evse for evse in self.site.evses if scope.id in self.site.feeders_above(evse)]
        return self.site.evses

    def _rating(self, scope: Scope) -> tuple[int, int]:
        """What bounds a scope that no command bounds, W."""
        if scope.kind is ScopeKind.EVSE:
            return next(((evse.min_w, evse.max_w) for evse in self._evses(scope)), (0, 0))
        feeder_id = self.site.root.id if scope.kind is ScopeKind.SITE else scope.id
        return next(((feeder.export_w, feeder.import_w) for feeder in self.site.feeders if feeder.id == feeder_id), (0, 0))

    def _turns(self, scope: Scope, target_w: int) -> bool:
        return _sign(target_w) * self._direction.get(scope, 0) < 0

    def _turned_too_often(self, scope: Scope, now_ns: int) -> bool:
        recent = [change_ns for change_ns in self._changes_ns.get(scope, ()) if now_ns - change_ns < HOUR_NS]
        return len(recent) >= self.settings.direction_changes_per_h

    def _count_turn(self, scope: Scope, target_w: int, now_ns: int) -> None:
        if self._turns(scope, target_w):
            changes = self._changes_ns.setdefault(scope, deque(maxlen=max(1, self.settings.direction_changes_per_h)))
            changes.append(now_ns)
        if target_w != 0:
            self._direction[scope] = _sign(target_w)


def _bound_start(new_w: int, old_w: int, present_w: int | None) -> int | None:
    """Where an upper bound starts on its way from `old_w` to `new_w`; None: it holds at once. Tightened, it matters only from
    what is measured down."""
    if new_w >= old_w:
        return old_w if new_w > old_w else None
    return None if present_w is None or present_w <= new_w else min(present_w, old_w)


def _leads_to_zero(from_w: int, to_w: int) -> bool:
    return abs(to_w) <= abs(from_w) and from_w * to_w >= 0


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def _minus(value: int | None) -> int | None:
    return None if value is None else -value


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)


def _towards(from_w: int, to_w: int, moved_w: float) -> int:
    if moved_w >= abs(to_w - from_w):
        return to_w
    return from_w + round(moved_w if to_w > from_w else -moved_w)
