"""What would the chain say? The native core over a made-up situation: the same code that runs the site, without any bus.

The EVSE in question is answered for by an ideal device: it does at once what it is told. Every other EVSE stands empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edge.config.devices import Devices
from edge.config.settings import Settings
from edge.core._native import lib
from edge.core.core import Trace
from edge.core.dry import DryCore
from edge.core.kinds import Health, MeterField
from edge.core.layout import NativeConfig, native_config
from edge.core.snapshot import Setpoint
from edge.field.canmap import EvseField
from edge.model import EvsePlan, FeederPlan, Plan

BEGIN_NS = 1_000_000_000_000
RENEW_NS = 200_000_000
STEADY_NS = 2_000_000_000
"""A setpoint that stood still this long has settled."""
STEADY_SHARE = 200
"""Within a 200th of its rating it counts as still: at a fuse's limit it follows the meter by a few W."""
LONGEST_NS = 120_000_000_000
"""The slowest default ramp (10 %/s) needs 20 s for a reversal from rating to rating."""
TRANSFER, EMPTY = lib.V2G_STATE_TRANSFER, lib.V2G_STATE_A
READY_FLAGS = lib.V2G_FLAG_BIDIRECTIONAL | lib.V2G_FLAG_CONTACTOR | lib.V2G_FLAG_EV_PRESENT | lib.V2G_FLAG_FOLLOWING
MILD_DC = 250
"""25.0 °C: a temperature that binds nothing."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What is assumed of one EVSE; the core's units (W, 0.1 °C, 0.01 %)."""

    evse: str
    wish_w: int
    values: Mapping[EvseField, int] = field(default_factory=dict)
    """Instead of a vehicle in energy transfer, half full, at 25 °C, that takes and gives what the EVSE is rated for."""
    lost: frozenset[EvseField] = frozenset()
    """Values that stop coming once the setpoint has settled."""
    loads_w: Mapping[str, int] = field(default_factory=dict)
    """Other load by meter id, import positive; the declared base load of its feeder otherwise."""
    lost_meters: frozenset[str] = frozenset()
    locked: bool = False
    lease_over: bool = False
    """The sources' bounds are over: what they said for afterwards holds."""
    guard: bool = True
    realtime: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """What the EVSE would be told in the end, when that is reached, and the chain then."""

    setpoint: Setpoint
    trace: Trace
    settled_ns: int
    """From its first move until it moves no more."""
    settled: bool
    """False: it still moved after two minutes."""


