"""One site in the native core without any bus: a config, plans, values as if they had been heard, and cycles one by one.

The same steps as a cycle of the gateway: estimate, site control, enforce. For `edgectl simulate` and for simulations in
compressed time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge.core import faults
from edge.core._native import ffi, lib
from edge.core.core import Trace, read_trace
from edge.core.errors import CoreError
from edge.core.kinds import Health, MeterField
from edge.core.layout import NativeConfig
from edge.core.pack import pack_commit
from edge.core.pack_plan import pack_plan
from edge.core.snapshot import Setpoint, read_setpoint
from edge.field.canmap import EvseField
from edge.model import Plan

BOOT_ID = 1


class DryCore:
    """EVSEs and meters are named by their index in the config."""

    def __init__(self, config: NativeConfig, health: Health) -> None:
        self.config = config
        self._commit = ffi.new("struct v2g_commit *")
        self._state, self._image = ffi.new("struct v2g_state *"), ffi.new("struct v2g_image *")
        self._site, self._view = ffi.new("struct v2g_site_state *"), ffi.new("struct v2g_site_view *")
        self._out, self._message = ffi.new("struct v2g_setpoints *"), ffi.new("struct v2g_plan_message *")
        pack_commit(self._commit, config, [-1] * len(config.buses), None, 1, BOOT_ID)
        lib.v2g_state_init(self._state)
        lib.v2g_site_init(self._site)
        lib.v2g_image_init(self._image)
        self._native, self._plan = ffi.addressof(self._commit, "config"), ffi.addressof(self._message, "plan")
        self._image.health = int(health)

    def adopt(self, plan: Plan, now_ns: int) -> None:
        """As the cycle does: only a plan that passes its check; CoreError says what is wrong with another."""
        pack_plan(self._message, self.config, plan, 1, BOOT_ID)
        refusal = lib.v2g_plan_check(self._plan, self._native, now_ns)
        if refusal:
            raise CoreError(faults.describe(refusal, self.config.ids))

    def hear_evse(self, index: int, values: Mapping[EvseField, int], now_ns: int) -> None:
        _hear(self._image.evse[index], values, now_ns)

    def hear_meter(self, index: int, values: Mapping[MeterField, int], now_ns: int) -> None:
        _hear(self._image.meter[index], values, now_ns)

    def cycle(self, now_ns: int) -> None:
        """Steps 5 to 7 of a cycle."""
        lib.v2g_estimate(self._native, self._state, self._image, now_ns)
        lib.v2g_site_propose(
            self._native,
            ffi.addressof(self._commit, "site"),
            self._plan,
            ffi.addressof(self._message, "site"),
            self._state,
            self._out,
            now_ns,
            self._site,
            self._image,
            self._view,
        )
        lib.v2g_enforce(self._native, self._plan, self._state, self._image, now_ns, self._out)

    def target_w(self, index: int) -> int:
        target_w: int = self._out.evse[index].target_w
        return target_w

    def setpoint(self, index: int) -> Setpoint:
        return read_setpoint(self._out.evse[index])

    def trace(self, index: int, now_ns: int) -> Trace:
        """The chain of one EVSE as the next cycle would see it."""
        trace = ffi.new("struct v2g_trace *")
        lib.v2g_explain(self._native, self._plan, self._state, self._image, now_ns, index, trace)
        return read_trace(trace)


def _hear(device: Any, values: Mapping[EvseField, int] | Mapping[MeterField, int], now_ns: int) -> None:
    value, acquired_ns, changed_ns, valid = device.value, device.acquired_ns, device.changed_ns, device.valid
    for where, new in values.items():
        if value[where] != new or not valid >> where & 1:
            value[where], changed_ns[where] = new, now_ns
        acquired_ns[where] = now_ns
        valid |= 1 << where
    device.valid = valid
