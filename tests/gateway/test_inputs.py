"""Digital inputs. The contacts are simulated, because no machine of CI has a GPIO chip; what opens one is tried with none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from edge.arbiter.arbiter import Arbiter
from edge.config.settings import DigitalInput
from edge.gateway.inputs import RELEASE_READS, GpioLines, Inputs
from edge.model import Constraint, EvseModel, FeederModel, Plan, SiteModel

SITE = SiteModel(
    id="site-1",
    evses=(EvseModel("evse-1", "row-a", -22_000, 22_000), EvseModel("evse-2", "main", -22_000, 22_000)),
    feeders=(FeederModel("main", None, -50_000, 60_000), FeederModel("row-a", "main", -40_000, 40_000)),
)
STOP = DigitalInput(id="stop", line=4, active="high", means="emergency-stop")
RELAY = DigitalInput(id="relay", line=5, active="low", means="limit", feeder="row-a", max_charge_w=4_200)
RIPPLE = DigitalInput(id="ripple", line=6, active="low", means="limit", max_discharge_w=0, max_charge_w=30_000)
HALF = DigitalInput(id="half", line=7, active="low", means="limit", max_charge_w=15_000)


class Contacts:
    """Simulated contacts: name → active; one that is missing can't be read."""

    def __init__(self, names: Sequence[str]) -> None:
        self.active = dict.fromkeys(names, False)

    def read(self) -> Mapping[str, bool]:
        return dict(self.active)


class Bench:
    """Inputs on a real arbiter."""

    def __init__(self, *inputs: DigitalInput) -> None:
        self.arbiter = Arbiter(SITE, 2_000_000_000)
        self.contacts = Contacts([each.id for each in inputs])
        self.said: list[tuple[str, str, str]] = []
        self.inputs = Inputs(
            inputs,
            lambda: [evse.id for evse in SITE.evses],
            "main",
            self._put,
            lambda c: self.arbiter.withdraw(c.source, c.scope, c.quantity, c.name),
            lambda name, code, text, level: self.said.append((name, code, text)),
            self.contacts,
        )

    def _put(self, constraints: list[Constraint]) -> None:
        self.arbiter.put(constraints)

    def set(self, reads: int = 1, **active: bool) -> Plan:
        self.contacts.active |= active
        for _ in range(reads):
            self.inputs.take()
        return self.arbiter.renew(1_000_000_000)


def test_an_emergency_stop_locks_every_evse_at_its_first_read_and_nothing_else_is_touched() -> None:
    bench = Bench(STOP, RELAY)
    plan = bench.set()
    assert not any(evse.locked for evse in plan.evses.values())
    plan = bench.set(stop=True)
    assert all(evse.locked for evse in plan.evses.values())
    assert bench.said == [("stop", "INPUT_ACTIVE", "input stop is active and stops every EVSE")]


def test_a_stop_is_released_only_after_its_contact_has_stopped_bouncing() -> None:
    bench = Bench(STOP)
    bench.set(stop=True)
    bench.set(reads=RELEASE_READS - 1, stop=False)
    bench.set(stop=True)
    plan = bench.set(reads=RELEASE_READS - 1, stop=False)
    assert all(evse.locked for evse in plan.evses.values())
    plan = bench.set(stop=False)
    assert not any(evse.locked for evse in plan.evses.values())
    assert [code for _, code, _ in bench.said] == ["INPUT_ACTIVE", "INPUT_OFF"]


def limits(plan: Plan) -> dict[str, tuple[int, int]]:
    return {name: (feeder.import_w, feeder.export_w) for name, feeder in plan.feeders.items()}


def test_a_relay_limits_its_feeder_and_of_several_the_tightest_counts() -> None:
    bench = Bench(RELAY, RIPPLE, HALF)
    free = limits(bench.set())
    assert limits(bench.set(relay=True)) == free | {"row-a": (4_200, free["row-a"][1])}
    plan = bench.set(relay=True, ripple=True, half=True)
    assert limits(plan) == {"main": (15_000, 0), "row-a": (4_200, free["row-a"][1])}
    assert limits(bench.set(reads=RELEASE_READS, half=False)) == {"main": (30_000, 0), "row-a": (4_200, free["row-a"][1])}
    assert limits(bench.set(reads=RELEASE_READS, relay=False, ripple=False)) == free


def test_a_contact_that_cannot_be_read_counts_as_active() -> None:
    bench = Bench(STOP)
    bench.set()
    del bench.contacts.active["stop"]
    plan = bench.set()
    assert all(evse.locked for evse in plan.evses.values())
    assert bench.said[0][1] == "INPUT_LOST"
    assert "stop (/dev/gpiochip0 line 4) can't be read" in bench.said[0][2]


def test_what_an_input_did_is_explained_with_its_name() -> None:
    bench = Bench(STOP)
    bench.set(stop=True)
    assert {c.name for c in bench.arbiter.store.all()} == {"input stop"}


def test_a_chip_that_is_not_there_is_told_and_asked_for_again() -> None:
    """The real library on a machine without the chip."""
    lost: Any = DigitalInput(id="stop", chip="/dev/gpiochip-none", line=4, active="high", means="emergency-stop")
    lines = GpioLines([lost])
    assert lines.read() == {}
    assert "No such file" in lines.errors["/dev/gpiochip-none"]
    lines.close()


@pytest.mark.parametrize("bias", ["as_is", "disabled", "pull_up", "pull_down"])
def test_every_bias_of_the_config_is_one_of_libgpiod(bias: str) -> None:
    from gpiod.line import Bias

    assert bias.upper() in Bias.__members__
