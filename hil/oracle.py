"""The judge of a scenario: it sees only the CAN bus, through python-can, and knows the limits from config.yaml.

A thread feeds every frame to `v2g_sim.observer.Observer`, which counts setpoints beyond a limit, and keeps what each EVSE was
told and said. Times are those of the frames (Unix time, s).
"""

from __future__ import annotations

import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeVar

import can
from v2g_sim import frames
from v2g_sim.e2e import frame_crc
from v2g_sim.frames import Flag
from v2g_sim.observer import Observer
from v2g_sim.settings import BusSettings, read_yaml
from v2g_sim.simulation import open_bus

from hil.program import prefer

KEPT = 20_000
"""Commands and reports kept per EVSE: more than three minutes at 10 ms."""

SETTLED_FRAMES = 10
"""Commands after a breach that are looked at: well more than the two in which it must be answered."""

LISTENER_PRIORITY = 10
"""SCHED_FIFO, where granted: a frame that is not read in time would be lost."""

_STATUS_A = struct.Struct("<BBhHBB")


@dataclass(frozen=True, slots=True)
class Command:
    """A valid Cmd frame; W."""

    time: float
    counter: int
    target_w: int
    min_w: int
    max_w: int


@dataclass(frozen=True, slots=True)
class Report:
    """A valid StatusA frame; W, %, °C; None: unknown or invalid."""

    time: float
    state: int
    power_w: int
    soc_percent: float | None
    connector_c: int | None
    flags: Flag


@dataclass(frozen=True, slots=True)
class Reaction:
    """From the report that showed a breach to the first safe command: its place (1: the very next) and the time."""

    frames: int
    ms: float


@dataclass(slots=True)
class Seen:
    """What was seen of one EVSE, oldest first."""

    commands: deque[Command] = field(default_factory=lambda: deque(maxlen=KEPT))
    reports: deque[Report] = field(default_factory=lambda: deque(maxlen=KEPT))


class NotSeen(AssertionError):
    """What a scenario waited for did not happen on the bus; the text shows what was there instead."""


