"""IEEE 1547 behaviour equals OpenDER's: trips, cessation, entering service and droop (vectors as `make opender` makes them)."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from edge.config.gridcode import PROFILES
from tests.gridcode.compare import compare_all, grid_config, run_core
from tests.gridcode.make_vectors import FREQUENCY, LIMITS

VECTORS = Path(__file__).with_name("opender_vectors.jsonl.xz")


def test_every_difference_from_opender_has_its_explanation() -> None:
    with lzma.open(VECTORS, "rt") as file:
        total, found = compare_all(file)
    assert total == 1200
    assert found["unexplained"] == 0, found


@pytest.mark.parametrize("category", ["CAT_I", "CAT_II", "CAT_III"])
def test_the_vectors_use_the_profiles_own_limits(category: str) -> None:
    profile = PROFILES["ieee1547-cat" + str(len(category.removeprefix("CAT_")))]
    trips = [stage.limit for stage in profile.voltage if not stage.cease]
    assert sorted(trips) == sorted(LIMITS[category].values())
    assert sorted(stage.limit for stage in profile.frequency) == sorted(hz for hz, _ in FREQUENCY.values())


def test_a_trace_without_a_disturbance_changes_nothing() -> None:
    steps = run_core({"category": "CAT_III", "segments": [(100, 1.0, 60.0)]})
    assert not any(step.tripped or step.ceased or step.response for step in steps)
    assert grid_config("CAT_I").trips == 1
