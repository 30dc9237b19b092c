"""A gateway process as the guard sees it: the real core, with a plan that discharges evse-1.

Usage: watched_core.py CONFIG GUARD_SOCKET BOOT_ID

Prints "running" once the cycle runs; reads "stop" from stdin for a clean stop, "stall" to hold the GIL for 5 s.
"""

from __future__ import annotations

import ctypes
import select
import sys
import time
from pathlib import Path

from edge.arbiter import Arbiter
from edge.config import load
from edge.config.devices import load_devices
from edge.core import Core, CoreError
from edge.core.guard import GuardLink
from edge.model import Constraint, EvseModel, FeederModel, Scope, ScopeKind, SiteModel, Source


def main(config: str, guard: str, boot_id: str) -> int:
    evses = tuple(EvseModel(name, "row-a", -22000, 22000) for name in ("evse-1", "evse-2"))
    feeders = (FeederModel("main", None, -50000, 60000), FeederModel("row-a", "main", -43470, 43470))
    arbiter = Arbiter(SiteModel("site-1", evses, feeders))
    scope = Scope(ScopeKind.EVSE, "evse-1")
    arbiter.put([Constraint(Source.OPERATOR, scope, target_w=-11000, min_w=-22000, max_w=22000)])
    settings = load(Path(config))
    core = Core(int(boot_id), GuardLink(guard))
    try:
        core.start(settings, load_devices(settings, Path(config).parent), arbiter.renew(time.monotonic_ns()))
    except CoreError as err:
        print(err, flush=True)
        return 2
    print("running", flush=True)
    while True:
        core.submit_plan(arbiter.renew(time.monotonic_ns()))
        core.keep_guard()
        if select.select([sys.stdin], [], [], 0.1)[0]:
            word = sys.stdin.readline().strip()
            if word == "stall":
                ctypes.PyDLL(None).usleep(ctypes.c_uint(5_000_000))  # a PyDLL call keeps the GIL
            else:
                break
    core.stop()
    core.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
