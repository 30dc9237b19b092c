"""`/metrics`: what Prometheus scrapes. The names are stable and documented in docs/metrics.md.

They are built at each scrape from one snapshot, so nothing is kept here. Base units as Prometheus wants them: W, °C, s, 0…1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from edge.local.builders import coarse, evse_level, link_age_ms
from edge.local.notices import notices
from edge.local.view import EvseFacts, GatewayView, HistogramFacts, RtFacts, Snapshot
from edge.model.catalogue import worst
from edge.model.codeinfo import LEVELS, Level

TEMPERATURES = ("t_connector", "t_cable", "t_charger", "t_cell_max", "t_cell_min")


class GatewayCollector(Collector):
    def __init__(self, view: GatewayView) -> None:
        self._view = view

    def describe(self) -> Iterable[Metric]:
        """Nothing: the registry must not ask for values before the gateway runs."""
        return ()

    def collect(self) -> Iterator[Metric]:
        snapshot = self._view.status()
        yield from _site_metrics(snapshot)
        yield from _cycle_metrics(snapshot, self._view.rt())
        yield from _evse_metrics(snapshot)
        yield from _feeder_metrics(snapshot)
        yield from _bus_metrics(snapshot)
        yield from _uplink_metrics(snapshot)


def registry(view: GatewayView) -> CollectorRegistry:
    own = CollectorRegistry(auto_describe=False)
    own.register(GatewayCollector(view))
    return own


def _gauge(name: str, text: str, labels: tuple[str, ...], samples: Iterable[tuple[tuple[str, ...], float | None]]) -> Metric:
    """A gauge; a sample that is not known is left out, never reported as 0."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, value in samples:
        if value is not None:
            family.add_metric(values, value)
    return family


def _counter(name: str, text: str, labels: tuple[str, ...], samples: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _one(name: str, text: str, value: float | None) -> Metric:
    return _gauge(name, text, (), [((), value)])


def _age_s(now_ns: int, stamp_ns: int | None) -> float | None:
    return None if stamp_ns is None else (now_ns - stamp_ns) / 1e9


def _site_metrics(snapshot: Snapshot) -> Iterator[Metric]:
    core = snapshot.core
    info = {"site": snapshot.site, "version": snapshot.version, "boot": snapshot.boot, "config_hash": snapshot.config_hash}
    yield InfoMetricFamily("v2g_gateway", "What runs here", value=info)
    noticed = (Level(notice["level"]) for notice in notices(snapshot))
    level = worst(*noticed, *(evse_level(evse) for evse in snapshot.evses))
    yield _one("v2g_level", "0 ok, 1 degraded, 2 fault", LEVELS.index(level))
    yield _one("v2g_uptime_seconds", "Since the start of the gateway", (snapshot.now_ns - snapshot.started_ns) / 1e9)
    yield _one("v2g_lab", "1: the config says lab: true", snapshot.lab)
    yield _one("v2g_realtime", "1: SCHED_FIFO on a PREEMPT_RT kernel", core.realtime)
    yield _one("v2g_guard_alive", "1: the guard watches the cycle", core.guard == "alive")
    yield _one("v2g_safe", "1: everything is held at 0 W", core.state == "safe")
    yield _one("v2g_plan_age_seconds", "Since the plan was made", _age_s(snapshot.now_ns, core.plan_made_ns))


def _cycle_metrics(snapshot: Snapshot, rt: RtFacts) -> Iterator[Metric]:
    yield _counter("v2g_cycles", "Cycles since start", (), [((), snapshot.core.cycles)])
    yield _counter("v2g_cycle_page_faults", "Page faults of the cycle's thread", (), [((), snapshot.core.page_faults)])
    preemptions = [((), snapshot.core.preemptions)]
    yield _counter("v2g_cycle_preemptions", "Times something else took the cycle's core", (), preemptions)
    yield _counter("v2g_cycles_missed", "Grid points skipped because a cycle was late", (), [((), snapshot.core.missed)])
    yield _one("v2g_cycle_period_seconds", "Period of the cycle", snapshot.core.period_ns / 1e9)
    yield _one("v2g_cycle_age_seconds", "Since the last cycle ended", _age_s(snapshot.now_ns, snapshot.core.heartbeat_ns))
    yield _histogram("v2g_cycle_lateness_seconds", "Wake-up after the grid point", rt.lateness)
    yield _histogram("v2g_cycle_compute_seconds", "From wake-up to the frames sent", rt.compute)
    yield _histogram("v2g_cycle_drain_seconds", "Taking every frame off every bus", rt.drain)
    yield _histogram("v2g_cycle_send_seconds", "Sending every setpoint", rt.send)
    yield _histogram("v2g_cycle_slack_seconds", "From the end of a cycle to the next grid point", rt.slack)
    yield _histogram("v2g_meter_age_seconds", "Age of a meter's power when it is used", rt.meter_age)
    yield _histogram("v2g_command_age_seconds", "From making a plan with something new to adopting it", rt.command_age)
    yield _histogram("v2g_reaction_seconds", "From an EVSE's frame to the tighter setpoint in answer", rt.reaction)


def _histogram(name: str, text: str, facts: HistogramFacts) -> Metric:
    facts = coarse(facts)
    buckets: list[tuple[str, float]] = []
    total = 0
    for bound_ns, count in zip(facts.bounds_ns, facts.counts, strict=False):
        total += count
        buckets.append((repr(bound_ns / 1e9), total))
    buckets.append(("+Inf", total + facts.counts[len(facts.bounds_ns)]))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=facts.sum_ns / 1e9)


