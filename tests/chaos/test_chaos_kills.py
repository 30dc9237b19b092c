"""The short form of `make chaos`."""

from pathlib import Path

from tests.chaos.kills import kill_often


def test_a_gateway_that_is_killed_at_any_instant_does_nothing_twice_and_loses_nothing(tmp_path: Path) -> None:
    figures = kill_often(tmp_path, kills=25)
    assert figures["applied"] > 10 and figures["events_safe"] > 10
    wrong = ("applied_twice", "acked_not_remembered", "acks_that_changed", "events_lost", "damaged_files")
    assert {name: figures[name] for name in wrong} == dict.fromkeys(wrong, 0)
