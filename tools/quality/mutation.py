"""Mutation testing of the safety core: every small change of it must be noticed.

A mutant is killed when a test fails, when an answer differs from the one on which the core and the Python model agreed, or
when a random run breaks a property. One that nothing notices is listed in native/proof/EQUIVALENT.md, with the reason why
it can't be noticed, or a gap. A mutant that only changes the random runs' answers is a gap: nobody has said which one is right.
"""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tools.quality.core import (
    BUILD,
    CORE,
    EDGES,
    ENFORCE,
    FLAGS,
    GRID,
    GRID_EDGES,
    HEADER,
    LIMITS,
    NATIVE,
    PROPOSE_EDGES,
    SHARE_EDGES,
    SITE,
    TRACK_EDGES,
    Program,
    QualityError,
    report,
    run,
)
from tools.quality.mutants import Mutant, Mutator

EQUIVALENT = NATIVE / "proof" / "EQUIVALENT.md"
VECTORS = "vectors.bin"
SEED = "1"
FULL_EXAMPLES, FAST_EXAMPLES = 500, 60
FAST_SAMPLE = 48
MISSED_ONE_IN = 7
TOLD_EVERY = 400
ANSWERS = "answers"
"""Only the answers of the random runs are different: nobody has said that they are wrong."""
SWITCH = """#include <stdlib.h>
int v2g_mutant;
__attribute__((constructor)) static void choose(void) {
    const char *number = getenv("V2G_MUTANT");
    v2g_mutant = number == NULL ? 0 : atoi(number);
}
"""
REPLAY = Program("replay", NATIVE / "proof" / "replay.c", (VECTORS,))
RANDOM = Program("random_run", NATIVE / "proof" / "random_run.c", ("1", "60000"))
PROGRAMS = (LIMITS, EDGES, REPLAY, ENFORCE, RANDOM)
"""The fastest first: a mutant is dead with the first program that notices it."""
SITE_PROGRAMS = (GRID_EDGES, SHARE_EDGES, TRACK_EDGES, PROPOSE_EDGES, GRID)
"""Of site control's mutants."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which program noticed the mutant, and how; None: nobody did."""

    mutant: Mutant
    program: str | None


def build(folder: Path) -> list[Mutant]:
    """Compile the core with all its mutants and link the test programs; returns the mutants."""
    folder.mkdir(parents=True, exist_ok=True)
    mutator = Mutator()
    sources = [(folder / path.name, mutator.rewrite(path)) for path in (HEADER, *CORE)]
    sources.append((folder / "switch.c", SWITCH))
    for path, text in sources:
        path.write_text(text)
    # Overflow, shifts and table ends are noticed too; a mutant that hits one is dead.
    flags = [*FLAGS, "-O1", "-w", "-fsanitize=undefined,bounds-strict", "-fsanitize-undefined-trap-on-error"]
    objects = [folder / f"{path.stem}.o" for path, _ in sources if path.suffix == ".c"]
    commands: list[list[str | Path]] = []
    for path in objects:
        commands.append(["gcc", *flags, "-I", folder, "-I", NATIVE / "core", "-c", path.with_suffix(".c"), "-o", path])
    links: list[list[str | Path]] = []
    for program in (*PROGRAMS, *SITE_PROGRAMS):
        links.append(["gcc", *flags, "-I", folder, program.source, *objects, "-o", folder / program.name])
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, commands))
        list(pool.map(run, links))
    return mutator.mutants


