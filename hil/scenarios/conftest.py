"""What every scenario shares: the bus, the site on it, and a place for measured figures.

The site is started once; before each scenario everything is healthy again, and after it the oracle must not have seen a single
setpoint beyond a limit. V2G_HIL_CHANNEL chooses the bus: `vcan0` (default), or `hub` for quick runs without a CAN kernel.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from hil.deployed import VARIABLE as DEPLOYED_VARIABLE
from hil.deployed import DeployedRig
from hil.oracle import NotSeen
from hil.rig import BASE_LOAD_W, HUB, Rig
from hil.vcan import CHANNEL, TRANSPORT_VARIABLE

BUILD = Path("build/hil")
TRANSPORT = os.environ.get(TRANSPORT_VARIABLE, HUB)
IN_GUEST = "User-Mode" in TRANSPORT
VEHICLE: dict[str, Any] = {"soc_percent": 60.0, "capacity_wh": 60_000}
QUIET_LATCHES = {"plugged", "balanced", "returning"}

CHANGES: dict[str, Any] = {
    # One CPU and 65 µs a system call in the guest: a slower cycle. Never a multiple of the simulator's 10 ms, so that what an
    # EVSE reports falls on every phase of the cycle and not by chance on a good one.
    "cycle": {"period": "21ms" if IN_GUEST else "11ms"},
    "ramp": {"normal_pct_s": 50, "after_failsafe_pct_s": 20},
    "thermal": {"connector": {"resume_hold": "3s"}, "horizon": "10s"},
}
"""config.yaml of the scenarios: what would take minutes by default takes seconds."""

figures_key = pytest.StashKey[dict[str, object]]()
started_key = pytest.StashKey[float]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "kernel: needs a CAN interface of the kernel, not the hub")
    config.addinivalue_line("markers", "hub: needs what only the hub can do to a bus, or a kernel that preempts")
    config.addinivalue_line("markers", "timed: measures times, so it also runs outside the guest")
    config.stash[figures_key] = {}
    config.stash[started_key] = time.monotonic()


def pytest_report_header(config: pytest.Config) -> str:
    return f"CAN: {TRANSPORT}, kernel {platform.release()}"


@pytest.fixture(scope="session")
def channel() -> str:
    """The bus; started by `make hil`, which provides it."""
    wanted = os.environ.get("V2G_HIL_CHANNEL", CHANNEL)
    assert wanted == HUB or Path(f"/sys/class/net/{wanted}").exists(), f"no {wanted} here: scenarios are run by `make hil`"
    return wanted


@pytest.fixture(scope="session")
def rig(channel: str) -> Iterator[Rig]:
    """The running site."""
    with tempfile.TemporaryDirectory(prefix="v2g-hil-") as folder:
        deployed = DeployedRig(Path(folder), channel, 4) if DEPLOYED_VARIABLE in os.environ else None
        rig = deployed or Rig(Path(folder), evses=4, channel=channel, changes=CHANGES)
        try:
            with rig:
                yield rig
        finally:
            rig.keep_logs(BUILD / f"logs-{'hub' if channel == HUB else 'vcan'}")


@pytest.fixture
def site(rig: Rig) -> Iterator[Rig]:
    """The site, healthy, every EVSE at 0 W by command; afterwards nothing may have been beyond a limit."""
    heal(rig)
    rig.oracle.new_limits(rig.config_file)  # counts from 0 again
    yield rig
    summary = rig.oracle.summary()
    assert summary["beyond_limit_by_rule"] == {}, f"setpoints beyond a limit: {summary['violations'][:3]}"


def heal(rig: Rig) -> None:
    """End all faults, plug fresh vehicles in, and wait until nothing binds but our own command of 0 W."""
    rig.sim.clear("all")
    for meter in ("grid", "meter-a", "meter-b"):
        rig.sim.meter_clear(meter)
    for feeder, load_w in (("main", BASE_LOAD_W), ("row-a", 0), ("row-b", 0)):
        rig.base_load(feeder, load_w)
    rig.sim.set("all", connector_c=20, cable_c=20, charger_c=20)
    rig.plug("all", **VEHICLE)
    command_all(rig, 0)  # a fresh command also ends "not following"
    try:
        rig.oracle.wait(lambda: not _unrest(rig), 60, "a healthy site")
    except NotSeen as error:
        raise NotSeen(f"{error}; the gateway says {_unrest(rig)}") from None
    rig.oracle.wait(lambda: not any(rig.oracle.targets_w().values()), 20, "all EVSEs at 0 W")


def _unrest(rig: Rig) -> list[str]:
    """What is latched or lost, as the gateway tells."""
    status = rig.status()
    latched = [f"{evse['id']} {latch}" for evse in status["evses"] for latch in set(evse["latches"]) - QUIET_LATCHES]
    return latched + [f"meter of {feeder['id']}" for feeder in status["feeders"] if feeder["lost"]]


def command_all(rig: Rig, power_w: int, valid_s: float = 600) -> None:
    """The same wish for every EVSE, in one command."""
    ack = rig.dispatch_wishes(dict.fromkeys(rig.evses, power_w), valid_s)
    assert ack is not None, "no ack from the gateway"
    assert ack.code is None, f"command refused: {ack.outcome} {ack.code}"


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str, object], None]:
    """`figure("safe_after_frames", 1)` puts a measured value into build/hil/summary.json."""
    figures = request.config.stash[figures_key]

    def record(name: str, value: object) -> None:
        figures[name] = value

    return record


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A scenario that fails also shows what the gateway itself said just then: what binds, how old, what is latched."""
    report = yield
    rig = getattr(item, "funcargs", {}).get("rig")
    if call.excinfo is not None and isinstance(rig, Rig):
        try:
            lines = [json.dumps(part) for kind in ("evses", "feeders") for part in rig.status()[kind]]
            lines += [json.dumps(rig.local(f"/v1/evses/{evse}/explain")) for evse in rig.evses]
        except Exception as error:  # the gateway may be what failed
            lines = [f"no answer from the gateway: {error}"]
        report.sections.append(("what the gateway said", "\n".join(lines)))
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """One part of the summary for each bus; hil/run runs two."""
    config = session.config
    part = {
        "passed": session.testscollected - session.testsfailed,
        "failed": session.testsfailed,
        "seconds": round(time.monotonic() - config.stash[started_key], 1),
        "can_transport": TRANSPORT,
        "kernel": platform.release(),
        "figures": config.stash[figures_key],
    }
    path = BUILD / "summary.json"
    summary = json.loads(path.read_text()) if path.exists() else {}
    summary["hub" if TRANSPORT == HUB else "vcan"] = part
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(summary, indent=2) + "\n")
