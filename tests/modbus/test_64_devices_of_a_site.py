"""A site of 64 Modbus devices, eight of which misbehave: 56 miss nothing, the eight go to their fallback and come back."""

from __future__ import annotations

import struct
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from modbus_peers import Device, Loop
from modbus_rig import eventually

sys.path.insert(0, str(Path(__file__).parents[1] / "core"))
from running_core import Running, running

from edge.config import load
from edge.core import EventKind
from edge.core.layout import Wiring
from edge.field.canmap import EvseField
from edge.field.profile import PROFILES
from edge.gateway.events import words
from edge.gateway.model import site_model
from edge.model import Reason

ROWS = 32
"""Each has a meter and an EVSE."""
WISH_W, OTHER_W = 7000, 3000
SHARE_W = 4000
"""What a row's EVSE may take while its meter is lost."""
BASE_W = 500.0
"""What else a row draws."""
LATE = 2
"""This row's meter may take 100 ms to answer; all others 3 s, and a value may be 3 s old, so that a busy machine that holds up
the devices, which are all served by this one process, fails no healthy one."""


class MeterDevice(Device):
    """Profile sim-meter: counts its samples while it lives."""

    def __init__(self, loop: Loop, evse: EvseDevice) -> None:
        self.evse, self.frozen = evse, False
        super().__init__(loop, dict.fromkeys(range(27), 0))

    def reply(self, request: bytes) -> bytes:
        if not self.frozen:
            power_w, samples = BASE_W + self.evse.power_w(), int(time.monotonic() * 10) & 0xFFFF
            values = (power_w, *[power_w / 3] * 3, *[power_w / 690] * 3, *[230.0] * 3, 50.0)
            packed = struct.unpack(">27H", struct.pack(">11f2IH", *values, 0, 0, samples))
            self.registers.update(enumerate(packed))
        return super().reply(request)


