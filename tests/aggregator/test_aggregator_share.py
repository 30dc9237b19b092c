"""A fleet's target is shared out fairly and never beyond what an EVSE can give."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from aggregator.share import Candidate, candidates, share
from aggregator.store import Device

NOW_MS = 1_764_000_000_000


def device(evse: str, **other: Any) -> Device:
    said: dict[str, Any] = {
        "site": "s", "authorized": True, "capability": "bidirectional", "charge_w": 22_000, "discharge_w": 10_000,
        "priority_weight": None, "min_soc_threshold": None, "departure": None, "departure_soc": None,
    }  # fmt: skip
    return Device(evse=evse, **(said | other))


def seen(**other: Any) -> dict[str, Any]:
    bounds = {"min": -10_000, "max": 22_000, "target": 0}
    return {"ts": NOW_MS, "state": "transfer", "set": bounds, "soc": 6_000} | other


def chosen(devices: list[Device], latest: dict[str, dict[str, Any]], power_w: int) -> list[str]:
    found = candidates(devices, latest, power_w, NOW_MS, min_soc_threshold=30.0, priority_weight=1.0)
    return [candidate.evse for candidate in found]


def test_only_authorized_evses_with_a_vehicle_and_fresh_telemetry_get_a_share() -> None:
    devices = [device("a"), device("b", authorized=False), device("c"), device("d"), device("e")]
    latest = {"a": seen(), "b": seen(), "c": seen(state="A"), "d": seen(ts=NOW_MS - 60_000)}
    assert chosen(devices, latest, 5_000) == ["a"]


def test_a_battery_at_its_threshold_or_of_unknown_charge_is_not_discharged() -> None:
    devices = [
        device("a"),
        device("b"),
        device("c"),
        device("d", min_soc_threshold=70.0),
        device("e", capability="charge_only"),
    ]
    latest = {"a": seen(), "b": seen(soc=3_000), "c": {k: v for k, v in seen().items() if k != "soc"}, "d": seen(), "e": seen()}
    assert chosen(devices, latest, -5_000) == ["a"]
    assert chosen(devices, latest, 5_000) == ["a", "b", "c", "d", "e"]


def weights(devices: list[Device], latest: dict[str, dict[str, Any]], power_w: int) -> dict[str, float]:
    found = candidates(devices, latest, power_w, NOW_MS, min_soc_threshold=30.0, priority_weight=1.0)
    return {candidate.evse: candidate.weight for candidate in found}


def test_the_fuller_battery_gives_more_and_the_emptier_one_takes_more() -> None:
    devices, latest = [device("full"), device("empty")], {"full": seen(soc=9_000), "empty": seen(soc=4_000)}
    giving, taking = weights(devices, latest, -5_000), weights(devices, latest, 5_000)
    assert giving["full"] > 2 * giving["empty"]
    assert taking["empty"] > 2 * taking["full"]


def test_a_vehicle_that_leaves_soon_is_charged_first_and_not_discharged() -> None:
    room = {"down_wh": 24_000}  # of 60 kWh: 1.1 h at 22 kW
    leaves = {"departure": NOW_MS + 80 * 60_000, "departure_soc": 100.0}
    devices = [device("stays"), device("leaves", **leaves), device("tomorrow", **(leaves | {"departure": NOW_MS + 86_400_000}))]
    latest = {evse: seen(cap=room) for evse in ("stays", "leaves", "tomorrow")}
    assert set(weights(devices, latest, -5_000)) == {"stays", "tomorrow"}
    taking = weights(devices, latest, 5_000)
    assert taking["leaves"] > 5 * taking["stays"] and taking["tomorrow"] == taking["stays"]


def test_shares_follow_the_weights_and_what_one_cannot_take_goes_to_the_others() -> None:
    among = [Candidate("a", "s", 10_000, 1), Candidate("b", "s", 10_000, 3)]
    assert share(-4_000, among) == {"a": -1_000, "b": -3_000}
    assert share(16_000, among) == {"a": 6_000, "b": 10_000}
    assert share(99_000, among) == {"a": 10_000, "b": 10_000}


candidate_lists = st.lists(
    st.builds(Candidate, st.uuids().map(str), st.just("s"), st.integers(1, 30_000), st.floats(0.01, 100)), max_size=20
)


@given(st.integers(-300_000, 300_000), candidate_lists)
def test_the_sum_is_the_target_or_everything_there_is(power_w: int, among: list[Candidate]) -> None:
    shares = share(power_w, among)
    rooms = {candidate.evse: candidate.room_w for candidate in among}
    assert all(0 <= abs(watts) <= rooms[evse] for evse, watts in shares.items())
    assert all(watts * power_w >= 0 for watts in shares.values())
    wanted = min(abs(power_w), sum(rooms.values()))
    assert wanted - len(among) - 1 <= abs(sum(shares.values())) <= wanted
