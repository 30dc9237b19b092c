"""Scenario 92: a bus that only python-can opens. The whole site runs on it, and everybody is told that it is not real-time."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.rig import Rig


@pytest.fixture
def slow() -> Iterator[Rig]:
    """A site of its own. The hub is the bus; the gateway reaches it through python-can, as it would a PCAN or slcan adapter."""
    with tempfile.TemporaryDirectory(prefix="v2g-hil-") as folder:
        bus = {"id": "can0", "kind": "python-can", "interface": "v2ghub", "channel": f"{folder}/hub.sock", "restart": "500ms"}
        changes = {
            "buses": [bus, {"id": "net", "kind": "modbus-tcp"}],
            "cycle": {"period": "21ms"},
            "ramp": {"normal_pct_s": 50, "after_failsafe_pct_s": 20},
        }
        with Rig(Path(folder), evses=2, changes=changes) as rig:
            yield rig


@pytest.mark.hub
def test_a_site_runs_through_python_can_and_says_so(slow: Rig) -> None:
    slow.plug("all", soc_percent=60.0, capacity_wh=60_000)
    slow.dispatch("evse-1", power_w=6_000)
    slow.oracle.wait_target("evse-1", 6_000, 30)
    (bus,) = [b for b in slow.status()["buses"] if b["id"] == "can0"]
    assert (bus["up"], bus["kind"], bus["transport"]) == (True, "python-can", "python-can")
    assert any(notice["code"] == "NOT_REALTIME_BUS" for notice in slow.status()["notices"])
    # The adapter's program dies: the bus is down, the EVSE stops by its own time-out, and all of it comes back by itself.
    (bridge,) = [p for p in _children(slow.gateway.pid) if "edge.field.canbridge" in _command_line(p)]
    since = time.time()
    os.kill(bridge, signal.SIGKILL)
    slow.oracle.wait(lambda: slow.oracle.power_w("evse-1") == 0, 10, "the EVSE's own time-out")
    slow.oracle.wait(lambda: bool(slow.oracle.commands("evse-1", since + 0.5)), 30, "commands through a new bridge")
    slow.oracle.wait_target("evse-1", 6_000, 30)
    assert slow.oracle.summary()["beyond_limit_by_rule"] == {}


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
