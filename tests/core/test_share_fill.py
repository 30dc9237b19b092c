"""Weighted filling: what everybody gets of something that all have in common (native/core/share_out.c)."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from edge.core._native import ffi, lib

SIZES = st.sampled_from([0, 2, 3, 6])
ASKS = st.lists(
    st.tuples(st.integers(0, 4_000_000) | st.integers(0, 22_000), st.integers(1, 65_535) | st.integers(400, 2000), SIZES),
    min_size=1,
    max_size=64,
)
ROOM = st.integers(-1000, 10_000_000) | st.integers(0, 100_000)


def fill(asks: list[tuple[int, int, int]], room_w: int) -> list[int]:
    most = ffi.new("int32_t[]", [a[0] for a in asks])
    lib.v2g_share_fill(
        len(asks), most, ffi.new("uint16_t[]", [a[1] for a in asks]), ffi.new("uint8_t[]", [a[2] for a in asks]), room_w
    )
    return list(most)


def fair(asks: list[tuple[int, int, int]], room_w: int) -> list[Fraction]:
    """The same by definition: serve in full whoever wants less than its part, then share the rest by weight."""
    shares = [Fraction(most) for most, _, _ in asks]
    waiting = [i for i, (_, _, size) in enumerate(asks) if size]
    left = Fraction(6 * max(room_w, 0))
    if sum(asks[i][0] * asks[i][2] for i in waiting) <= left:
        return shares
    while waiting:
        level = left / sum(asks[i][1] * asks[i][2] for i in waiting)
        served = [i for i in waiting if asks[i][0] <= asks[i][1] * level]
        if not served:
            break
        left -= sum(asks[i][0] * asks[i][2] for i in served)
        waiting = [i for i in waiting if i not in served]
    for i in waiting:
        shares[i] = asks[i][1] * level
    return shares


@given(ASKS, ROOM)
def test_everybody_gets_its_fair_share_to_the_watt(asks: list[tuple[int, int, int]], room_w: int) -> None:
    for got_w, wanted in zip(fill(asks, room_w), fair(asks, room_w), strict=True):
        assert wanted - 2 < got_w <= wanted


@given(ASKS, ROOM)
def test_nobody_gets_more_than_it_asked_and_the_room_is_used_but_never_exceeded(
    asks: list[tuple[int, int, int]], room_w: int
) -> None:
    shares = fill(asks, room_w)
    assert all(0 <= got_w <= most_w for got_w, (most_w, _, _) in zip(shares, asks, strict=True))
    load = sum(got_w * size for got_w, (_, _, size) in zip(shares, asks, strict=True))
    asked = sum(most_w * size for most_w, _, size in asks)
    assert load <= max(6 * max(room_w, 0), 0) or load == asked <= 6 * room_w
    assert load > min(asked, 6 * max(room_w, 0)) - 12 * len(asks)


@given(ASKS, ROOM, st.randoms(use_true_random=False))
def test_the_order_of_the_evses_does_not_matter(asks: list[tuple[int, int, int]], room_w: int, random: object) -> None:
    order = list(range(len(asks)))
    random.shuffle(order)  # type: ignore[attr-defined]
    shuffled = fill([asks[i] for i in order], room_w)
    assert shuffled == [fill(asks, room_w)[i] for i in order]


@given(ASKS, ROOM, st.integers(0, 63), st.integers(1, 65_535))
def test_more_weight_never_means_less_power(asks: list[tuple[int, int, int]], room_w: int, who: int, weight: int) -> None:
    who %= len(asks)
    most_w, before, size = asks[who]
    heavier = [*asks[:who], (most_w, max(before, weight), size), *asks[who + 1 :]]
    assert fill(heavier, room_w)[who] >= fill(asks, room_w)[who] - 1  # both rounded down
