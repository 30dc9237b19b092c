"""The only state of the arbiter: what each source said last, and the checks before it is believed."""

from __future__ import annotations

from dataclasses import replace

from edge.arbiter.arbitrate import lease_end_ns
from edge.model import LOCKING_SOURCES, REMOTE_SOURCES, After, Constraint, Quantity, Scope, ScopeKind, SiteModel, Source

LIMIT_W = 50_000_000
"""Largest power that anybody may name, W: far above any site, far inside the core's 32-bit integers."""

_Key = tuple[Source, Scope, Quantity, str]


class UnsupportedConstraint(ValueError):
    """A constraint that this site can't honour. `code` is short and stable, the text names the remedy."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def check_constraint(site: SiteModel, constraint: Constraint) -> None:
    """Raise UnsupportedConstraint unless this site can honour the constraint."""
    scope = constraint.scope
    known = {
        ScopeKind.EVSE: {evse.id for evse in site.evses},
        ScopeKind.FEEDER: {feeder.id for feeder in site.feeders},
        ScopeKind.SITE: {site.id},
    }
    if scope.id not in known[scope.kind]:
        raise UnsupportedConstraint("unknown_scope", f"no {scope.kind} {scope.id!r} at site {site.id}")
    if constraint.quantity is Quantity.PERMIT:
        _check_lock(constraint)
        return
    _check_bounds(constraint.source, constraint.min_w, constraint.max_w, constraint.target_w)
    if constraint.after is not None:
        _check_bounds(constraint.source, constraint.after.min_w, constraint.after.max_w, constraint.after.target_w)
    if constraint.ramp_w_s is not None and not 0 < constraint.ramp_w_s <= LIMIT_W:
        raise UnsupportedConstraint("ramp", f"ramp {constraint.ramp_w_s} W/s lies outside 1 to {LIMIT_W}")
    wishes = constraint.target_w is not None or (constraint.after is not None and constraint.after.target_w is not None)
    if wishes and scope.kind is ScopeKind.FEEDER and scope.id != site.root.id:
        raise UnsupportedConstraint(
            "feeder_target", f"feeder {scope.id} takes bounds only; give the target to the site or its EVSEs"
        )


def _check_lock(constraint: Constraint) -> None:
    if constraint.source not in LOCKING_SOURCES:
        raise UnsupportedConstraint("lock_source", f"{constraint.source} may not lock out; only technician and operator may")
    said = (constraint.min_w, constraint.max_w, constraint.target_w, constraint.until_ns, constraint.after)
    if any(part is not None for part in said) or not constraint.name:
        raise UnsupportedConstraint("lock_form", "a lock-out has a name (whose lock it is) and no bounds, wish, lease or after")


def _check_bounds(source: Source, min_w: int | None, max_w: int | None, target_w: int | None) -> None:
    for value in (min_w, max_w, target_w):
        if value is not None and not -LIMIT_W <= value <= LIMIT_W:
            raise UnsupportedConstraint("range", f"{value} W lies outside ±{LIMIT_W} W")
    if min_w is not None and max_w is not None and min_w > max_w:
        raise UnsupportedConstraint("empty_bounds", f"min {min_w} W is above max {max_w} W")
    if source in REMOTE_SOURCES and ((min_w is not None and min_w > 0) or (max_w is not None and max_w < 0)):
        raise UnsupportedConstraint(
            "bounds_without_zero", f"bounds {min_w} … {max_w} W of {source} don't contain 0; give a wish as the target"
        )


class ConstraintStore:
    """What each source said last, by source, scope and quantity; a lock-out also by its name, as every padlock is one person's.

    `limits_epoch` rises when a source says something new, never when a lease ends or a constraint is taken back: leaving a
    fail-safe needs an explicit new limit.
    """

    def __init__(self, site: SiteModel) -> None:
        self._site = site
        self._said: dict[_Key, Constraint] = {}
        self._ended: set[_Key] = set()
        self.limits_epoch = 0

    def put(self, constraint: Constraint) -> bool:
        """Take a constraint in place of the source's older one. False when it says exactly the same again.
        Raises UnsupportedConstraint and changes nothing when the site can't honour it."""
        check_constraint(self._site, constraint)
        key = self._key(constraint)
        if self.stands(constraint):
            return False
        self._said[key] = constraint
        self._ended.discard(key)
        self.limits_epoch += 1
        return True

    def stands(self, constraint: Constraint) -> bool:
        """Whether exactly this was said before and still stands."""
        return self._said.get(self._key(constraint)) == constraint

    def withdraw(self, source: Source, scope: Scope, quantity: Quantity = Quantity.P_W, name: str = "") -> bool:
        """The source takes its own constraint back (`name`: of a lock-out). False when there was none."""
        key = (source, scope, quantity, name if quantity is Quantity.PERMIT else "")
        self._ended.discard(key)
        return self._said.pop(key, None) is not None

    def expire(self, now_ns: int) -> list[Constraint]:
        """The constraints whose lease ended since the last call. They stay: what they leave behind goes on holding."""
        ended = []
        for key, constraint in self._said.items():
            if key not in self._ended and lease_end_ns(constraint, self._site) <= now_ns:
                self._ended.add(key)
                ended.append(constraint)
        return ended

    def forget_session(self, evse_id: str) -> None:
        """The vehicle left: its own constraint and every wish for this EVSE are void; bounds stay."""
        scope = Scope(ScopeKind.EVSE, evse_id)
        self.withdraw(Source.VEHICLE, scope)
        for key, constraint in self._said.items():
            if constraint.scope == scope:
                after = constraint.after
                bounds_after = None if after is None else After(after.min_w, after.max_w)
                self._said[key] = replace(constraint, target_w=None, after=bounds_after)

    def adopt_site(self, site: SiteModel) -> list[Constraint]:
        """A changed config: keep every constraint that the site can still honour, return those that it dropped."""
        self._site = site
        dropped = []
        for key, constraint in list(self._said.items()):
            try:
                check_constraint(site, constraint)
            except UnsupportedConstraint:
                dropped.append(self._said.pop(key))
                self._ended.discard(key)
        return dropped

    def all(self) -> tuple[Constraint, ...]:
        """Everything that was said and stands."""
        return tuple(self._said.values())

    def of_source(self, source: Source) -> dict[Scope, Constraint]:
        """What a source said about power, by scope."""
        said = (c for c in self._said.values() if c.source is source and c.quantity is Quantity.P_W)
        return {constraint.scope: constraint for constraint in said}

    @staticmethod
    def _key(constraint: Constraint) -> _Key:
        name = constraint.name if constraint.quantity is Quantity.PERMIT else ""
        return constraint.source, constraint.scope, constraint.quantity, name
