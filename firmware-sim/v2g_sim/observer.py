"""An observer that sees only the CAN bus and knows the limits from the gateway's config.yaml.

It shares no code with the gateway. It judges each Cmd frame against what the EVSE had reported before. A report that forbids
something must be answered within `GRACE_FRAMES` command frames; ratings and fuses hold for every frame.
"""

from __future__ import annotations

import importlib.util
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import can
import cantools.database

from v2g_sim.e2e import COUNTER_MODULO, frame_crc
from v2g_sim.settings import read_yaml

GRACE_FRAMES = 2
"""Command frames after a report in which the old setpoint may still be seen (numbers.md part 1)."""

TOLERANCE_W = 10
"""Resolution of a Cmd."""

MAX_GAP_S = 0.1
"""The EVSE's own fail-safe time (contracts.md section 3)."""

SILENT_AFTER_S = 0.25
"""An EVSE unheard for this long must be known as lost: well above 3 × 20 ms (numbers.md part 2), for a busy observer."""

KEPT_VIOLATIONS = 50

READY_STATES = (2, 3, 6)
"""IEC 61851 C and D, and energy transfer."""

NO_VEHICLE = 0
"""IEC 61851 A: what was said about a vehicle's limits ends with its stay."""

Bounds = tuple[float, float]
"""Lowest and highest power allowed, W, charging positive."""

NO_DISCHARGE: Bounds = (0, math.inf)
NO_CHARGE: Bounds = (-math.inf, 0)
NOTHING: Bounds = (0, 0)


@dataclass(frozen=True, slots=True)
class EvseLimits:
    """What the config says about one EVSE; W, %, °C. `phase_map`: phases of the site it is on."""

    id: str
    bus: str
    node: int
    feeder: str
    rating: Bounds
    floor_percent: float
    ceiling_percent: float
    stop_c: Mapping[str, float]
    cold_c: float
    fallback_discharge_w: float
    phase_map: tuple[int, ...]


@dataclass(slots=True)
class FeederLimits:
    """A fuse: import and export limit of phase 1 to 3 and of the total, W; `base_w` is what other loads take for certain.

    `export_base_w` ≥ `base_w`: what other loads may take at most, which adds to the export that EVSEs can make.
    """

    id: str
    parent: str | None
    import_w: list[float]
    export_w: list[float]
    base_w: float = 0.0
    export_base_w: float = 0.0
    base_from: float = 0.0


@dataclass(slots=True)
class Report:
    """What one EVSE has said; None: not yet, or invalid."""

    state: int | None = None
    soc_percent: float | None = None
    temperatures_c: dict[str, float | None] = field(default_factory=dict)
    cell_min_c: float | None = None
    bidirectional: bool = False
    fault: bool = False
    e_stop: bool = False
    capability: Bounds | None = None


Rule = Callable[[Report, EvseLimits], Bounds | None]
"""The bounds that a report imposes, or None."""


def _sensor_lost(report: Report, limits: EvseLimits) -> Bounds | None:
    sensors = (report.temperatures_c.get(name, 0.0) for name in ("connector", "cable", "charger"))
    return NO_DISCHARGE if any(value is None for value in sensors) else None


def _thermal_stop(report: Report, limits: EvseLimits) -> Bounds | None:
    hot = (value is not None and value >= limits.stop_c[name] for name, value in report.temperatures_c.items())
    return NOTHING if any(hot) else None


def _at_floor(report: Report, limits: EvseLimits) -> Bounds | None:
    return NO_DISCHARGE if report.soc_percent is not None and report.soc_percent <= limits.floor_percent else None


def _at_ceiling(report: Report, limits: EvseLimits) -> Bounds | None:
    return NO_CHARGE if report.soc_percent is not None and report.soc_percent >= limits.ceiling_percent else None


def _cold(report: Report, limits: EvseLimits) -> Bounds | None:
    return NO_CHARGE if report.cell_min_c is not None and report.cell_min_c < limits.cold_c else None


