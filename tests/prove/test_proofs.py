"""The quick proofs of the safety core and what the runner of the proofs must refuse; `make prove` runs them all."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tools.prove import PROPERTIES, load
from tools.summary import merge

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


def test_safety_md_names_each_property_with_exactly_its_proofs_and_their_tools() -> None:
    rows = re.findall(r"^\| ([PS]\d+) \| .* \| (.*) \|$", (ROOT / "native/SAFETY.md").read_text(), re.MULTILINE)
    said = {
        name: {
            (tool.strip().lower(), proof)
            for tool, proofs in re.findall(r"([\w-]+): ([^;]*)", re.sub(r"\([^)]*\)", "", text))
            for proof in re.findall(r"\w+", proofs)
        }
        for name, text in rows
        if text and ":" in text
    }
    stands = {name: {(p.tool, p.name) for p in load()[0] if name in p.properties} for name in PROPERTIES}
    assert said == stands


def test_gates_that_fill_one_summary_leave_each_other_s_figures_alone(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    merge(path, "prove", {"properties_proven": 14, "random_steps": 1})
    merge(path, "coverage", {"mcdc_percent": 100.0})
    merge(path, "prove", {"properties_proven": 15})
    summary = json.loads(path.read_text())
    assert {key: value for key, value in summary.items() if key != "measured"} == {
        "properties_proven": 15,
        "random_steps": 1,
        "mcdc_percent": 100.0,
    }
    assert set(summary["measured"]) == {"prove", "coverage"}
