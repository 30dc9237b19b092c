"""The price of a discharged kWh follows the named model."""

import pytest

from edge.energy import cycles_to_end, wear_eur_per_kwh


def test_the_loss_is_that_of_the_source_at_one_point() -> None:
    # 25 °C, C/2, depth 80 %: k = (1.77e-7 + 8.08e-13 * 0.5 + 2.21e-7 * 0.8) * e^(2250/298.15) = 6.697e-4
    assert 6.697e-4 * cycles_to_end(0.8, 0.5, 25) ** 0.695 == pytest.approx(0.2, rel=1e-3)


def test_deeper_colder_and_faster_cycles_cost_more() -> None:
    base = wear_eur_per_kwh(120, 0.3, 0.2, 25)
    assert wear_eur_per_kwh(120, 0.8, 0.2, 25) > base
    assert wear_eur_per_kwh(120, 0.3, 0.2, 5) > base
    assert wear_eur_per_kwh(120, 0.3, 3.0, 25) > base
    assert wear_eur_per_kwh(240, 0.3, 0.2, 25) == pytest.approx(2 * base)


@pytest.mark.parametrize("temperature_c", [-5, 60])
def test_where_nobody_measured_there_is_no_price(temperature_c: float) -> None:
    with pytest.raises(ValueError, match="the model was measured"):
        wear_eur_per_kwh(120, 0.3, 0.2, temperature_c)


def test_a_depth_beyond_the_battery_is_refused() -> None:
    with pytest.raises(ValueError, match="depth"):
        wear_eur_per_kwh(120, 1.5, 0.2, 25)
