"""Site control's part of a config → `struct v2g_site_config`: grid profile, services, response times."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from typing import Any

from edge.config.derive import FULL_RESPONSE
from edge.config.gridcode import PROFILES, SERVICES, Curve, GridProfile, Stage, Step
from edge.config.units import SECOND
from edge.core._native import lib
from edge.core.layout import NativeConfig

ALL_Q16 = 1 << 16

JITTER_PART = 5
"""Sites enter service up to a fifth of the delay later: 60 s of 300 s. [C] numbers.md part 2"""


def _mhz(hz: float) -> int:
    return round(1000 * hz)


def _ns(seconds: float) -> int:
    return round(seconds * SECOND)


def _share_q32(time_ns: int, tau_ns: float) -> int:
    return min(round(-math.expm1(-time_ns / tau_ns) * 2**32), 2**32 - 1)


def _pack_stage(native: Any, kind: int, limit: int, stage: Stage) -> None:
    native.kind, native.over, native.cease = kind, stage.over, stage.cease
    native.limit, native.delay_ns = limit, _ns(stage.delay_s)


def _pack_curve(native: Any, curve: Curve, period_ns: int) -> None:
    last = curve.points[-1]
    for k in range(lib.V2G_CURVE_POINTS):
        from_hz, value, slope_per_hz = curve.points[min(k, len(curve.points) - 1)] if k < len(curve.points) else last
        native.from_mhz[k], native.value_q16[k] = _mhz(from_hz), round(value * ALL_Q16)
        native.slope_q24[k] = round(slope_per_hz / 1000 * 2**24)
    if curve.response_s > 0:
        tau_ns = curve.response_s * SECOND / FULL_RESPONSE
        native.lag_q32 = _share_q32(period_ns, tau_ns)


def _pack_step(native: Any, step: Step, period_ns: int) -> None:
    native.trigger_mhz, native.rearm_mhz = _mhz(step.trigger_hz), _mhz(step.rearm_hz)
    native.hold_ns, native.rearm_ns = _ns(step.hold_s), _ns(step.rearm_s)
    if step.back_s > 0:
        native.back_q32 = _share_q32(period_ns, step.back_s * SECOND)


def _answers(config: NativeConfig, profile: GridProfile | None) -> Iterable[tuple[int, Curve | Step]]:
    """Each answer with the share of rated power that takes part, 2^16 is all."""
    grid = config.settings.site.grid
    rated_w = sum(e.rating_charge_w for e in config.evses)
    share_q16 = ALL_Q16
    if grid.service_w is not None and rated_w > 0:
        share_q16 = min(grid.service_w * ALL_Q16 // rated_w, ALL_Q16)
    if profile is not None and profile.droop is not None and grid.droop:
        yield ALL_Q16, profile.droop
    for service in grid.services:
        yield share_q16, SERVICES[service]


def _pack_trips(grid: Any, config: NativeConfig, profile: GridProfile) -> None:
    settings = config.settings.site
    nominal_dv, period_ns = 10 * settings.grid.nominal_v, config.settings.cycle.period_ns
    stages = [(lib.V2G_WATCH_VOLTAGE, round(s.limit * nominal_dv), s) for s in profile.voltage]
    stages += [(lib.V2G_WATCH_FREQUENCY, _mhz(s.limit), s) for s in profile.frequency]
    for i, (kind, limit, stage) in enumerate(stages):
        _pack_stage(grid.watch[i], kind, limit, stage)
    grid.trips = 1
    enter = profile.enter
    grid.enter_low_dv, grid.enter_high_dv = round(enter.low_pu * nominal_dv), round(enter.high_pu * nominal_dv)
    grid.enter_low_mhz, grid.enter_high_mhz = _mhz(enter.low_hz), _mhz(enter.high_hz)
    delay_ns, ramp_ns = settings.grid.enter_delay_ns, settings.grid.enter_ramp_ns
    delay_ns = _ns(enter.delay_s) if delay_ns is None else delay_ns
    grid.enter_ramp_ns = _ns(enter.ramp_s) if ramp_ns is None else ramp_ns
    jitter_ns = delay_ns // JITTER_PART
    # No secret: spreads sites in time.
    grid.enter_delay_ns = delay_ns + round(random.Random(f"enter service {settings.id}").uniform(0, jitter_ns))
    grid.enter_step_q32 = period_ns * 2**32 // grid.enter_ramp_ns
    if settings.grid.volt_watt:
        from_pu, to_pu, least = profile.volt_watt
        grid.volt_watt_from_dv, grid.volt_watt_to_dv = round(from_pu * nominal_dv), round(to_pu * nominal_dv)
        grid.volt_watt_slope_q24 = round((1 - least) / (grid.volt_watt_to_dv - grid.volt_watt_from_dv) * 2**24)
        grid.volt_watt_least_q16 = round(least * ALL_Q16)


def pack_site(native: Any, config: NativeConfig) -> None:
    """Fill `struct v2g_site_config`, which is all 0 before."""
    settings = config.settings.site
    for i, limits in enumerate(config.evses):
        native.response_ns[i] = limits.response_ns
    profile = PROFILES.get(settings.grid.profile)
    answers = list(_answers(config, profile))
    if profile is None and not answers:
        return
    grid = native.grid
    grid.present = 1
    grid.nominal_mhz, grid.nominal_dv = 1000 * settings.grid.nominal_hz, 10 * settings.grid.nominal_v
    grid.phases = config.feeders[0].phase_mask if profile is not None else 0
    meters = [(i, place) for i, place in enumerate(config.meters) if place.cell("frequency_hz") is not None]
    meters = meters[: lib.V2G_GRID_METERS]
    grid.meters = len(meters)
    for k, (index, place) in enumerate(meters):
        grid.meter[k], grid.age_ns[k] = index, place.age_ns
    for k, (share_q16, answer) in enumerate(answers):
        entry = grid.answer[k]
        entry.scale_q16 = share_q16
        if isinstance(answer, Curve):
            _pack_curve(entry, answer, config.settings.cycle.period_ns)
        else:
            _pack_step(entry, answer, config.settings.cycle.period_ns)
    if profile is not None:
        _pack_trips(grid, config, profile)
