"""Many sources constrain, one arbiter merges: constraints in, plan out."""

from edge.arbiter.arbiter import Arbiter, cloud_lost_delay_ns
from edge.arbiter.arbitrate import PLAN_LEASE_NS, arbitrate
from edge.arbiter.governor import Governor, GovernorSettings
from edge.arbiter.store import ConstraintStore, UnsupportedConstraint, check_constraint

__all__ = [
    "PLAN_LEASE_NS",
    "Arbiter",
    "ConstraintStore",
    "Governor",
    "GovernorSettings",
    "UnsupportedConstraint",
    "arbitrate",
    "check_constraint",
    "cloud_lost_delay_ns",
]