class _Bench:
    """The core for one config and one situation."""

    def __init__(self, config: NativeConfig, situation: Situation) -> None:
        self.config, self.situation = config, situation
        self.index = config.ids.evses.index(situation.evse)
        guard = Health.GUARD if situation.guard else Health(0)
        realtime = Health.REALTIME if situation.realtime else Health(0)
        self.core = DryCore(config, Health.ON_TIME | guard | realtime)
        self.epoch, self.now_ns, self.renewed_ns = 0, BEGIN_NS, BEGIN_NS - RENEW_NS
        self.losing = False

    def renew(self, now_ns: int) -> None:
        self.epoch += 1
        self.core.adopt(self._plan(now_ns, now_ns + LONGEST_NS), now_ns)

    def _plan(self, now_ns: int, far_ns: int) -> Plan:
        limits = self.config.evses[self.index]
        until_ns = now_ns - 1 if self.situation.lease_over else far_ns
        own = EvsePlan(
            min_w=-limits.rating_discharge_w,
            max_w=limits.rating_charge_w,
            target_w=self.situation.wish_w,
            until_ns=until_ns,
            after_min_w=-limits.fallback_discharge_w,
            after_max_w=limits.fallback_charge_w,
            after_target_w=limits.fallback_charge_w,
            locked=self.situation.locked,
        )
        feeders = {
            f.id: FeederPlan(-f.export_w[3], f.import_w[3], far_ns, -f.export_w[3], f.import_w[3]) for f in self.config.feeders
        }
        lease_ns = now_ns + lib.V2G_LEASE_MAX_MS * 1_000_000
        return Plan(self.epoch, self.epoch, now_ns, lease_ns, {self.situation.evse: own}, feeders)

    def see(self, now_ns: int) -> None:
        """Everything that is heard, heard now."""
        for i, limits in enumerate(self.config.evses):
            own = i == self.index
            values = self._vehicle() if own else {EvseField.STATE: EMPTY, EvseField.FLAGS: 0, EvseField.POWER: 0}
            known = self.config.source(limits.id).fields
            lost = self.situation.lost if own and self.losing else frozenset()
            self.core.hear_evse(i, {f: v for f, v in values.items() if f in known and f not in lost}, now_ns)
        for i, place in enumerate(self.config.meters):
            if not self.losing or place.meter.id not in self.situation.lost_meters:
                self.core.hear_meter(i, self._measured(i), now_ns)

    def _vehicle(self) -> dict[EvseField, int]:
        limits = self.config.evses[self.index]
        values = dict.fromkeys((EvseField.T_CONNECTOR, EvseField.T_CABLE, EvseField.T_CHARGER), MILD_DC)
        values |= {EvseField.T_CELL_MAX: MILD_DC, EvseField.T_CELL_MIN: MILD_DC, EvseField.SOC: lib.V2G_SOC_MAX // 2}
        values |= {EvseField.STATE: TRANSFER, EvseField.FLAGS: READY_FLAGS, EvseField.CAPACITY: 60_000}
        values |= {EvseField.MAX_CHARGE: limits.rating_charge_w, EvseField.MAX_DISCHARGE: limits.rating_discharge_w}
        told_w = self.core.target_w(self.index)
        values[EvseField.POWER] = told_w
        connected = [lane for lane in range(3) if limits.phase_mask >> lane & 1]
        values |= {EvseField(EvseField.P_L1 + lane): abs(told_w) // len(connected) for lane in connected}
        return values | dict(self.situation.values)

    def _measured(self, meter: int) -> dict[MeterField, int]:
        feeder_index, feeder = next((i, f) for i, f in enumerate(self.config.feeders) if f.meter == meter)
        told_w = self.core.target_w(self.index) if self._below(feeder_index) else 0
        load_w = self.situation.loads_w.get(self.config.meters[meter].meter.id, feeder.base_w[3])
        phases = dict.fromkeys((MeterField.P_L1, MeterField.P_L2, MeterField.P_L3), (load_w + told_w) // 3)
        return {**phases, MeterField.P_TOTAL: load_w + told_w, MeterField.LIVENESS: self.epoch}

    def _below(self, feeder: int) -> bool:
        at = self.config.evses[self.index].feeder
        while at > feeder:
            at = self.config.feeders[at].parent
        return at == feeder

    def _step(self) -> int:
        """One cycle; what the EVSE is told."""
        if self.now_ns - self.renewed_ns >= RENEW_NS:
            self.renew(self.now_ns)
            self.renewed_ns = self.now_ns
        self.see(self.now_ns)
        self.core.cycle(self.now_ns)
        self.now_ns += self.config.settings.cycle.period_ns
        return self.core.target_w(self.index)

    def settle(self) -> tuple[int, bool]:
        """Until the setpoint moves no more: for how long it moved, and whether it came to an end."""
        told_w = self.core.target_w(self.index)
        slack_w = self.config.evses[self.index].rating_charge_w // STEADY_SHARE
        begin_ns = moved_ns = self.now_ns
        first_ns: int | None = None
        while self.now_ns - begin_ns < LONGEST_NS and self.now_ns - moved_ns < STEADY_NS:
            new_w = self._step()
            if abs(new_w - told_w) > slack_w or (new_w == 0) != (told_w == 0):
                first_ns = self.now_ns if first_ns is None else first_ns
                told_w, moved_ns = new_w, self.now_ns
        return 0 if first_ns is None else moved_ns - first_ns, self.now_ns - moved_ns >= STEADY_NS


def what_if(settings: Settings, devices: Devices, situation: Situation) -> Answer:
    """Run the chain until the EVSE's setpoint moves no more. KeyError: no such EVSE. CoreError: no room for the config."""
    config = native_config(settings, devices, bank=0)
    if situation.evse not in config.ids.evses:
        raise KeyError(situation.evse)
    bench = _Bench(config, situation)
    took_ns, settled = bench.settle()
    if situation.lost or situation.lost_meters:
        bench.losing = True
        took_ns, settled = bench.settle()
    trace = bench.core.trace(bench.index, bench.now_ns)
    return Answer(bench.core.setpoint(bench.index), trace, took_ns, settled)
