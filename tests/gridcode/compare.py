"""The core's grid rules against what OpenDER made of the same traces: `python -m tests.gridcode.compare FILE [COMMITTED]`.

The files hold JSON lines (.xz); COMMITTED must hold the same ones.

Every difference has one of these explanations, or it is a fault:

* `edge`: where the two first differ, the grid stayed as it was for just the length of some delay. OpenDER counts the first
  sample's whole step, the core counts from the sample's stamp, so one trips (or enters service) and the other just doesn't.
* `confirm`: the core wants three samples that agree before it trips or ceases (one bad sample never trips), OpenDER wants one.
* `inverter`: OpenDER stops at once in the zones where category I and II inverters may or must cease; the gateway leaves that
  to the certified inverter and trips by its table.
"""

from __future__ import annotations

import json
import lzma
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate, pairwise, zip_longest
from typing import Any

from edge.config.derive import FULL_RESPONSE
from edge.core._native import ffi, lib
from tests.gridcode.make_vectors import ENTER_DELAY_S, FREQUENCY, LIMITS, SETTINGS, STEP_S

MS = 1_000_000
STEP_NS = round(STEP_S * 1000) * MS
NOMINAL_DV = 2400
RATING_TOLERANCE = 0.01
CONFIRM_STEPS = 2
"""The third sample that agrees is the second after the first."""


@dataclass(frozen=True, slots=True)
class Step:
    tripped: bool
    ceased: bool
    response: float
    """Share of rated power that the frequency asks for, charging positive."""


def grid_config(category: str) -> Any:
    """The profile's table with the vectors' shortened delays."""
    config = ffi.new("struct v2g_grid_config *")
    config.present = config.trips = 1
    config.nominal_mhz, config.nominal_dv, config.phases = 60_000, NOMINAL_DV, 7
    stages = []
    for stage, delay_s in SETTINGS[category].items():
        limit_dv = LIMITS[category][stage] * NOMINAL_DV
        stages.append((lib.V2G_WATCH_VOLTAGE, stage.startswith("O"), False, round(limit_dv), delay_s))
    for stage, (hz, delay_s) in FREQUENCY.items():
        stages.append((lib.V2G_WATCH_FREQUENCY, stage.startswith("O"), False, round(1000 * hz), delay_s))
    if category == "CAT_III":
        stages += [(lib.V2G_WATCH_VOLTAGE, True, True, 2640, 0.0), (lib.V2G_WATCH_VOLTAGE, False, True, 1200, 0.0)]
    for i, (kind, over, cease, limit, delay_s) in enumerate(stages):
        watch = config.watch[i]
        watch.kind, watch.over, watch.cease, watch.limit, watch.delay_ns = kind, over, cease, limit, round(delay_s * 1000) * MS
    config.enter_low_mhz, config.enter_high_mhz, config.enter_low_dv, config.enter_high_dv = 59_500, 60_100, 2201, 2520
    config.enter_delay_ns = round(ENTER_DELAY_S * 1000) * MS
    droop = config.answer[0]
    droop.scale_q16 = 1 << 16
    for k in range(2):
        droop.from_mhz[k], droop.slope_q24[k] = 36, round(2**24 / 3000)
    droop.lag_q32 = round((1 - 2.718281828459045 ** (-STEP_S * FULL_RESPONSE / 5.0)) * 2**32)
    return config


def run_core(trace: dict[str, Any]) -> list[Step]:
    config = grid_config(trace["category"])
    state = ffi.new("struct v2g_site_state *")
    lib.v2g_site_init(state)
    grid, seen = ffi.addressof(state, "grid"), ffi.new("struct v2g_grid_seen *")
    steps, now_ns = [], 1000 * STEP_NS
    for count, voltage, frequency in [(3, 1.0, 60.0), *trace["segments"]]:
        for _ in range(count):
            now_ns += STEP_NS
            seen.known, seen.frequency_mhz, seen.sample_ns = 1, round(1000 * frequency), now_ns
            seen.low_dv = seen.high_dv = round(voltage * NOMINAL_DV)
            lib.v2g_grid_step(config, seen, now_ns, grid)
            tripped = grid.service in (lib.V2G_GRID_OUT, lib.V2G_GRID_WAITING)
            steps.append(Step(tripped, bool(grid.ceased), grid.offset_q16 / 2**16))
    return steps[3:]


