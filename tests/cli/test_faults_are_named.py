"""A technician with nothing but edgectl: for each fault of a running site, status and explain name the true cause.

The site is real but for its firmware: v2g-edge, a CAN hub, Modbus/TCP, simulated EVSEs and meter.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.edgectl_program import edgectl_on
from tests.cli.faults import FAULTS, OWN_FAULTS, Fault, OwnFault, Site, flowing
from tests.core.core_site import CoreSite, wait_until

TABLE = Path(__file__).parents[2] / "docs" / "faults.md"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with tempfile.TemporaryDirectory(prefix="v2g") as folder:
        site = Site(Path(folder))
        yield site
        site.close()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.title)
def test_the_cause_of_a_fault_is_named_and_then_gone(site: Site, fault: Fault) -> None:
    site.core.tell(**fault.inject)
    wait_until(lambda: fault.code in site.codes(), f"status names {fault.code}")
    wait_until(lambda: fault.says in flowing(site.edgectl("explain", "evse-1").stdout), f"explain says: {fault.says}")
    assert site.edgectl("explain", fault.code).returncode == 0
    site.core.tell(**fault.clear)
    wait_until(lambda: fault.code not in site.codes() and site.charges(), "all is well again")


@pytest.mark.parametrize("fault", OWN_FAULTS, ids=lambda fault: fault.title)
def test_a_fault_of_the_gateway_itself_is_named_with_its_remedy(fault: OwnFault) -> None:
    with tempfile.TemporaryDirectory(prefix="v2g") as folder:
        core = CoreSite(Path(folder))
        socket = Path(folder) / "local.sock"
        try:
            with fault.start(core):
                wait_until(lambda: f"! {fault.code}: " in edgectl_on(socket, "status").stdout, f"status names {fault.code}", 60)
                assert edgectl_on(socket, "status").returncode == 1
                assert edgectl_on(socket, "explain", fault.code).returncode == 0
                told = flowing(edgectl_on(socket, "doctor").stdout)
                assert [part for part in fault.doctor if part not in told] == [], told
        finally:
            core.close()


def test_the_table_of_faults_shows_every_fault() -> None:
    rows = [line for line in TABLE.read_text().splitlines() if line.startswith("| ")][1:]
    shown = [(row.split(" | ")[0].removeprefix("| "), row.split(" | ")[1]) for row in rows]
    assert shown == [(fault.title, f"`{fault.code}`") for fault in (*FAULTS, *OWN_FAULTS)], "python -m tests.cli.fault_table"


def test_an_evse_that_does_what_it_wants_is_released_by_a_person(site: Site) -> None:
    site.core.tell(evse=1, fault="not_following", power_w=-9000)
    wait_until(lambda: "NOT_FOLLOWING" in site.codes(), "status names it")
    site.core.tell(evse=1, clear="all")
    wait_until(lambda: abs(site.evse()["values"]["power"]["value"]) < 100, "it stands still")
    assert "NOT_FOLLOWING" in site.codes(), "a good value alone is not enough"
    site.edgectl("lock", "evse-1", "--reason", "firmware was restarted")
    site.edgectl("unlock", "evse-1")
    wait_until(lambda: "NOT_FOLLOWING" not in site.codes() and site.charges(), "all is well again")


def test_a_hot_connector_is_named_and_stays_stopped_when_it_has_cooled(site: Site) -> None:
    site.core.tell(evse=1, set={"connector_c": 95})
    wait_until(lambda: "THERMAL_STOP" in site.codes(), "status names it")
    site.core.tell(evse=1, set={"connector_c": 30})
    says = "when connector temperature has been at or below 65.0 °C for 60 s"
    wait_until(lambda: says in flowing(site.edgectl("explain", "evse-1").stdout), says)
    assert site.edgectl("status").returncode == 2


def test_a_lock_is_named_with_who_and_why(site: Site) -> None:
    site.edgectl("lock", "evse-2", "--reason", "contactor is being replaced")
    wait_until(lambda: "contactor is being replaced" in site.edgectl("explain", "evse-2").stdout, "explain names the lock")
    assert site.edgectl("unlock", "evse-2").returncode == 0


def test_a_bus_that_is_gone_is_a_fault_with_its_name(site: Site) -> None:
    site.core.hub.terminate()
    site.core.hub.wait(10)
    wait_until(lambda: "BUS_DOWN: bus can0" in site.edgectl("status").stdout, "status names the bus")
    assert site.edgectl("status").returncode == 2
    assert "bus can0: can" in flowing(site.edgectl("doctor").stdout)
