"""The native core against the plain model on random sites: setpoints, reasons and everything remembered are the same, exactly.

`MODEL_EVSE_STEPS=500000 pytest tests/model` is the long form, which tools/quality/model.py runs on each processor; without it a
short one runs. MODEL_FIGURES names a file for what was counted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.model import Reason
from tests.model.native_core import NativeCore
from tests.model.records import EVSE_FIELDS, NEVER, SENSORS, Config, Image, Setpoint, fresh_memory
from tests.model.reference import enforce, estimate
from tests.model.worlds import EVENTS, Event, World, sites

LONG = int(os.environ.get("MODEL_EVSE_STEPS", "0"))
STEPS_PER_EXAMPLE = 170  # EVSE-steps of a usual example are more
COUNTED = {"evse_steps": 0, "moving": 0}
"""EVSE-steps on which core and model agreed; of these, those with a setpoint other than 0."""


def profile(examples: int) -> settings:
    """The short form is the same in each run; the long form looks elsewhere each time."""
    everything = list(HealthCheck)
    return settings(
        max_examples=examples, derandomize=LONG == 0, deadline=None, database=None, suppress_health_check=everything
    )


PROFILE, SHORT = profile(max(LONG // STEPS_PER_EXAMPLE, 60)), profile(max(LONG // STEPS_PER_EXAMPLE // 40, 15))
pytestmark = pytest.mark.timeout(max(120, LONG // 200))


@pytest.fixture(scope="module", autouse=True)
def figures() -> Iterator[None]:
    yield
    if "MODEL_FIGURES" in os.environ:
        Path(os.environ["MODEL_FIGURES"]).write_text(json.dumps(COUNTED) + "\n")


def difference(native: Any, model: Any, where: str = "") -> str | None:
    """The first place where two records differ."""
    if isinstance(model, list):
        pairs = [(n, m, f"{where}[{k}]") for k, (n, m) in enumerate(zip(native, model, strict=True))]
    elif hasattr(model, "__dataclass_fields__"):
        pairs = [(getattr(native, f.name), getattr(model, f.name), f"{where}.{f.name}") for f in fields(model)]
    else:
        return None if native == model else f"{where}: core {native}, model {model}"
    return next((found for found in (difference(*pair) for pair in pairs if pair[0] != pair[1]) if found), None)


class Pair:
    """Core and model of one site, kept in step."""

    def __init__(self, config: Config, core: Callable[[Config], NativeCore] = NativeCore) -> None:
        self.config = config
        self.core = core(config)
        assert self.core.config_fault() == 0
        self.memory = fresh_memory(config)
        assert difference(self.core.memory(), self.memory) is None
        self.world = World(config)
        self.out: list[Setpoint] = []

    def cycle(self) -> None:
        world, core = self.world, self.core
        if world.next_cycle(self.out):
            core.adopt(world.plan, world.now_ns)
        core.see(world.image)
        estimate(self.config, self.memory, world.image, world.now_ns)
        assert core.estimate(world.now_ns) == world.image.estimates
        for i, wild in world.estimated.items():
            world.image.estimates[i] = wild
            core.see_estimate(i, wild)
        world.estimated.clear()
        self.out = enforce(self.config, world.plan, self.memory, world.image, world.now_ns)
        native_out, native_memory = core.enforce(world.now_ns), core.memory()
        assert difference(native_out, self.out) is None
        assert difference(native_memory, self.memory) is None
        assert self.memory.damaged or core.violated(world.now_ns) == 0  # the model's step is the same, so this judges both
        COUNTED["evse_steps"] += len(self.out)
        COUNTED["moving"] += sum(setpoint.target_w != 0 for setpoint in self.out)

    def cycles(self, count: int) -> None:
        for _ in range(count):
            self.cycle()

    def once_more(self, image: Image, by_ns: int = 0) -> list[Setpoint]:
        """What the model would say now to another image, or at another time; nothing is remembered."""
        plan, memory, image = deepcopy(self.world.plan), deepcopy(self.memory), deepcopy(image)
        if by_ns:
            moved(plan, by_ns)
            moved(memory, by_ns)
            moved(image, by_ns)
        return enforce(self.config, plan, memory, image, self.world.now_ns + by_ns)


def moved(record: Any, by_ns: int) -> None:
    """Every stamp in a record, and in what it holds, moved in time."""
    if isinstance(record, dict):
        record = list(record.values())
    if isinstance(record, list):
        for part in record:
            moved(part, by_ns)
        return
    for name in (f.name for f in fields(record)) if is_dataclass(record) else ():
        value = getattr(record, name)
        if not name.endswith("_ns"):
            moved(value, by_ns)
        elif isinstance(value, list):
            setattr(record, name, [at if at == NEVER else at + by_ns for at in value])
        elif value != NEVER:
            setattr(record, name, value + by_ns)


def not_looser(tight: list[Setpoint], loose: list[Setpoint]) -> bool:
    """P3 and P7: a hotter sensor, or an input less, allows no more."""
    return all(t.band_max_w <= o.band_max_w and t.band_min_w >= o.band_min_w for t, o in zip(tight, loose, strict=True))


def is_silent_in_the_end(pair: Pair) -> None:
    """P14: with every input gone nothing is told to anybody after the link age and two cycles."""
    world = pair.world
    world.silent = set(range(len(pair.config.evses)))
    for told in world.image.evses:
        for reading in told.values():
            reading.acquired_ns = min(reading.acquired_ns, world.now_ns)
    longest_ns = max(evse.link_age_ns for evse in pair.config.evses)
    pair.cycles(longest_ns // pair.config.period_ns + 2)
    assert [setpoint.target_w for setpoint in pair.out] == [0] * len(pair.out)


def after(config: Config, events: list[Event], core: Callable[[Config], NativeCore] = NativeCore) -> Pair:
    """A site on which these events have happened, core and model compared in every cycle."""
    pair = Pair(config, core)
    pair.cycles(10)
    for event in events:
        pair.world.happens(event)
        pair.cycles(event.cycles)
        if event.heals:
            pair.world.heals()
    return pair


@SHORT
@given(config=sites())
def test_the_judge_finds_a_watt_beyond_the_rating(config: Config):
    pair = after(config, [])
    assert pair.core.violated(pair.world.now_ns) == 0
    pair.core.out.evse[0].target_w = pair.core.out.evse[0].max_w = config.evses[0].rating_charge_w + 1
    assert pair.core.violated(pair.world.now_ns) == 1


@PROFILE
@given(config=sites(), events=st.lists(EVENTS, max_size=12))
def test_the_core_does_what_the_model_says_and_both_hold_the_properties(config: Config, events: list[Event]):
    is_silent_in_the_end(after(config, events))


@SHORT
@given(config=sites(), events=st.lists(EVENTS, max_size=6), sensor=st.sampled_from(SENSORS), by=st.integers(0, 400))
def test_a_hotter_sensor_never_gives_more(config: Config, events: list[Event], sensor: str, by: int):
    pair = after(config, events)
    hotter = deepcopy(pair.world.image)
    for told in hotter.evses:
        if -1000 <= told[sensor].value <= 3000:
            told[sensor].value += by
    assert not_looser(pair.once_more(hotter), pair.once_more(pair.world.image))


@SHORT
@given(config=sites(), events=st.lists(EVENTS, max_size=6), lost=st.lists(st.sampled_from(EVSE_FIELDS), min_size=1))
def test_a_lost_input_never_gives_more(config: Config, events: list[Event], lost: list[str]):
    pair = after(config, events)
    poorer = deepcopy(pair.world.image)
    for name in lost:
        for told in poorer.evses:
            told[name].valid = False
    assert not_looser(pair.once_more(poorer), pair.once_more(pair.world.image))


@SHORT
@given(config=sites(), events=st.lists(EVENTS, max_size=6), by_ns=st.integers(0, 2**60))
def test_the_time_of_day_changes_nothing(config: Config, events: list[Event], by_ns: int):
    pair = after(config, events)
    then, now = pair.once_more(pair.world.image, by_ns), pair.once_more(pair.world.image)
    assert [(s.target_w, s.reason, s.reason_min, s.reason_max) for s in then] == [
        (s.target_w, s.reason, s.reason_min, s.reason_max) for s in now
    ]


@SHORT
@given(config=sites(), who=st.integers(0, 3), bit=st.integers(0, 10_000))
def test_a_flipped_bit_of_a_limit_stops_everything_for_good(config: Config, who: int, bit: int):
    pair, who = after(config, []), who % len(config.evses)
    for intact in (False, True):  # also when the bit comes back
        pair.core.flip_a_bit(who, bit)
        broken = replace(config, intact=intact)
        out = enforce(broken, pair.world.plan, pair.memory, pair.world.image, pair.world.now_ns)
        assert pair.core.enforce(pair.world.now_ns) == out
        assert difference(pair.core.memory(), pair.memory) is None
        assert {(setpoint.target_w, setpoint.reason) for setpoint in out} == {(0, Reason.INVARIANT)}
