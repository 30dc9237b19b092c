"""What the core's checks refuse, in words: enum v2g_fault with the EVSE, feeder or table it means, the keys, the remedy."""

from __future__ import annotations

from dataclasses import dataclass

from edge.core._native import lib
from edge.core.kinds import Refusal
from edge.core.snapshot import Ids


@dataclass(frozen=True, slots=True)
class _Fault:
    place: str
    """Whose index comes with it: evse, feeder, table or nothing."""
    what: str
    remedy: str


_FAULTS = {
    lib.V2G_FAULT_HEADER: _Fault("", "layout version or epoch doesn't fit", "install one build of v2g-edge as a whole"),
    lib.V2G_FAULT_COUNT: _Fault(
        "",
        f"more than {lib.V2G_MAX_EVSES} EVSEs, {lib.V2G_MAX_FEEDERS} feeders, {lib.V2G_MAX_METERS} meters or "
        f"{lib.V2G_MAX_DERATES} derate tables",
        "split the site over two gateways",
    ),
    lib.V2G_FAULT_PERIOD: _Fault("", "cycle.period is outside 1 ms to 50 ms", "set cycle.period to 10ms"),
    lib.V2G_FAULT_EVSE_KEY: _Fault("evse", "its id is used twice", "give every EVSE its own id"),
    lib.V2G_FAULT_EVSE_FEEDER: _Fault("evse", "feeder: there is no such feeder", "name a feeder of this config"),
    lib.V2G_FAULT_EVSE_PHASES: _Fault("evse", "phase_map: no phase, or one of another site", "use phases 1, 2 and 3"),
    lib.V2G_FAULT_EVSE_POWER: _Fault(
        "evse",
        f"rating_w, min_*_w, fallback_*_w: a power is outside 0 to {lib.V2G_POWER_MAX_W} W, or a fallback above the rating",
        "correct the powers of this EVSE",
    ),
    lib.V2G_FAULT_EVSE_SOC: _Fault(
        "evse", "min_soc_threshold, max_soc: outside 0 to 100 %, or the floor above the ceiling", "lower min_soc_threshold"
    ),
    lib.V2G_FAULT_EVSE_DERATE: _Fault("evse", "thermal: no such derate table, or cold limit out of range", "correct thermal"),
    lib.V2G_FAULT_EVSE_RAMP: _Fault("evse", "ramp: 0 or too fast for this rating", "correct ramp or rating_w"),
    lib.V2G_FAULT_EVSE_AGE: _Fault("evse", "an age limit or reaction_time is outside 0 to 1 h", "correct its frame periods"),
    lib.V2G_FAULT_EVSE_MODEL: _Fault(
        "evse",
        "thermal: a rise at this rating leaves the range of temperatures",
        "correct contact_rise_k, cable_rise_k or rating_w",
    ),
    lib.V2G_FAULT_SEAL: _Fault("", "an entry was damaged in memory", "restart; if it comes again, test the memory"),
    lib.V2G_FAULT_FEEDER_PARENT: _Fault(
        "feeder", f"parent: no tree with one root of at most {lib.V2G_MAX_DEPTH} levels", "correct parent"
    ),
    lib.V2G_FAULT_FEEDER_METER: _Fault("feeder", "meter: there is no such meter", "name a meter of this config"),
    lib.V2G_FAULT_FEEDER_POWER: _Fault(
        "feeder", f"rating_a, base_load_w: a power is outside 0 to {lib.V2G_POWER_MAX_W} W", "correct this feeder"
    ),
    lib.V2G_FAULT_FEEDER_AGE: _Fault(
        "feeder", "its meter's poll, refresh or liveness time is outside 0 to 1 h", "correct poll or the meter's profile"
    ),
    lib.V2G_FAULT_FEEDER_FALLBACK: _Fault(
        "feeder",
        "fallback_w: the shares of its EVSEs exceed it, or it exceeds the rating minus the declared base load",
        "lower fallback_w or base_load_w",
    ),
    lib.V2G_FAULT_DERATE_TABLE: _Fault("table", "thermal: limits don't fall, or resume is not below stop", "correct thermal"),
    lib.V2G_FAULT_LEASE: _Fault("", f"the plan's lease is longer than {lib.V2G_LEASE_MAX_MS} ms, or over", "lower plan.lease"),
    lib.V2G_FAULT_PLAN_EVSE: _Fault("evse", "its plan holds an impossible power", "report it with the plan"),
    lib.V2G_FAULT_PLAN_FEEDER: _Fault("feeder", "its plan holds an impossible power", "report it with the plan"),
}

_OTHER = {
    Refusal.REFUSED_CRC: "the commit was damaged in memory: restart; if it comes again, test the memory",
    Refusal.REFUSED_BOOT: "the commit is of another process: restart v2g-edge",
    Refusal.REFUSED_EPOCH: "the commit is not newer than the one in force: reload again",
    Refusal.REFUSED_CAN: "CAN table entry {fault:#x} was refused: check the DBC and its map with `edgectl config check`",
    Refusal.REFUSED_SITE: "site control entry {fault:#x} was refused: check site.grid, and `response` of the EVSEs",
    Refusal.REFUSED_CELL: "meter table entry {fault:#x} was refused: check the profile with `edgectl config check`",
}


def _where(fault: _Fault, index: int, ids: Ids) -> str:
    names = {"evse": ids.evses, "feeder": ids.feeders}.get(fault.place, ())
    if index < len(names):
        return f"{'EVSE' if fault.place == 'evse' else 'feeder'} {names[index]}: "
    return f"{fault.place} {index}: " if fault.place else ""


def describe(refusal: int, ids: Ids) -> str:
    """One line for what v2g_commit_check() returned: who, which keys, what is wrong, the remedy."""
    kind, fault = Refusal(refusal >> 32), refusal & 0xFFFF_FFFF
    if kind in (Refusal.REFUSED_CONFIG, Refusal.REFUSED_PLAN):
        known = _FAULTS.get(fault >> 16)
        if known is not None:
            return f"{_where(known, fault & 0xFFFF, ids)}{known.what}: {known.remedy}"
    return _OTHER.get(kind, f"refused with {kind.name} {fault:#x}").format(fault=fault)