def answer(folder: Path, program: Program, number: int, timeout_s: float) -> tuple[int, str]:
    """Exit code and digest of the output of one program with one mutant active; a mutant that hangs is code -1."""
    command: list[str | Path] = [folder / program.name, *program.arguments]
    environment = os.environ | {"V2G_MUTANT": str(number)}
    try:
        done = subprocess.run(command, capture_output=True, env=environment, cwd=folder, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        return -1, ""
    return done.returncode, hashlib.sha256(done.stdout).hexdigest()


def programs_of(mutant: Mutant) -> tuple[Program, ...]:
    return SITE_PROGRAMS if Path(mutant.file).stem in SITE else PROGRAMS


def judge(folder: Path, mutant: Mutant, healthy: dict[Program, tuple[str, float]]) -> Verdict:
    other_answers = False
    for program in programs_of(mutant):
        digest, timeout_s = healthy[program]
        code, found = answer(folder, program, mutant.number, timeout_s)
        if code != 0:
            return Verdict(mutant, program.name)
        other_answers = other_answers or found != digest
    return Verdict(mutant, ANSWERS if other_answers else None)


def healthy_answers(folder: Path) -> dict[Program, tuple[str, float]]:
    """Digest of each program without a mutant, and the time after which a mutant hangs."""
    found = {}
    for program in (*PROGRAMS, *SITE_PROGRAMS):
        began = time.monotonic()
        code, digest = answer(folder, program, 0, 600)
        if code != 0:
            raise QualityError(f"{program.name} fails without any mutant: exit code {code}")
        found[program] = digest, 5 + 20 * (time.monotonic() - began)
    return found


def record_vectors(folder: Path, examples: int) -> None:
    """What core and model answer alike on random sites, for replay; raises where they differ."""
    run([sys.executable, "-m", "tests.model.vectors", folder / VECTORS, str(examples), SEED])


def equivalents() -> set[str]:
    """The mutants that EQUIVALENT.md lists; their lines begin with a dash."""
    lines = EQUIVALENT.read_text().splitlines() if EQUIVALENT.exists() else []
    return {line[3 : line.rindex("`")] for line in lines if line.startswith("- `")}


def too_many_missed(verdicts: list[Verdict], listed: set[str]) -> list[str]:
    """The fast form has few vectors: it complains only when more than one in MISSED_ONE_IN is not noticed."""
    missed = complaints([v for v in verdicts if v.program in (None, ANSWERS)], listed)
    return missed if len(missed) * MISSED_ONE_IN > len(verdicts) else []


def complaints(verdicts: list[Verdict], listed: set[str]) -> list[str]:
    """What is wrong: a mutant that nobody notices and nobody lists, or one that is listed and noticed all the same."""
    alive = {v.mutant.name for v in verdicts if v.program in (None, ANSWERS)}
    found = []
    for v in verdicts:
        if v.mutant.name in alive - listed:
            how = "it only changes what the random runs answer" if v.program == ANSWERS else "nothing notices it"
            found.append(f"{v.mutant}: {how}")
        elif v.mutant.name in listed - alive:
            found.append(f"{v.mutant}: listed as equivalent, but {v.program} notices it")
    return found


def sample(mutants: list[Mutant]) -> list[Mutant]:
    """Some mutants, others in each run; MUTATION_SEED repeats a run."""
    seed = int(os.environ.get("MUTATION_SEED") or random.randrange(1_000_000))
    print(f"mutation: {FAST_SAMPLE} of {len(mutants)} mutants, MUTATION_SEED={seed}", flush=True)
    return random.Random(seed).sample(mutants, FAST_SAMPLE)


def judged(folder: Path, mutants: list[Mutant]) -> Iterator[Verdict]:
    """The verdict on each mutant, on all processors; tells how far it is."""
    healthy = healthy_answers(folder)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, verdict in enumerate(pool.map(lambda mutant: judge(folder, mutant, healthy), mutants), 1):
            yield verdict
            if done % TOLD_EVERY == 0:
                print(f"mutation: {done} of {len(mutants)}", flush=True)


def test(fast: bool = False) -> None:
    """Judge every mutant, or a sample; raises when there is a complaint, or EQUIVALENT.md lists what is gone."""
    began = time.monotonic()
    folder = BUILD / ("mutation_fast" if fast else "mutation")
    mutants = build(folder)
    record_vectors(folder, FAST_EXAMPLES if fast else FULL_EXAMPLES)
    listed = equivalents()
    verdicts = list(judged(folder, sample(mutants) if fast else mutants))
    killed = [v.program for v in verdicts if v.program not in (None, ANSWERS)]
    wrong = too_many_missed(verdicts, listed) if fast else complaints(verdicts, listed)
    wrong += [
        f"EQUIVALENT.md: there is no such mutant: {name}" for name in sorted(listed - {mutant.name for mutant in mutants})
    ]
    figures = {
        "mutants_all": len(mutants),
        "mutants_total": len(verdicts),
        "mutants_killed": len(killed),
        "mutants_equivalent": sum(v.program in (None, ANSWERS) and v.mutant.name in listed for v in verdicts),
        "killed_by": dict(Counter(killed)),
        "seconds": round(time.monotonic() - began, 1),
        "complaints": wrong,
    }
    keys = ("mutants_total", "mutants_killed", "mutants_equivalent")
    report("mutation_fast" if fast else "mutation", figures, **({} if fast else {key: figures[key] for key in keys}))
    print("mutation: " + ", ".join(f"{figures[key]} {key.removeprefix('mutants_')}" for key in keys))
    if wrong:
        raise QualityError("\n  ".join(["", *wrong]))
