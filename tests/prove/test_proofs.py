"""The quick proofs of the safety core and what the runner of the proofs must refuse; `make prove` runs them all."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.timeout(600)
def test_the_quick_proofs_hold_and_find_their_planted_bugs() -> None:
    done = subprocess.run([ROOT / "tools/prove", "--fast"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((ROOT / "build/prove/fast.json").read_text())
    assert summary["twins_failed_as_planted"] == summary["twins_total"] > 0
    assert summary["random_violations"] == 0 and summary["random_moving_percent"] > 0


def test_a_proof_that_does_not_exist_is_named() -> None:
    done = subprocess.run([ROOT / "tools/prove", "no_such_proof"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "no_such_proof" in done.stderr
