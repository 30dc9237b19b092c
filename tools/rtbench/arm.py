"""The cycle's arm: a Python process with the real core at a period of 1 ms, as v2g-edge holds it.

Usage: python -m tools.rtbench.arm FOLDER CPU; then one line on stdin per window: "SECONDS CYCLE HOGS", both 0 or 1.
Answers each with a line of JSON: how often each lateness (bucket of the core's histogram) came, and what the thread
met.

8 EVSEs on a bus that takes every frame and says nothing: what is measured is the wake-up, and the setpoints go on being
sent.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import sys
import time
from pathlib import Path
from typing import Any

import edge.core.core as core_module
from edge.config import load
from edge.config.devices import load_devices
from edge.core import Core
from edge.core.kinds import HistogramKind
from edge.uplink.pki import make_development_pki
from tools.rtbench.hogs import hogs

PERIOD_NS = 1_000_000
EVSES = 8
CONFIG = """
site: {id: bench, grid: {import_limit_w: 60000, export_limit_w: 50000}}
lab: true
cycle: {period: 10ms, cpu: CPU}
feeders:
  - {id: main, rating_a: 250, base_load_w: 5000}
buses:
  - {id: can0, kind: can, channel: "hub:/sink"}
evses:
"""
EVSE = "  - {id: evse-N, bus: can0, dbc: evse-generic, node: N, feeder: main, rating_w: 22000, silence_tested: true}\n"


def sink() -> int:
    """A socket that takes every packet and keeps none: UDP to a receiver that never reads."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.connect(receiver.getsockname())
    receiver.detach()
    return sender.detach()


class Arm:
    def __init__(self, folder: Path, cpu: str) -> None:
        path = folder / "config.yaml"
        evses = "".join(EVSE.replace("N", str(number)) for number in range(1, EVSES + 1))
        path.write_text(CONFIG.replace("CPU", cpu) + evses)
        settings = load(path)
        self._devices = load_devices(settings, folder)
        # The config's shortest period is 10 ms; cyclictest's protocol wants 1 ms.
        self._settings = settings.model_copy(update={"cycle": settings.cycle.model_copy(update={"period_ns": PERIOD_NS})})
        self._pki = folder / "pki"
        make_development_pki(self._pki, ["bench"])

    def window(self, seconds: float, cycle: bool, hogging: bool) -> dict[str, Any]:
        with hogs(self._pki) if hogging else contextlib.nullcontext():
            if not cycle:
                time.sleep(seconds)
                return {}
            core = Core(secrets.randbits(63) | 1)
            report = core.start(self._settings, self._devices)
            time.sleep(seconds)
            lateness, stats = core.histogram(HistogramKind.LATENESS), core.snapshot().stats
            core.stop()
            core.close()
        counts = {index: count for index, count in enumerate(lateness.counts) if count}
        return {
            "counts": counts,
            "max_ns": lateness.max_ns,
            "page_faults": stats.page_faults,
            "preemptions": stats.preemptions,
            "missed": stats.missed,
            "scheduling": "fifo" if report.fifo else "other",
        }


def main(folder: str, cpu: str) -> None:
    core_module.open_bus = lambda bus: sink()
    arm = Arm(Path(folder), cpu)
    print("ready", flush=True)
    for line in sys.stdin:
        seconds, cycle, hogging = line.split()
        print(json.dumps(arm.window(float(seconds), cycle == "1", hogging == "1")), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
