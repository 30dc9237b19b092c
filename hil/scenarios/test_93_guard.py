"""Scenario 93: a site as it stands at a customer's, with a guard that is required; gateway, Python and guard die in turn."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from v2g_sim.frames import Flag

from hil.freeze import frozen_python
from hil.oracle import Command
from hil.program import CHECKOUT
from hil.rig import Rig
from hil.service_manager import ServiceManager
from hil.site import merged

GUARD = CHECKOUT / "build/native/native/guard/v2g-guard"
TIMEOUT_MS = 100
DISCHARGE_W = -9_000
LEASE_S = 2.0
Record = Callable[[str, object], None]

pytestmark = pytest.mark.hub  # in User-Mode Linux nothing preempts: a guard there proves nothing about time


@pytest.fixture(scope="module")
def guard(rig: Rig) -> Iterator[ServiceManager]:
    """The guard, started before the gateway as systemd does it; afterwards the site is a bench again."""
    socket = rig.folder / "guard.sock"
    own = {"required": True, "timeout": f"{TIMEOUT_MS}ms", "socket": str(socket)}
    with ServiceManager(rig.folder, GUARD, "--socket", str(socket)) as manager:
        manager.start()
        rig.oracle.wait(lambda: "READY=1" in manager.said, 20, "the guard is ready")
        rig.restart(merged(rig.config, {"lab": False, "guard": own, "uplink": {"require_sync": False}}))
        yield manager
        manager.keep_log(rig.logs / "v2g-guard.log")
    rig.restart(merged(rig.config, {"lab": True, "guard": {"required": False, "socket": str(rig.folder / "none.sock")}}))


@pytest.fixture
def guarded(guard: ServiceManager, site: Rig) -> Rig:
    """evse-1 is discharged."""
    site.dispatch("evse-1", power_w=DISCHARGE_W)
    site.oracle.wait_target("evse-1", DISCHARGE_W, 60)
    return site


def is_safe(command: Command) -> bool:
    return command.target_w == command.min_w == command.max_w == 0


def first_safe(site: Rig, since: float) -> Command:
    site.oracle.wait(lambda: any(map(is_safe, site.oracle.commands("evse-1", since))), 20, "safe frames")
    return next(filter(is_safe, site.oracle.commands("evse-1", since)))


def one_sender(commands: Sequence[Command]) -> bool:
    """Two senders would interleave two counters: each counter follows the one before within the receiver's window."""
    pairs = itertools.pairwise(commands)
    return all(1 <= (later.counter - earlier.counter) % 15 <= 4 for earlier, later in pairs)


def no_discharge(commands: Sequence[Command]) -> bool:
    return bool(commands) and commands[-1].min_w >= 0


def all_at_zero(site: Rig) -> bool:
    return all(site.oracle.power_w(evse) == 0 for evse in site.evses)


def judge_takeover(site: Rig, since: float) -> tuple[float, float]:
    """The guard has taken over and stays; ms from the signal and from the gateway's last frame to its first."""
    safe = first_safe(site, since)
    site.oracle.wait(lambda: all_at_zero(site), 20, "every EVSE at 0 W")
    site.oracle.wait(lambda: len(site.oracle.commands("evse-1", safe.time)) > 20, 20, "the guard goes on sending")
    commands = site.oracle.commands("evse-1", since - 0.2)
    assert one_sender(commands)
    assert all(is_safe(command) for command in commands if command.time >= safe.time)
    last = max(command.time for command in commands if command.time < safe.time)
    return round((safe.time - since) * 1000, 2), round((safe.time - last) * 1000, 2)


def hand_back(site: Rig) -> None:
    """Another boot takes the bus back, and power flows again."""
    site.start_gateway()
    site.dispatch("evse-1", power_w=DISCHARGE_W, wait_s=20)
    site.oracle.wait_target("evse-1", DISCHARGE_W, 60)


def test_a_gateway_that_is_killed_while_discharging_is_replaced_by_safe_frames(guarded: Rig, figure: Record) -> None:
    since = time.time()
    guarded.gateway.send(signal.SIGKILL)
    after_signal_ms, after_frame_ms = judge_takeover(guarded, since)
    figure(
        "guard_sigkill",
        {"signal_to_safe_ms": after_signal_ms, "last_frame_to_safe_ms": after_frame_ms, "bound_ms": TIMEOUT_MS + 2},
    )
    hand_back(guarded)


