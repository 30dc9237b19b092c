"""The cycle: compute time per cycle, instructions per EVSE, missed cycles (build/bench/core.json).

Arms of different size are taken in turns, so that a noisy moment hits all of them; of the repeats the one with the smallest
median counts. Instructions come from valgrind and depend on no clock: the difference of two run lengths leaves out the start.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tools.quality import instructions as enforce_instructions

PROGRAM = Path("build/native/native/bench/bench_core")
OUT = Path("build/bench/core.json")
SIZES = (1, 8, 64, 256)
CYCLES = 2000
REPEATS = 3
RUN_SECONDS = 5
FRAMES_EVSES = 200
"""EVSEs that send 800 frames and are told by 200 in a cycle."""
ENFORCE_BATCHES = 300
ENFORCED = 64
"""EVSEs of the site whose figures per EVSE stand in the summary."""
COUNTED = (1, 8, 64, 256)
COUNT_CYCLES = (100, 300)
COUNT_FUNCTIONS = ("v2g_enforce", "v2g_estimate", "v2g_site_propose")


def arm(*arguments: object) -> dict[str, Any]:
    done = subprocess.run([PROGRAM, *map(str, arguments)], check=True, capture_output=True, text=True)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def instructions(function: str, evses: int, cycles: int) -> int:
    """Instructions of all calls of one function in a run."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", f"--toggle-collect={function}"]
    done = subprocess.run([*command, PROGRAM, "step", str(evses), str(cycles)], check=True, capture_output=True, text=True)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if found is None:
        raise RuntimeError(f"valgrind counted nothing in {function}: {done.stderr.strip()[-200:]}")
    return int(found[1])


def counted() -> list[dict[str, Any]]:
    rows = []
    for evses in COUNTED:
        short, long = COUNT_CYCLES
        per_cycle = {
            f: (instructions(f, evses, long) - instructions(f, evses, short)) / (long - short) for f in COUNT_FUNCTIONS
        }
        rows.append({"evses": evses, "per_evse": {f: round(count / evses, 1) for f, count in per_cycle.items()}})
    return rows


def summary(result: dict[str, Any]) -> dict[str, Any]:
    by_size = {row["evses"]: row for row in result["steps"]}
    enforce = {row["evses"]: row["enforce_ns"]["p50"] / row["evses"] for row in result["enforce"]}
    frames = result["frames"]
    figures: dict[str, Any] = {
        "enforce_ns_per_evse": round(enforce[ENFORCED], 1),
        "enforce_ns_per_evse_by_size": {str(evses): round(ns, 1) for evses, ns in enforce.items()},
        "cycle_us_by_size": {str(evses): row["compute_ns"]["p50"] / 1000 for evses, row in by_size.items()},
        "cycle_us_256_evses": by_size[256]["compute_ns"]["p50"] / 1000,
        "can_1000_frames_ms": round((frames["drain_ns"]["p50"] + frames["send_ns"]["p50"]) / 1e6, 3),
    }
    if "instructions" in result:
        counted_at = {str(row["evses"]): row["per_evse"]["v2g_enforce"] for row in result["instructions"]}
        figures["enforce_instructions_per_evse"] = counted_at[str(ENFORCED)]
        figures["enforce_instructions_per_evse_by_size"] = counted_at
        figures["enforce_instructions_per_evse_per_site"] = result["enforce_instructions_per_evse"]
    return figures


def main() -> None:
    best: dict[int, dict[str, Any]] = {}
    for _ in range(REPEATS):
        for evses in SIZES:
            figures = arm("step", evses, CYCLES)
            if evses not in best or figures["compute_ns"]["p50"] < best[evses]["compute_ns"]["p50"]:
                best[evses] = figures
    result: dict[str, Any] = {"steps": list(best.values()), "run": [arm("run", n, RUN_SECONDS, -1) for n in (8, 64)]}
    result["enforce"] = [arm("enforce", evses, ENFORCE_BATCHES) for evses in SIZES]
    result["frames"] = arm("step", FRAMES_EVSES, CYCLES)
    if shutil.which("valgrind"):
        result["instructions"] = counted()
        result["enforce_instructions_per_evse"] = enforce_instructions.measure()
    result["summary"] = summary(result)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(result, indent=2) + "\n")
    for row in result["steps"]:
        print(f"  {row['evses']:4d} EVSEs: compute {row['compute_ns']['p50'] / 1000:7.1f} µs (median), whole tree, no I/O")
    for row in result["run"]:
        print(f"  {row['evses']:4d} EVSEs at 10 ms: {row['cycles']} cycles, {row['missed_cycles']} missed, {row['scheduling']}")
    for row in result.get("instructions", []):
        print(f"  {row['evses']:4d} EVSEs: instructions per EVSE {row['per_evse']}")
    if enforce := result.get("enforce_instructions_per_evse"):
        print(f"  enforce: instructions per EVSE at rest {enforce['steady']}, at worst {enforce['worst']}")


if __name__ == "__main__":
    main()
