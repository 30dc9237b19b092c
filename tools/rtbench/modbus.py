"""Writes the table of figures in docs/modbus.md from docs/bench/modbus.json.

Usage: python -m tools.rtbench.modbus [KEPT] – with KEPT (build/bench/summary.json after `make bench`) the figures are taken
from there first.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FIGURES = ROOT / "docs/bench/modbus.json"
PAGE = ROOT / "docs/modbus.md"
BEGIN, END = "<!-- figures: python -m tools.rtbench.modbus -->", "<!-- end of figures -->"
ARMS = {
    "engine": "this engine",
    "bare": "a loop that only sends and receives",
    "libmodbus": "libmodbus, a thread per device",
    "pymodbus": "pymodbus on uvloop",
    "pymodbus_asyncio": "pymodbus on asyncio",
}
RATIOS = {
    "bare": "engine_over_bare",
    "libmodbus": "libmodbus_over_engine",
    "pymodbus": "pymodbus_over_engine",
    "pymodbus_asyncio": "pymodbus_asyncio_over_engine",
}


def _compared(figures: Mapping[str, Any], arm: str) -> str:
    if arm not in RATIOS:
        return "–"
    ratio = figures[RATIOS[arm]]
    return f"the engine costs {ratio:.2f} times as much" if arm == "bare" else f"costs {ratio:.1f} times as much"


def table(figures: Mapping[str, Any]) -> str:
    machine, found = figures["machine"], figures["modbus"]
    rows = [f"{machine['cpu']}, {machine['cpus']} cores, Linux {machine['kernel']}, shared with other work:", ""]
    rows += ["| a poll of 20 registers | CPU µs | compared, median of the rounds |", "|---|---|---|"]
    for arm, title in ARMS.items():
        rows.append(f"| {title} | {found['cpu_ns_per_poll'][arm] / 1000:.1f} | {_compared(found, arm)} |")
    rows += ["", "| devices polled every 10 ms from one core | late polls, % | load of that core |", "|---|---|---|"]
    for devices, late in found["late_percent"].items():
        rows.append(f"| {devices} | {late:.2f} | {found['core_load'][devices]:.2f} |")
    line = found["line"]
    bauds = list(line["over_tcp"])
    rows += ["", f"| use of a line ÷ its computed limit | {' | '.join(f'{baud} baud' for baud in bauds)} |"]
    rows.append("|---|" + "---|" * len(bauds))
    for how, title in (("pseudo_terminal", "paced line on a pseudo-terminal"), ("over_tcp", "the same line over TCP")):
        rows.append(f"| {title} | {' | '.join(format(line[how][baud]['use_of_limit'], '.3f') for baud in bauds)} |")
    return "\n".join(rows)


def renewed(page: str, figures: Mapping[str, Any]) -> str:
    """The page with its generated part replaced."""
    before, rest = page.split(BEGIN)
    return before + BEGIN + "\n" + table(figures) + "\n" + END + rest.split(END)[1]


def take(summary: Path) -> None:
    """Keep what the table shows of a run of `make bench`."""
    found = json.loads(summary.read_text())
    kept = {key: value for key, value in found["modbus"].items() if key != "runs"}
    FIGURES.write_text(json.dumps({"machine": found["machine"], "modbus": kept}, indent=1) + "\n")


def main(arguments: Sequence[str]) -> None:
    for path in arguments:
        take(Path(path))
    PAGE.write_text(renewed(PAGE.read_text(), json.loads(FIGURES.read_text())))


if __name__ == "__main__":
    main(sys.argv[1:])
