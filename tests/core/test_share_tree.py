"""Sharing up a tree of feeders and phases (step 6 as a whole): the rules that a fair share keeps, whatever the tree is like."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core._native import ffi, lib

LANES = 4
TOTAL = 3
NONE = 0xFFFF
NOW_NS = 10**12


@dataclass(frozen=True)
class Evse:
    feeder: int
    phases: int
    even: bool
    band_w: int
    weight: int

    def sixths(self, lane: int) -> int:
        if lane == TOTAL:
            return 6
        return self.phases >> lane & 1 and (6 // self.phases.bit_count() if self.even else 6)


@dataclass(frozen=True)
class Site:
    parents: tuple[int, ...]
    """Of each feeder; the first one has none."""
    rooms_w: tuple[tuple[int, int, int, int], ...]
    evses: tuple[Evse, ...]
    goal_w: int
    """Negative: discharge."""

    def path(self, feeder: int) -> list[int]:
        return [feeder] if feeder == 0 else [feeder, *self.path(self.parents[feeder])]


@st.composite
def sites(draw: st.DrawFn) -> Site:
    feeders = draw(st.integers(1, 6))
    parents = (NONE, *(draw(st.integers(0, f - 1)) for f in range(1, feeders)))
    room = st.integers(0, 60_000)
    rooms = tuple(draw(st.tuples(room, room, room, st.integers(0, 150_000))) for _ in range(feeders))
    evse = st.builds(
        Evse,
        feeder=st.integers(0, feeders - 1),
        phases=st.integers(1, 7),
        even=st.booleans(),
        band_w=st.integers(0, 22_000),
        weight=st.integers(1, 65_535) | st.integers(400, 2000),
    )
    return Site(parents, rooms, tuple(draw(st.lists(evse, min_size=1, max_size=12))), draw(st.integers(-150_000, 150_000)))


class Core:
    """The tables of one core: large, so they are made once; every run writes what it reads."""

    config, control, plan = ffi.new("struct v2g_config *"), ffi.new("struct v2g_site_config *"), ffi.new("struct v2g_plan *")
    state, out, image = ffi.new("struct v2g_state *"), ffi.new("struct v2g_setpoints *"), ffi.new("struct v2g_image *")
    memory, view = ffi.new("struct v2g_site_state *"), ffi.new("struct v2g_site_view *")


def shares(site: Site) -> list[int]:
    """What each EVSE is told to take, W, magnitudes: the first cycle, all following the target, no meters, no minimum."""
    config, plan, state, out = Core.config, Core.plan, Core.state, Core.out
    config.epoch, config.evses, config.feeders = 1, len(site.evses), len(site.parents)
    for f, (parent, room) in enumerate(zip(site.parents, site.rooms_w, strict=True)):
        config.feeder[f].parent, config.feeder[f].meter = parent, NONE
        state.feeder[f].room_import_w = state.feeder[f].room_export_w = list(room)
    for i, evse in enumerate(site.evses):
        config.evse[i].feeder, config.evse[i].phases = evse.feeder, evse.phases
        config.evse[i].phase_count, config.evse[i].rating_charge_w = evse.phases.bit_count(), 22_000
        state.evse[i].latch = lib.V2G_LATCH_BALANCED if evse.even else 0
        out.evse[i].band_max_w, out.evse[i].band_min_w = evse.band_w, -evse.band_w
        plan.evse[i].flag = lib.V2G_PLAN_SITE_TARGET
        plan.evse[i].weight_charge = plan.evse[i].weight_discharge = evse.weight
    lib.v2g_site_init(Core.memory)
    wish = ffi.new("struct v2g_site_plan *", {"present": 1, "target_w": site.goal_w})
    lib.v2g_site_propose(config, Core.control, plan, wish, state, out, NOW_NS, Core.memory, Core.image, Core.view)
    sign = -1 if site.goal_w < 0 else 1
    return [sign * Core.image.proposal[i].target_w for i in range(len(site.evses))]


def load_sixths(site: Site, told_w: list[int], feeder: int, lane: int) -> int:
    below = (i for i, evse in enumerate(site.evses) if feeder in site.path(evse.feeder))
    return sum(told_w[i] * site.evses[i].sixths(lane) for i in below)


def is_full(site: Site, told_w: list[int], feeder: int, lane: int) -> bool:
    """To the margin that is kept for the meters' noise (1/128 + 1/512 + 3 W for each EVSE) and 1 W for each EVSE."""
    room_w, count = site.rooms_w[feeder][lane], len(site.evses)
    return load_sixths(site, told_w, feeder, lane) >= 6 * (room_w - (room_w >> 7) - (room_w >> 9) - 2 - 4 * count)


