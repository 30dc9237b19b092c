"""A bus that has stopped is opened or restarted, not too early and not only once."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from edge.config.settings import CanBus
from edge.core import BusState
from edge.gateway.buses import BusKeeper

SECOND = 1_000_000_000
BUS = CanBus.model_validate({"id": "can0", "kind": "can", "channel": "can0", "restart": "1s"})


@dataclass
class Core:
    error: str = ""
    reopened: list[str] = field(default_factory=list)
    restarted: list[str] = field(default_factory=list)

    def reopen_bus(self, bus_id: str) -> bool:
        self.reopened.append(bus_id)
        return False

    def restart_bus(self, bus_id: str) -> str:
        self.restarted.append(bus_id)
        return self.error


def seen(state: BusState) -> Any:
    return SimpleNamespace(buses=[SimpleNamespace(id="can0", state=state)])


def test_a_bus_that_is_down_is_opened_again():
    core = Core()
    BusKeeper(core).keep(seen(BusState.DOWN), [BUS], 0)
    assert (core.reopened, core.restarted) == (["can0"], [])


def test_a_bus_that_stays_off_is_restarted_every_second():
    core = Core()
    keeper = BusKeeper(core)
    for tenth in range(25):
        keeper.keep(seen(BusState.OFF), [BUS], SECOND + tenth * SECOND // 10)
    assert len(core.restarted) == 2
    assert keeper.restarts == {"can0": 2}


def test_a_bus_that_is_blocked_for_a_moment_is_left_alone():
    core = Core()
    keeper = BusKeeper(core)
    for tenth in range(50):
        keeper.keep(seen(BusState.BLOCKED if tenth % 5 else BusState.PASSIVE), [BUS], tenth * SECOND // 10)
    assert core.restarted == []


def test_a_refused_restart_is_told_once(caplog):
    keeper = BusKeeper(Core(error="Operation not permitted"))
    for second in range(5):
        keeper.keep(seen(BusState.BLOCKED), [BUS], second * SECOND)
    assert [r.message for r in caplog.records] == [
        "bus can0: BLOCKED, and can't be restarted: Operation not permitted: give the service CAP_NET_ADMIN"
    ]
    assert keeper.restarts == {}
