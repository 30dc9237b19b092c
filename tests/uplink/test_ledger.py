"""The ledger remembers what was obeyed, for as long as it must and no longer."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.uplink import CommandLedger, MemoryLedger, SqliteLedger, UplinkError
from edge.uplink.ledger import Entry

HOUR_MS = 3_600_000


@pytest.fixture(params=["memory", "sqlite"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> CommandLedger:
    return MemoryLedger(max_entries=3) if request.param == "memory" else SqliteLedger(tmp_path / "l.db", max_entries=3)


def test_an_accepted_command_is_found_with_its_latest_ack(ledger: CommandLedger) -> None:
    ledger.accept("a", 7, Entry(b"digest", b"ack"), 0)
    ledger.update_ack("a", b"fuller ack")
    ledger.update_ack("unknown", b"x")
    assert ledger.find("a") == Entry(b"digest", b"fuller ack")
    assert ledger.find("unknown") is None
    assert ledger.highest_seq() == 7


def test_the_number_of_entries_is_bounded_and_the_oldest_goes_first(ledger: CommandLedger) -> None:
    for seq in range(1, 8):
        ledger.accept(f"id-{seq}", seq, Entry(b"", b""), seq)
    assert [seq for seq in range(1, 8) if ledger.find(f"id-{seq}")] == [5, 6, 7]
    assert ledger.highest_seq() == 7


def test_ids_are_forgotten_after_the_replay_window_but_the_highest_seq_never(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "l.db")
    ledger.accept("old", 50, Entry(b"", b""), 0)
    ledger.accept("new", 9, Entry(b"", b""), 25 * HOUR_MS)
    ledger.close()
    ledger = SqliteLedger(tmp_path / "l.db")
    assert ledger.find("old") is None and ledger.find("new") is not None
    assert ledger.highest_seq() == 50


def test_the_ledger_writes_through_to_the_disk_before_it_returns(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "l.db")
    assert ledger._db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert ledger._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_damaged_ledger_is_put_aside_and_a_new_one_begins(tmp_path: Path) -> None:
    (tmp_path / "l.db").write_bytes(b"this is no database at all" * 100)
    ledger = SqliteLedger(tmp_path / "l.db")
    ledger.accept("a", 1, Entry(b"", b""), 0)
    assert len(list(tmp_path.glob("l.db.damaged-*"))) == 1


def test_a_ledger_without_a_place_is_a_start_up_error_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(UplinkError, match=r"l\.db can't be opened"):
        SqliteLedger(tmp_path / "missing" / "l.db")


def test_a_second_process_cannot_open_the_same_ledger(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "l.db")
    ledger.accept("a", 1, Entry(b"", b""), 0)
    with pytest.raises(UplinkError, match="locked"):
        SqliteLedger(tmp_path / "l.db", timeout_s=0.05)