@settings(max_examples=100, deadline=None)
@given(sites())
def test_nobody_leaves_its_interval_and_every_feeder_and_phase_keeps_its_rating(site: Site) -> None:
    told_w = shares(site)
    assert all(0 <= w <= evse.band_w for w, evse in zip(told_w, site.evses, strict=True))
    assert sum(told_w) <= abs(site.goal_w)
    for feeder, room_w in enumerate(site.rooms_w):
        for lane in range(LANES):
            assert load_sixths(site, told_w, feeder, lane) <= 6 * room_w[lane]


def without_phases(site: Site) -> Site:
    """Only the feeders' sums bind."""
    return replace(site, rooms_w=tuple((10**6, 10**6, 10**6, total) for *_, total in site.rooms_w))


def without_tree(site: Site) -> Site:
    """All under one feeder, with its phases."""
    return Site((NONE,), site.rooms_w[:1], tuple(replace(evse, feeder=0) for evse in site.evses), site.goal_w)


@settings(max_examples=100, deadline=None)
@given(sites().map(without_phases) | sites().map(without_tree))
def test_together_they_take_the_target_or_all_that_there_is_to_a_watt_each(site: Site) -> None:
    """In a tree whose phases bind a little may be left: a phase that is refused further up is not given back further down."""
    told_w = shares(site)
    if sum(told_w) >= abs(site.goal_w) - len(site.evses):
        return
    for w, evse in zip(told_w, site.evses, strict=True):
        lanes = [(f, lane) for f in site.path(evse.feeder) for lane in range(LANES) if evse.sixths(lane)]
        assert w >= evse.band_w - 1 or any(is_full(site, told_w, *lane) for lane in lanes), "it could take more"


@settings(max_examples=100, deadline=None)
@given(sites(), st.randoms(use_true_random=False))
def test_the_order_of_the_evses_in_the_config_does_not_matter(site: Site, dice: random.Random) -> None:
    order = dice.sample(range(len(site.evses)), len(site.evses))
    told_w = shares(site)
    assert shares(replace(site, evses=tuple(site.evses[i] for i in order))) == [told_w[i] for i in order]


@settings(max_examples=100, deadline=None)
@given(sites().map(without_phases) | sites().map(without_tree), st.integers(0, 11), st.integers(1, 65_535))
def test_more_weight_never_means_less_power(site: Site, who: int, weight: int) -> None:
    who %= len(site.evses)
    heavier = replace(site.evses[who], weight=max(weight, site.evses[who].weight))
    evses = (*site.evses[:who], heavier, *site.evses[who + 1 :])
    assert shares(replace(site, evses=evses))[who] >= shares(site)[who] - 1  # both rounded down


def test_a_feeder_that_is_full_leaves_the_rest_to_the_others() -> None:
    rooms = ((10**6,) * 4, (10**6, 10**6, 10**6, 5_000))
    evses = (Evse(1, 7, True, 22_000, 1000), Evse(0, 7, True, 22_000, 1000))
    narrow_w, wide_w = shares(Site((NONE, 0), rooms, evses, 20_000))
    assert 4_900 < narrow_w < 5_000
    assert narrow_w + wide_w >= 20_000 - 2
