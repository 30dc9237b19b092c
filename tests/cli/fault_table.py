"""`python -m tests.cli.fault_table` breaks a site in every way of faults.py and writes what edgectl said to docs/faults.md."""

from __future__ import annotations

import platform
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from edge.model import catalogue
from tests.cli.edgectl_program import edgectl_on
from tests.cli.faults import FAULTS, OWN_FAULTS, Fault, OwnFault, Site, flowing, said_by_doctor
from tests.core.core_site import CoreSite, wait_until

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
HEAD = """# Faults and what the gateway says of them

Each row was seen: the fault was made at a running site, simulated but for `v2g-edge` itself, and `edgectl` was asked as a
technician asks. *after* is the time in seconds until `edgectl status` named the cause, the program's own start included; for
the gateway's own faults from its first answer on. The row is that of the [chain](how-it-works.md).
Written by `python -m tests.cli.fault_table`, last on {machine}; a test keeps the rows complete.

| row | what is wrong | `edgectl status` names | `edgectl explain evse-1` says | `edgectl doctor`, with the remedy | after s |
|---|---|---|---|---|---|
"""


def site_rows() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="v2g") as folder:
        site = Site(Path(folder))
        try:
            for fault in FAULTS:
                yield row(str(fault.row), fault.title, fault.code, *of_site(site, fault))
        finally:
            site.close()


def of_site(site: Site, fault: Fault) -> tuple[str, str, float]:
    began_s = time.monotonic()
    site.do(fault.inject)
    wait_until(lambda: fault.code in site.codes(), fault.code)
    took_s = time.monotonic() - began_s
    wait_until(lambda: fault.says in flowing(site.edgectl("explain", "evse-1").stdout), fault.says)
    said = sentence(flowing(site.edgectl("explain", "evse-1").stdout), fault.says)
    parts = ("EVSE evse-1: ", f"({fault.code})")
    wait_until(lambda: said_by_doctor(site.edgectl("doctor", "--json").stdout, parts) != "", "doctor")
    doctor = said_by_doctor(site.edgectl("doctor", "--json").stdout, parts)
    for step in fault.clear:
        site.do(step)
    wait_until(lambda: fault.code not in site.codes() and site.charges(), "all is well again")
    return said, doctor, took_s


def own_row(fault: OwnFault) -> str:
    with tempfile.TemporaryDirectory(prefix="v2g") as folder:
        core = CoreSite(Path(folder))
        socket = Path(folder) / "local.sock"
        try:
            with fault.start(core):
                began_s = time.monotonic()
                wait_until(lambda: f"! {fault.code}: " in edgectl_on(socket, "status").stdout, fault.code, 60)
                took_s = time.monotonic() - began_s
                doctor = said_by_doctor(edgectl_on(socket, "doctor", "--json").stdout, fault.doctor)
                explained = catalogue.find(fault.code)
        finally:
            core.close()
    assert explained is not None
    said = f"`explain {fault.code}`: {explained.meaning}"
    return row("–", fault.title, fault.code, said, doctor.replace(str(folder), "…"), took_s)


def sentence(text: str, part: str) -> str:
    """What stands around `part`, up to the marks that edgectl sets between its statements."""
    for mark in (" · ", " → ", " next when ", " age ", " binds ", " asked ", " told ", " state ", " LEFT AFTER "):
        text = text.replace(mark, "\n" + mark.removeprefix(" next ") if "when" in mark else "\n")
    line = next(line for line in text.splitlines() if part in line)
    return re.split(r" \d [a-z ]+ \*?\d+ W | \d$", line)[0].strip()  # the head of the chain's next row


def row(number: str, title: str, code: str, said: str, doctor: str, took_s: float) -> str:
    return f"| {number} | {title} | `{code}` | {said} | {doctor} | {took_s:.1f} |\n"


def main() -> int:
    page = HEAD.format(machine=f"{platform.system()} {platform.release()}, {platform.machine()}")
    for line in site_rows():
        print(line, end="", flush=True)
        page += line
    for fault in OWN_FAULTS:
        line = own_row(fault)
        print(line, end="", flush=True)
        page += line
    PAGE.write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
