"""A fake gateway: a made-up site with six EVSEs in six situations, behind the same view that the real gateway implements.

Nothing here was recorded on hardware. It stands still unless `live` is set; then its values come 5 ms before each look.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from edge.local.view import (
    BusFacts,
    CertificateFacts,
    CoreFacts,
    Event,
    EvseFacts,
    FeederFacts,
    HistogramFacts,
    LocalError,
    LockFacts,
    MeterFacts,
    Reading,
    RowFacts,
    RtFacts,
    SensorLimits,
    Session,
    SetpointFacts,
    Snapshot,
    Trace,
    UplinkFacts,
)
from edge.model import EvsePlan, Reason

RATING = Reason.RATING
NOW_NS = 1_000_000_000_000
TS_MS = 1_760_000_000_000
MS = 1_000_000
SENSORS = (
    SensorLimits("connector", 700, 900, 650, 60_000 * MS),
    SensorLimits("cell_max", 450, 600, 430, 60_000 * MS),
)
AGE_LIMITS_MS = {"state": 60, "flags": 60, "power": 60, "soc": 60, "t_connector": 60, "t_cell_max": 600, "t_cell_min": 600}


def reading(value: int | None, age_ms: int = 5, changed_ms: int | None = None, limit_ms: int = 0) -> Reading:
    changed = age_ms if changed_ms is None else changed_ms
    return Reading(value, NOW_NS - age_ms * MS, NOW_NS - changed * MS, limit_ms * MS)


def readings(age_ms: int = 5, **values: int | None) -> dict[str, Reading]:
    known: dict[str, int | None] = {
        "state": 6,
        "flags": 0b0011110,
        "power": 0,
        "soc": 6320,
        "t_connector": 412,
        "t_cell_max": 288,
        "t_cell_min": 271,
        "max_charge": 22000,
        "max_discharge": 11000,
        "capacity": 77000,
        "i_l1": 15900,
        "i_l2": 15800,
        "i_l3": 16000,
        "cp_duty": 53,
        "soh": 97,
    }
    return {name: reading(value, age_ms, limit_ms=AGE_LIMITS_MS.get(name, 0)) for name, value in (known | values).items()}


def setpoint(
    target_w: int, reason: Reason = Reason.NONE, low: Reason = Reason.RATING, high: Reason = Reason.RATING
) -> SetpointFacts:
    return SetpointFacts(target_w, -11000, 22000, -11000, 22000, reason, low, high, 2)


def plan(target_w: int, by: str = "aggregator") -> EvsePlan:
    until_ns = NOW_NS + 42_000 * MS
    return EvsePlan(-11000, 22000, target_w, until_ns, 0, 4200, 4200, min_by=by, max_by=by, target_by=by)


def evse(evse_id: str, feeder: str, **facts: Any) -> EvseFacts:
    known: dict[str, Any] = {
        "id": evse_id,
        "feeder": feeder,
        "bus": "can0",
        "device": f"can0 node {evse_id[-1]}",
        "readings": readings(),
        "setpoint": setpoint(0),
        "latches": 512,
        "plan": plan(0),
        "rating_charge_w": 22000,
        "rating_discharge_w": 11000,
        "soc_floor": 3000,
        "soc_ceiling": 9500,
        "soc_hysteresis": 200,
        "sensors": SENSORS,
        "frames": 48211,
    }
    return EvseFacts(**(known | facts))


def six_evses() -> list[EvseFacts]:
    hot, floor, lost = Reason.THERMAL_DERATE, Reason.ERR_V2G_LIMIT_REACHED, Reason.EVSE_LOST
    lock = LockFacts("anna", "cable being replaced", TS_MS - 600_000)
    return [
        evse("evse-1", "row-a", readings=readings(power=11020), setpoint=setpoint(11000), plan=plan(11000)),
        evse("evse-2", "row-a", readings=readings(power=-7980, soc=5810), setpoint=setpoint(-8000), plan=plan(-8000)),
        evse(
            "evse-3",
            "row-a",
            readings=readings(soc=3040),
            setpoint=setpoint(0, floor, low=floor),
            latches=513,
            plan=plan(-8000),
        ),
        evse(
            "evse-4",
            "row-b",
            readings=readings(power=14010, t_connector=788),
            setpoint=setpoint(14000, hot, high=hot),
            plan=plan(22000),
        ),
        evse(
            "evse-5",
            "row-b",
            readings=readings(4210),
            setpoint=setpoint(0, lost, lost, lost),
            latches=64,
            plan=plan(7000),
            bad_frames=3,
        ),
        evse(
            "evse-6",
            "row-b",
            readings=readings(state=1, flags=0b0001000),
            setpoint=setpoint(0, Reason.LOCKOUT, Reason.LOCKOUT, Reason.LOCKOUT),
            locks=(lock,),
        ),
    ]


def feeder(feeder_id: str, parent: str | None, meter: str, fuse_w: int, base_w: int, room_w: int) -> FeederFacts:
    third = fuse_w // 3
    lanes = (third, third, third, fuse_w)
    return FeederFacts(
        feeder_id,
        parent,
        meter,
        import_w=lanes,
        export_w=lanes,
        room_import_w=(room_w // 3, room_w // 3, room_w // 3, room_w),
        room_export_w=(third, third, third, fuse_w),
        base_w=(base_w // 3, base_w // 3, base_w // 3, base_w),
        lost=False,
    )


def meter(meter_id: str, device: str, power_w: int) -> MeterFacts:
    values = {
        "p_l1": reading(power_w // 3, 31, limit_ms=800),
        "p_l2": reading(power_w // 3, 31, limit_ms=800),
        "p_l3": reading(power_w // 3, 31, limit_ms=800),
        "p_total": reading(power_w, 31, limit_ms=800),
        "u_l1": reading(2304, 31, limit_ms=800),
        "frequency": reading(50012, 31, limit_ms=800),
    }
    return MeterFacts(meter_id, device, values, reads=9120, failures=2)


def site() -> Snapshot:
    """All is well but for what its EVSEs show: degraded, because one is lost and one is hot."""
    return Snapshot(
        now_ns=NOW_NS,
        ts_ms=TS_MS,
        boot="5f0c2a9be1d34b77",
        site="site-1",
        version="0.1.0",
        config_hash="9c41e77ab0",
        started_ns=NOW_NS - 7_384_000 * MS,
        lab=False,
        grid_profile="none",
        core=CoreFacts(
            state="run",
            period_ns=10 * MS,
            cycles=738_400,
            missed=0,
            realtime=True,
            scheduling="fifo",
            cpu=1,
            guard="alive",
            guard_required=True,
            heartbeat_ns=NOW_NS - 4 * MS,
            plan_epoch=29536,
            plan_made_ns=NOW_NS - 180 * MS,
            plan_lease_ns=NOW_NS + 1820 * MS,
            config_epoch=3,
        ),
        evses=six_evses(),
        feeders=[
            feeder("main", None, "grid", 69000, 10200, 51000),
            feeder("row-a", "main", "meter-a", 43470, 0, 38000),
            feeder("row-b", "main", "meter-b", 43470, 900, 14000),
        ],
        meters=[
            meter("grid", "10.0.0.5 unit 1", 27250),
            meter("meter-a", "10.0.0.6 unit 1", 3040),
            meter("meter-b", "10.0.0.7 unit 1", 14910),
        ],
        buses=[
            BusFacts("can0", "can", "can0", True, "can", frames_in=412_881, frames_out=443_040, errors=3, load_percent=38.5),
            BusFacts("net", "modbus-tcp", "", True, frames_in=27360, frames_out=27366, errors=6),
        ],
        uplink=UplinkFacts(
            loss=0.002,
            mb_per_day=41.5,
            budget_mb_per_day=60.0,
            state="connected",
            broker="broker.example:8883",
            tls_version="TLSv1.3",
            since_ns=NOW_NS - 7_300_000 * MS,
            published=44120,
            outcomes={"applied": 118, "clipped": 4},
            command_ns=NOW_NS - 18_000 * MS,
            round_trip_ms=42.0,
            certificates=(CertificateFacts("gateway", "CN=site-1", TS_MS + 200 * 86_400_000),),
        ),
    )


def shifted(value: Reading, by_ns: int) -> Reading:
    if value.acquired_ns is None or value.changed_ns is None:
        return value
    return replace(value, acquired_ns=value.acquired_ns + by_ns, changed_ns=value.changed_ns + by_ns)


def moved(facts: EvseFacts, by_ns: int) -> EvseFacts:
    plan = facts.plan and replace(facts.plan, until_ns=facts.plan.until_ns + by_ns)
    return replace(facts, plan=plan, readings={n: shifted(r, by_ns) for n, r in facts.readings.items()})


def at(snapshot: Snapshot, now_ns: int, ts_ms: int) -> Snapshot:
    """The same site at another moment, every age as it was."""
    by_ns = now_ns - snapshot.now_ns
    core, certificates = snapshot.core, snapshot.uplink.certificates
    stamps = {
        name: None if stamp is None else stamp + by_ns
        for name, stamp in (
            ("heartbeat_ns", core.heartbeat_ns),
            ("plan_made_ns", core.plan_made_ns),
            ("plan_lease_ns", core.plan_lease_ns),
        )
    }
    return replace(
        snapshot,
        now_ns=now_ns,
        ts_ms=ts_ms,
        started_ns=snapshot.started_ns + by_ns,
        core=replace(core, **stamps),
        evses=[moved(e, by_ns) for e in snapshot.evses],
        meters=[replace(m, readings={n: shifted(r, by_ns) for n, r in m.readings.items()}) for m in snapshot.meters],
        uplink=replace(
            snapshot.uplink,
            command_ns=None if snapshot.uplink.command_ns is None else snapshot.uplink.command_ns + by_ns,
            certificates=[replace(c, not_after_ms=c.not_after_ms + ts_ms - snapshot.ts_ms) for c in certificates],
        ),
    )


EVENTS = [
    Event(1, TS_MS - 7_384_000, "start", "site-1", "INIT", "v2g-edge 0.1.0 started, config 9c41e77ab0"),
    Event(2, TS_MS - 7_300_000, "uplink", "site-1", "CONNECTED", "connected to broker.example:8883 with TLSv1.3"),
    Event(3, TS_MS - 920_000, "reason", "evse-3", "ERR_V2G_LIMIT_REACHED", "SOC floor: discharge −8000 W → 0 W"),
    Event(4, TS_MS - 600_000, "lock", "evse-6", "LOCKOUT", "locked by anna: cable being replaced"),
    Event(5, TS_MS - 95_000, "reason", "evse-4", "THERMAL_DERATE", "connector 70.4 °C: charging derated", "degraded"),
    Event(6, TS_MS - 4_200, "reason", "evse-5", "EVSE_LOST", "no frame for 60 ms: safe setpoint", "degraded"),
]


@dataclass
class FakeGateway:
    """Implements GatewayView and Actions; tests change `snapshot` to make something happen."""

    snapshot: Snapshot = field(default_factory=site)
    live: bool = False
    remembered: list[Event] = field(default_factory=lambda: list(EVENTS))
    reload_error: str = ""
    commission: Mapping[str, Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]] = field(default_factory=dict)
    subscribers: list[asyncio.Queue[Event]] = field(default_factory=list)

    def status(self) -> Snapshot:
        return at(self.snapshot, time.monotonic_ns(), time.time_ns() // MS) if self.live else self.snapshot

    def explain(self, evse_id: str) -> Trace:
        """Rows that each leave what the rows before left, or less."""
        facts = next(e for e in self.snapshot.evses if e.id == evse_id)
        own = {
            "evse-3": {2: RowFacts(22000, 0, RATING, Reason.ERR_V2G_LIMIT_REACHED)},
            "evse-4": {3: RowFacts(14000, 7000, Reason.THERMAL_DERATE, Reason.THERMAL_DERATE)},
            "evse-5": {6: RowFacts(0, 0, Reason.EVSE_LOST, Reason.EVSE_LOST)},
            "evse-6": {7: RowFacts(0, 0, Reason.LOCKOUT, Reason.LOCKOUT)},
        }.get(evse_id, {})
        rows = [RowFacts(22000, 11000, RATING, RATING)]
        for number in range(2, 9):
            rows.append(own.get(number, rows[-1]))
        return Trace(facts.plan.target_w if facts.plan else 0, rows)

    def events(self, since: int) -> Sequence[Event]:
        return [event for event in self.remembered if event.seq > since]

    def rt(self) -> RtFacts:
        bounds = [1000 * (1 << n) for n in range(14)]
        lateness = HistogramFacts(
            bounds, [0, 12, 90, 5021, 70012, 11820, 950, 120, 14, 2, 0, 0, 0, 0, 0], 403_000, 1_300_000_000
        )
        compute = HistogramFacts(bounds, [0, 0, 310, 80011, 7000, 612, 90, 18, 0, 0, 0, 0, 0, 0, 0], 121_000, 640_000_000)
        short = HistogramFacts(bounds, [0, 40, 80011, 7000, 612, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 14_000, 320_000_000)
        slack = HistogramFacts(bounds, [0] * 13 + [87663, 0], 9_980_000, 870_000_000_000)
        age = HistogramFacts(bounds, [0] * 14 + [87663], 51_000_000, 2_200_000_000_000)
        reaction = HistogramFacts(bounds, [0] * 12 + [3, 5, 1], 10_400_000, 62_000_000)
        return RtFacts(lateness, compute, short, short, slack, age, age, reaction)

    def sessions(self) -> Sequence[Session]:
        return [
            Session("evse-1", TS_MS - 5_400_000, None, 14210, 0, 4410, 6320),
            Session("evse-2", TS_MS - 9_000_000, None, 2200, 6100, 6400, 5810),
            Session("evse-6", TS_MS - 86_400_000, TS_MS - 80_000_000, 31800, 0, 3300, 7420),
        ]

    async def subscribe(self) -> AsyncIterator[Event]:
        queue: asyncio.Queue[Event] = asyncio.Queue()
        self.subscribers.append(queue)
        while True:
            yield await queue.get()

    def happen(self, event: Event) -> None:
        self.remembered.append(event)
        for queue in self.subscribers:
            queue.put_nowait(event)

    def change_evse(self, evse_id: str, **facts: Any) -> None:
        evses = [replace(e, **facts) if e.id == evse_id else e for e in self.snapshot.evses]
        self.snapshot = replace(self.snapshot, evses=evses)

    async def lock(self, evse_id: str, by: str, reason: str) -> None:
        self.change_evse(evse_id, locks=(LockFacts(by, reason, TS_MS),), setpoint=setpoint(0, Reason.LOCKOUT))

    async def unlock(self, evse_id: str, by: str) -> None:
        locks = next(e for e in self.snapshot.evses if e.id == evse_id).locks
        others = [lock.by for lock in locks if lock.by != by]
        if others:
            raise LocalError(f"{evse_id} was locked by {others[0]}, not by {by}: only {others[0]} can unlock it")
        self.change_evse(evse_id, locks=(), setpoint=setpoint(0))

    async def reload(self) -> str:
        if self.reload_error:
            raise LocalError(self.reload_error)
        return "aa00bb11cc"
