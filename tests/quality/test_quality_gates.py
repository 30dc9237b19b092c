"""The fast form of the quality gates; `make quality` runs them in full."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.quality import coverage, misra, mutation
from tools.quality.core import LIMITS
from tools.quality.mutants import Mutant, Mutator
from tools.quality.mutation import ANSWERS, Verdict
from tools.quality.planted import PLANTED

pytestmark = pytest.mark.timeout(600)


def test_every_branch_and_condition_of_the_core_is_covered():
    coverage.test()


def test_a_branch_that_no_test_takes_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(coverage, "PROGRAMS", (LIMITS,))
    holes = list(coverage.missing(coverage.decisions(coverage.measure(tmp_path))))
    assert any(place.startswith("enforce.c:") and text == "given_w != work->want_w is never true" for place, text in holes)


def test_no_enabled_misra_rule_is_broken_and_planted_violations_are_found():
    misra.test(fast=True)


def test_a_planted_violation_that_is_not_found_is_reported(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(misra, "PLANTED", {"14.4": PLANTED["15.6"]})
    assert misra.planted_but_not_found() == ["14.4"]


def test_a_sample_of_all_small_changes_of_the_core_is_noticed():
    mutation.test(fast=True)


def test_a_mutant_that_nobody_notices_is_listed_or_reported_and_no_other_is_listed():
    missed, harmless, dead, listed_and_dead, unjudged = (
        Mutant(number, "a.c", number, "f", "a < b", number, "<", ">") for number in range(1, 6)
    )
    verdicts = [Verdict(missed, None), Verdict(harmless, None), Verdict(dead, "limits")]
    verdicts += [Verdict(listed_and_dead, "limits"), Verdict(unjudged, ANSWERS)]
    assert mutation.complaints(verdicts, {harmless.name, listed_and_dead.name}) == [
        f"{missed}: nothing notices it",
        f"{listed_and_dead}: listed as equivalent, but limits notices it",
        f"{unjudged}: it only changes what the random runs answer",
    ]


def test_code_inside_the_guard_of_a_header_is_changed_too(tmp_path: Path):
    header = tmp_path / "h.h"
    header.write_text("#ifndef H\n#define H\nstatic inline int f(int a) {\n    return a < 1 ? a + a : -a;\n}\n#endif\n")
    mutator = Mutator()
    assert mutator.rewrite(header).count("V2G_MUTANT(") == 1 + len(mutator.mutants)
    assert {(m.function, m.original, m.mutated) for m in mutator.mutants} >= {
        ("f", "a < 1", "a <= 1"),
        ("f", "a < 1", "a >= 1"),
        ("f", "1", "1 + 1"),
        ("f", "a + a", "a - a"),
    }
