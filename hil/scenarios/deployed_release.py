"""What only a deployed site can show: its status, and how v2g-release switches it. Run by `make deploy-test` alone."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

from edge.cli.client import Refused, Unreachable
from hil.rig import Rig

ROOT = Path("/opt/v2g-edge")
SWITCH = [str(ROOT / "bin/v2g-release"), "--gate", "5", "--settle", "120"]
RESULT = Path("result")


def test_edgectl_says_that_the_site_is_ok(site: Rig) -> None:
    shown = subprocess.run(["edgectl", "status"], capture_output=True, text=True)
    (RESULT / "status.txt").write_text(shown.stdout + shown.stderr)
    (RESULT / "status.json").write_text(json.dumps(site.status()))
    assert shown.returncode == 0, shown.stdout


def test_a_discharging_vehicle_is_brought_to_0_w_before_the_gateway_restarts(site: Rig) -> None:
    """The EVSE is locked by the release, its power is gone when the old process ends, and the new one has it unlocked."""
    site.dispatch("evse-1", power_w=-8_000)
    site.oracle.wait_target("evse-1", -8_000, 20)
    before, other = site.status()["boot"], (ROOT / "previous").resolve().name
    with subprocess.Popen([*SWITCH, "activate", other], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as switch:
        seen = _watch(site, before, switch)
        output = switch.communicate()[0]
    assert switch.returncode == 0, output
    assert any("release" in evse["locks"] for evse in seen), seen
    assert abs(seen[-1]["power_w"]) < 100, seen[-1]
    after = site.status()
    assert after["boot"] != before
    assert (ROOT / "current").resolve().name == other


def _watch(site: Rig, boot: str, switch: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """What the old process said of evse-1, until the new one answers. A late answer is none, but not the end."""
    seen: list[dict[str, Any]] = []
    while switch.poll() is None:
        time.sleep(0.1)
        try:
            status = site.status()
        except (Unreachable, Refused):
            continue
        if status["boot"] != boot:
            return seen
        evse = next(entry for entry in status["evses"] if entry["id"] == "evse-1")
        report = site.oracle.report("evse-1")
        assert report is not None
        seen.append({"locks": [lock["reason"] for lock in evse["locks"]], "power_w": report.power_w})
    return seen
