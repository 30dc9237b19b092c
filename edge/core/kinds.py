"""The enums of native/include/v2g.h and v2g_runtime.h that Python reads; a test compares them with the native ones."""

from __future__ import annotations

from enum import IntEnum, IntFlag


class MeterField(IntEnum):
    """`enum v2g_meter_field`: what a meter tells."""

    P_L1 = 0
    P_L2 = 1
    P_L3 = 2
    P_TOTAL = 3
    U_L1 = 4
    U_L2 = 5
    U_L3 = 6
    FREQUENCY = 7
    LIVENESS = 8


class Health(IntFlag):
    """`enum v2g_health`."""

    REALTIME = 1
    GUARD = 2
    ON_TIME = 4


class Mode(IntEnum):
    """`enum v2g_mode`."""

    STOP = 0
    CHARGE = 1
    BIDIRECTIONAL = 2


class BusState(IntEnum):
    """`enum v2g_bus_state`."""

    UP = 0
    WARNING = 1
    PASSIVE = 2
    OFF = 3
    DOWN = 4
    BLOCKED = 5


class EventKind(IntEnum):
    """`enum v2g_event_kind`; what the values of each mean stands there."""

    NONE = 0
    START = 1
    STOP = 2
    COMMIT = 3
    COMMIT_REFUSED = 4
    PLAN_REFUSED = 5
    PLAN_TAKEN = 6
    REASON = 7
    LATCH = 8
    FEEDER_LOST = 9
    FEEDER_BACK = 10
    LATE = 11
    ON_TIME = 12
    BUS = 13
    OVERFLOW = 14
    GUARD = 15
    DAMAGED = 16
    GRID = 17


class Refusal(IntEnum):
    """`enum v2g_refusal`."""

    REFUSED_NOT = 0
    REFUSED_CRC = 1
    REFUSED_BOOT = 2
    REFUSED_EPOCH = 3
    REFUSED_CONFIG = 4
    REFUSED_CAN = 5
    REFUSED_CELL = 6
    REFUSED_PLAN = 7
    REFUSED_SITE = 8


class HistogramKind(IntEnum):
    """`enum v2g_histogram_kind`."""

    LATENESS = 0
    COMPUTE = 1
    DRAIN = 2
    SEND = 3
    SLACK = 4
    METER_AGE = 5
    COMMAND_AGE = 6
    REACTION = 7
    WORK = 8


class GridService(IntEnum):
    """`enum v2g_grid_service`: what the grid's frequency and voltage allow the whole site."""

    IN = 0
    OUT = 1
    """Tripped: waits until frequency and voltage are good."""
    WAITING = 2
    """They are good: the delay of entering service runs."""
    ENTERING = 3
    """The ramp of entering service runs."""