def _raw(evse: EvseFacts, name: str) -> int | None:
    reading = evse.readings.get(name)
    return None if reading is None else reading.value


def _scaled(value: int | None, divisor: int) -> float | None:
    return None if value is None else value / divisor


def _evse_metrics(snapshot: Snapshot) -> Iterator[Metric]:
    evses, label = snapshot.evses, ("evse",)
    yield _gauge("v2g_evse_power_watts", "Measured, charging positive", label, [((e.id,), _raw(e, "power")) for e in evses])
    yield _gauge("v2g_evse_setpoint_watts", "What the EVSE is told", label, [((e.id,), e.setpoint.target_w) for e in evses])
    yield _gauge("v2g_evse_setpoint_min_watts", "Lower bound told", label, [((e.id,), e.setpoint.min_w) for e in evses])
    yield _gauge("v2g_evse_setpoint_max_watts", "Upper bound told", label, [((e.id,), e.setpoint.max_w) for e in evses])
    yield _gauge("v2g_evse_soc_ratio", "State of charge", label, [((e.id,), _scaled(_raw(e, "soc"), 10000)) for e in evses])
    yield _gauge("v2g_evse_level", "0 ok, 1 degraded, 2 fault", label, [((e.id,), LEVELS.index(evse_level(e))) for e in evses])
    ages = [((e.id,), _scaled(link_age_ms(e, snapshot.now_ns), 1000)) for e in evses]
    yield _gauge("v2g_evse_age_seconds", "Since the EVSE was last heard", label, ages)
    reasons = [((e.id, e.setpoint.reason.name), 1.0) for e in evses]
    yield _gauge("v2g_evse_reason", "1 for the reason that binds", ("evse", "reason"), reasons)
    temperatures = [
        ((e.id, name.removeprefix("t_")), _scaled(_raw(e, name), 10))
        for e in evses
        for name in TEMPERATURES
        if name in e.readings
    ]
    yield _gauge("v2g_evse_temperature_celsius", "Temperatures", ("evse", "sensor"), temperatures)
    yield _counter("v2g_evse_frames", "Good frames", label, [((e.id,), e.frames) for e in evses])
    yield _counter("v2g_evse_bad_frames", "Frames with a wrong CRC or counter", label, [((e.id,), e.bad_frames) for e in evses])


def _feeder_metrics(snapshot: Snapshot) -> Iterator[Metric]:
    feeders, label = snapshot.feeders, ("feeder",)
    power: dict[str, int | None] = {m.id: m.readings["p_total"].value for m in snapshot.meters if "p_total" in m.readings}
    measured = [((f.id,), power.get(f.meter) if f.meter else None) for f in feeders]
    yield _gauge("v2g_feeder_power_watts", "Measured, import positive", label, measured)
    yield _gauge("v2g_feeder_import_limit_watts", "Import limit", label, [((f.id,), f.import_w[3]) for f in feeders])
    yield _gauge("v2g_feeder_room_watts", "What its EVSEs may draw", label, [((f.id,), f.room_import_w[3]) for f in feeders])
    yield _gauge("v2g_feeder_lost", "1: its meter is lost, the fallback holds", label, [((f.id,), f.lost) for f in feeders])


def _bus_metrics(snapshot: Snapshot) -> Iterator[Metric]:
    buses = snapshot.buses
    yield _gauge("v2g_bus_up", "1: the bus works", ("bus",), [((b.id,), b.up) for b in buses])
    frames = [((b.id, way), count) for b in buses for way, count in (("in", b.frames_in), ("out", b.frames_out))]
    yield _counter("v2g_bus_frames", "Frames or transactions", ("bus", "direction"), frames)
    yield _counter("v2g_bus_errors", "Errors on the bus", ("bus",), [((b.id,), b.errors) for b in buses])
    yield _counter("v2g_meter_reads", "Good reads", ("meter",), [((m.id,), m.reads) for m in snapshot.meters])
    yield _counter("v2g_meter_failures", "Failed reads", ("meter",), [((m.id,), m.failures) for m in snapshot.meters])


def _uplink_metrics(snapshot: Snapshot) -> Iterator[Metric]:
    uplink = snapshot.uplink
    yield _one("v2g_uplink_connected", "1: connected to the broker", uplink.state == "connected")
    yield _counter("v2g_uplink_published", "Messages published", (), [((), uplink.published)])
    yield _one("v2g_uplink_outbox_records", "Records that the aggregator has not stored yet", uplink.outbox_records)
    if uplink.round_trip_ms is not None:
        yield _one("v2g_uplink_round_trip_ms", "Median of the last round trips to the broker", uplink.round_trip_ms)
    if uplink.loss is not None:
        yield _one("v2g_uplink_loss", "Share of what was sent that had to be sent again, 0 to 1", uplink.loss)
    if uplink.mb_per_day is not None:
        yield _one("v2g_uplink_mb_per_day", "MB that would be sent in a day at the present rate", uplink.mb_per_day)
    yield _counter("v2g_commands", "Commands by outcome", ("outcome",), [((o,), n) for o, n in uplink.outcomes.items()])
    expiry = [((c.name,), c.not_after_ms / 1000) for c in uplink.certificates]
    yield _gauge("v2g_certificate_not_after_seconds", "Unix time at which it expires", ("certificate",), expiry)
