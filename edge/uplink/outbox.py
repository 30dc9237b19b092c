"""History that must not be lost: kept on disk until the aggregator says it stored it; a PUBACK is no receipt (mosquitto#1855).

Records wait in memory for the next `flush`, so that a day of history costs few disk writes. What doesn't fit is dropped in a
stated order (aggregates first, settlement last), counted, and reported as a record of its own.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack

from edge.uplink.errors import UplinkError
from edge.uplink.storage import open_or_quarantine
from edge.wire import History, Record

KEEP_MS = 72 * 3600 * 1000
MAX_BYTES = 512 * 1024 * 1024
"""numbers.md part 2."""

DROP_ORDER = ("agg60", "energy15", "event", "session")
"""Which kind goes first when there is no room; sessions are the settlement and go last."""

AGED_KINDS = ("agg60", "energy15")
"""What is also dropped by age; events and sessions only when there is no room."""

MAX_PENDING = 20_000
"""Records that may wait in memory while the disk can't be written."""

MAX_RECORD_BYTES = 16 * 1024
"""Largest record: a batch must hold one."""

CHECKED_BYTES = 64 * 1024 * 1024
"""A larger file is not checked through at the start, which must stay short; damage then shows when it is read."""

ROW_BYTES = 40
"""What SQLite keeps beside a record's own bytes: row header, columns, share of the page (estimate on the high side)."""

_LOG = logging.getLogger("v2g.uplink.outbox")


@dataclass(frozen=True, slots=True)
class _Row:
    ts: int
    kind: str
    details: bytes

    @property
    def size(self) -> int:
        return len(self.details) + ROW_BYTES


