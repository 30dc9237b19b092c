"""A technician with nothing but edgectl: for each fault of a running site, status and explain name the true cause.

The site is real but for its firmware: v2g-edge, a CAN hub, Modbus/TCP, simulated EVSEs and meter.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.model import catalogue
from tests.cli.edgectl_program import edgectl_on
from tests.cli.faults import FAULTS, OWN_FAULTS, RELEASE, Fault, OwnFault, Site, flowing, said_by_doctor
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
    site.do(fault.inject)
    wait_until(lambda: fault.code in site.codes(), f"status names {fault.code}")
    wait_until(lambda: fault.says in flowing(site.edgectl("explain", "evse-1").stdout), f"explain says: {fault.says}")
    assert site.edgectl("explain", fault.code).returncode == 0
    info = catalogue.find(fault.code)
    assert info is not None
    parts = ("EVSE evse-1: ", f"({fault.code})", info.remedy)
    wait_until(lambda: said_by_doctor(site.edgectl("doctor", "--json").stdout, parts) != "", f"doctor names {parts}")
    for step in fault.clear:
        site.do(step)
    wait_until(lambda: fault.code not in site.codes() and site.charges(), "all is well again")


def test_the_faults_break_every_row_that_can_stop_an_evse() -> None:
    """Row 8, the ramp, only delays; it is no fault."""
    assert {fault.row for fault in FAULTS} == set(range(1, 8))


@pytest.mark.parametrize("fault", OWN_FAULTS, ids=lambda fault: fault.title)
def test_a_fault_of_the_gateway_itself_is_named_with_its_remedy(fault: OwnFault) -> None:
    with tempfile.TemporaryDirectory(prefix="v2g") as folder:
        core = CoreSite(Path(folder))
        socket = Path(folder) / "local.sock"
        try:
            with fault.start(core):
                wait_until(lambda: f"! {fault.code}: " in edgectl_on(socket, "status").stdout, f"status names {fault.code}", 60)
                assert edgectl_on(socket, "status").returncode == fault.exit
                assert edgectl_on(socket, "explain", fault.code).returncode == 0
                told = edgectl_on(socket, "doctor", "--json").stdout
                assert said_by_doctor(told, fault.doctor), told
        finally:
            core.close()


def test_the_table_of_faults_shows_every_fault() -> None:
    rows = [line for line in TABLE.read_text().splitlines() if line.startswith("| ")][1:]
    shown = [tuple(row.split(" | ")[1:3]) for row in rows]
    assert shown == [(fault.title, f"`{fault.code}`") for fault in (*FAULTS, *OWN_FAULTS)], "python -m tests.cli.fault_table"


def test_an_evse_that_did_what_it_wanted_is_released_by_a_person(site: Site) -> None:
    site.core.tell(evse=1, fault="not_following", power_w=-9000)
    wait_until(lambda: "NOT_FOLLOWING" in site.codes(), "status names it")
    site.core.tell(evse=1, clear="all")
    wait_until(lambda: abs(site.evse()["values"]["power"]["value"]) < 100, "it stands still")
    assert "NOT_FOLLOWING" in site.codes(), "a good value alone is not enough"
    for step in RELEASE:
        site.do(step)
    wait_until(lambda: "NOT_FOLLOWING" not in site.codes() and site.charges(), "all is well again")


def test_what_went_wrong_is_still_told_after_a_restart(site: Site) -> None:
    site.restart()
    told = json.loads(site.edgectl("events", "evse-1", "--faults", "--json").stdout)["events"]
    assert {"E_STOP", "THERMAL_STOP", "NOT_FOLLOWING"} <= {event["code"] for event in told}
    assert site.edgectl("events", "--since", "0s").stdout == "nothing happened\n"
