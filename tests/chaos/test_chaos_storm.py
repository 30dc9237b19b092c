"""The short form of `make chaos`: bad links, a killed broker, a full or read-only disk, clock steps, an old certificate."""

from pathlib import Path

from tests.chaos.storm import MUST_BE_ZERO, PHASES, storm


def test_whatever_happens_outside_nothing_is_lost_or_done_twice_and_control_goes_on(tmp_path: Path) -> None:
    figures = storm(tmp_path, hold_s=0.4)
    assert {name: figures[name] for name in MUST_BE_ZERO} == dict.fromkeys(MUST_BE_ZERO, 0)
    assert figures["disk_full_alarms"] == 1
    assert len(figures["phases_s"]) == len(PHASES)
