"""Why a setpoint is what it is. The numbers are those of `enum v2g_reason` in native/include/v2g.h (a test compares them)."""

from __future__ import annotations

from enum import IntEnum


class Reason(IntEnum):
    """The constraint that bound one side of a setpoint; rows are those of the constraint chain (architecture.md section 6)."""

    NONE = 0
    """Nothing bound: the target was met as asked."""
    # row 1
    RATING = 1
    ERR_BIDIRECTIONAL_UNSUPPORTED = 2
    NOT_READY = 3
    EVSE_FAULT = 4
    E_STOP = 5
    # row 2
    ERR_V2G_LIMIT_REACHED = 6
    SOC_CEILING = 7
    SOC_UNKNOWN = 8
    # row 3
    THERMAL_DERATE = 9
    THERMAL_STOP = 10
    THERMAL_SENSOR = 11
    # row 4
    GRID_FREQUENCY = 12
    GRID_VOLTAGE = 13
    ENTER_SERVICE = 14
    # row 5
    FEEDER_LIMIT = 15
    PHASE_LIMIT = 16
    SITE_LIMIT = 17
    # row 6
    PLAN_LIMIT = 18
    """A bound of the plan: whoever set it is named beside it (`min_by`, `max_by`)."""
    ERR_SIG_TIMEOUT = 19
    STALE_METER = 20
    EVSE_LOST = 21
    NOT_FOLLOWING = 22
    # row 7
    LOCKOUT = 23
    # row 8
    RAMP = 24
    # rules under the chain
    INIT = 25
    CONFLICT = 26
    DEVICE_MINIMUM = 27
    OVERRUN = 28
    INVARIANT = 29
    """The core found its own state or limits damaged and holds SAFE."""
    NOT_REALTIME = 30
    """Real-time scheduling was not granted: no discharge, unless the config says `lab: true`."""
    GUARD_LOST = 31
    """The guard is gone or has not acknowledged the config: no power."""
