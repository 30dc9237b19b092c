"""A Constraint is the only thing a source of authority can say (architecture.md section 2)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Source(StrEnum):
    """Who speaks. A newer constraint of a source replaces that source's older one for the same scope and quantity."""

    AGGREGATOR = "aggregator"
    UTILITY = "utility"
    CSMS = "csms"
    VEHICLE = "vehicle"
    TECHNICIAN = "technician"
    OPERATOR = "operator"
    CONFIG = "config"
    LOCAL = "local"
    """A local mode of the gateway itself (solar surplus, peak shaving, fallback)."""


REMOTE_SOURCES = frozenset({Source.AGGREGATOR, Source.UTILITY, Source.CSMS, Source.VEHICLE})
"""Sources that speak from outside the site: their bounds always contain 0."""

LOCKING_SOURCES = frozenset({Source.TECHNICIAN, Source.OPERATOR})
"""Sources that may lock an EVSE out (row 7 of the constraint chain)."""


class ScopeKind(StrEnum):
    EVSE = "evse"
    FEEDER = "feeder"
    SITE = "site"


class Quantity(StrEnum):
    P_W = "p_w"
    """Active power in W, charging positive."""
    PERMIT = "permit"
    """A lock-out: 0 W and no permit while it stands, without bounds, wish or lease. `name` says whose lock it is."""


@dataclass(frozen=True, slots=True)
class Scope:
    kind: ScopeKind
    id: str


@dataclass(frozen=True, slots=True)
class After:
    """What holds once the lease is over: bounds in W (None: this source bounds that side no further) and a wish."""

    min_w: int | None = None
    max_w: int | None = None
    target_w: int | None = None


@dataclass(frozen=True, slots=True)
class Constraint:
    """Who, for what scope and quantity, which bounds and wish, until when, and what holds after.

    `min_w` ≤ 0 ≤ `max_w` when the source is remote; None leaves that side unbounded by this source. `target_w` is a wish.
    `until_ns` is CLOCK_MONOTONIC in ns (None: until replaced or withdrawn). `ramp_w_s` ≥ 0 in W/s, None: the site's default.
    """

    source: Source
    scope: Scope
    quantity: Quantity = Quantity.P_W
    min_w: int | None = None
    max_w: int | None = None
    target_w: int | None = None
    ramp_w_s: int | None = None
    until_ns: int | None = None
    after: After | None = None
    name: str = ""
    """What to show beside the bound: a command id, a lock's reason, a config key."""