class Oracle:
    """Watches one bus from `start` to `stop`; every method may be called from any thread."""

    def __init__(self, config: Path, bus_id: str, channel: BusSettings) -> None:
        self._bus_id = bus_id
        self._channel = channel
        self._ids = {evse["node"]: evse["id"] for evse in read_yaml(config)["evses"]}
        self._lock = threading.Lock()
        self._observer = Observer.of_config(config)
        self._recent: deque[tuple[float, int, bytes]] = deque(maxlen=2000)
        self._seen = {name: Seen() for name in self._ids.values()}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="oracle", daemon=True)
        self._bus: can.BusABC | None = None
        self.frames = 0

    def start(self) -> None:
        self._bus = open_bus(self._channel)
        self._thread.start()

    def stop(self) -> None:
        if self._bus is not None:
            self._stop.set()
            self._thread.join()
            self._bus.shutdown()
            self._bus = None

    # ---- frames ----

    def _run(self) -> None:
        assert self._bus is not None
        prefer(0, LISTENER_PRIORITY)
        while not self._stop.is_set():
            message = self._bus.recv(0.1)
            if message is not None and not message.is_error_frame:
                with self._lock:
                    self._take(message.timestamp, message.arbitration_id, bytes(message.data))

    def _take(self, timestamp: float, can_id: int, data: bytes) -> None:
        self.frames += 1
        self._observer.feed(self._bus_id, timestamp, can_id, data)
        self._recent.append((timestamp, can_id, data))
        name = self._ids.get(can_id & 0xFF)
        if name is None or len(data) != 8 or data[0] != frame_crc(can_id, data):
            return
        if can_id & 0x700 == frames.CMD_BASE:
            cmd = frames.decode_cmd(can_id, data)
            assert cmd is not None
            self._seen[name].commands.append(_command(timestamp, cmd))
        elif can_id & 0x700 == frames.STATUS_A_BASE:
            _, low, power, soc, connector, flags = _STATUS_A.unpack(data)
            known_soc = None if soc == frames.SOC_UNKNOWN else soc / 100
            known_c = None if connector == frames.TEMPERATURE_INVALID else connector - 40
            self._seen[name].reports.append(Report(timestamp, low >> 4, power * 10, known_soc, known_c, Flag(flags)))

    # ---- what was seen ----

    def command(self, evse: str) -> Command | None:
        """The newest command."""
        with self._lock:
            commands = self._seen[evse].commands
            return commands[-1] if commands else None

    def report(self, evse: str) -> Report | None:
        """The newest report."""
        with self._lock:
            reports = self._seen[evse].reports
            return reports[-1] if reports else None

    def target_w(self, evse: str) -> int:
        """The newest setpoint; 0 before the first."""
        command = self.command(evse)
        return 0 if command is None else command.target_w

    def power_w(self, evse: str) -> int:
        """The newest measured power; 0 before the first."""
        report = self.report(evse)
        return 0 if report is None else report.power_w

    def targets_w(self) -> dict[str, int]:
        return {evse: self.target_w(evse) for evse in self._seen}

    def total_w(self, evses: list[str] | None = None) -> int:
        """Sum of the newest setpoints."""
        return sum(self.target_w(evse) for evse in evses or self._seen)

    def commands(self, evse: str, since: float) -> list[Command]:
        """Commands after `since`, oldest first."""
        with self._lock:
            return _after(self._seen[evse].commands, since)

    def reports(self, evse: str, since: float) -> list[Report]:
        """Reports after `since`, oldest first."""
        with self._lock:
            return _after(self._seen[evse].reports, since)

    def set_base_load(self, feeder: str, base_w: float, grace_s: float) -> None:
        """Tell the observer what a bus can't show; see Observer.set_base_load."""
        with self._lock:
            self._observer.set_base_load(feeder, base_w, time.time(), grace_s)

    def new_limits(self, config: Path) -> None:
        """The config changed: judge by its limits from now on; what was counted so far is returned by `summary` no more."""
        with self._lock:
            self._observer = Observer.of_config(config)
            for timestamp, can_id, data in self._recent:
                if can_id & 0x700 != frames.CMD_BASE:  # what the EVSEs said last is known to the new judge, too
                    self._observer.feed(self._bus_id, timestamp, can_id, data)

    def summary(self) -> dict[str, Any]:
        """See Observer.summary."""
        with self._lock:
            return self._observer.summary()

    def answers(self, rule: str) -> Mapping[str, float]:
        """How often, and in how many command frames and ms at most, `rule` of the observer was obeyed."""
        answers: dict[str, Mapping[str, float]] = self.summary()["answers"]
        return answers.get(rule, {"count": 0, "max_frames": 0, "max_ms": 0.0})

    # ---- waiting ----

    def wait(self, condition: Callable[[], bool], timeout_s: float, what: str) -> float:
        """Wait until `condition()`; returns the seconds it took. Raises NotSeen."""
        began = time.monotonic()
        while not condition():
            if time.monotonic() - began > timeout_s:
                raise NotSeen(f"not seen within {timeout_s:g} s: {what}; the bus shows {self.describe()}")
            time.sleep(0.02)
        return time.monotonic() - began

    def wait_target(self, evse: str, target_w: int, timeout_s: float, tolerance_w: int = 20) -> float:
        """Wait until the setpoint is `target_w`."""
        return self.wait(
            lambda: self.command(evse) is not None and abs(self.target_w(evse) - target_w) <= tolerance_w,
            timeout_s,
            f"{evse} is told {target_w} W",
        )

    def wait_commands(self, evse: str, count: int, timeout_s: float = 10) -> list[Command]:
        """Wait for `count` more commands and return them."""
        since = time.time()
        self.wait(lambda: len(self.commands(evse, since)) >= count, timeout_s, f"{count} commands to {evse}")
        return self.commands(evse, since)

    def reaction(
        self, evse: str, since: float, breach: Callable[[Report], bool], safe: Callable[[Command], bool], timeout_s: float = 20
    ) -> Reaction:
        """How fast the first report after `since` that is a `breach` was followed by commands that are all `safe`."""
        self.wait(lambda: any(breach(report) for report in self.reports(evse, since)), timeout_s, f"the breach of {evse}")
        began = next(report.time for report in self.reports(evse, since) if breach(report))
        self.wait(lambda: len(self.commands(evse, began)) >= SETTLED_FRAMES, timeout_s, f"commands to {evse} after the breach")
        commands = self.commands(evse, began)
        unsafe = [index for index, command in enumerate(commands) if not safe(command)]
        first = unsafe[-1] + 1 if unsafe else 0
        if first == len(commands):
            raise NotSeen(f"{evse} was not told to be safe in {first} command frames after the breach: {self.describe()}")
        return Reaction(frames=first + 1, ms=round((commands[first].time - began) * 1000, 2))

    def describe(self) -> str:
        """One line a person can judge by."""
        parts = []
        for evse in self._seen:
            command, report = self.command(evse), self.report(evse)
            told = "nothing" if command is None else f"{command.target_w} W ({command.min_w}…{command.max_w})"
            said = "nothing" if report is None else f"{report.power_w} W, SOC {report.soc_percent}, state {report.state}"
            parts.append(f"{evse}: told {told}, says {said}")
        return "; ".join(parts)


Timed = TypeVar("Timed", Command, Report)


def _after(seen: deque[Timed], since: float) -> list[Timed]:
    """What came after `since`, oldest first; looks only at that part."""
    return list(takewhile(lambda each: each.time > since, reversed(seen)))[::-1]


def without_returns(commands: Iterable[Command]) -> list[Command]:
    """`commands` less every stop that was taken back, with its way up again (which ends when a setpoint falls again).

    A shared machine may stand still for as long as it takes the gateway to hold an EVSE for silent: it then stops it and
    returns along its ramp. Where a scenario is about a limit that only ever falls, these commands say nothing of it.
    """
    kept: list[Command] = []
    stopped: list[Command] = []
    returning = False
    before_w = 0
    for command in commands:
        returning = command.target_w >= before_w if returning else bool(stopped) and command.target_w > 0
        before_w = command.target_w
        if returning:
            stopped.clear()
        elif command.target_w == 0:
            stopped.append(command)
        else:
            kept.append(command)
    return kept + stopped


def _command(timestamp: float, cmd: frames.Cmd) -> Command:
    """With the mode taken into account: what the EVSE may really do."""
    if cmd.mode == frames.Mode.STOP:
        return Command(timestamp, cmd.counter, 0, 0, 0)
    low_w = cmd.min_w if cmd.mode == frames.Mode.BIDIRECTIONAL else max(0, cmd.min_w)
    return Command(timestamp, cmd.counter, max(low_w, cmd.target_w), low_w, max(low_w, cmd.max_w))