def expand(trace: dict[str, Any]) -> list[str]:
    total = sum(count for count, _, _ in trace["segments"])
    changes = [*trace["statuses"], [total, ""]]
    return [status for (at, status), (end, _) in pairwise(changes) for _ in range(end - at)]


def entries(flags: list[bool]) -> list[int]:
    return [i for i, flag in enumerate(flags) if flag and (i == 0 or not flags[i - 1])]


def is_edge(trace: dict[str, Any], at: int) -> bool:
    """What the grid did at step `at` lasted as long as some delay, to within the samples that confirm it."""
    ends = accumulate(count for count, _, _ in trace["segments"])
    count, voltage, frequency = next(each for each, end in zip(trace["segments"], ends, strict=True) if at < end)
    delays = [ENTER_DELAY_S]
    if voltage != 1.0 or frequency != 60.0:
        delays = [*SETTINGS[trace["category"]].values(), *(delay_s for _, delay_s in FREQUENCY.values())]
    return any(abs(count * STEP_S - delay_s) <= CONFIRM_STEPS * STEP_S + 1e-9 for delay_s in delays)


def close(ours: list[int], theirs: list[int]) -> bool:
    """The same events; the core's at most CONFIRM_STEPS later."""
    return len(ours) == len(theirs) and all(0 <= a - b <= CONFIRM_STEPS for a, b in zip(ours, theirs, strict=True))


def compare(trace: dict[str, Any]) -> Counter[str]:
    """Explanations of what differs; `unexplained` among them is a fault."""
    found: Counter[str] = Counter()
    steps, statuses = run_core(trace), expand(trace)
    theirs = [status == "Trip" for status in statuses]
    ours = [step.tripped for step in steps]
    if ours != theirs:
        same = close(entries(ours), entries(theirs)) and close(entries([not f for f in ours]), entries([not f for f in theirs]))
        first = next(i for i, pair in enumerate(zip(ours, theirs, strict=True)) if pair[0] != pair[1])
        found["confirm" if same else "edge" if is_edge(trace, first) else "unexplained"] += 1
    stopped = {"Cease to Energize", "Permissive Operation"}
    if any(status in stopped for status in statuses):
        found["inverter"] += 1
    if trace["category"] == "CAT_III":
        found += compare_cessation(steps, statuses)
    if "powers" in trace:
        found += compare_droop(trace, steps)
    return found


def compare_cessation(steps: list[Step], statuses: list[str]) -> Counter[str]:
    """Momentary cessation: the same samples, but for the first two of each."""
    found: Counter[str] = Counter()
    since = 0
    for step, status in zip(steps, statuses, strict=True):
        theirs = status == "Momentary Cessation"
        since = since + 1 if theirs else 0
        if step.tripped or status == "Trip" or step.ceased == theirs:
            continue
        found["confirm" if theirs and since <= CONFIRM_STEPS else "unexplained"] += 1
    return found


def compare_droop(trace: dict[str, Any], steps: list[Step]) -> Counter[str]:
    """Power over frequency with the open-loop response, at every tenth step, to 1 % of the rating."""
    powers = [trace["demand"] + step.response for step in steps[::10]]
    wrong = sum(abs(a - b) > RATING_TOLERANCE for a, b in zip(powers, trace["powers"], strict=True))
    return Counter({"unexplained": wrong}) if wrong else Counter()


def compare_all(lines: Iterable[str]) -> tuple[int, Counter[str]]:
    total, found = 0, Counter[str]()
    for line in lines:
        total += 1
        found += compare(json.loads(line))
    return total, found


def main(path: str, committed: str | None) -> int:
    with lzma.open(path, "rt") as file:
        lines = file.readlines()
    total, found = compare_all(lines)
    figures: dict[str, Any] = {"traces": total, "differences": dict(found), "unexplained": found["unexplained"]}
    if committed is not None:
        with lzma.open(committed, "rt") as file:
            figures["committed_traces_changed"] = sum(old != new for old, new in zip_longest(file, lines))
    print(json.dumps(figures))
    return 1 if found["unexplained"] or figures.get("committed_traces_changed") else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None))
