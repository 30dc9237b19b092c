"""What enforce() costs per EVSE, counted by valgrind: instructions depend on no clock and on no other load.

A site of 64 EVSEs is brought into a state and kept there for two lengths of time; the difference leaves out the start. The
figures of the sites are those of the code as it is built, where the whole chain is one function; the figures of the rows come
from a build that calls each row, so their sum is more.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tools.quality.core import BUILD, FLAGS, NATIVE, QualityError, report, run

EVSES = 64
CYCLES = (20, 70)
PROGRAM = NATIVE / "bench" / "bench_enforce.c"
OTHERS = tuple(NATIVE / "core" / f"{name}.c" for name in ("estimate", "state", "check"))
APART = ("seal", "feeder", "enforce")
ROW = re.compile(r"^static (?=(?:void|int32_t|struct spoken) (?:row_\w+|track_\w+|spoken|chain|choose|decide)\()", re.MULTILINE)

TARGET = 400
"""What the project's numbers ask for, for a site at rest."""

SITES = {"steady": 950, "tree": 1090, "hot": 1000, "silent": 830, "worst": 1140, "narrow": 1550}
"""Budget per EVSE of each site of bench_enforce.c; `tree` and `narrow` spread the cost of 32 feeders over their 64 EVSEs."""

ROWS = {
    "ages": (("enforce", "v2g_enforce", "known_fields", "fresh_fields"), 175),
    "track": (("track", "track_link", "track_session", "track_balance", "track_following"), 145),
    "row 1 rating": (("row_rating", "of_session"), 64),
    "row 2 soc": (("row_soc",), 55),
    "row 3 thermal": (("row_thermal", "track_heat", "derated_w", "temperature_known"), 145),
    "row 4 grid": (("row_grid", "known_reason"), 10),
    "row 5 feeders": (
        ("v2g_feeders_", "row_meter", "book_", "watch_", "flow", "find_room", "add_lanes", "sub_lanes", "max_lanes"),
        265,
    ),
    "row 6 leases": (("spoken", "row_leases"), 46),
    "row 7 lock-out": (("row_lockout",), 5),
    "row 8 ramp": (("row_ramp",), 30),
    "setpoint": (("chain", "choose", "decide", "deliverable_w", "mode_of", "note", "note_result"), 290),
    "self-check": (("sealed", "v2g_evse_seal", "v2g_feeder_seal", "complement_sum", "v2g_setpoints_hold"), 60),
}
"""Of a site at rest: the functions that belong to a row (a trailing _ stands for all that begin so), and its budget."""


def build(name: str, sources: Iterable[Path]) -> Path:
    """The counting program with the core as given."""
    folder = BUILD / "instructions"
    include = ("-I", NATIVE / "core", "-I", NATIVE / "tests")
    run(["gcc", *FLAGS, *include, "-O2", "-g", "-fno-strict-aliasing", PROGRAM, *sources, *OTHERS, "-o", folder / name])
    return folder / name


def apart() -> list[Path]:
    """Copies of the chain's files in which no row is inlined."""
    copies = []
    for name in APART:
        copies.append(BUILD / "instructions" / f"{name}.c")
        copies[-1].write_text(ROW.sub("static __attribute__((noinline)) ", (NATIVE / "core" / f"{name}.c").read_text()))
    return copies


def counts(program: Path, site: str, cycles: int) -> Counter[str]:
    """Instructions of each function during all calls of v2g_enforce."""
    with tempfile.NamedTemporaryFile() as out:
        tool = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out.name}", "--toggle-collect=v2g_enforce"]
        run([*tool, program, site, str(cycles)])
        lines = Path(out.name).read_text().splitlines()
    names: dict[str, str] = {}
    found: Counter[str] = Counter()
    here, call = "", False
    for line in lines:
        if named := re.match(r"c?fn=\((\d+)\)(?: (.*))?", line):
            name = names.setdefault(named[1], (named[2] or "").split("'")[0])
            here = name if line.startswith("fn") else here
        elif line.startswith("calls="):
            call = True  # the next line tells what the called function cost; it tells so itself
        elif cost := re.fullmatch(r"[+\-*\d]\S* (\d+)", line):
            found[here] += 0 if call else int(cost[1])
            call = False
    return found


def per_evse(program: Path, site: str) -> Counter[str]:
    """Instructions of each function per EVSE and cycle."""
    short, long = (counts(program, site, cycles) for cycles in CYCLES)
    divisor = EVSES * (CYCLES[1] - CYCLES[0])
    return Counter({name: (long[name] - short[name]) / divisor for name in long})


def of_row(functions: Iterable[str], name: str) -> bool:
    plain = name.split(".")[0]
    return any(plain.startswith(f) if f.endswith("_") else plain == f for f in functions)


def measure() -> dict[str, object]:
    """`steady`, `worst` (of all sites), `sites`, `per_row`, each with its budget beside it."""
    (BUILD / "instructions").mkdir(parents=True, exist_ok=True)
    whole = build("whole", [NATIVE / "core" / "whole_chain.c"])
    sites = {site: round(sum(per_evse(whole, site).values()), 1) for site in SITES}
    functions = per_evse(build("apart", apart()), "steady")
    rows = {row: round(sum(n for name, n in functions.items() if of_row(names, name)), 1) for row, (names, _) in ROWS.items()}
    unnamed = {
        name: round(n, 1) for name, n in functions.items() if n > 1 and not any(of_row(r[0], name) for r in ROWS.values())
    }
    if unnamed:
        raise QualityError(f"tools/quality/instructions.py: ROWS doesn't say to which row these functions belong: {unnamed}")
    return {
        "steady": sites["steady"],
        "worst": max(sites.values()),
        "target": TARGET,
        "sites": sites,
        "per_row": rows,
        "budget": {"sites": SITES, "per_row": {row: budget for row, (_, budget) in ROWS.items()}},
    }


def test() -> None:
    """Raises when a site or a row needs more than its budget."""
    figures = measure()
    sites, rows = figures["sites"], figures["per_row"]
    assert isinstance(sites, dict) and isinstance(rows, dict)
    report("instructions", figures, instructions_per_evse=figures)
    print(f"instructions: {figures['steady']} per EVSE at rest (target {TARGET}), {figures['worst']} at worst")
    budgets = SITES | {row: budget for row, (_, budget) in ROWS.items()}
    over = [f"{name}: {n}, budget {budgets[name]}" for name, n in {**sites, **rows}.items() if n > budgets[name]]
    if over:
        raise QualityError("more instructions per EVSE than budgeted:\n  " + "\n  ".join(over))
