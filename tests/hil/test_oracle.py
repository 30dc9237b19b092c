"""The oracle of the scenarios tells what happened on a bus, in order and in frames."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import can
import pytest
from v2g_sim import frames
from v2g_sim.canhub import HubBus
from v2g_sim.frames import Flag, Mode, State

from hil.oracle import Command, NotSeen, Oracle, without_returns
from hil.rig import bus_settings
from hil.site import METERS, site_document, write_yaml

READY = Flag.BIDIRECTIONAL | Flag.CONTACTOR | Flag.EV_PRESENT | Flag.FOLLOWING


class Player:
    """Plays the gateway and one EVSE on a hub."""

    def __init__(self, bus: can.BusABC) -> None:
        self.bus = bus
        self.counter = 0

    def send(self, can_id: int, data: bytes) -> None:
        self.bus.send(can.Message(arbitration_id=can_id, data=data, is_extended_id=False))

    def command(self, target_w: float, mode: Mode = Mode.BIDIRECTIONAL) -> None:
        self.counter = (self.counter + 1) % 15
        data = frames.encode_cmd(1, self.counter, mode, target_w, max(0, target_w), min(0, target_w))
        self.send(0x201, data)

    def report(self, connector_c: float | None, soc: float | None = 60) -> None:
        self.counter = (self.counter + 1) % 15
        data = frames.encode_status_a(1, self.counter, State.ENERGY_TRANSFER, 5000, soc, connector_c, READY)
        self.send(0x301, data)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[tuple[Oracle, Player]]:
    config = tmp_path / "config.yaml"
    channel = f"hub:{tmp_path}/hub.sock"
    ports = dict.fromkeys((*METERS, "broker", "page"), 1)
    write_yaml(config, site_document(tmp_path, channel, 2, ports, tmp_path))
    with HubBus(tmp_path / "hub.sock", start=True) as bus:
        oracle = Oracle(config, "can0", bus_settings(channel))
        oracle.start()
        try:
            yield oracle, Player(bus)
        finally:
            oracle.stop()


def test_the_newest_command_and_report_are_told(watched: tuple[Oracle, Player]) -> None:
    oracle, player = watched
    player.report(30, soc=None)
    player.command(5000)
    oracle.wait_target("evse-1", 5000, 5)
    oracle.wait(lambda: oracle.power_w("evse-1") == 5000, 5, "the report")
    report = oracle.report("evse-1")
    assert report is not None
    assert (report.connector_c, report.soc_percent) == (30, None)
    assert oracle.command("evse-2") is None


def test_a_mode_that_forbids_discharging_counts(watched: tuple[Oracle, Player]) -> None:
    oracle, player = watched
    player.command(-5000, Mode.CHARGE_ONLY)
    oracle.wait(lambda: oracle.command("evse-1") is not None, 5, "the command")
    assert oracle.target_w("evse-1") == 0


@pytest.mark.parametrize("late_frames", [0, 1, 4])
def test_a_reaction_is_counted_in_command_frames(watched: tuple[Oracle, Player], late_frames: int) -> None:
    oracle, player = watched
    since = time.time()
    player.report(95)
    for _ in range(late_frames):
        player.command(5000)
    for _ in range(12):
        player.command(0)
    reaction = oracle.reaction("evse-1", since, lambda r: (r.connector_c or 0) >= 90, lambda c: c.max_w == 0, 5)
    assert reaction.frames == late_frames + 1


def test_a_relapse_is_no_answer(watched: tuple[Oracle, Player]) -> None:
    oracle, player = watched
    since = time.time()
    player.report(95)
    for target_w in (0, 0, 5000, *[0] * 9):
        player.command(target_w)
    assert oracle.reaction("evse-1", since, lambda r: (r.connector_c or 0) >= 90, lambda c: c.max_w == 0, 5).frames == 4


def test_what_does_not_happen_is_told_with_what_the_bus_shows(watched: tuple[Oracle, Player]) -> None:
    oracle, player = watched
    player.command(5000)
    oracle.wait_target("evse-1", 5000, 5)
    with pytest.raises(NotSeen, match=r"evse-1 is told 7000 W; the bus shows evse-1: told 5000 W"):
        oracle.wait_target("evse-1", 7000, 0.1)


def test_a_setpoint_beyond_the_rating_is_counted(watched: tuple[Oracle, Player]) -> None:
    oracle, player = watched
    player.command(30_000)
    oracle.wait(lambda: oracle.summary()["setpoints_beyond_limit"] > 0, 5, "the breach")


@pytest.mark.parametrize(
    ("told_w", "left_w"),
    [
        ([20_000, 15_000, 7_000, 0, 0], [20_000, 15_000, 7_000, 0, 0]),
        ([20_000, 0, 0, 900, 1_900, 1_900, 1_200, 0], [20_000, 1_200, 0]),
        ([20_000, 0, 900, 0, 900, 20_000, 19_000, 0], [20_000, 19_000, 0]),
        ([9_000, 7_000, 8_000, 0], [9_000, 7_000, 8_000, 0]),
    ],
)
def test_a_stop_taken_back_is_left_out_with_its_way_up_and_any_other_rise_stays(told_w: list[int], left_w: list[int]) -> None:
    commands = [Command(float(at), at % 15, watts, 0, watts) for at, watts in enumerate(told_w)]
    assert [command.target_w for command in without_returns(commands)] == left_w
