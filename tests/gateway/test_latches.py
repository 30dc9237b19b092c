from __future__ import annotations

from pathlib import Path

from edge.core.core import KeptLatches
from edge.gateway.latches import Latches


def test_a_latched_evse_is_still_latched_for_the_next_process(tmp_path: Path) -> None:
    Latches(tmp_path).keep(KeptLatches({"evse-1": 4}, damaged=True))
    assert Latches(tmp_path).kept == KeptLatches({"evse-1": 4}, damaged=True)


def test_nothing_was_latched_at_the_very_first_start(tmp_path: Path) -> None:
    assert Latches(tmp_path).kept == KeptLatches()


def test_a_file_that_cant_be_read_latches_everything(tmp_path: Path) -> None:
    for text in ("", "[]", '{"evses": 3}', '{"evses": {"evse-1": "x"}, "damaged": false}'):
        (tmp_path / "latches.json").write_text(text)
        assert Latches(tmp_path).kept.unreadable


def test_a_full_disk_is_told_once_and_stops_nothing(tmp_path: Path, caplog: object) -> None:
    latches = Latches(tmp_path / "missing")
    latches.keep(KeptLatches({"evse-1": 4}))
    latches.keep(KeptLatches({"evse-1": 8}))
    assert len(caplog.records) == 1  # type: ignore[attr-defined]
