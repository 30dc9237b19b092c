#!/usr/bin/env python3
"""Real time: lateness against cyclictest, a loop in pure Python beside the gateway, start, memory (build/bench/rt.json).

How the lateness is compared stands in tools/rtbench/lateness.py. BENCH_WAKEUPS sets the wake-ups per arm (default 20000:
minutes; 1000000, for a figure that is quoted, takes 35 minutes), BENCH_WAKEUPS_LOADED those under load, BENCH_CPU the core
(default: the last one).
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from tools.rtbench import lateness, sites  # noqa: E402

OUT = Path("build/bench/rt.json")
WAKEUPS = int(os.environ.get("BENCH_WAKEUPS", 20_000))
WAKEUPS_LOADED = int(os.environ.get("BENCH_WAKEUPS_LOADED", min(WAKEUPS, 100_000)))
CPU = int(os.environ.get("BENCH_CPU", max(os.sched_getaffinity(0))))
WINDOW_S = 2.0
SIDE_BY_SIDE_S = 20


def rounds(wakeups: int) -> int:
    return max(3, round(wakeups * lateness.PERIOD_US / 1e6 / WINDOW_S))


def main() -> None:
    late = lateness.measure(CPU, WINDOW_S, rounds(WAKEUPS), rounds(WAKEUPS_LOADED))
    raw = {name: figures.pop("histogram_us") for name, figures in late.items()}
    (OUT.parent / "lateness_histograms.json").write_text(json.dumps(raw) + "\n")
    compared = sites.side_by_side(SIDE_BY_SIDE_S)
    edge, loop = sites.summary(compared["v2g_edge"]), sites.summary(compared["python_loop"])
    starts = sites.start_to_first_cycle_ms()
    loop |= {
        "can_1000_frames_ms": sites.python_can_1000_frames_ms(),
        "rss_mib": max(window["rss_mib"] for window in compared["python_loop"].values()),
    }
    result: dict[str, Any] = {
        "cpu": CPU,
        "period_us": lateness.PERIOD_US,
        "lateness": late,
        "side_by_side": {"evses": sites.EVSES, "period_us": 10_000, "v2g_edge": edge, "python_loop": loop},
        "starts": starts,
        "summary": {
            "lateness_ratio": late["idle"]["ratio"] | {"loaded": late["loaded"]["ratio"]},
            "lateness_null_interval": {name: figures["null_interval"] for name, figures in late.items()},
            "command_to_frame_ms_p99": edge["command_to_frame_ms_p99"],
            "start_to_first_cycle_ms": starts["least"],
            "rss_mib_64_evses": sites.rss_mib(64),
            "page_faults_in_cycle": edge["page_faults_in_cycle"] + sum(figures["page_faults"] for figures in late.values()),
            "python_loop": loop,
        },
    }
    OUT.write_text(json.dumps(result, indent=2) + "\n")
    for name, figures in late.items():
        print(f"  lateness, {name}: {figures['lateness_us']} µs, cyclictest {figures['cyclictest_us']} µs")
        print(f"    ratio {figures['ratio']}, null interval {figures['null_interval']}")
    for name in ("command_to_frame_ms_p99", "start_to_first_cycle_ms", "rss_mib_64_evses", "page_faults_in_cycle"):
        print(f"  {name}: {result['summary'][name]}")
    print(f"  in pure Python: {loop}")


if __name__ == "__main__":
    main()