RULES: dict[str, Rule] = {
    "soc_floor": _at_floor,
    "soc_ceiling": _at_ceiling,
    "soc_unknown": lambda report, limits: NO_DISCHARGE if report.soc_percent is None else None,
    "thermal_stop": _thermal_stop,
    "thermal_sensor": _sensor_lost,
    "cell_cold": _cold,
    "not_ready": lambda report, limits: NOTHING if report.state not in READY_STATES else None,
    "evse_fault": lambda report, limits: NOTHING if report.fault else None,
    "e_stop": lambda report, limits: NOTHING if report.e_stop else None,
    "no_bidirectional": lambda report, limits: None if report.bidirectional else NO_DISCHARGE,
    "vehicle_limit": lambda report, limits: report.capability,
}


@dataclass(slots=True)
class _Binding:
    """A rule that binds now: since when, and how many commands have been seen since."""

    bounds: Bounds
    since: float
    frames: int = 0
    answered: bool = False


@dataclass(slots=True)
class _Answer:
    """How fast the setpoint obeyed a rule, over the run."""

    count: int = 0
    max_frames: int = 0
    max_ms: float = 0.0


@dataclass(slots=True)
class _Evse:
    """What the observer keeps about one EVSE."""

    limits: EvseLimits
    report: Report = field(default_factory=Report)
    binding: dict[str, _Binding] = field(default_factory=dict)
    target_w: float = 0.0
    permitted: Bounds = NOTHING
    counter: int | None = None
    cmd_at: float | None = None
    status_counters: dict[str, int] = field(default_factory=dict)
    heard_at: float = 0.0
    cmd_frames: int = 0
    crc_errors: int = 0
    counter_errors: int = 0
    gaps: int = 0
    max_gap_s: float = 0.0
    status_frames: int = 0
    status_crc_errors: int = 0

    def as_json(self) -> dict[str, object]:
        return {
            "cmd_frames": self.cmd_frames,
            "cmd_crc_errors": self.crc_errors,
            "cmd_counter_errors": self.counter_errors,
            "cmd_gaps_over_100_ms": self.gaps,
            "cmd_max_gap_ms": round(self.max_gap_s * 1000, 1),
            "status_frames": self.status_frames,
            "status_crc_errors": self.status_crc_errors,
            "target_w": self.target_w,
            "permitted_w": list(self.permitted),
        }


def find_dbc(name: str) -> Path:
    """The DBC that a config names: a path, or one that comes with the gateway (its data file; none of its code is run)."""
    given = Path(name)
    package = importlib.util.find_spec("edge")
    if given.suffix == ".dbc" or package is None or not package.submodule_search_locations:
        return given
    return Path(package.submodule_search_locations[0]) / "field/dbc" / f"{name}.dbc"


