"""A laid-out config → `struct v2g_commit`: integers only, nothing is decided here."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

from edge.config.derive import NO_METER, NO_PARENT, DerateTable, EvseLimits, FeederLimits, soc_margin
from edge.core._native import ffi, lib
from edge.core.errors import CoreError
from edge.core.layout import AGE_GROUPS, DEFAULT_AGE_NS, MS, SENSOR_FIELDS, EvsePlace, EvseSource, NativeConfig, group_age_ns
from edge.core.pack_can import pack_can
from edge.core.pack_modbus import pack_cells
from edge.core.pack_plan import pack_plan
from edge.core.pack_site import pack_site
from edge.field.canmap import EvseField
from edge.model import Plan


def _key(*names: str) -> int:
    """A stable 64-bit name, never 0."""
    digest = hashlib.blake2b("\0".join(names).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") or 1


class _Derates:
    """Gives each table its index; equal tables share one."""

    def __init__(self, native: Any) -> None:
        self._native = native
        self._index: dict[DerateTable, int] = {}

    def index(self, table: DerateTable) -> int:
        if table not in self._index:
            at = len(self._index)
            if at == lib.V2G_MAX_DERATES:
                raise CoreError(f"thermal: more than {at} different derate tables: give EVSEs of one kind the same rating_w")
            self._index[table] = at
            entry = self._native.derate[at]
            entry.start, entry.shift = table.start_dc, table.shift
            entry.limit_w = list(table.limit_w)
            entry.stop, entry.resume, entry.resume_hold_ns = table.stop_dc, table.resume_dc, table.resume_hold_ns
            self._native.derates = at + 1
        return self._index[table]


def _silence_tested(source: EvseSource, limits: EvseLimits) -> bool:
    """What falls back by registers is judged by what these hold, cycle by cycle; of everybody else the config tells."""
    return limits.silence_tested if not isinstance(source, EvsePlace) or source.profile.fallback is None else True


def _pack_evse(native: Any, config: NativeConfig, limits: EvseLimits, derates: _Derates) -> None:
    source = config.source(limits.id)
    native.key = _key(limits.id)
    native.option = (
        (lib.V2G_EVSE_DISCHARGE if limits.discharge_allowed else 0)
        | (lib.V2G_EVSE_SOC_SOURCE if limits.soc_known and EvseField.SOC in source.fields else 0)
        | (lib.V2G_EVSE_SILENCE_TESTED if _silence_tested(source, limits) else 0)
        | (lib.V2G_EVSE_BALANCED if limits.balanced else 0)
    )
    native.feeder = limits.feeder
    native.phases = limits.phase_mask
    native.phase_count = limits.phase_mask.bit_count()
    for name in (
        "rating_charge_w",
        "rating_discharge_w",
        "min_charge_w",
        "min_discharge_w",
        "fallback_charge_w",
        "fallback_discharge_w",
        "sensor_lost_charge_w",
        "soc_floor",
        "soc_ceiling",
        "soc_hysteresis",
        "follow_tolerance_w",
    ):
        setattr(native, name, getattr(limits, name))
    if isinstance(source, EvsePlace):
        least_w = source.min_w(config.settings.site.grid.nominal_v)
        native.min_charge_w = max(limits.min_charge_w, least_w)
        native.min_discharge_w = max(limits.min_discharge_w, least_w)
    native.cell_cold = limits.cell_cold_dc
    tables = (limits.connector, limits.cable, limits.charger, limits.cell)
    for i, (field, table) in enumerate(zip(SENSOR_FIELDS, tables, strict=True)):
        native.derate[i] = derates.index(table) if field in source.fields else lib.V2G_NONE
    native.ramp_q8 = limits.ramp_normal_q8
    native.ramp_return_q8 = limits.ramp_after_failsafe_q8
    native.ramp_frequency_q8 = limits.ramp_frequency_q8
    for group in AGE_GROUPS:
        setattr(native, group, group_age_ns(source, group))
    native.reaction_ns = limits.reaction_time_ns
    power_w = max(limits.rating_charge_w, limits.rating_discharge_w)
    _pack_models(native, config)
    native.soc_margin = min(soc_margin(config.settings, power_w, native.soc_age_ns), lib.V2G_SOC_MAX)


def _rise_q44(rise_k: int, rating_w: int) -> int:
    """Steady rise at rated power → 0.1 °C · 2^44 per W² (the core multiplies by the square of the power)."""
    return min((10 * rise_k << 44) // max(1, rating_w * rating_w), 2**32 - 1)


def _share_q32(time_ns: int, tau_ns: int) -> int:
    """1 − e^(−time/τ) with 32 fraction bits: how much of the way to its steady state a first-order node goes in a time."""
    return min(round(-math.expm1(-time_ns / tau_ns) * 2**32), 2**32 - 1)


def _pack_models(native: Any, config: NativeConfig) -> None:
    """The thermal model's and the SOC check's factors."""
    settings = config.settings
    thermal, period_ns = settings.thermal, settings.cycle.period_ns
    native.ambient = thermal.ambient_dc
    native.contact_alarm = 10 * thermal.contact_alarm_k
    native.soc_tolerance = settings.limits.soc_tolerance
    native.contact_q44 = _rise_q44(thermal.contact_rise_k, native.rating_charge_w)
    native.cable_q44 = _rise_q44(thermal.cable_rise_k, native.rating_charge_w)
    native.contact_step_q32 = _share_q32(period_ns, thermal.contact_tau_ns)
    native.cable_step_q32 = _share_q32(period_ns, thermal.cable_tau_ns)
    native.contact_ahead_q32 = _share_q32(thermal.horizon_ns, thermal.contact_tau_ns)
    native.cable_ahead_q32 = _share_q32(thermal.horizon_ns, thermal.cable_tau_ns)
    native.rise_step_q32 = _share_q32(period_ns, thermal.horizon_ns)


def _pack_feeder(native: Any, config: NativeConfig, limits: FeederLimits) -> None:
    place = None if limits.meter == NO_METER else config.meters[limits.meter]
    native.key = _key(limits.id, "" if place is None else place.meter.id)
    native.parent = lib.V2G_NONE if limits.parent == NO_PARENT else limits.parent
    native.meter = lib.V2G_NONE if place is None else limits.meter
    native.import_w = limits.import_w
    native.export_w = limits.export_w
    native.base_w = limits.base_w
    native.fallback_w = limits.fallback_w
    native.share_w = limits.share_w
    native.slew_q8 = limits.base_slew_q8
    native.meter_age_ns = DEFAULT_AGE_NS if place is None else place.age_ns
    if place is not None:
        native.liveness_age_ns = place.profile.liveness_ns(place.poll_ns) or 0
        native.refresh_ns = place.profile.refresh_ms * MS


def _pack_config(native: Any, config: NativeConfig, epoch: int, boot_id: int) -> None:
    settings = config.settings
    native.abi, native.epoch, native.boot_id = lib.V2G_ABI, epoch, boot_id
    lab = lib.V2G_CONFIG_LAB if settings.lab else 0
    guard = lib.V2G_CONFIG_GUARD_REQUIRED if settings.guard.required and not settings.lab else 0
    native.option = lab | guard
    native.evses, native.feeders, native.meters = len(config.evses), len(config.feeders), len(config.meters)
    native.period_ns = settings.cycle.period_ns
    derates = _Derates(native)
    for i, limits in enumerate(config.evses):
        _pack_evse(native.evse[i], config, limits, derates)
    for i, feeder in enumerate(config.feeders):
        _pack_feeder(native.feeder[i], config, feeder)
    lib.v2g_config_seal(ffi.addressof(native))


def pack_commit(commit: Any, config: NativeConfig, fds: Sequence[int], plan: Plan | None, epoch: int, boot_id: int) -> None:
    """Fill `struct v2g_commit`. `fds`: one per CAN bus. No plan: everything at 0 W until one comes."""
    ffi.buffer(commit)[:] = bytes(ffi.sizeof("struct v2g_commit"))
    _pack_config(commit.config, config, epoch, boot_id)
    pack_can(commit.can, config, fds)
    pack_cells(commit.cell, config)
    pack_site(commit.site, config)
    if plan is not None:
        pack_plan(ffi.addressof(commit, "first"), config, plan, epoch, boot_id)
    commit.snapshot_cycles = max(1, lib.V2G_SNAPSHOT_NS // config.settings.cycle.period_ns)
