"""Vocabulary of the gateway: constraints, plans, reasons, identifiers. Imports nothing of ours.

Sign everywhere: charging positive, discharging negative. Units are the last part of a name.
"""

from edge.model.constraint import (
    LOCKING_SOURCES,
    REMOTE_SOURCES,
    After,
    Constraint,
    Quantity,
    Scope,
    ScopeKind,
    Source,
)
from edge.model.ids import check_id
from edge.model.outcome import Outcome
from edge.model.plan import EvsePlan, FeederPlan, Plan, VehicleNeed
from edge.model.reason import Reason
from edge.model.site import EvseModel, FeederModel, SiteModel

__all__ = [
    "LOCKING_SOURCES",
    "REMOTE_SOURCES",
    "After",
    "Constraint",
    "EvseModel",
    "EvsePlan",
    "FeederModel",
    "FeederPlan",
    "Outcome",
    "Plan",
    "Quantity",
    "Reason",
    "Scope",
    "ScopeKind",
    "SiteModel",
    "Source",
    "VehicleNeed",
    "check_id",
]