class Observer:
    """Feed it every frame of the bus with `feed`; `summary` tells what it has seen. Not thread-safe."""

    def __init__(self, config: Mapping[str, Any], dbc: Path | None = None) -> None:
        self._limits = _evse_limits(config)
        self._evses = {(each.bus, each.node): _Evse(each) for each in self._limits}
        self._feeders = _feeder_limits(config)
        self._sums = {name: [0.0] * 4 for name in self._feeders}
        path = dbc or find_dbc(next((evse["dbc"] for evse in config["evses"] if "dbc" in evse), "evse-generic"))
        database = cantools.database.load_file(path, strict=True)
        if not isinstance(database, cantools.database.can.Database):
            raise ValueError(f"{path} is no CAN database")
        self._messages = {message.frame_id & 0x700: message for message in database.messages}
        self._answers: dict[str, _Answer] = {}
        self._by_rule: Counter[str] = Counter()
        self._violations: list[dict[str, Any]] = []
        self._first: float | None = None
        self._last = 0.0

    @classmethod
    def of_config(cls, path: Path, dbc: Path | None = None) -> Observer:
        """An observer with the limits of the gateway's config.yaml at `path`."""
        return cls(read_yaml(path), dbc)

    def set_base_load(self, feeder: str, base_w: float, now: float, grace_s: float = 1.0) -> None:
        """Tell what other loads on `feeder` (its children's not included) take from now on, W.

        A bus shows no meters: until told, the observer takes 0 W for import and the declared base load for export. It holds
        the gateway to a new value `grace_s` after `now` (the frames' clock), when its meter must have shown it.
        """
        limits = self._feeders[feeder]
        limits.base_w = limits.export_base_w = base_w
        limits.base_from = now + grace_s

    # ---- frames ----

    def feed(self, bus: str, timestamp: float, can_id: int, data: bytes) -> None:
        """Take one frame of `bus` (its id in the config) at `timestamp` s; foreign frames are ignored."""
        evse, message = self._evses.get((bus, can_id & 0xFF)), self._messages.get(can_id & 0x700)
        if evse is None or message is None or len(data) != message.length:
            return
        self._first = timestamp if self._first is None else self._first
        self._last = timestamp
        is_cmd = message.name == "Cmd"
        if data[0] != frame_crc(can_id, data):
            if is_cmd:
                evse.crc_errors += 1
            else:
                evse.status_crc_errors += 1
            return
        values = message.decode(data, decode_choices=False)
        assert isinstance(values, dict)  # a plain message, not a container
        if is_cmd:
            self._on_cmd(evse, timestamp, values)
        else:
            self._on_status(evse, timestamp, message.name, values, data)

    def _on_status(self, evse: _Evse, timestamp: float, name: str, values: Mapping[str, Any], data: bytes) -> None:
        evse.status_frames += 1
        last, evse.status_counters[name] = evse.status_counters.get(name), int(values["counter"])
        if last == evse.status_counters[name]:
            return  # a repeated counter: nobody may believe this frame
        if name == "StatusA":
            evse.heard_at = timestamp
        if name in _REPORTERS:
            _REPORTERS[name](evse.report, values, data)
        self._bind(evse, timestamp)

    def _bind(self, evse: _Evse, timestamp: float) -> None:
        """Note which rules the newest report makes binding."""
        if evse.report.state is None:
            return
        for name, rule in RULES.items():
            bounds = rule(evse.report, evse.limits)
            binding = evse.binding.get(name)
            if bounds is None:
                evse.binding.pop(name, None)
            elif binding is None or binding.bounds != bounds:
                evse.binding[name] = _Binding(bounds, timestamp)

    def _on_cmd(self, evse: _Evse, timestamp: float, values: Mapping[str, Any]) -> None:
        self._check_sequence(evse, timestamp, int(values["counter"]))
        target_w, low_w, high_w = _permitted(values)
        evse.permitted = (low_w, high_w)
        if not low_w <= target_w <= high_w:
            self._violation(timestamp, evse.limits.id, "target_outside", (target_w, target_w), (low_w, high_w))
        if not _inside(evse.permitted, evse.limits.rating):
            self._violation(timestamp, evse.limits.id, "rating", evse.permitted, evse.limits.rating)
        if evse.report.state is None and not _inside(evse.permitted, NOTHING):
            self._violation(timestamp, evse.limits.id, "no_report", evse.permitted, NOTHING)
        if evse.report.state is not None and timestamp - evse.heard_at > SILENT_AFTER_S:
            lost = (-evse.limits.fallback_discharge_w, math.inf)
            if not _inside(evse.permitted, lost):
                self._violation(timestamp, evse.limits.id, "evse_lost", evse.permitted, lost)
        for name, binding in evse.binding.items():
            self._check_binding(evse, timestamp, name, binding)
        self._check_feeders(evse, timestamp, target_w)

    def _check_sequence(self, evse: _Evse, timestamp: float, counter: int) -> None:
        evse.cmd_frames += 1
        if evse.counter is not None and counter != (evse.counter + 1) % COUNTER_MODULO:
            evse.counter_errors += 1
        if evse.cmd_at is not None:
            gap_s = timestamp - evse.cmd_at
            evse.max_gap_s = max(evse.max_gap_s, gap_s)
            evse.gaps += gap_s > MAX_GAP_S
        evse.counter, evse.cmd_at = counter, timestamp

    def _check_binding(self, evse: _Evse, timestamp: float, name: str, binding: _Binding) -> None:
        binding.frames += 1
        if _inside(evse.permitted, binding.bounds):
            if not binding.answered:
                binding.answered = True
                answer = self._answers.setdefault(name, _Answer())
                answer.count += 1
                answer.max_frames = max(answer.max_frames, binding.frames)
                answer.max_ms = max(answer.max_ms, (timestamp - binding.since) * 1000)
        elif binding.answered or binding.frames > GRACE_FRAMES:
            self._violation(timestamp, evse.limits.id, name, evse.permitted, binding.bounds)

    def _check_feeders(self, evse: _Evse, timestamp: float, target_w: float) -> None:
        """Add the change of this setpoint along the fuse tree; each sum must stay inside its fuse."""
        change_w, evse.target_w = target_w - evse.target_w, target_w
        name: str | None = evse.limits.feeder
        while name is not None:
            feeder, sums = self._feeders[name], self._sums[name]
            for phase in evse.limits.phase_map:
                sums[phase - 1] += change_w / len(evse.limits.phase_map)
            sums[3] += change_w
            self._check_fuse(feeder, sums, timestamp)
            name = feeder.parent

    def _check_fuse(self, feeder: FeederLimits, sums: list[float], timestamp: float) -> None:
        known_w, most_w = self._base_below(feeder.id, timestamp)
        for lane, commanded_w in enumerate(sums):
            share = 1 if lane == 3 else 1 / 3
            bounds = (-feeder.export_w[lane] - most_w * share, feeder.import_w[lane] - known_w * share)
            if not _inside((commanded_w, commanded_w), bounds):
                rule = "feeder" if lane == 3 else f"phase_{lane + 1}"
                self._violation(timestamp, feeder.id, rule, (commanded_w, commanded_w), bounds)

    def _base_below(self, name: str, timestamp: float) -> tuple[float, float]:
        """Base load of a feeder and its children: certain, and at most."""
        known_w = most_w = 0.0
        for feeder in self._feeders.values():
            at: str | None = feeder.id
            while at is not None and at != name:
                at = self._feeders[at].parent
            if at == name:
                known_w += feeder.base_w if timestamp >= feeder.base_from else 0.0
                most_w += feeder.export_base_w
        return known_w, most_w

    def _violation(self, timestamp: float, scope: str, rule: str, commanded: Bounds, bounds: Bounds) -> None:
        self._by_rule[rule] += 1
        if len(self._violations) < KEPT_VIOLATIONS:
            bound = [None if math.isinf(value) else round(value) for value in bounds]
            record = {"time": timestamp, "scope": scope, "rule": rule, "commanded_w": list(commanded), "bounds_w": bound}
            self._violations.append(record)

    def summary(self) -> dict[str, Any]:
        """Everything counted so far, ready for JSON. `setpoints_beyond_limit` must be 0."""
        return {
            "seconds": round(self._last - (self._first or self._last), 3),
            "cmd_frames": sum(evse.cmd_frames for evse in self._evses.values()),
            "setpoints_beyond_limit": self._by_rule.total(),
            "beyond_limit_by_rule": dict(self._by_rule),
            "violations": self._violations,
            "answers": {
                name: {"count": a.count, "max_frames": a.max_frames, "max_ms": round(a.max_ms, 2)}
                for name, a in self._answers.items()
            },
            "evses": {evse.limits.id: evse.as_json() for evse in self._evses.values()},
        }