def test_a_gateway_that_is_stopped_and_continued_never_sends_beside_the_guard(guarded: Rig, figure: Record) -> None:
    since, pid = time.time(), guarded.gateway.pid
    guarded.gateway.send(signal.SIGSTOP)
    after_signal_ms, after_frame_ms = judge_takeover(guarded, since)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
    assert not guarded.gateway.running, "it was fenced: nothing is left to go on"
    figure(
        "guard_sigstop",
        {
            "signal_to_safe_ms": after_signal_ms,
            "last_frame_to_safe_ms": after_frame_ms,
            "bound_ms": TIMEOUT_MS + 2,
            "within_bound": after_frame_ms <= TIMEOUT_MS + 2,
        },
    )
    hand_back(guarded)


def test_while_python_stands_still_the_cycle_runs_on_and_the_lease_ends_the_wish(guarded: Rig, figure: Record) -> None:
    period_s = guarded.local("/v1/rt")["period_us"] / 1e6
    since = time.time()
    with frozen_python(guarded.gateway.pid):
        guarded.oracle.wait(lambda: no_discharge(guarded.oracle.commands("evse-1", since)), 30, "no discharge any more")
        commands = guarded.oracle.commands("evse-1", since)
        guarded.oracle.wait_commands("evse-1", len(commands) + 20)
    frames = next(index for index, command in enumerate(commands) if command.min_w >= 0)
    after_ms = round((commands[frames].time - since) * 1000, 1)
    figure("python_stalled", {"ms": after_ms, "frames": frames, "lease_ms": LEASE_S * 1000, "period_ms": period_s * 1000})
    assert frames <= LEASE_S / period_s + 2
    assert guarded.gateway.running, "the guard saw the heart beat all the time"
    guarded.oracle.wait_target("evse-1", DISCHARGE_W, 60)  # Python is back, and so is the wish


def test_without_its_guard_the_site_gets_no_power_and_says_so_until_it_is_back(
    guard: ServiceManager, guarded: Rig, figure: Record
) -> None:
    since = time.time()
    guard.kill()
    guarded.oracle.wait(lambda: not any(guarded.oracle.targets_w().values()), 20, "every EVSE at 0 W")
    zero = next(c.time for c in guarded.oracle.commands("evse-1", since) if c.target_w == 0)
    guarded.oracle.wait(lambda: guarded.status()["core"]["guard"] == "lost", 20, "the alarm")
    guard.start()
    guarded.oracle.wait(lambda: guarded.status()["core"]["guard"] == "alive", 20, "the guard is back")
    guarded.oracle.wait_target("evse-1", DISCHARGE_W, 60)
    figure("guard_killed_to_zero_ms", round((zero - since) * 1000, 1))


def test_when_both_are_killed_each_evse_fails_safe_by_itself_and_the_next_guard_goes_on(
    guard: ServiceManager, guarded: Rig, figure: Record
) -> None:
    guard.kill()
    guarded.gateway.kill()
    since = time.time()
    last = guarded.oracle.command("evse-1")
    assert last is not None

    def failed_safe() -> float | None:
        reports = guarded.oracle.reports("evse-1", since)
        return next((r.time for r in reports if r.power_w == 0 and r.flags & Flag.FAIL_SAFE), None)

    guarded.oracle.wait(lambda: failed_safe() is not None, 20, "evse-1 fails safe")
    moment = failed_safe()
    assert moment is not None
    assert guarded.oracle.command("evse-1") == last, "nobody sent"
    figure("both_killed_to_own_fail_safe_ms", round((moment - last.time) * 1000, 1))
    guard.start()
    safe = first_safe(guarded, since)
    guarded.oracle.wait(lambda: len(guarded.oracle.commands("evse-1", safe.time)) > 20, 20, "the new guard sends safe frames")
    assert all(is_safe(command) for command in guarded.oracle.commands("evse-1", since))
    hand_back(guarded)


def test_the_guard_told_what_it_did(guard: ServiceManager, rig: Rig) -> None:
    guard.keep_log(Path(rig.logs / "v2g-guard.log"))
    told = (rig.logs / "v2g-guard.log").read_text()
    for line in ("the gateway's cycle is silent: ending its process", "sending safe frames", "took back what it watched"):
        assert line in told, told
