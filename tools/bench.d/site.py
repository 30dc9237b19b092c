"""Site control: steps of the site's target against simulated EVSEs (build/bench/site.json, plots build/bench/site-*.svg).

Real programs with eight EVSEs in real time (tools/sitebench/real.py), and the real core with up to 256 in compressed time
(native/bench/bench_track.c); both say what is simulated. Key figures are the worst over all steps. Costs are those of tracking
and sharing in one cycle, in a feeder tree of 4 levels; instructions come from valgrind and depend on no clock.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tools.sitebench import plot, real, steps_of

PROGRAM = Path("build/native/native/bench/bench_track")
OUT = Path("build/bench")
COMPRESSED = (
    # EVSEs, faulty percent, backhaul ms
    (8, 0, 0),
    (64, 0, 0),
    (64, 10, 0),
    (256, 0, 0),
    (256, 10, 0),
    (64, 0, 50),
    (64, 0, 500),
    (64, 0, 1500),
    (64, 10, 1500),
)
SUSTAINED_PERCENT = 1.0
"""Peak to peak over the last third of a step, % of the step: above this the site swings."""
COSTED = (64, 256)
COST_CYCLES = 1000


def compressed(evses: int, faulty: int, backhaul_ms: int) -> dict[str, Any]:
    command = [str(PROGRAM), str(evses), str(faulty), str(backhaul_ms)]
    result: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {"case": f"{evses} EVSEs, {faulty} % faulty, backhaul {backhaul_ms} ms", **result}


def judged(run: dict[str, Any], file: str) -> dict[str, Any]:
    """The run with its steps in place of its series, which are kept as a plot."""
    measured, target = run.pop("measured_w"), run.pop("target_w")
    (OUT / f"site-{file}.svg").write_text(plot(measured, target, run["case"]))
    return run | {"steps": [asdict(step) for step in steps_of(measured, target)]}


def figures(cases: list[dict[str, Any]]) -> dict[str, Any]:
    """The worst of all cases. How far and how long a step overshoots is the site's own doing only without an aggregator that
    corrects while slow EVSEs are on their way."""
    direct = [(case, step) for case in cases if case["backhaul_ms"] == 0 for step in case["steps"]]
    every = [step for case in cases for step in case["steps"]]
    return {
        "overshoot_percent": max(step["overshoot_percent"] for _, step in direct),
        "settling_s": max(step["settling_s"] for _, step in direct),
        "settling_per_slowest_evse": round(max(step["settling_s"] / case["slowest_s"] for case, step in direct), 2),
        "steady_error_percent": max(step["steady_error_percent"] for step in every),
        "ripple_percent": max(step["ripple_percent"] for step in every),
        "oscillation": any(step["ripple_percent"] > SUSTAINED_PERCENT for step in every),
    }


def instructions(evses: int) -> dict[str, int]:
    """Per cycle, of step 6 and for comparison of enforce()."""
    per_cycle = {}
    for function in ("v2g_site_propose", "v2g_enforce"):
        command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", f"--toggle-collect={function}"]
        done = subprocess.run([*command, PROGRAM, str(evses), "0", "0", "cost"], check=True, capture_output=True, text=True)
        found = re.search(r"Collected : (\d+)", done.stderr)
        if found is None:
            raise RuntimeError(f"valgrind counted nothing in {function}")
        per_cycle[function] = round(int(found[1]) / COST_CYCLES)
    return per_cycle


def told(name: str, worst: dict[str, Any]) -> str:
    return (
        f"  {name}: overshoot {worst['overshoot_percent']:.2f} %, settling {worst['settling_s']:.1f} s "
        f"({worst['settling_per_slowest_evse']:.1f} × the slowest EVSE), steady error {worst['steady_error_percent']:.2f} %, "
        f"oscillation: {'yes' if worst['oscillation'] else 'no'}"
    )


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    in_time = [judged(compressed(*case), "-".join(map(str, case))) for case in COMPRESSED]
    print(told("compressed time, 8 to 256 EVSEs", figures(in_time)), flush=True)
    on_programs = []
    for case in real.CASES:
        print(f"  real programs, 8 EVSEs: {case.name} ({case.seconds:.0f} s)", flush=True)
        on_programs.append(judged(real.run(case), "real-" + case.name.replace(" ", "-")))
    print(told("real programs, 8 EVSEs", figures(on_programs)))
    result: dict[str, Any] = {
        "summary": figures(in_time + on_programs),
        "real_programs": figures(on_programs) | {"setpoints_beyond_limit": sum(c["beyond_limit"] for c in on_programs)},
        "compressed_time": figures(in_time),
        "cases": in_time + on_programs,
    }
    of_256 = [case["propose_us"] for case in in_time if case["evses"] == max(COSTED)]
    result["summary"]["track_and_share_256_evses_us"] = min(of_256)
    if shutil.which("valgrind"):
        result["instructions_per_cycle"] = {str(evses): instructions(evses) for evses in COSTED}
        counted = result["instructions_per_cycle"][str(max(COSTED))]["v2g_site_propose"]
        result["summary"]["track_and_share_256_evses_instructions"] = counted
        print(f"  256 EVSEs: {min(of_256):.1f} µs, {counted} instructions a cycle")
    (OUT / "site.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