def _inside(permitted: Bounds, bounds: Bounds) -> bool:
    return permitted[0] >= bounds[0] - TOLERANCE_W and permitted[1] <= bounds[1] + TOLERANCE_W


def _permitted(values: Mapping[str, Any]) -> tuple[float, float, float]:
    """Target, lowest and highest power that a Cmd permits: its mode counts too."""
    mode, target_w = int(values["mode"]), float(values["target_w"])
    low_w, high_w = float(values["min_w"]), float(values["max_w"])
    if mode == 0:
        return 0.0, 0.0, 0.0
    if mode == 1:
        low_w, target_w = max(0.0, low_w), max(0.0, target_w)
    return target_w, low_w, max(low_w, high_w)


# ---- reports ----


def _value(values: Mapping[str, Any], data: bytes, name: str, invalid_bytes: slice) -> float | None:
    """The signal, or None when its bytes are the invalid code (all ones)."""
    raw = data[invalid_bytes]
    return None if raw == b"\xff" * len(raw) else float(values[name])


def _status_a(report: Report, values: Mapping[str, Any], data: bytes) -> None:
    report.state = int(values["state"])
    if report.state == NO_VEHICLE:
        report.capability = None
    report.soc_percent = _value(values, data, "soc_percent", slice(4, 6))
    report.temperatures_c["connector"] = _value(values, data, "connector_c", slice(6, 7))
    report.bidirectional = bool(values["bidirectional"])
    report.fault, report.e_stop = bool(values["fault"]), bool(values["e_stop"])


