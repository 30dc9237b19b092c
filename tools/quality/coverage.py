"""Branch and MC/DC coverage of the safety core by its C tests and random runs, measured by clang-19: no exceptions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.quality.core import (
    BUILD,
    CORE,
    EDGES,
    ENFORCE,
    FLAGS,
    GRID,
    GRID_EDGES,
    LIMITS,
    NATIVE,
    PROPOSE_EDGES,
    RANDOM,
    SHARE_EDGES,
    SITE_RULES,
    SITE_RUN,
    TRACK_EDGES,
    Program,
    QualityError,
    report,
    run,
)

PROGRAMS = (LIMITS, EDGES, ENFORCE, RANDOM, GRID, GRID_EDGES, SHARE_EDGES, TRACK_EDGES, PROPOSE_EDGES, SITE_RULES, SITE_RUN)


@dataclass(slots=True)
class Decisions:
    """Of one source file: each branch outcome and each condition's independence, covered in any of its instances."""

    source: list[str]
    branches: dict[tuple[str, str], bool] = field(default_factory=dict)
    conditions: dict[tuple[str, str], bool] = field(default_factory=dict)

    def text(self, line: int, column: int, end_line: int, end_column: int) -> str:
        lines = self.source[line - 1 : end_line]
        lines[-1] = lines[-1][: end_column - 1]
        lines[0] = lines[0][column - 1 :]
        return " ".join(" ".join(lines).split())

    def add_branch(self, record: list[int]) -> None:
        where = f"{record[0]}:{record[1]}", self.text(*record[:4])
        for outcome, count in (("true", record[4]), ("false", record[5])):
            key = where[0], f"{where[1]} is never {outcome}"
            self.branches[key] = self.branches.get(key, False) or count > 0

    def add_decision(self, record: list[Any]) -> None:
        for k, covered in enumerate(record[-1]):
            key = f"{record[0]}:{record[1]}", f"condition {k + 1} of {self.text(*record[:4])}"
            self.conditions[key] = self.conditions.get(key, False) or covered


def measure(folder: Path) -> dict[str, Any]:
    """Build and run the test programs with counters; llvm-cov's export."""
    folder.mkdir(parents=True, exist_ok=True)
    flags = [*FLAGS, "-fprofile-instr-generate", "-fcoverage-mapping", "-fcoverage-mcdc", "-O1", "-g"]
    objects = {path: folder / f"{path.stem}.o" for path in CORE}

    def profile(program: Program) -> Path:
        binary, counted = folder / program.name, folder / f"{program.name}.profraw"
        run(["clang-19", *flags, program.source, *objects.values(), "-o", binary])
        run([binary, *program.arguments], LLVM_PROFILE_FILE=str(counted))
        return counted

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda path: run(["clang-19", *flags, "-c", path, "-o", objects[path]]), CORE))
        profiles = list(pool.map(profile, PROGRAMS))
    merged = folder / "all.profdata"
    run(["llvm-profdata-19", "merge", "-o", merged, *profiles])
    binaries: list[str | Path] = [folder / PROGRAMS[0].name]
    for program in PROGRAMS[1:]:
        binaries += ["-object", folder / program.name]
    text = run(["llvm-cov-19", "export", *binaries, f"-instr-profile={merged}", NATIVE / "core"])
    export: dict[str, Any] = json.loads(text)["data"][0]
    return export


def decisions(export: dict[str, Any]) -> dict[str, Decisions]:
    """By file name, from the functions' records: an inline function of a header counts once, not once per user."""
    found: dict[str, Decisions] = {}
    for function in export["functions"]:
        for name in function["filenames"][:1]:
            path = Path(name)
            if path.parent.name != "core":
                continue
            per_file = found.setdefault(path.name, Decisions(path.read_text().splitlines()))
            for record in function["branches"]:
                per_file.add_branch(record)
            for record in function.get("mcdc_records", []):
                per_file.add_decision(record)
    return found


def missing(found: dict[str, Decisions]) -> Iterator[tuple[str, str]]:
    """What is not covered: a place, and what never happens there."""
    for name, per_file in sorted(found.items()):
        for (where, text), covered in {**per_file.branches, **per_file.conditions}.items():
            if not covered:
                yield f"{name}:{where}", text


def percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 2)


def test() -> None:
    """Raises when a branch or condition isn't covered."""
    found = decisions(measure(BUILD / "coverage"))
    gaps = [f"{place}  {text}" for place, text in missing(found)]
    branches = [covered for per_file in found.values() for covered in per_file.branches.values()]
    conditions = [covered for per_file in found.values() for covered in per_file.conditions.values()]
    figures = {
        "branches": len(branches),
        "branch_percent": percent(sum(branches), len(branches)),
        "mcdc_conditions": len(conditions),
        "mcdc_percent": percent(sum(conditions), len(conditions)),
        "missing": gaps,
    }
    report("coverage", figures, branch_percent=figures["branch_percent"], mcdc_percent=figures["mcdc_percent"])
    print(f"coverage: branches {figures['branch_percent']} %, MC/DC {figures['mcdc_percent']} %")
    if gaps:
        raise QualityError("not covered:\n  " + "\n  ".join(gaps))
