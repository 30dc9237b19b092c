"""The local modes as a site has them: gateway, core, bus and meter run as processes, and the grid connection is judged.

No aggregator speaks. The load beside the EVSEs (negative: the sun) is set at the simulated site, and the meter follows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from core_site import CoreSite, wait_until
from gateway_process import GatewayProcess

NEAR_W = 300
"""What the load may do between two samples, and what vehicles round; how well a target is met: docs/site-control.md."""


class Site:
    def __init__(self, core: CoreSite) -> None:
        self.core, self.gateway = core, GatewayProcess(core)
        self._load_w = 0

    def start(self, config: str) -> None:
        """`config`: what is added. The load is known to change slowly, so that a limit is met and not only kept."""
        for feeder in ("rating_a: 100", "rating_a: 63"):
            self.change(feeder, f"{feeder}, base_slew_w_s: 500")
        self.change("", config + "\n")
        self.gateway.start()

    def change(self, old: str, new: str) -> None:
        text = self.core.path.read_text()
        self.core.path.write_text(text.replace(old, new) if old else text + new)

    def load(self, watts: int) -> None:
        self._load_w = watts
        self.core.control.base_load("main", watts)

    def evses_w(self) -> list[float]:
        """The truth of the simulator, not what the gateway believes."""
        return [evse["power_w"] for evse in self.core.control.state()["evses"]]

    def grid_comes_to(self, watts: int) -> None:
        wait_until(lambda: abs(self._load_w + sum(self.evses_w()) - watts) < NEAR_W, f"the grid connection is at {watts} W")

    def evses_come_to(self, watts: int) -> None:
        wait_until(lambda: abs(sum(self.evses_w()) - watts) < NEAR_W, f"the EVSEs take {watts} W")


@pytest.fixture
def site() -> Iterator[Site]:
    with tempfile.TemporaryDirectory(prefix="v2g") as folder:
        core = CoreSite(Path(folder))
        site = Site(core)
        yield site
        site.gateway.close()
        core.close()


def hours_from_now(hours: float) -> str:
    return (datetime.now() + timedelta(hours=hours)).strftime("%H:%M")


def test_with_solar_surplus_the_vehicles_take_the_sun_and_nothing_of_the_grid(site: Site) -> None:
    site.load(-9_000)
    site.start("local_modes: {solar_surplus: true}")
    site.grid_comes_to(0)
    site.load(-20_000)
    site.grid_comes_to(0)
    site.load(3_000)
    site.evses_come_to(0)  # they never discharge for the load
    site.load(-9_000)
    site.grid_comes_to(0)
    site.core.control.meter_fault("grid", "silent")
    site.evses_come_to(0)  # nobody knows of any sun
    site.core.control.meter_clear("grid")
    site.grid_comes_to(0)


def test_a_demand_limit_is_met_by_charging_less_and_by_discharging(site: Site) -> None:
    site.load(4_000)
    site.start("local_modes: {demand_limit_w: 12000}")
    for load_w in (4_000, 20_000, 1_000):
        site.load(load_w)
        site.grid_comes_to(12_000)


def test_a_tariff_covers_the_load_while_dear_waits_and_charges_when_cheap(site: Site) -> None:
    """The dear hours are around now; then the same hours are the cheap ones; then neither."""
    around, later = (f'from: "{hours_from_now(a)}", to: "{hours_from_now(b)}"' for a, b in ((-2, 2), (4, 6)))
    windows = f"[{{{around}, eur_per_kwh: 0.9}}, {{{later}, eur_per_kwh: 0.1}}]"
    config = f"local_modes: {{tariff: {{windows: {windows}, otherwise_eur_per_kwh: 0.2}}}}"
    site.load(6_000)
    site.start(config)
    site.grid_comes_to(0)
    assert sum(site.evses_w()) < -5_000
    site.change("eur_per_kwh: 0.9", "eur_per_kwh: 0.11")
    site.gateway.reload()
    site.evses_come_to(0)
    site.change("eur_per_kwh: 0.11", "eur_per_kwh: 0.05")
    site.gateway.reload()
    wait_until(lambda: sum(site.evses_w()) > 40_000, "both charge at their rating")


def test_a_departure_charges_though_there_is_no_sun(site: Site) -> None:
    site.load(3_000)
    leaves = f', departure: {{by: "{hours_from_now(0.5)}", soc: 90}}}}'
    text = site.core.path.read_text().splitlines()
    text = [line.removesuffix("}") + leaves if "id: evse-2" in line else line for line in text]
    site.core.path.write_text("\n".join(text) + "\n")
    site.start("local_modes: {solar_surplus: true}")
    wait_until(lambda: site.evses_w()[1] > 5_000, "the one that leaves charges")
    assert abs(site.evses_w()[0]) < NEAR_W, "from the first plan on the other one has nothing to take"
    assert site.gateway.evse("evse-2")["wish_by"] == "departure"
