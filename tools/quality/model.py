"""Core and Python model compared, and the properties judged, on random sites: 10^6 EVSE-steps of hypothesis, on all processors.

Only steps on which both agreed are counted (tests/model/test_reference.py). Each process has a seed of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tools.quality.core import BUILD, ROOT, QualityError, report

WANTED = int(os.environ.get("MODEL_STEPS", 1_000_000))
SEEDS = range(1, 1 + (os.cpu_count() or 1))


@dataclass(frozen=True, slots=True)
class Share:
    """What one process has counted, and the end of what it printed when it failed."""

    evse_steps: int
    moving: int
    failure: str


def walk(seed: int, folder: Path) -> Share:
    figures = folder / f"{seed}.json"
    figures.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--hypothesis-seed={seed}"]
    environment = {"MODEL_EVSE_STEPS": str(WANTED // len(SEEDS)), "MODEL_FIGURES": str(figures)}
    done = subprocess.run(
        [*command, "tests/model/test_reference.py"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | environment,
        check=False,
    )
    counted = json.loads(figures.read_text()) if figures.exists() else {"evse_steps": 0, "moving": 0}
    return Share(**counted, failure=(done.stdout + done.stderr)[-3000:] if done.returncode else "")


def test() -> None:
    """Raises when core and model differ, a property doesn't hold, or fewer steps were taken than promised."""
    folder = BUILD / "model"
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with ThreadPoolExecutor() as pool:
        shares = list(pool.map(lambda seed: walk(seed, folder), SEEDS))
    failures = [f"seed {seed}:\n{share.failure}" for seed, share in zip(SEEDS, shares, strict=True) if share.failure]
    steps = sum(share.evse_steps for share in shares)
    figures = {
        "evse_steps": steps,
        "moving": sum(share.moving for share in shares),
        "seeds": list(SEEDS),
        "failed_seeds": len(failures),
        "seconds": round(time.monotonic() - began, 1),
    }
    report("model", figures, model_evse_steps=steps, model_violations=len(failures))
    print(f"model: {steps} EVSE-steps on which core and model agree and every property holds, {len(failures)} failures")
    if failures:
        raise QualityError("\n".join(failures))
    if steps < WANTED:
        raise QualityError(f"{steps} EVSE-steps instead of {WANTED}: lower STEPS_PER_EXAMPLE")
