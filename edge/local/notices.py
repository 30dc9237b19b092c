"""What a reader must not miss: lab mode, no real-time, a lost guard, meter, bus or broker, a certificate about to expire."""

from __future__ import annotations

from edge.local.documents import LevelText, Notice
from edge.local.view import Snapshot
from edge.model.catalogue import reason_info
from edge.model.codeinfo import Level
from edge.model.conditions import CONDITIONS
from edge.model.reason import Reason
from edge.model.when import utc_text

FREQUENCY_REACH_MHZ = 5_000
"""As far from nominal as the core answers a frequency (V2G_GRID_REACH_MHZ)."""
HEARTBEAT_LIMIT_NS = 500_000_000
"""A cycle that has not ended for this long stands still: ten times the longest period."""
CERTIFICATE_WARNING_MS = 30 * 86_400_000
"""Warn when a certificate has less than 30 days left: time enough for a visit."""


def notices(snapshot: Snapshot) -> list[Notice]:
    """What the reader must not miss, worst first."""
    found = [*_core_notices(snapshot), *_plant_notices(snapshot), *_grid_notices(snapshot), *_uplink_notices(snapshot)]
    return sorted(found, key=lambda notice: ("fault", "degraded", "ok").index(notice["level"]))


def _core_notices(snapshot: Snapshot) -> list[Notice]:
    core, lab = snapshot.core, snapshot.lab
    found: list[Notice] = []

    def add(level: Level, code: str, text: str, remedy: str) -> None:
        found.append({"level": level.value, "code": code, "text": text, "remedy": remedy})

    if core.state == "safe":
        add(
            Level.FAULT,
            "SAFE",
            f"everything is held at 0 W: {core.safe_reason or 'the core is in SAFE'}",
            reason_info(Reason.INVARIANT).remedy,
        )
    heartbeat_ns = core.heartbeat_ns
    if heartbeat_ns is None or snapshot.now_ns - heartbeat_ns > HEARTBEAT_LIMIT_NS:
        add(Level.FAULT, "CYCLE_STOPPED", "the control cycle stands still", "systemctl restart v2g-edge, and keep its log")
    if lab:
        add(
            Level.OK,
            "LAB",
            "lab: true – a bench, not a site; discharge without guard or real-time is accepted",
            "remove `lab: true` on a site",
        )
    if not core.realtime:
        level = Level.OK if lab else Level.DEGRADED
        text = f"not real-time: scheduling {core.scheduling.upper()} was granted"
        if core.scheduling == "fifo":
            text = "not real-time: SCHED_FIFO was granted, but this kernel is not PREEMPT_RT"
        add(level, "NOT_REALTIME", text, "edgectl doctor says what is missing")
    if core.guard == "lost":
        level = Level.FAULT if core.guard_required else Level.DEGRADED
        add(level, "GUARD_LOST", "the guard is gone", reason_info(Reason.GUARD_LOST).remedy)
    elif core.guard == "off" and not lab:
        add(Level.DEGRADED, "GUARD_OFF", "no guard watches the cycle", "set guard.required: true in the config")
    return found


def _plant_notices(snapshot: Snapshot) -> list[Notice]:
    found: list[Notice] = []
    level: LevelText
    for bus in snapshot.buses:
        if not bus.up:
            text = f"bus {bus.id} ({bus.channel}) is down{': ' + bus.detail if bus.detail else ''}"
            found.append(
                {"level": "fault", "code": "BUS_DOWN", "text": text, "remedy": "check the adapter, cable and termination"}
            )
        elif bus.transport == "hub":
            text = f"bus {bus.id} is a hub on a socket, not a real CAN bus"
            level = "ok" if snapshot.lab else "degraded"
            found.append({"level": level, "code": "HUB", "text": text, "remedy": "set kind: can and its channel on a site"})
        elif bus.transport == "python-can":
            text = f"bus {bus.id} ({bus.channel}) goes through python-can: not real-time"
            level = "ok" if snapshot.lab else "degraded"
            remedy = "its EVSEs don't discharge; use an adapter that the kernel drives (kind: can)"
            found.append({"level": level, "code": "NOT_REALTIME_BUS", "text": text, "remedy": remedy})
    meters = {meter.id: meter for meter in snapshot.meters}
    for feeder in snapshot.feeders:
        if not feeder.lost:
            continue
        meter = meters.get(feeder.meter or "")
        error = f": {meter.last_error}" if meter is not None and meter.last_error else ""
        where = f" at {meter.device}" if meter is not None else ""
        text = f"feeder {feeder.id} is in fallback: meter {feeder.meter}{where} is lost{error}"
        found.append(
            {"level": "degraded", "code": "STALE_METER", "text": text, "remedy": reason_info(Reason.STALE_METER).remedy}
        )
    return found


def _grid_notices(snapshot: Snapshot) -> list[Notice]:
    site = snapshot.site_control
    if site.frequency_mhz is None or abs(site.frequency_mhz - site.nominal_mhz) <= FREQUENCY_REACH_MHZ:
        return []
    shown, nominal = site.frequency_mhz / 1000, site.nominal_mhz // 1000
    text = f"the grid shows {shown:.2f} Hz, but site.grid.nominal_hz is {nominal}: droop and frequency services don't act"
    return [{"level": "fault", "code": "NOMINAL_FREQUENCY", "text": text, "remedy": CONDITIONS["NOMINAL_FREQUENCY"].remedy}]


def _uplink_notices(snapshot: Snapshot) -> list[Notice]:
    uplink = snapshot.uplink
    found: list[Notice] = []
    for certificate in uplink.certificates:
        left_ms = certificate.not_after_ms - snapshot.ts_ms
        if left_ms < CERTIFICATE_WARNING_MS:
            expired = f"expired on {utc_text(certificate.not_after_ms)}: no connection until it is renewed"
            when = expired if left_ms <= 0 else f"expires in {left_ms // 86_400_000} days"
            text = f"certificate {certificate.name} ({certificate.subject}) {when}"
            found.append(
                {
                    "level": "degraded",
                    "code": "CERTIFICATE",
                    "text": text,
                    "remedy": "renew it with the play rotate-keys.yml, then edgectl reload",
                }
            )
    if uplink.state == "connecting":
        error = f": {uplink.last_error}" if uplink.last_error else ""
        text = f"no connection to the aggregator at {uplink.broker}{error}; local limits hold"
        remedy = "edgectl doctor checks name, port, TLS and certificates"
        found.append({"level": "degraded", "code": "UPLINK_DOWN", "text": text, "remedy": remedy})
    for code, text, remedy in uplink.alarms:
        found.append({"level": "degraded", "code": code, "text": text, "remedy": remedy})
    return found
