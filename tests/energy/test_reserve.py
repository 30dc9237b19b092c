"""A vehicle spares what it doesn't need, and no more."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.energy import Battery, Need, flexibility, needed_w, reserve_soc
from edge.energy.reserve import HOUR_NS

CAR = Battery(capacity_wh=60_000, charge_w=11_000, discharge_w=10_000, efficiency=0.95)
STEP_NS = HOUR_NS // 60

batteries = st.builds(
    Battery,
    capacity_wh=st.integers(5_000, 200_000),
    charge_w=st.integers(1_000, 150_000),
    discharge_w=st.integers(0, 150_000),
    efficiency=st.floats(0.7, 1.0),
)
needs = st.builds(Need, soc=st.integers(0, 10_000), by_ns=st.integers(0, 24 * HOUR_NS))


def test_without_a_need_there_is_no_reserve() -> None:
    assert reserve_soc(CAR, None, 0) == 0


def test_the_reserve_rises_to_the_need_at_the_departure_and_stays_there() -> None:
    need = Need(soc=8_000, by_ns=4 * HOUR_NS)
    curve = [reserve_soc(CAR, need, hour * HOUR_NS) for hour in range(7)]
    assert curve == sorted(curve)
    assert curve[4:] == [8_000, 8_000, 8_000]
    assert curve[3] == 6_259, "one hour of 11 kW with 95 % fills 17.42 % of 60 kWh"


@given(batteries, needs, st.integers(0, 24 * HOUR_NS))
def test_who_charges_at_full_power_from_the_reserve_on_meets_the_need(battery: Battery, need: Need, now_ns: int) -> None:
    reserve = reserve_soc(battery, need, now_ns)
    hours = max(0, need.by_ns - now_ns) / HOUR_NS
    reached = reserve + battery.soc(battery.charge_w * battery.efficiency * hours)
    assert reached >= min(need.soc, 10_000) - 1e-6 or reserve == 10_000


@given(batteries, needs, st.integers(0, 10_000), st.integers(0, 24 * HOUR_NS))
def test_what_is_offered_can_be_given_and_the_need_be_met_afterwards(
    battery: Battery, need: Need, soc: int, now_ns: int
) -> None:
    offered = flexibility(battery, need, soc, 1_000, 10_000, now_ns)
    if offered.up_wh == 0:
        return
    hours = offered.up_wh / battery.discharge_w
    after = soc - battery.soc(offered.up_wh / battery.efficiency)
    assert after >= 1_000 - 1e-6
    assert after >= reserve_soc(battery, need, now_ns + round(hours * HOUR_NS)) - 1.01


def test_charging_begins_when_waiting_longer_would_be_too_late() -> None:
    need = Need(soc=8_000, by_ns=8 * HOUR_NS)
    begin = next(m for m in range(480) if needed_w(CAR, need, 5_000, m * STEP_NS, STEP_NS))
    full_h = CAR.energy_wh(3_000) / (11_000 * 0.95)
    assert begin / 60 == pytest.approx(8 - full_h, abs=2 / 60)
    assert needed_w(CAR, need, 8_000, 7 * HOUR_NS, STEP_NS) == 0


def test_an_early_need_is_met_earlier() -> None:
    late, early = Need(8_000, 8 * HOUR_NS), Need(8_000, 8 * HOUR_NS, early_ns=HOUR_NS)
    assert reserve_soc(CAR, early, 6 * HOUR_NS) == reserve_soc(CAR, late, 7 * HOUR_NS)


def test_below_the_floor_nothing_is_spared_and_at_the_ceiling_nothing_taken() -> None:
    assert flexibility(CAR, None, 2_900, 3_000, 10_000, 0).up_w == 0
    assert flexibility(CAR, None, 10_000, 3_000, 10_000, 0).down_w == 0
    assert flexibility(CAR, None, 5_000, 3_000, 10_000, 0).up_wh == 11_400


def test_a_vehicle_that_only_charges_offers_only_that() -> None:
    offered = flexibility(Battery(60_000, 11_000), None, 5_000, 3_000, 10_000, 0)
    assert (offered.up_w, offered.down_w) == (0, 11_000)


def test_an_impossible_battery_is_refused() -> None:
    with pytest.raises(ValueError, match="efficiency"):
        Battery(60_000, 11_000, efficiency=0)