class Outbox:
    """One file with one owner. All methods but `add` wait for the disk: call them on the storage thread. Raises UplinkError
    when the file can't be opened.

    Sequence numbers begin at the wall clock's ms, so that an outbox that had to be made anew continues above the old one.
    """

    def __init__(self, path: Path, now_ms: int, keep_ms: int = KEEP_MS, max_bytes: int = MAX_BYTES) -> None:
        self._keep_ms = keep_ms
        self._max_bytes = max_bytes
        self._path = path
        self._pending: list[_Row] = []
        self._lock = threading.Lock()
        """Guards what `add` on the event loop shares with `flush` on the storage thread."""
        self.dropped: Counter[str] = Counter()
        """Records lost since the start, by kind."""
        self._unreported: Counter[str] = Counter()
        self.error = ""
        """Why the disk can't be written; empty: it can."""
        self.quarantined = ""
        """Where a damaged file was put aside at the start; empty: it was sound."""
        try:
            self._db, aside = open_or_quarantine(path, self._prepare, check_up_to_bytes=CHECKED_BYTES)
        except (sqlite3.Error, OSError) as error:
            raise UplinkError(f"outbox {path} can't be opened: {error}; give it a writable place of its own") from error
        if aside is not None:
            self.quarantined = str(aside)
        self._next_seq = self._first_free_seq(now_ms)
        self._bytes: int = self._db.execute(
            "SELECT coalesce(sum(length(details) + ?), 0) FROM record", (ROW_BYTES,)
        ).fetchone()[0]

    @staticmethod
    def _prepare(db: sqlite3.Connection) -> None:
        db.execute("CREATE TABLE IF NOT EXISTS record (seq INTEGER PRIMARY KEY, ts INTEGER, kind TEXT, details BLOB) STRICT")
        db.execute("CREATE INDEX IF NOT EXISTS record_kind ON record (kind, ts)")
        db.execute("CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value BLOB) STRICT")

    def _first_free_seq(self, now_ms: int) -> int:
        stored = self.load("next_seq")
        highest: int = self._db.execute("SELECT coalesce(max(seq), 0) FROM record").fetchone()[0]
        return max(int(stored) if stored else now_ms, highest + 1)

    def add(self, kind: str, ts_ms: int, details: Mapping[str, Any]) -> None:
        """Take a record; it is safe after the next `flush`. Never waits, never raises: one that can't be written as the
        contract says is dropped and counted, as it would stop everything behind it. `details` has no key seq, ts or kind."""
        try:
            Record.model_validate({**details, "seq": 0, "ts": ts_ms, "kind": kind})
            packed = msgpack.packb(dict(details))
        except (ValueError, TypeError, OverflowError) as error:
            packed = b""
            _LOG.error("a record of kind %.40s can't be written: %.200s", kind, error)
        with self._lock:
            if 0 < len(packed) <= MAX_RECORD_BYTES:
                self._pending.append(_Row(ts_ms, kind, packed))
                self._bound_pending()
            else:
                self._count_drop(kind[:48], 1)

    def _bound_pending(self) -> None:
        while len(self._pending) > MAX_PENDING:
            victim = min(range(len(self._pending)), key=lambda i: (_drop_rank(self._pending[i].kind), i))
            self._count_drop(self._pending.pop(victim).kind, 1)

    @property
    def pending(self) -> int:
        """Records that wait for the next flush."""
        return len(self._pending)

    def flush(self, now_ms: int, state: Mapping[str, bytes] | None = None) -> None:
        """Write what waits, and `state`, in one transaction; make room first. Raises UplinkError and keeps everything."""
        with self._lock:
            batch, self._pending = self._pending, []
            reported, self._unreported = self._unreported, Counter()
        rows = batch + _drop_report(reported, now_ms)
        try:
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                freed, lost = self._make_room(now_ms, sum(row.size for row in rows))
                numbered = [(self._next_seq + i, row.ts, row.kind, row.details) for i, row in enumerate(rows)]
                self._db.executemany("INSERT INTO record VALUES (?, ?, ?, ?)", numbered)
                saved = {**(state or {}), "next_seq": str(self._next_seq + len(rows)).encode()}
                self._db.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)", list(saved.items()))
        except sqlite3.Error as error:
            with self._lock:
                self._pending = batch + self._pending
                self._unreported += reported
                self._bound_pending()
            raise self._failed(error) from error
        self._recovered()
        self._next_seq += len(rows)
        self._bytes += sum(row.size for row in rows) - freed
        with self._lock:
            for kind, count in lost.items():
                self._count_drop(kind, count)

    def _make_room(self, now_ms: int, wanted: int) -> tuple[int, Counter[str]]:
        """Drop what is too old, then kind by kind the oldest until `wanted` bytes fit. Returns bytes and records dropped."""
        lost: Counter[str] = Counter()
        freed = 0
        for kind in AGED_KINDS:
            freed += self._delete("kind = ? AND ts < ?", (kind, now_ms - self._keep_ms), kind, lost)
        for kind in DROP_ORDER:
            while self._bytes - freed + wanted > self._max_bytes:
                gone = self._delete("seq IN (SELECT seq FROM record WHERE kind = ? ORDER BY ts LIMIT 100)", (kind,), kind, lost)
                if gone == 0:
                    break
                freed += gone
        return freed, lost

    def _delete(self, where: str, values: tuple[object, ...], kind: str, lost: Counter[str]) -> int:
        count, size = self._db.execute(
            f"SELECT count(*), coalesce(sum(length(details) + {ROW_BYTES}), 0) FROM record WHERE {where}", values
        ).fetchone()
        if count:
            self._db.execute(f"DELETE FROM record WHERE {where}", values)
            lost[kind] += count
        return int(size)

    def _count_drop(self, kind: str, count: int) -> None:
        self.dropped[kind] += count
        self._unreported[kind] += count

    def batch(self, max_bytes: int) -> History | None:
        """The oldest stored records, together about `max_bytes`; None: everything was confirmed. Raises UplinkError."""
        records: list[Record] = []
        size = 0
        try:
            for seq, ts, kind, details in self._db.execute("SELECT seq, ts, kind, details FROM record ORDER BY seq"):
                size += len(details) + ROW_BYTES
                if records and size > max_bytes:
                    break
                records.append(Record.model_validate({**msgpack.unpackb(details), "seq": seq, "ts": ts, "kind": kind}))
        except sqlite3.Error as error:
            raise self._failed(error) from error
        return History(first=records[0].seq, records=records) if records else None

    def confirm(self, watermark: int) -> int:
        """The aggregator stored everything up to `watermark`: delete it. Returns how many records. Raises UplinkError."""
        try:
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                if watermark >= self._next_seq:
                    self._renumber(watermark)
                    return 0
                lost: Counter[str] = Counter()
                freed = self._delete("seq <= ?", (watermark,), "confirmed", lost)
        except sqlite3.Error as error:
            raise self._failed(error) from error
        self._bytes -= freed
        return lost["confirmed"]

    def _renumber(self, watermark: int) -> None:
        """A watermark that we never reached: the file was made anew with a clock that was behind. Nothing of ours is stored
        there under these numbers, so continue above it instead of deleting."""
        rows = self._db.execute("SELECT ts, kind, details FROM record ORDER BY seq").fetchall()
        self._db.execute("DELETE FROM record")
        self._next_seq = watermark + 1
        numbered = [(self._next_seq + i, *row) for i, row in enumerate(rows)]
        self._db.executemany("INSERT INTO record VALUES (?, ?, ?, ?)", numbered)
        self._next_seq += len(rows)
        self._db.execute("INSERT OR REPLACE INTO state VALUES ('next_seq', ?)", (str(self._next_seq).encode(),))
        _LOG.warning("the aggregator's watermark %d is ahead of this outbox: continuing above it", watermark)

    def load(self, name: str) -> bytes | None:
        """A value that `flush` saved."""
        row = self._db.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
        return row[0] if row else None

    def trusted_ms(self) -> int:
        """The wall clock when it was last trusted and saved, Unix ms; 0: never."""
        saved = self.load("trusted_ms")
        return int(saved) if saved else 0

    def stored(self) -> int:
        """How many records are on the disk."""
        count: int = self._db.execute("SELECT count(*) FROM record").fetchone()[0]
        return count

    def close(self) -> None:
        self._db.close()

    def _failed(self, error: sqlite3.Error) -> UplinkError:
        if not self.error:
            _LOG.error("outbox %s can't be written: %s; control goes on, history waits in memory", self._path, error)
        self.error = str(error)
        return UplinkError(f"outbox {self._path} can't be written: {error}; free or repair the disk")

    def _recovered(self) -> None:
        if self.error:
            _LOG.warning("outbox %s can be written again", self._path)
        self.error = ""


def _drop_report(dropped: Counter[str], now_ms: int) -> list[_Row]:
    """The record that tells the aggregator what it will never get."""
    if not dropped:
        return []
    return [_Row(now_ms, "event", msgpack.packb({"event": "OUTBOX_DROPPED", "dropped": dict(dropped)}))]


def _drop_rank(kind: str) -> int:
    """Unknown kinds go with the first."""
    return DROP_ORDER.index(kind) if kind in DROP_ORDER else 0
