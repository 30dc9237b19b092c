"""What every quality gate shares: which files are the safety core, which programs test it, how a command is run."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.summary import merge

ROOT = Path(__file__).resolve().parents[2]
NATIVE = ROOT / "native"
BUILD = ROOT / "build" / "quality"
SUMMARY = ROOT / "build" / "prove"
SITE = ("grid", "share_out", "site", "track")
"""Site control: nothing else trusts it; held to the same gates."""
CORE = tuple(NATIVE / "core" / f"{name}.c" for name in ("enforce", "feeder", "estimate", "seal", "state", "check", *SITE))
HEADER = NATIVE / "core" / "chain.h"
FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-I", str(NATIVE / "include"))


@dataclass(frozen=True, slots=True)
class Program:
    """A test program of the core and the arguments of its short run."""

    name: str
    source: Path
    arguments: tuple[str, ...] = ()


LIMITS = Program("limits", NATIVE / "tests" / "test_limits.c")
EDGES = Program("edges", NATIVE / "tests" / "test_edges.c")
ENFORCE = Program("enforce", NATIVE / "tests" / "test_enforce.c")
GRID = Program("grid", NATIVE / "tests" / "test_grid.c")
GRID_EDGES = Program("grid_edges", NATIVE / "tests" / "test_grid_edges.c")
SHARE_EDGES = Program("share_edges", NATIVE / "tests" / "test_share_edges.c")
SITE_RULES = Program("site_rules", NATIVE / "tests" / "test_site_rules.c")
TRACK_EDGES = Program("track_edges", NATIVE / "tests" / "test_track_edges.c")
SITE_RUN = Program("site_run", NATIVE / "proof" / "site_run.c", ("1", "300000"))
PROPOSE_EDGES = Program("propose_edges", NATIVE / "tests" / "test_propose_edges.c")
RANDOM = Program("random_run", NATIVE / "proof" / "random_run.c", ("1", "300000"))


class QualityError(Exception):
    """A gate that does not hold, or a tool that failed."""


def run(command: list[str | Path], **environment: str) -> str:
    """Standard output of a command; its error output becomes the message when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, check=False)
    if done.returncode:
        raise QualityError(f"{' '.join(str(word) for word in command[:4])} … failed:\n{(done.stderr or done.stdout)[-2000:]}")
    return done.stdout


def report(name: str, figures: dict[str, Any], **merged: Any) -> None:
    """Write build/prove/NAME.json and merge its key figures into build/prove/summary.json."""
    SUMMARY.mkdir(parents=True, exist_ok=True)
    (SUMMARY / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n")
    merge(SUMMARY / "summary.json", name, merged)
