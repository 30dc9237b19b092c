"""History is kept until the aggregator has it, within bounds, and every loss is counted."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.uplink import Outbox, UplinkError

NOW_MS = 1_764_000_000_000
HOUR_MS = 3_600_000


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    outbox = Outbox(tmp_path / "outbox.db", NOW_MS)
    yield outbox
    outbox.close()


def add(outbox: Outbox, kind: str, *texts: str, ts_ms: int = NOW_MS) -> None:
    for text in texts:
        outbox.add(kind, ts_ms, {"text": text})
    outbox.flush(NOW_MS)


def texts(outbox: Outbox, max_bytes: int = 100_000) -> list[str]:
    history = outbox.batch(max_bytes)
    return [] if history is None else [record.details()["text"] for record in history.records]


def test_records_come_out_oldest_first_and_stay_until_the_watermark(outbox: Outbox) -> None:
    add(outbox, "event", "a", "b", "c")
    history = outbox.batch(100_000)
    assert history is not None and history.first == NOW_MS
    assert texts(outbox) == ["a", "b", "c"]
    assert outbox.confirm(history.records[1].seq) == 2
    assert texts(outbox) == ["c"]


def test_a_batch_is_as_large_as_the_link_bears_but_never_empty(outbox: Outbox) -> None:
    add(outbox, "event", *[str(n) * 50 for n in range(9)])
    assert len(texts(outbox, 200)) == 2
    assert len(texts(outbox, 1)) == 1


def test_what_was_flushed_survives_and_numbering_goes_on(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "o.db", NOW_MS)
    add(outbox, "event", "a", "b")
    outbox.confirm(NOW_MS + 1)
    outbox.close()
    outbox = Outbox(tmp_path / "o.db", 5)
    add(outbox, "event", "c")
    history = outbox.batch(1000)
    assert history is not None and history.first == NOW_MS + 2
    outbox.close()


def test_old_aggregates_go_after_72_hours_but_events_and_sessions_stay(outbox: Outbox) -> None:
    for kind in ("agg60", "energy15", "event", "session"):
        add(outbox, kind, kind, ts_ms=NOW_MS)
    outbox.flush(NOW_MS + 73 * HOUR_MS)
    assert texts(outbox) == ["event", "session"]
    assert outbox.dropped == {"agg60": 1, "energy15": 1}


def test_without_room_aggregates_go_first_and_sessions_last_and_the_loss_is_a_record(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "o.db", NOW_MS, max_bytes=40_000)
    for kind in ("session", "event", "agg60"):
        add(outbox, kind, *[f"{kind} {n}" for n in range(150)])
    for n in range(6):
        add(outbox, "event", *[f"more {n} {m}" for m in range(100)])
    history = outbox.batch(10**9)
    assert history is not None
    kinds = [record.kind for record in history.records]
    assert kinds.count("session") == 150 and kinds.count("agg60") == 0
    assert outbox.dropped["agg60"] == 150 and outbox.dropped["event"] > 0 and "session" not in outbox.dropped
    reported = [r.details()["dropped"] for r in history.records if r.details().get("event") == "OUTBOX_DROPPED"]
    assert reported
    assert sum(len(str(r.details())) for r in history.records) < 60_000


def test_a_watermark_from_another_life_deletes_nothing(outbox: Outbox) -> None:
    add(outbox, "event", "a", "b")
    assert outbox.confirm(NOW_MS + 1_000_000) == 0
    history = outbox.batch(1000)
    assert history is not None and history.first == NOW_MS + 1_000_001
    assert texts(outbox) == ["a", "b"]


def test_a_full_disk_keeps_the_records_in_memory_and_they_are_written_later(outbox: Outbox) -> None:
    pages = outbox._db.execute("PRAGMA page_count").fetchone()[0]
    outbox._db.execute(f"PRAGMA max_page_count = {pages}")
    for n in range(200):
        outbox.add("event", NOW_MS, {"text": f"{n} " + "x" * 200})
    with pytest.raises(UplinkError, match="full"):
        outbox.flush(NOW_MS)
    assert outbox.error and outbox.pending == 200
    outbox._db.execute("PRAGMA max_page_count = 1000000")
    outbox.flush(NOW_MS)
    assert not outbox.error and outbox.pending == 0 and outbox.stored() == 200


def test_a_read_only_outbox_raises_and_keeps_everything(outbox: Outbox) -> None:
    outbox._db.execute("PRAGMA query_only = 1")
    outbox.add("event", NOW_MS, {"text": "a"})
    with pytest.raises(UplinkError):
        outbox.flush(NOW_MS)
    outbox._db.execute("PRAGMA query_only = 0")
    outbox.flush(NOW_MS)
    assert texts(outbox) == ["a"]


def test_memory_is_bounded_while_the_disk_cannot_be_written(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.uplink.outbox.MAX_PENDING", 10)
    outbox.add("session", NOW_MS, {"text": "settlement"})
    for n in range(30):
        outbox.add("agg60", NOW_MS, {"text": str(n)})
    assert outbox.pending == 10 and outbox.dropped == {"agg60": 21}
    outbox.flush(NOW_MS)
    history = outbox.batch(10_000)
    assert history is not None and history.records[0].kind == "session"
    assert history.records[-1].details()["dropped"] == {"agg60": 21}


@pytest.mark.parametrize("details", [{"x": object()}, {"x": 2**70}, {"text": "x" * 20_000}])
def test_a_record_that_cannot_be_written_is_counted_and_stops_nothing(outbox: Outbox, details: dict[str, object]) -> None:
    outbox.add("event", NOW_MS, details)
    outbox.add("event", -5, {"text": "a time before 1970"})
    add(outbox, "event", "good")
    assert outbox.dropped == {"event": 2}
    history = outbox.batch(1000)
    assert history is not None and [r.details().get("text") for r in history.records] == ["good", None]


def test_state_is_saved_together_with_the_records(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "o.db", NOW_MS)
    outbox.flush(NOW_MS, {"sessions": b"open"})
    outbox.close()
    outbox = Outbox(tmp_path / "o.db", NOW_MS)
    assert outbox.load("sessions") == b"open" and outbox.load("other") is None
    outbox.close()


def test_a_damaged_file_is_put_aside_and_history_goes_on(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "o.db", NOW_MS)
    add(outbox, "event", *["x" * 500] * 50)
    outbox.close()
    data = bytearray((tmp_path / "o.db").read_bytes())
    data[100:9000] = b"\xff" * 8900
    (tmp_path / "o.db").write_bytes(data)
    outbox = Outbox(tmp_path / "o.db", NOW_MS + 5)
    add(outbox, "event", "new")
    assert texts(outbox) == ["new"] and "damaged" in outbox.quarantined
    outbox.close()


def test_an_outbox_without_a_place_is_a_start_up_error_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(UplinkError, match=r"o\.db can't be opened"):
        Outbox(tmp_path / "missing" / "o.db", NOW_MS)


def test_a_commit_is_on_the_disk_before_flush_returns(outbox: Outbox) -> None:
    assert outbox._db.execute("PRAGMA synchronous").fetchone() == (2,)
    with pytest.raises(sqlite3.OperationalError):
        sqlite3.connect(outbox._path, timeout=0.05).execute("SELECT count(*) FROM record")
