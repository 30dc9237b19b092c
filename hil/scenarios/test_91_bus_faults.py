"""Scenario 91: what a real wire does and vcan can't: bus-off, a queue that nobody empties, a bus that is full.

Judged on the hub by what reaches the other members: no command may come out that is older than what the gateway wants now, but
for the one of each EVSE that already lay in the queue when it stopped moving.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import can
import pytest
from v2g_sim.canhub import HubBus, HubControl, start_hub

from hil.rig import Rig

PERIOD_S = 0.011
STUCK_S = 0.1
"""V2G_BUS_BLOCKED_NS."""
RESTART_S = 1.0
"""`restart` of a bus in config.yaml."""
OLD_W, NEW_W = 8_000, 3_000


@pytest.fixture
def wire(site: Rig) -> Iterator[Callable[[str], None]]:
    """Control commands to the hub; `GATEWAY` in them is the gateway's member."""
    control = HubControl(site.channel.removeprefix("hub:"))
    yield lambda line: _command(control, line.replace("GATEWAY", f"pid={site.gateway.pid}"))
    control.command("fill off")
    control.close()


def _command(control: HubControl, line: str) -> None:
    control.command(line)


def bus(site: Rig) -> tuple[bool, str]:
    (seen,) = [b for b in site.status()["buses"] if b["id"] == "can0"]
    return seen["up"], seen["detail"].split(",")[0]


def codes(site: Rig) -> list[str]:
    return [event["code"] for event in site.local("/v1/events?since=0")["events"] if event["subject"] == "can0"]


def charging(site: Rig) -> None:
    site.dispatch("evse-1", power_w=OLD_W)
    site.oracle.wait_target("evse-1", OLD_W, 20)


def told_w(site: Rig, since: float) -> list[int]:
    return [command.target_w for command in site.oracle.commands("evse-1", since)]


@pytest.mark.hub
def test_a_controller_that_is_off_is_given_nothing_and_restarted(site: Rig, wire: Callable[[str], None]) -> None:
    charging(site)
    wire("bus-off GATEWAY")
    off = time.time()
    site.oracle.wait(lambda: bus(site) == (False, "off"), 5, "the gateway sees bus-off")
    site.oracle.wait(lambda: site.oracle.power_w("evse-1") == 0, 5, "the EVSE's own time-out")
    assert told_w(site, off + 2 * PERIOD_S) == [] or time.time() - off > RESTART_S
    site.oracle.wait(lambda: bool(told_w(site, off + RESTART_S / 2)), 5 * RESTART_S, "commands after the restart")
    after = site.oracle.commands("evse-1", off + 2 * PERIOD_S)
    assert after[0].time - off > RESTART_S / 2
    assert abs(after[0].target_w) < OLD_W  # nothing that had waited; the EVSE counts as lost until it was heard again
    site.oracle.wait_target("evse-1", OLD_W, 20)
    assert bus(site)[0]
    assert codes(site)[-2:] in (["BUS_OFF", "BUS_UP"], ["BUS_DOWN", "BUS_UP"])


@pytest.mark.hub
def test_behind_a_queue_that_stands_still_nothing_is_added(site: Rig, wire: Callable[[str], None]) -> None:
    charging(site)
    wire("fill on GATEWAY")
    site.oracle.wait(lambda: bus(site) == (False, "blocked"), 5, "the gateway sees that nothing leaves")
    site.dispatch("evse-1", power_w=NEW_W, wait_s=0)
    site.oracle.wait(lambda: _wants(site) < OLD_W, 5, "the gateway wants less")
    freed = time.time()
    wire("fill off GATEWAY")
    site.oracle.wait(lambda: len(told_w(site, freed)) > 20, 5, "commands flow again")
    told = told_w(site, freed)
    assert sum(target >= OLD_W for target in told) <= 1  # the one that lay in the queue; a restart drops even that
    assert all(target < OLD_W for target in told[1:])
    site.oracle.wait(lambda: bus(site)[0], 5, "the bus is up again")
    assert "BUS_BLOCKED" in codes(site)


@pytest.mark.hub
def test_a_queue_that_stands_still_for_long_is_dropped(site: Rig, wire: Callable[[str], None]) -> None:
    charging(site)
    wire("fill on GATEWAY")
    blocked = time.time()
    site.oracle.wait(lambda: bus(site) == (False, "blocked"), 5, "the gateway sees that nothing leaves")
    site.dispatch("evse-1", power_w=NEW_W, wait_s=0)
    site.oracle.wait(lambda: bool(told_w(site, blocked + STUCK_S)), 10 * RESTART_S, "commands after the restart")
    first = site.oracle.commands("evse-1", blocked + STUCK_S)[0]
    assert first.time - blocked > RESTART_S / 2
    assert first.target_w < OLD_W
    site.oracle.wait_target("evse-1", NEW_W, 20)


def _wants(site: Rig) -> int:
    (evse,) = [e for e in site.status()["evses"] if e["id"] == "evse-1"]
    return int(evse["setpoint"]["target_w"])


@pytest.fixture
def paced() -> Iterator[Rig]:
    """A site of its own on a wire of 500 kbit/s."""
    with tempfile.TemporaryDirectory(prefix="v2g-hil-") as folder:
        path = Path(folder) / "hub.sock"
        hub, first = start_hub(str(path), ("--bitrate", "500000", "--exit-when-empty"))
        changes = {"cycle": {"period": "11ms"}, "ramp": {"normal_pct_s": 50, "after_failsafe_pct_s": 20}}
        with Rig(Path(folder), evses=4, changes=changes) as rig:
            first.close()
            yield rig
        hub.wait(10)


@pytest.mark.hub
def test_a_full_wire_delays_but_delivers_nothing_old(paced: Rig, figure: Callable[[str, object], None]) -> None:
    """A babbling node takes the wire with the highest priority; commands get through in the gaps or not at all."""
    paced.plug("all", soc_percent=60.0, capacity_wh=60_000)
    charging(paced)
    ended = threading.Event()
    babbler = threading.Thread(target=_babble, args=(paced.channel.removeprefix("hub:"), ended))
    since = time.time()
    babbler.start()
    time.sleep(2)
    paced.dispatch("evse-1", power_w=NEW_W, wait_s=0)
    paced.oracle.wait(lambda: _wants(paced) < OLD_W, 10, "the gateway wants less")
    time.sleep(1)
    ended.set()
    babbler.join()
    quiet = time.time()
    paced.oracle.wait(lambda: len(told_w(paced, quiet)) > 20, 10, "commands flow again")
    told = told_w(paced, quiet)
    assert sum(target >= OLD_W for target in told) <= 1
    paced.oracle.wait_target("evse-1", NEW_W, 20)
    figure("full_wire", {"seconds": round(quiet - since, 1), "commands_through": len(told_w(paced, since)) - len(told)})
    assert paced.oracle.summary()["beyond_limit_by_rule"] == {}


def _babble(path: str, ended: threading.Event) -> None:
    node = HubBus(path)
    frame = can.Message(arbitration_id=0x001, is_extended_id=False, data=bytes(8))
    try:
        while not ended.is_set():
            node.send(frame, timeout=1)
            node.recv(0)
    finally:
        node.shutdown()
