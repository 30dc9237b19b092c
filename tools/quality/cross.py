"""The same answers from every compiler and processor: gcc and clang at -O0, -O2, -O3, and gcc for aarch64 under qemu-user.

Each build runs the same random sites; its digest covers every setpoint and everything remembered.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tools.quality.core import BUILD, CORE, FLAGS, RANDOM, QualityError, report, run

FULL_STEPS, FAST_STEPS = int(os.environ.get("CROSS_STEPS", 10_000_000)), 300_000
SEED = "11"


@dataclass(frozen=True, slots=True)
class Build:
    """One compiler with one optimisation, and what runs its programs."""

    compiler: str
    level: str
    runner: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.compiler} {self.level}"


NATIVE_BUILDS = tuple(Build(compiler, level) for compiler in ("gcc", "clang-19") for level in ("-O0", "-O2", "-O3"))
ARM = Build("aarch64-linux-gnu-gcc", "-O2", ("qemu-aarch64",), ("-static",))


def answers(build: Build, steps: int, folder: Path) -> dict[str, str | int]:
    """What one build says: its digest and the number of EVSE-steps."""
    binary = folder / f"{build.compiler}{build.level}"
    run([build.compiler, build.level, *build.extra, *FLAGS, RANDOM.source, *CORE, "-o", binary])
    said: dict[str, str | int] = json.loads(run([*build.runner, binary, SEED, str(steps)]))
    return {"build": str(build), "evse_steps": said["evse_steps"], "digest": said["digest"]}


def test(fast: bool = False) -> None:
    """Raises when two builds answer differently."""
    folder = BUILD / "cross"
    folder.mkdir(parents=True, exist_ok=True)
    steps = FAST_STEPS if fast else FULL_STEPS
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda build: answers(build, steps, folder), (*NATIVE_BUILDS, ARM)))
    digests = {result["digest"] for result in results}
    report("cross", {"identical": len(digests) == 1, "seed": SEED, "builds": results}, cross_identical=len(digests) == 1)
    print(f"cross: {len(results)} builds, {results[0]['evse_steps']} EVSE-steps each, {len(digests)} different answers")
    if len(digests) != 1:
        raise QualityError("\n  ".join(f"{result['build']}: {result['digest']}" for result in results))