class EvseDevice(Device):
    """Profile sim-evse, but with 3 s until its fallback: takes what it is told, and after so long without a write what its
    fallback says."""

    def __init__(self, loop: Loop) -> None:
        self.frozen, self.written_s = False, time.monotonic()
        super().__init__(loop, dict.fromkeys(range(112), 0))
        self.registers.update({110: 6000, 111: 60_000})

    @property
    def fell_back(self) -> bool:
        return time.monotonic() - self.written_s > self.registers[111] / 1000

    def power_w(self) -> int:
        if self.fell_back:
            return self.registers[110]
        told_w: int = struct.unpack(">i", struct.pack(">2H", self.registers[100], self.registers[101]))[0]
        return told_w if self.registers[102] else 0

    def reply(self, request: bytes) -> bytes:
        if request[7] in (6, 16):
            self.written_s = time.monotonic()
        answer = super().reply(request)
        if self.frozen:
            return answer
        power_w = self.power_w()
        cool = [250] * 5
        image = (2, 0b1010, power_w, 6000, *cool, 11_000, 11_000, 60_000, *[power_w // 69] * 3, *[2300] * 3, 0, 0)
        self.registers.update(enumerate(struct.unpack(">26H", struct.pack(">HHiHhhhhhIIIhhhHHHII", *image))))
        return answer


@dataclass
class Site:
    folder: Path
    meters: list[MeterDevice]
    evses: list[EvseDevice]

    @property
    def path(self) -> Path:
        return self.folder / "config.yaml"

    def write_config(self) -> None:
        patient = (PROFILES / "sim-evse.yaml").read_text().replace("profile: sim-evse", "profile: patient")
        assert "value: 1000}" in patient
        (self.folder / "patient.yaml").write_text(patient.replace("value: 1000}", "value: 3000}"))
        common = "bus: net, host: 127.0.0.1, poll: 1s"
        feeders, meters, evses = [], [], []
        for row, (meter, evse) in enumerate(zip(self.meters, self.evses, strict=True)):
            timeout = "100ms" if row == LATE else "3s"
            feeder = f"id: row-{row}, parent: main, rating_a: 32, meter: meter-{row}, base_load_w: 1000, base_slew_w_s: 10"
            feeders.append(f"  - {{{feeder}, fallback_w: {SHARE_W}}}")
            meters.append(f"  - {{id: meter-{row}, {common}, port: {meter.port}, profile: sim-meter, timeout: {timeout}}}")
            evses.append(
                f"  - {{id: evse-{row}, {common}, port: {evse.port}, profile: ./patient.yaml, timeout: 3s, feeder: row-{row}, "
                "rating_w: 11000, reaction_time: 4s}"
            )
        head = [
            "site: {id: site-1, grid: {import_limit_w: 400000}}",
            "lab: true",
            "ramp: {normal_pct_s: 1000, after_failsafe_pct_s: 1000}",
            "modbus: {backoff_min: 200ms, backoff_max: 400ms}",
            "buses: [{id: net, kind: modbus-tcp}]",
            "feeders:",
            "  - {id: main, rating_a: 630, base_load_w: 1000}",
        ]
        self.path.write_text("\n".join([*head, *feeders, "meters:", *meters, "evses:", *evses]) + "\n")


@pytest.fixture
def site(loop: Loop, tmp_path: Path) -> Iterator[Site]:
    evses = [EvseDevice(loop) for _ in range(ROWS)]
    site = Site(tmp_path, [MeterDevice(loop, evse) for evse in evses], evses)
    site.write_config()
    yield site


def patiently(condition: Callable[[], bool]) -> None:
    """Looking takes time from the devices, which live in this process, too."""
    eventually(condition, seconds=60, every_s=0.2)


def told(run: Running) -> list[tuple[str, str]]:
    """Subject and code of every event since the last call."""
    found = (words(event, run.core.ids) for event in run.core.events())
    return [(text[0], text[1]) for text in found if text is not None]


def wirings(run: Running) -> dict[str, Wiring]:
    config = run.core.config
    meters = {place.meter.id: place.wiring for place in config.meters}
    return meters | {evse_id: place.wiring for evse_id, place in config.points.items()}


def reason(run: Running, row: int) -> Reason:
    return run.setpoint(f"evse-{row}").reason


def feeder_lost(run: Running, row: int) -> bool:
    return next(f for f in run.snapshot().feeders if f.id == f"row-{row}").lost


def follows(run: Running, row: int, power_w: int) -> Callable[[], bool]:
    """Within what rounding to phases makes of it."""
    return lambda: abs((run.snapshot().evse(f"evse-{row}").inputs.value(EvseField.POWER) or 0) - power_w) <= 50


def test_eight_of_64_devices_cost_the_other_56_nothing(site: Site) -> None:
    with running(site, model=site_model(load(site.path))) as run:
        for row in range(ROWS):
            run.wish(WISH_W, f"evse-{row}")
        for row in range(ROWS):
            patiently(follows(run, row, WISH_W))
        told(run)
        of = wirings(run)
        before = {name: run.core.engine.stats(wiring.stats) for name, wiring in of.items()}

        # Meters of rows 0 to 3: killed, frozen, delayed, garbled. EVSEs of rows 4 to 7: killed, slow, in single bytes, frozen.
        site.meters[0].kill()
        site.meters[1].frozen = True
        site.meters[LATE].manner = "late"
        site.meters[3].manner = "garbage"
        site.evses[4].kill()
        site.evses[5].manner = "slow-loris"
        site.evses[6].manner = "fragmented"
        site.evses[7].frozen = True
        run.wish(OTHER_W, "evse-7")  # a frozen EVSE shows itself when it doesn't answer a step

        for row in range(4):
            patiently(lambda row=row: feeder_lost(run, row))
            patiently(lambda row=row: run.power_w(f"evse-{row}") <= SHARE_W)
        assert run.core.engine.stats(of["meter-1"].stats).up, "the frozen one answers all the time"
        for row in (4, 5):
            patiently(lambda row=row: reason(run, row) is Reason.EVSE_LOST)
            patiently(lambda row=row: site.evses[row].fell_back and site.evses[row].power_w() == 0)
        patiently(lambda: reason(run, 7) is Reason.NOT_FOLLOWING)
        run.wish(OTHER_W, "evse-6")
        patiently(follows(run, 6, OTHER_W))  # whole answers in single bytes are answers

        seen = told(run)
        expected = {f"row-{row}" for row in range(4)} | {"evse-4", "evse-5", "evse-7"}
        losses = {(subject, code) for subject, code in seen if code in ("STALE_METER", "EVSE_LOST", "NOT_FOLLOWING")}
        lost = {subject for subject, _ in losses}
        assert expected <= lost
        assert lost <= expected | {f"evse-{row}" for row in range(4)}, losses
        bad = {f"meter-{row}" for row in range(4)} | {f"evse-{row}" for row in range(4, 8)}
        for name in set(of) - bad:
            stats, was = run.core.engine.stats(of[name].stats), before[name]
            assert (stats.timeouts, stats.bad_frames, stats.connects, stats.exceptions) == (0, 0, 1, 0), name
            assert stats.polls > was.polls, name

        for device in (site.meters[0], site.evses[4]):
            device.start()
        for device in (*site.meters[:8], *site.evses[:8]):
            device.manner, device.frozen = "good", False
        for row in range(8):
            run.wish(WISH_W, f"evse-{row}")
        for row in range(8):
            patiently(lambda row=row: not feeder_lost(run, row))
            patiently(follows(run, row, WISH_W))


def test_a_meter_of_a_steady_load_is_not_called_frozen(site: Site) -> None:
    """Nothing that it measures changes; that it samples does."""
    with running(site, model=site_model(load(site.path))) as run:
        for row in range(ROWS):
            run.wish(0, f"evse-{row}")
        patiently(lambda: not any(feeder_lost(run, row) for row in range(ROWS)))
        told(run)
        stats = [run.core.config.meters[row].wiring.stats for row in range(ROWS)]
        reads = [run.core.engine.stats(at).replies for at in stats]
        patiently(lambda: all(run.core.engine.stats(at).replies > was + 3 for at, was in zip(stats, reads, strict=True)))
        assert "STALE_METER" not in {code for _, code in told(run)}
        assert EventKind.FEEDER_LOST not in {event.kind for event in run.core.events()}
