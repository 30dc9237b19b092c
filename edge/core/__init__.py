"""The Python face of the native core."""

from edge.core.core import Core, CoreEvent, RtReport, Trace, TraceRow
from edge.core.errors import CoreError
from edge.core.histogram import Histogram
from edge.core.kinds import BusState, EventKind, Health, HistogramKind, MeterField, Mode
from edge.core.snapshot import EvseSnapshot, FeederSnapshot, MeterSnapshot, Setpoint, Snapshot

__all__ = [
    "BusState",
    "Core",
    "CoreError",
    "CoreEvent",
    "EventKind",
    "EvseSnapshot",
    "FeederSnapshot",
    "Health",
    "Histogram",
    "HistogramKind",
    "MeterField",
    "MeterSnapshot",
    "Mode",
    "RtReport",
    "Setpoint",
    "Snapshot",
    "Trace",
    "TraceRow",
]
