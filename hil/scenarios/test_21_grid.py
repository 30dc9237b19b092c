"""Scenario 21: the grid's frequency and voltage, in the meter's registers, are answered on the bus.

Judged by what the meter answered and when, and by the command frames after that.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from hil.oracle import Command
from hil.rig import RATING_W, Rig
from hil.site import merged

CHANGES = 12
BEFORE_W = 15_000
CONFIRMED_PERIODS = 4
"""Three samples confirm a trip, and the third may be one period old. (Issue F; docs/site-control.md)"""

TRIPS = 3
ENTER_S = 2
Record = Callable[[str, object], None]


@contextmanager
def at_grid(rig: Rig, response: str, **grid: Any) -> Iterator[Rig]:
    """The same site at another grid: its gateway is started anew, and once more afterwards."""
    before = rig.config
    changed = merged(before, {"site": {"grid": grid}, "ramp": {"frequency_pct_s": 10_000}})
    changed["evses"] = [evse | {"response": response} for evse in before["evses"]]
    rig.sim.grid(frequency_hz=grid.get("nominal_hz", 50))
    rig.restart(changed)
    yield rig
    rig.sim.grid(frequency_hz=50, voltage_v=230)
    rig.restart(before)


@pytest.fixture
def serving(rig: Rig) -> Iterator[Rig]:
    """50 Hz; a droop-like service with all power (NESO Dynamic Containment), in one cycle."""
    with at_grid(rig, "200ms", services=["neso-dc"]) as changed:
        yield changed


@pytest.fixture
def tripping(rig: Rig) -> Iterator[Rig]:
    """60 Hz; IEEE 1547-2018, category III."""
    with at_grid(rig, "1s", nominal_hz=60, profile="ieee1547-cat3", enter_delay=f"{ENTER_S}s", enter_ramp="2s") as changed:
        yield changed


def answers(rig: Rig, since: float = 0.0) -> list[dict[str, float]]:
    """What the grid meter answered, oldest first."""
    meter = next(each for each in rig.sim.state()["meters"] if each["id"] == "grid")
    return [each for each in meter["answers"] if each["time_s"] > since]


def first_answer(rig: Rig, key: str, value: float) -> float:
    """When the meter first answered with the new value."""
    rig.oracle.wait(lambda: answers(rig)[-1][key] == value, 10, f"the meter is asked and tells {key} {value}")
    told = answers(rig)
    newest = len(told)
    while newest > 0 and told[newest - 1][key] == value:
        newest -= 1
    return told[newest]["time_s"]


def frames_until(rig: Rig, evse: str, since: float, good: Callable[[Command], bool]) -> int:
    """Place of the first command after `since` that is good: 1 is the very next."""
    rig.oracle.wait(lambda: any(map(good, rig.oracle.commands(evse, since))), 10, f"{evse} is told the answer")
    return next(place for place, command in enumerate(rig.oracle.commands(evse, since), 1) if good(command))


@pytest.mark.timed
@pytest.mark.usefixtures("serving")
def test_the_cycle_after_the_meters_answer_carries_the_droop_setpoint(site: Rig, figure: Record) -> None:
    """49.65 Hz ask for 5 % + 95 % of 150 of 300 mHz = 52.5 % of the rating, less charging; it stays above 0, because a setpoint
    never goes through 0 within a cycle. Frames are counted from the meter's answer; one may be on its way already: the second
    has it at the latest. A machine that stands still for a moment in between is not judged: most of twelve."""
    expected_w = BEFORE_W - 0.525 * RATING_W
    site.dispatch("evse-1", power_w=BEFORE_W)
    site.oracle.wait_target("evse-1", BEFORE_W, 30)
    places, times_ms = [], []
    for _ in range(CHANGES):
        site.sim.grid(frequency_hz=49.65)
        told_s = first_answer(site, "frequency_hz", 49.65)
        places.append(frames_until(site, "evse-1", told_s, lambda c: abs(c.target_w - expected_w) <= 30))
        times_ms.append(1000 * (site.oracle.commands("evse-1", told_s)[places[-1] - 1].time - told_s))
        site.sim.grid(frequency_hz=50.0)
        site.oracle.wait_target("evse-1", BEFORE_W, 30)
    figure("droop", {"changes": CHANGES, "frames": places, "ms": [round(each, 2) for each in times_ms]})
    assert statistics.median(places) <= 2


@pytest.mark.timed
@pytest.mark.usefixtures("tripping")
def test_a_confirmed_trip_comes_within_four_periods_and_service_returns_by_its_rules(site: Rig, figure: Record) -> None:
    """62.5 Hz is beyond OF2 (62.0 Hz, 0.16 s): three samples of 100 ms confirm it and take longer than its delay.

    Most of three, so that a machine that stands still for a moment (its EVSE stops, as one that fell silent) is not judged."""
    site.dispatch("evse-1", power_w=10_000)
    trips = []
    for _ in range(TRIPS):
        site.oracle.wait_target("evse-1", 10_000, 30)
        trips.append(trip(site))
        return_to_service(site)
    figure("trip", {"samples": [samples for samples, _ in trips], "ms": [ms for _, ms in trips]})
    assert 3 <= statistics.median(samples for samples, _ in trips) <= CONFIRMED_PERIODS


def trip(rig: Rig) -> tuple[int, float]:
    """Samples and ms from the meter's first answer beyond the limit to the frame that allows nothing."""
    rig.sim.grid(frequency_hz=62.5)
    told_s = first_answer(rig, "frequency_hz", 62.5)
    frames_until(rig, "evse-1", told_s, lambda c: c.min_w == c.max_w == 0)
    stopped = next(c for c in rig.oracle.commands("evse-1", told_s) if c.min_w == c.max_w == 0)
    samples = {each["sample"] for each in answers(rig, told_s - 1e-6) if each["time_s"] <= stopped.time}
    return len(samples), round(1000 * (stopped.time - told_s), 1)


def return_to_service(rig: Rig) -> None:
    """After the delay of entering service and not before, and along its ramp."""
    rig.sim.grid(frequency_hz=60.0)
    back_s = first_answer(rig, "frequency_hz", 60.0)
    frames_until(rig, "evse-1", back_s, lambda c: c.max_w > 0)
    entered = next(c for c in rig.oracle.commands("evse-1", back_s) if c.max_w > 0)
    assert entered.time - back_s >= ENTER_S - 0.2  # a sample may already have been on its way
    assert entered.max_w < RATING_W


@pytest.mark.timed
@pytest.mark.usefixtures("tripping")
def test_one_bad_sample_trips_nothing_and_low_voltage_ceases_until_it_is_gone(site: Rig) -> None:
    """Category III: below 0.5 pu nothing flows, at once and only as long as that lasts."""
    site.dispatch("evse-1", power_w=10_000)
    site.oracle.wait_target("evse-1", 10_000, 30)
    site.sim.grid(voltage_v=92.0)
    told_s = first_answer(site, "voltage_v", 92.0)
    stopped = frames_until(site, "evse-1", told_s, lambda c: c.min_w == c.max_w == 0)
    before = site.oracle.commands("evse-1", told_s)[: stopped - 1]
    assert before, "the first bad sample alone ceased"
    site.sim.grid(voltage_v=230.0)
    site.oracle.wait_target("evse-1", 10_000, 30)
