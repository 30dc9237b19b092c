"""The real-time path on a real PREEMPT_RT kernel and a real vcan0. Behaviour only: an emulated machine's times mean nothing."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from hil.realtime.conftest import EVSES, START_TIMEOUT_S, Site

Record = Callable[[str, object], None]


def test_the_kernel_is_preempt_rt_and_the_gateway_knows(site: Site, figure: Record) -> None:
    assert Path("/sys/kernel/realtime").read_text().strip() == "1"
    checks = {check["name"]: check for check in site.ask("/v1/doctor")["checks"]}
    for name in ("kernel", "scheduling", "memory", "throttling", "grant"):
        assert checks[name]["level"] == "ok", checks[name]
    assert site.ask("/v1/rt")["realtime"] is True
    figure("doctor", {name: check["text"] for name, check in checks.items()})


def test_the_cycle_the_guard_and_nobody_of_python_run_real_time(site: Site, figure: Record) -> None:
    threads = [int(entry.name) for entry in Path(f"/proc/{site.gateway.pid}/task").iterdir()]
    found = {os.sched_getparam(tid).sched_priority: os.sched_getaffinity(tid) for tid in threads if _is_fifo(tid)}
    assert found[80] == {1}, "the cycle, on its core"
    assert not _is_fifo(site.gateway.pid), "Python's main thread"
    assert site.guard.process is not None
    assert os.sched_getparam(site.guard.process.pid).sched_priority == 90
    figure("fifo_priorities", sorted(found))


def _is_fifo(tid: int) -> bool:
    return os.sched_getscheduler(tid) & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO


def test_the_site_charges_and_an_emergency_stop_is_answered_within_two_frames(site: Site, figure: Record) -> None:
    evses = [f"evse-{number}" for number in range(1, EVSES + 1)]
    site.oracle.wait(lambda: all(site.oracle.target_w(evse) > 2_000 for evse in evses), START_TIMEOUT_S, "both charge")
    since = time.time()
    site.sim.fault("evse-1", "e_stop")
    reaction = site.oracle.reaction(
        "evse-1", since, lambda r: r.state == 5, lambda c: c.min_w == c.max_w == 0, timeout_s=START_TIMEOUT_S
    )
    site.sim.clear("evse-1")
    figure("emergency_stop_frames", reaction.frames)
    assert reaction.frames <= 2


def test_the_cycle_met_no_page_fault(site: Site, figure: Record) -> None:
    rt = site.ask("/v1/rt")
    figure("page_faults", rt["page_faults"])
    figure("cycles", rt["cycles"])
    assert rt["page_faults"] == 0


def test_a_killed_gateway_is_replaced_by_safe_frames_and_the_next_one_takes_over(site: Site) -> None:
    since = time.time()
    site.gateway.send(signal.SIGKILL)

    def safe() -> bool:
        commands = site.oracle.commands("evse-2", since)
        return len(commands) > 20 and all(c.target_w == c.min_w == c.max_w == 0 for c in commands[-20:])

    site.oracle.wait(safe, START_TIMEOUT_S, "safe frames of the guard")
    site.oracle.wait(lambda: site.oracle.power_w("evse-2") == 0, START_TIMEOUT_S, "evse-2 at 0 W")
    assert "sending safe frames" in site.guard.told()
    site.start_gateway()
    site.oracle.wait(lambda: site.oracle.target_w("evse-2") > 0, START_TIMEOUT_S, "power flows again")
