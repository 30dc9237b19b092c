"""A late signal is told with the segment that it is stuck on."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from edge.core import BusState, Snapshot
from edge.gateway.segment import LateSignal, SegmentWatch, late_signals
from edge.model import Constraint, Reason, Scope, ScopeKind, Source
from edge.uplink import UplinkStatus

S = 1_000_000_000
NOW = 1_000 * S
CONNECTED = UplinkStatus(
    connected=True,
    broker="mqtt.example:8883",
    tls_version="TLSv1.3",
    connected_ns=1,
    last_error="",
    published=0,
    bytes_out=0,
    telemetry_skipped=0,
    dropped=0,
    outcomes={},
    command_ns=NOW - 90 * S,
    round_trip_ms=20.0,
    slow_link=False,
    loss=0.0,
    budget_mb_per_day=60.0,
    clock_distrust="",
    alarms=(),
    mb_per_day=None,
    outbox_pending=0,
    outbox_dropped={},
    outbox_error="",
)
ENDED = Constraint(Source.AGGREGATOR, Scope(ScopeKind.EVSE, "evse-1"), target_w=-5000, until_ns=NOW - 30 * S)


def site(bus: BusState = BusState.UP, reason: Reason = Reason.NONE) -> Snapshot:
    evse: Any = SimpleNamespace(id="evse-1", setpoint=SimpleNamespace(reason=reason))
    return cast(Snapshot, SimpleNamespace(buses=(SimpleNamespace(id="can0", state=bus),), evses=(evse,)))


def texts(snapshot: Snapshot, status: UplinkStatus | None = CONNECTED, *said: Constraint) -> list[str]:
    return [signal.text for signal in late_signals(snapshot, said, status, NOW)]


def test_nothing_is_late_on_a_healthy_site() -> None:
    assert texts(site()) == []
    assert texts(site(), None) == []


def test_a_lost_broker_is_told_as_the_broker_link() -> None:
    assert texts(site(), replace(CONNECTED, connected=False, last_error="connection lost: Keep alive timeout"), ENDED) == [
        "broker link: no connection to mqtt.example:8883: connection lost: Keep alive timeout"
    ]


def test_a_slow_broker_is_told_with_its_round_trip() -> None:
    assert texts(site(), replace(CONNECTED, slow_link=True, round_trip_ms=1400.0)) == [
        "broker link: round trip 1400 ms, commands are damped"
    ]


def test_an_aggregator_that_fell_silent_is_told_apart_from_its_broker() -> None:
    assert texts(site(), CONNECTED, ENDED) == [
        "aggregator: the broker answers, but no command for 90 s; lease over: evse-1",
    ]


def test_a_bus_and_an_evse_are_told_by_name() -> None:
    assert texts(site(BusState.OFF, Reason.EVSE_LOST)) == [
        "bus can0: off, nothing gets through",
        "EVSE evse-1: nothing valid heard within its age limit",
    ]


def test_a_segment_is_told_once_when_it_begins_and_once_when_it_is_over() -> None:
    watch = SegmentWatch()
    late = [LateSignal("broker link", "broker link: round trip 1400 ms")]
    assert list(watch.take(late)) == [("ERR_SIG_TIMEOUT", "broker link: round trip 1400 ms")]
    assert list(watch.take([LateSignal("broker link", "broker link: round trip 1500 ms")])) == []
    assert watch.text == "broker link: round trip 1500 ms"
    assert list(watch.take([])) == [("SIGNAL_BACK", "broker link: in time again")]
