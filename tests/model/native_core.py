"""The native core behind the records of the model: writes a config, plan or image into its tables, reads what it answers."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from cffi import FFI

from edge.core._native import ffi, lib
from tests.model.records import (
    EVSE_FIELDS,
    METER_FIELDS,
    Config,
    Estimate,
    EstimateMemory,
    EvseConfig,
    EvseMemory,
    FeederMemory,
    Image,
    Memory,
    Plan,
    Reading,
    Setpoint,
)

EVSE_OPTIONS = {
    "may_discharge": lib.V2G_EVSE_DISCHARGE,
    "soc_source": lib.V2G_EVSE_SOC_SOURCE,
    "silence_tested": lib.V2G_EVSE_SILENCE_TESTED,
    "balanced": lib.V2G_EVSE_BALANCED,
}
PLAN_FLAGS = {"locked": lib.V2G_PLAN_LOCKED, "site_target": lib.V2G_PLAN_SITE_TARGET}
PROPOSES = {"asks": lib.V2G_PROPOSE_TARGET, "shares": lib.V2G_PROPOSE_SHARE, "fast": lib.V2G_PROPOSE_FAST}
LATCHES = {
    "at_floor": lib.V2G_LATCH_FLOOR,
    "at_ceiling": lib.V2G_LATCH_CEILING,
    "lost": lib.V2G_LATCH_LOST,
    "not_following": lib.V2G_LATCH_NOT_FOLLOWING,
    "returning": lib.V2G_LATCH_RETURNING,
    "plugged": lib.V2G_LATCH_PLUGGED,
    "balanced": lib.V2G_LATCH_BALANCED,
    "starting": lib.V2G_LATCH_START,
}
HEALTH = {"realtime": lib.V2G_HEALTH_REALTIME, "guard": lib.V2G_HEALTH_GUARD, "on_time": lib.V2G_HEALTH_ON_TIME}
EVSE_INDEX = {name: getattr(lib, "V2G_F_" + name.upper()) for name in EVSE_FIELDS}
METER_INDEX = {name: getattr(lib, "V2G_M_" + name.upper()) for name in METER_FIELDS}
MODEL_STARTED = 1 << 8
ROOT = Path(__file__).resolve().parents[2]

_judge = FFI()
_judge.cdef("int v2g_judge(void *, void *, void *, void *, void *, void *, int64_t);")
JUDGE = _judge.dlopen(str(ROOT / "build/native/native/proof/libjudge.so"))
"""native/proof/properties.h."""


def bits(record: Any, flags: dict[str, int]) -> int:
    return sum(bit for name, bit in flags.items() if getattr(record, name))


def write(native: Any, record: Any, *omitted: str) -> None:
    """Every field of the record into the native field of the same name."""
    for name in (f.name for f in fields(record)):
        if name not in omitted:
            setattr(native, name, getattr(record, name))


def read(native: Any, record: type, *omitted: str) -> dict[str, Any]:
    """Every field of the record from the native field of the same name."""
    values = {f.name: getattr(native, f.name) for f in fields(record) if f.name not in omitted}
    return {name: list(value) if isinstance(value, ffi.CData) else value for name, value in values.items()}


def write_evse(native: Any, evse: EvseConfig) -> None:
    write(native, evse, *EVSE_OPTIONS, "phases")
    native.option = bits(evse, EVSE_OPTIONS)
    native.phases = sum(1 << lane for lane, connected in enumerate(evse.phases) if connected)
    native.phase_count = sum(evse.phases)


def write_readings(native: Any, readings: dict[str, Reading], index: dict[str, int]) -> None:
    value, acquired_ns, changed_ns, valid = native.value, native.acquired_ns, native.changed_ns, 0
    for name, k in index.items():
        reading = readings[name]
        value[k], acquired_ns[k], changed_ns[k] = reading.value, reading.acquired_ns, reading.changed_ns
        valid |= reading.valid << k
    native.valid = valid


class NativeCore:
    """One site in the native core."""

    def __init__(self, site: Config) -> None:
        self.config = ffi.new("struct v2g_config *")
        self.plan = ffi.new("struct v2g_plan *")
        self.state = ffi.new("struct v2g_state *")
        self.before = ffi.new("struct v2g_state *")
        self.image = ffi.new("struct v2g_image *")
        self.out = ffi.new("struct v2g_setpoints *")
        self._write_config(site)
        lib.v2g_state_init(self.state)
        lib.v2g_image_init(self.image)
        lib.v2g_plan_safe(self.plan, self.config)

    def _write_config(self, site: Config) -> None:
        config = self.config
        config.abi, config.epoch, config.boot_id, config.period_ns = lib.V2G_ABI, 1, 7, site.period_ns
        config.option = site.lab * lib.V2G_CONFIG_LAB | site.guard_required * lib.V2G_CONFIG_GUARD_REQUIRED
        config.evses, config.feeders = len(site.evses), len(site.feeders)
        config.meters, config.derates = site.meters, len(site.derates)
        for i, evse in enumerate(site.evses):
            write_evse(config.evse[i], evse)
        for f, feeder in enumerate(site.feeders):
            write(config.feeder[f], feeder)
        for d, table in enumerate(site.derates):
            write(config.derate[d], table)
        lib.v2g_config_seal(config)

    def config_fault(self) -> int:
        return int(lib.v2g_config_check(self.config))

    def flip_a_bit(self, evse: int, bit: int) -> None:
        """In the limits of an EVSE, after the commit."""
        size = ffi.offsetof("struct v2g_evse_config", "seal")
        words = ffi.cast("uint8_t *", ffi.addressof(self.config.evse, evse))
        words[bit // 8 % size] ^= 1 << bit % 8

    def adopt(self, plan: Plan, now_ns: int) -> None:
        """As the cycle does: only a plan that passes its check."""
        native = self.plan
        native.epoch, native.limits_epoch = plan.epoch, plan.limits_epoch
        native.made_ns, native.lease_ns = plan.made_ns, plan.lease_ns
        for i, evse in enumerate(plan.evses):
            write(native.evse[i], evse, *PLAN_FLAGS)
            native.evse[i].flag = bits(evse, PLAN_FLAGS)
        for f, feeder in enumerate(plan.feeders):
            write(native.feeder[f], feeder)
        fault = lib.v2g_plan_check(native, self.config, now_ns)
        assert fault == 0, f"the plan would be refused: 0x{fault:x}"

    def see(self, image: Image) -> None:
        native = self.image
        native.health = bits(image, HEALTH)
        for i, readings in enumerate(image.evses):
            write_readings(native.evse[i], readings, EVSE_INDEX)
        for m, readings in enumerate(image.meters):
            write_readings(native.meter[m], readings, METER_INDEX)
        for i, proposal in enumerate(image.proposals):
            write(native.proposal[i], proposal, *PROPOSES)
            native.proposal[i].option = bits(proposal, PROPOSES)

    def see_estimate(self, evse: int, estimate: Estimate) -> None:
        native = self.image.estimate[evse]
        native.predicted = estimate.predicted
        native.flag = lib.V2G_ESTIMATE_SOC_DOUBT if estimate.soc_doubt else 0

    def estimate(self, now_ns: int) -> list[Estimate]:
        lib.v2g_estimate(self.config, self.state, self.image, now_ns)
        return [self._estimate(self.image.estimate[i]) for i in range(self.config.evses)]

    @staticmethod
    def _estimate(native: Any) -> Estimate:
        values = read(native, Estimate, "soc_doubt", "contact_alarm")
        doubt, alarm = native.flag & lib.V2G_ESTIMATE_SOC_DOUBT, native.flag & lib.V2G_ESTIMATE_CONTACT
        return Estimate(**values, soc_doubt=bool(doubt), contact_alarm=bool(alarm))

    def enforce(self, now_ns: int) -> list[Setpoint]:
        ffi.memmove(self.before, self.state, ffi.sizeof("struct v2g_state"))
        lib.v2g_enforce(self.config, self.plan, self.state, self.image, now_ns, self.out)
        assert self.out.safe == self.state.damaged
        return [Setpoint(**read(self.out.evse[i], Setpoint)) for i in range(self.out.count)]

    def violated(self, now_ns: int) -> int:
        """The number of the first property of native/proof/properties.h that the last step breaks, or 0."""
        records = (self.config, self.plan, self.image, self.before, self.state, self.out)
        places = [_judge.cast("void *", int(ffi.cast("uintptr_t", record))) for record in records]
        return int(JUDGE.v2g_judge(*places, now_ns))

    def memory(self) -> Memory:
        state, evses = self.state, range(self.config.evses)
        return Memory(
            evses=[self._evse_memory(state.evse[i]) for i in evses],
            estimates=[self._estimate_memory(state.estimate[i]) for i in evses],
            feeders=[FeederMemory(**read(state.feeder[f], FeederMemory)) for f in range(self.config.feeders)],
            damaged=bool(state.damaged),
        )

    @staticmethod
    def _evse_memory(native: Any) -> EvseMemory:
        latches = {name: bool(native.latch & bit) for name, bit in LATCHES.items()}
        hot = [bool(native.latch & lib.V2G_LATCH_THERMAL << k) for k in range(4)]
        return EvseMemory(**read(native, EvseMemory, *LATCHES, "hot"), **latches, hot=hot)

    @staticmethod
    def _estimate_memory(native: Any) -> EstimateMemory:
        values = read(native, EstimateMemory, "model_started", "past_started")
        past = [bool(native.started >> k & 1) for k in range(4)]
        return EstimateMemory(**values, model_started=bool(native.started & MODEL_STARTED), past_started=past)
