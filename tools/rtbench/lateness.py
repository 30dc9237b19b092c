"""Wake-up lateness of the cycle against cyclictest, in windows taken in turns on the same core at the same priority.

Each round has three windows: cyclictest (A), the cycle (B), cyclictest again (A'), in an order that turns from round to
round. What cyclictest ÷ cyclictest shows over the rounds (A' ÷ A, resampled) is the null interval: a ratio of B inside
it says that nothing can be told apart here. The maximum is reported, not judged.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge.core.histogram import bucket_high, bucket_low

PRIORITY = 80
PERIOD_US = 1000
HIGHEST_US = 20_000
"""What cyclictest counts one by one; what is later counts as this."""
SHARES = {"p50": 0.5, "p99": 0.99, "p99_9": 0.999}
RESAMPLES = 300
STRESS = ["stress-ng", "--quiet", "--cpu", "1", "--vm", "1", "--vm-bytes", "128M", "--fork", "2", "--switch", "1"]
"""Other processes: computing, memory, a storm of forks, context switches."""

Bins = dict[tuple[float, float], int]
"""How many values lie from … up to but without …, µs."""


@dataclass
class Windows:
    """One kind of window over all rounds."""

    bins: list[Bins] = field(default_factory=list)
    max_us: float = 0.0

    def add(self, bins: Bins, max_us: float) -> None:
        self.bins.append(bins)
        self.max_us = max(self.max_us, max_us)


def pooled(windows: Sequence[Bins]) -> Bins:
    total: Counter[tuple[float, float]] = Counter()
    for bins in windows:
        total.update(bins)
    return dict(sorted(total.items()))


def percentile(bins: Mapping[tuple[float, float], int], share: float) -> float:
    """The value that `share` of all lie below, µs, read off inside its bin."""
    wanted = share * sum(bins.values())
    seen = 0.0
    for (low, high), count in sorted(bins.items()):
        if seen + count >= wanted:
            return low + (high - low) * (wanted - seen) / count
        seen += count
    raise ValueError("no value")


def cyclictest(cpu: int, seconds: float) -> tuple[Bins, float]:
    loops = round(seconds * 1e6 / PERIOD_US)
    command = ["cyclictest", "-q", "-m", "-t1", "-a", str(cpu), "-p", str(PRIORITY), "-i", str(PERIOD_US), "-l", str(loops)]
    done = subprocess.run([*command, "-h", str(HIGHEST_US)], check=True, capture_output=True, text=True)
    bins: Bins = {}
    latest = 0.0
    for line in done.stdout.splitlines():
        if line.startswith("# Max Latencies:"):
            latest = float(line.split()[-1])
        elif line.startswith("# Histogram Overflows:"):
            if late := int(line.split()[-1]):
                bins[(HIGHEST_US, HIGHEST_US + 1)] = late
        elif line and line[0] != "#" and (count := int(line.split()[1])):
            bins[(float(line.split()[0]), float(line.split()[0]) + 1)] = count
    return bins, latest


class CycleArm:
    """tools.rtbench.arm as a process."""

    def __init__(self, folder: Path, cpu: int) -> None:
        command = [sys.executable, "-m", "tools.rtbench.arm", str(folder), str(cpu)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the cycle's arm ended: see its lines above")
        return line

    def begin(self, seconds: float, cycle: bool, hogging: bool) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{seconds} {cycle:d} {hogging:d}\n")
        self._process.stdin.flush()

    def end(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._answer())
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


@contextmanager
def stress(loaded: bool) -> Iterator[None]:
    if not loaded:
        yield
        return
    process = subprocess.Popen(STRESS, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def cycle_bins(answer: Mapping[str, Any]) -> Bins:
    return {
        (bucket_low(i) / 1000, (bucket_high(i) + 1) / 1000): n for i, n in ((int(k), n) for k, n in answer["counts"].items())
    }


class Condition:
    """Idle, or under load; all rounds of it."""

    def __init__(self, arm: CycleArm, cpu: int, loaded: bool, window_s: float) -> None:
        self._arm, self._cpu, self._loaded, self._window_s = arm, cpu, loaded, window_s
        self.first, self.second, self.cycle = Windows(), Windows(), Windows()
        self.met = {"page_faults": 0, "preemptions": 0, "missed": 0}
        self.scheduling = ""

    def round(self, number: int) -> None:
        kinds = [self.first, self.cycle, self.second]
        for kind in kinds[number % 3 :] + kinds[: number % 3]:
            self._window(kind)

    def _window(self, kind: Windows) -> None:
        if kind is self.cycle:
            self._arm.begin(self._window_s, True, self._loaded)
            answer = self._arm.end()
            kind.add(cycle_bins(answer), answer["max_ns"] / 1000)
            for key in self.met:
                self.met[key] += answer[key]
            self.scheduling = answer["scheduling"]
            return
        half_s = self._window_s / 2  # there are two of these
        if self._loaded:  # the same hogs beside cyclictest
            self._arm.begin(half_s, False, True)
        kind.add(*cyclictest(self._cpu, half_s))
        if self._loaded:
            self._arm.end()

    def figures(self) -> dict[str, Any]:
        reference = pooled(self.first.bins + self.second.bins)
        ours = pooled(self.cycle.bins)
        ratio = {name: percentile(ours, share) / percentile(reference, share) for name, share in SHARES.items()}
        null = self._null_interval()
        return {
            "rounds": len(self.cycle.bins),
            "wakeups": sum(ours.values()),
            "wakeups_cyclictest": sum(reference.values()),
            "scheduling": self.scheduling,
            "lateness_us": {name: round(percentile(ours, share), 2) for name, share in SHARES.items()}
            | {"max": round(self.cycle.max_us, 1)},
            "cyclictest_us": {name: round(percentile(reference, share), 2) for name, share in SHARES.items()}
            | {"max": round(max(self.first.max_us, self.second.max_us), 1)},
            "ratio": {name: round(value, 3) for name, value in ratio.items()},
            "null_interval": {name: [round(low, 3), round(high, 3)] for name, (low, high) in null.items()},
            "inside": {name: null[name][0] <= ratio[name] <= null[name][1] for name in SHARES},
            **self.met,
            "histogram_us": {"cycle": _listed(ours), "cyclictest": _listed(reference)},
        }

    def _null_interval(self) -> dict[str, tuple[float, float]]:
        """95 % of what cyclictest ÷ cyclictest shows when whole windows are drawn again. Both halves are alike, so a ratio
        and its inverse count the same."""
        windows = self.first.bins + self.second.bins
        draw = random.Random(1)  # the same data give the same interval
        ratios: dict[str, list[float]] = {name: [] for name in SHARES}
        for _ in range(RESAMPLES):
            half = len(windows) // 2
            mixed = draw.sample(windows, len(windows))
            one, other = pooled(draw.choices(mixed[:half], k=half)), pooled(draw.choices(mixed[half:], k=half))
            for name, share in SHARES.items():
                ratio = percentile(one, share) / percentile(other, share)
                ratios[name] += [ratio, 1 / ratio]
        cut = RESAMPLES * 2 * 25 // 1000
        return {name: (sorted(values)[cut], sorted(values)[-cut - 1]) for name, values in ratios.items()}


def _listed(bins: Bins) -> list[list[float]]:
    return [[low, high, count] for (low, high), count in bins.items()]


def measure(cpu: int, window_s: float, idle_rounds: int, loaded_rounds: int) -> dict[str, Any]:
    """Both conditions, round by round; each arm has one wake-up per ms of `window_s` in every round."""
    with tempfile.TemporaryDirectory(prefix="v2g-bench-") as folder:
        arm = CycleArm(Path(folder), cpu)
        result = {}
        for name, loaded, rounds in (("idle", False, idle_rounds), ("loaded", True, loaded_rounds)):
            condition = Condition(arm, cpu, loaded, window_s)
            with stress(loaded):
                for number in range(rounds):
                    condition.round(number)
            result[name] = condition.figures()
        arm.close()
    return result
