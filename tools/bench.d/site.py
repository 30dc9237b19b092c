"""Site control: steps of the site's target against simulated EVSEs (build/bench/site.json, plots build/bench/site-*.svg).

The real core in compressed time (native/bench/bench_track.c says what is simulated). Key figures: the worst over all steps and
sizes. Costs come from valgrind and depend on no clock.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

PROGRAM = Path("build/native/native/bench/bench_track")
OUT = Path("build/bench")
CASES = (
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
"""Peak to peak over the last 20 s of a step, % of the step: above this the site swings."""
COSTED = (64, 256)
COST_CYCLES = 1000
WIDTH, HEIGHT, MARGIN = 900, 360, 60


def run(evses: int, faulty: int, backhaul_ms: int) -> dict[str, Any]:
    command = [str(PROGRAM), str(evses), str(faulty), str(backhaul_ms)]
    result: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return result


def line(values: list[float], low: float, high: float, style: str) -> str:
    across = (WIDTH - 2 * MARGIN) / max(1, len(values) - 1)
    up = (HEIGHT - 2 * MARGIN) / (high - low)
    points = " ".join(f"{MARGIN + i * across:.1f},{HEIGHT - MARGIN - (v - low) * up:.1f}" for i, v in enumerate(values))
    return f'<polyline fill="none" {style} points="{points}"/>'


def plot(case: dict[str, Any]) -> str:
    measured, target = case["measured_w"], case["target_w"]
    low, high = min(measured + target), max(measured + target)
    title = f"{case['evses']} EVSEs, {case['faulty_percent']} % faulty, backhaul {case['backhaul_ms']} ms"
    seconds = len(measured) / 5
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
            f'<text x="{MARGIN}" y="30">Power at the grid connection: {title}</text>',
            f'<text x="{MARGIN}" y="{HEIGHT - 20}">0 to {seconds:.0f} s; {low / 1000:.0f} to {high / 1000:.0f} kW; '
            "grey: target, blue: measured</text>",
            line(target, low, high, 'stroke="#999" stroke-width="3"'),
            line(measured, low, high, 'stroke="#06c" stroke-width="1.2"'),
            "</svg>",
        ]
    )


def instructions(evses: int) -> dict[str, int]:
    """Per cycle, of one step 6 and of the parts of it."""
    per_cycle = {}
    for function in ("v2g_site_propose", "v2g_enforce"):
        command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", f"--toggle-collect={function}"]
        done = subprocess.run([*command, PROGRAM, str(evses), "0", "0", "cost"], check=True, capture_output=True, text=True)
        found = re.search(r"Collected : (\d+)", done.stderr)
        if found is None:
            raise RuntimeError(f"valgrind counted nothing in {function}")
        per_cycle[function] = round(int(found[1]) / COST_CYCLES)
    return per_cycle


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    cases = []
    for evses, faulty, backhaul_ms in CASES:
        case = run(evses, faulty, backhaul_ms)
        (OUT / f"site-{evses}-{faulty}-{backhaul_ms}.svg").write_text(plot(case))
        cases.append({key: value for key, value in case.items() if not key.endswith("_w")})
    direct = [step for case in cases if case["backhaul_ms"] == 0 for step in case["steps"]]
    every = [step for case in cases for step in case["steps"]]
    slowest_s = max(case["slowest_s"] for case in cases)
    result: dict[str, Any] = {
        "overshoot_percent": max(step["overshoot_percent"] for step in direct),
        "settling_s": max(step["settling_s"] for step in direct),
        "slowest_evse_s": slowest_s,
        "steady_error_percent": max(step["steady_error_percent"] for step in every),
        "ripple_percent": max(step["ripple_percent"] for step in every),
        "oscillation": any(step["ripple_percent"] > SUSTAINED_PERCENT for step in every),
        "cases": cases,
    }
    if shutil.which("valgrind"):
        result["instructions_per_cycle"] = {evses: instructions(evses) for evses in COSTED}
    (OUT / "site.json").write_text(json.dumps(result, indent=2) + "\n")
    print(
        f"  overshoot {result['overshoot_percent']:.2f} %, settling {result['settling_s']:.1f} s (slowest {slowest_s:.1f} s),"
        f" steady error {result['steady_error_percent']:.2f} %, oscillation: {'yes' if result['oscillation'] else 'no'}"
    )
    for evses, counts in result.get("instructions_per_cycle", {}).items():
        print(f"  {evses:4d} EVSEs: {counts} instructions a cycle")


if __name__ == "__main__":
    main()
