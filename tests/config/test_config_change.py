"""A reload says what it changes, and what that takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.config import Settings, load
from edge.config.change import Effect, diff, without_secrets

EXAMPLES = Path(__file__).parents[2] / "examples"


def settings_of(tmp_path: Path, old: str = "", new: str = "") -> Settings:
    text = (EXAMPLES / "config.yaml").read_text()
    assert old in text
    path = tmp_path / "config.yaml"
    path.write_text(text.replace(old, new, 1))
    return load(path, files=False)


def test_the_same_file_changes_nothing(tmp_path):
    assert diff(settings_of(tmp_path), settings_of(tmp_path)) == []


@pytest.mark.parametrize(
    ("old", "new", "text", "effect"),
    [
        ("min_soc_threshold: 30", "min_soc_threshold: 35", "limits.min_soc_threshold: 30 → 35", Effect.LIVE),
        ("rating_a: 63", "rating_a: 50", "feeders[row-a].rating_a: 63 → 50", Effect.LIVE),
        ("node: 2", "node: 3", "evses[evse-2].node: 2 → 3", Effect.NEW_SESSION),
        ("period: 10ms", "period: 20ms", "cycle.period: 10ms → 20ms", Effect.RESTART),
        ("channel: can0", "channel: can1", "buses[can0].channel: can0 → can1", Effect.RESTART),
        ("port: 8883", "port: 8884", "uplink.port: 8883 → 8884", Effect.LIVE),
    ],
)
def test_a_change_names_key_values_and_effect(tmp_path, old, new, text, effect):
    (change,) = diff(settings_of(tmp_path), settings_of(tmp_path, old, new))
    assert str(change) == f"{text} ({effect})"
    assert change.effect is effect


def test_a_new_evse_is_applied_live(tmp_path):
    line = "  - {id: evse-3, bus: can0, dbc: evse-generic, node: 3, feeder: row-a, rating_w: 11000}\n\nuplink:"
    changes = diff(settings_of(tmp_path), settings_of(tmp_path, "\nuplink:", line))
    assert changes
    assert all(c.effect is Effect.LIVE and c.key.startswith("evses[evse-3].") for c in changes)


def test_shown_settings_do_not_tell_where_the_key_is(tmp_path):
    shown = without_secrets(settings_of(tmp_path))
    assert shown["uplink"]["key"] == "(set)"
    assert shown["cycle"]["period"] == "10ms"
    assert shown["evses"][0]["min_soc_threshold"] == 40
