#!/usr/bin/env python3
"""A command's way from the broker to the bus, and the cycle under a flood of garbage: build/bench/command.json.

A whole gateway on a simulated site: mosquitto, signature, durable ledger, arbiter, core, frame on the hub. The
flood runs between two quiet windows (A B A); read its lateness against theirs.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = ["tests/core", "tests/gateway"]

from tests.gateway.attacked import Lateness, Site, command_to_frame_ms, flood, running_site  # noqa: E402

OUT = Path("build/bench/command.json")
COMMANDS = 120
WINDOW_S = 5.0
FLOOD_PER_S = 10_000


def lateness_us(window: Lateness) -> dict[str, float]:
    return {"p50": window.percentile_us(0.5), "p99": window.percentile_us(0.99), "cycles": sum(window.counts.values())}


def quiet(site: Site) -> dict[str, float]:
    before = site.lateness()
    time.sleep(WINDOW_S)
    return lateness_us(site.lateness() - before)


def flooded(site: Site) -> dict[str, float]:
    before, began = site.lateness(), time.monotonic()
    sent = flood(site, WINDOW_S, FLOOD_PER_S)
    return lateness_us(site.lateness() - before) | {"payloads_per_s": round(sent / (time.monotonic() - began))}


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="v2g") as folder, running_site(Path(folder)) as site:
        taken = sorted(command_to_frame_ms(site, COMMANDS))
        figures = {
            "commands": len(taken),
            "command_to_frame_ms": {
                "p50": round(statistics.median(taken), 1),
                "p99": round(taken[int(len(taken) * 0.99)], 1),
                "max": round(taken[-1], 1),
            },
            "lateness_us": {"quiet": quiet(site), "flood": flooded(site), "quiet_again": quiet(site)},
            "refused": site.gateway.ask("/v1/status")["uplink"]["outcomes"],
        }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