def _status_c(report: Report, values: Mapping[str, Any], data: bytes) -> None:
    report.temperatures_c["cable"] = _value(values, data, "cable_c", slice(2, 3))
    report.temperatures_c["charger"] = _value(values, data, "charger_c", slice(3, 4))
    report.cell_min_c = _value(values, data, "cell_min_c", slice(5, 6))
    hottest = _value(values, data, "cell_max_c", slice(4, 5))
    if hottest is None:
        report.temperatures_c.pop("cell", None)
    else:
        report.temperatures_c["cell"] = hottest


def _limits(report: Report, values: Mapping[str, Any], data: bytes) -> None:
    if report.state == NO_VEHICLE:  # says nothing about the vehicle that comes next
        return
    report.capability = (-float(values["max_discharge_w"]), float(values["max_charge_w"]))


_REPORTERS = {"StatusA": _status_a, "StatusC": _status_c, "Limits": _limits}


# ---- limits from the config; defaults are those of numbers.md part 2 ----


def _evse_limits(config: Mapping[str, Any]) -> list[EvseLimits]:
    limits, thermal = config.get("limits", {}), config.get("thermal", {})
    nominal_v = config["site"].get("grid", {}).get("nominal_v", 230)
    absolute = limits.get("absolute_min_soc", 20)
    default_stop_c = {"connector": 90, "cable": 90, "charger": 90, "cell": 60}
    stop_c = {name: thermal.get(name, {}).get("stop_c", stop) for name, stop in default_stop_c.items()}
    found = []
    for evse in config["evses"]:
        if "node" not in evse:
            continue
        phase_map = tuple(evse.get("phase_map", (1, 2, 3)))
        cable_w = evse["cable_a"] * nominal_v * len(phase_map) if "cable_a" in evse else math.inf
        charge_w, discharge_w = evse["rating_w"], evse.get("discharge_rating_w", evse["rating_w"])
        threshold = evse.get("min_soc_threshold", limits.get("min_soc_threshold", 30))
        found.append(
            EvseLimits(
                id=evse["id"],
                bus=evse["bus"],
                node=evse["node"],
                feeder=evse["feeder"],
                rating=(-min(discharge_w, cable_w), min(charge_w, cable_w)),
                floor_percent=max(threshold, absolute),
                ceiling_percent=evse.get("max_soc", limits.get("max_soc", 100)),
                stop_c=stop_c,
                fallback_discharge_w=evse.get("fallback_discharge_w", config.get("fallback", {}).get("discharge_w", 0)),
                cold_c=thermal.get("cell", {}).get("cold_no_charge_c", 0),
                phase_map=phase_map,
            )
        )
    return found


def _feeder_limits(config: Mapping[str, Any]) -> dict[str, FeederLimits]:
    grid = config["site"].get("grid", {})
    nominal_v = grid.get("nominal_v", 230)
    feeders = {}
    for feeder in config["feeders"]:
        phase_w = feeder["rating_a"] * nominal_v
        total_w = phase_w * feeder.get("phases", 3)
        is_root = "parent" not in feeder
        import_w = min(total_w, grid.get("import_limit_w") or total_w) if is_root else total_w
        export_w = min(total_w, grid.get("export_limit_w") or total_w) if is_root else total_w
        feeders[feeder["id"]] = FeederLimits(
            id=feeder["id"],
            parent=feeder.get("parent"),
            import_w=[phase_w] * 3 + [import_w],
            export_w=[phase_w] * 3 + [export_w],
            export_base_w=feeder.get("base_load_w", 0),
        )
    return feeders


def watch(observer: Observer, buses: Mapping[str, can.BusABC], until: Callable[[], bool]) -> None:
    """Feed `observer` from all `buses` (by their id in the config) until `until()`; looks at it at least every 50 ms."""
    while not until():
        idle = True
        for name, bus in buses.items():
            message = bus.recv(0 if len(buses) > 1 else 0.05)
            if message is not None:
                idle = False
                if not message.is_error_frame:
                    observer.feed(name, message.timestamp, message.arbitration_id, bytes(message.data))
        if idle and len(buses) > 1:
            time.sleep(0.001)
