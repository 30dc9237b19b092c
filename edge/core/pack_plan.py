"""A plan of the arbiter → `struct v2g_plan_message`."""

from __future__ import annotations

import math
from typing import Any

from edge.config.derive import per_cycle_q8
from edge.core._native import ffi, lib
from edge.core.layout import NativeConfig
from edge.model import Plan


def _within(power_w: int) -> int:
    limit_w: int = lib.V2G_POWER_MAX_W
    return max(-limit_w, min(power_w, limit_w))


def _weight(weight: float) -> int:
    """Relative; 1.0 is V2G_WEIGHT_ONE."""
    most: int = lib.V2G_WEIGHT_MAX
    one: int = lib.V2G_WEIGHT_ONE
    return max(1, min(round(weight * one), most))


def _pack_evse_plan(native: Any, plan: Plan, evse_id: str, period_ns: int) -> None:
    own = plan.evses.get(evse_id)
    if own is None:
        return  # nobody spoke for it: all 0
    native.min_w, native.max_w, native.target_w = _within(own.min_w), _within(own.max_w), _within(own.target_w)
    native.after_min_w, native.after_max_w = _within(own.after_min_w), _within(own.after_max_w)
    native.after_target_w = _within(own.after_target_w)
    if own.locked:
        native.target_w = lib.V2G_POWER_MAX_W  # whatever it wishes, the lock is why it doesn't get it
    native.until_ns, native.soc_floor = own.until_ns, max(0, min(own.soc_floor, lib.V2G_SOC_MAX))
    native.ramp_q8 = 0 if own.ramp_w_s is None else per_cycle_q8(own.ramp_w_s, period_ns)
    native.weight_charge, native.weight_discharge = _weight(own.weight), _weight(own.discharge_weight)
    native.flag = (lib.V2G_PLAN_LOCKED if own.locked else 0) | (lib.V2G_PLAN_SITE_TARGET if own.site_target else 0)


def pack_plan(message: Any, config: NativeConfig, plan: Plan, config_epoch: int, boot_id: int) -> None:
    """Fill `struct v2g_plan_message`; what the plan doesn't name is at 0 W."""
    ffi.buffer(message)[:] = bytes(ffi.sizeof("struct v2g_plan_message"))
    native = message.plan
    native.abi, native.epoch, native.boot_id = lib.V2G_ABI, plan.epoch, boot_id
    native.config_epoch, native.limits_epoch = config_epoch, plan.limits_epoch
    native.made_ns, native.lease_ns = plan.made_ns, plan.lease_until_ns
    for i, limits in enumerate(config.evses):
        _pack_evse_plan(native.evse[i], plan, limits.id, config.settings.cycle.period_ns)
    for i, feeder in enumerate(config.feeders):
        own = plan.feeders.get(feeder.id)
        if own is None:
            continue
        entry = native.feeder[i]
        entry.import_w, entry.export_w = _within(own.import_w), _within(-own.export_w)
        entry.after_import_w, entry.after_export_w = _within(own.after_import_w), _within(-own.after_export_w)
        entry.until_ns = own.until_ns
        if i == 0 and own.target_w is not None:
            message.site.target_w, message.site.present = _within(own.target_w), 1
            if plan.damp_ns:
                part = -math.expm1(-config.settings.cycle.period_ns / plan.damp_ns)
                message.site.damp_q32 = min(max(1, round(part * 2**32)), 2**32 - 1)
