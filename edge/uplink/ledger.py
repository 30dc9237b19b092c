"""Which commands were obeyed: the memory that makes a repeat harmless, across restarts.

A command is written here, durably, before anything acts on it. A repeat finds its entry and gets the same ack.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edge.uplink.errors import UplinkError
from edge.uplink.storage import open_or_quarantine

REPLAY_WINDOW_MS = 24 * 3600 * 1000
"""How long a command's id is remembered (numbers.md); the highest sequence number is remembered for ever."""

MAX_ENTRIES = 100_000
"""Bound on the ids that are remembered: more than one a second for the whole window."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An accepted command: the digest of its signed body and the ack as it was last sent."""

    digest: bytes
    ack: bytes


class CommandLedger(Protocol):
    """Remembers accepted commands. Calls come from one thread at a time; any may raise UplinkError when storage fails."""

    def find(self, command_id: str) -> Entry | None:
        """The entry of a command id that was accepted within the replay window."""

    def highest_seq(self) -> int:
        """The highest accepted sequence number ever; 0: none."""

    def accept(self, command_id: str, seq: int, entry: Entry, now_ms: int) -> None:
        """Remember a command; durable when this returns."""

    def update_ack(self, command_id: str, ack: bytes) -> None:
        """Replace the ack, which got more stamps."""

    def close(self) -> None:
        """Release the storage."""


class MemoryLedger:
    """For tests and for gateways without storage: forgets at restart."""

    def __init__(self, max_entries: int = 10_000) -> None:
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._max_entries = max_entries
        self._highest_seq = 0

    def find(self, command_id: str) -> Entry | None:
        return self._entries.get(command_id)

    def highest_seq(self) -> int:
        return self._highest_seq

    def accept(self, command_id: str, seq: int, entry: Entry, now_ms: int) -> None:
        self._entries[command_id] = entry
        self._highest_seq = max(self._highest_seq, seq)
        while len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)

    def update_ack(self, command_id: str, ack: bytes) -> None:
        entry = self._entries.get(command_id)
        if entry is not None:
            self._entries[command_id] = Entry(entry.digest, ack)

    def close(self) -> None:
        self._entries.clear()


class LostLedger:
    """Stands for a ledger whose disk can't be used: no command is obeyed, everything else goes on. Raises UplinkError."""

    def __init__(self, why: str) -> None:
        self.why = why

    def find(self, command_id: str) -> Entry | None:
        raise UplinkError(self.why)

    def highest_seq(self) -> int:
        raise UplinkError(self.why)

    def accept(self, command_id: str, seq: int, entry: Entry, now_ms: int) -> None:
        raise UplinkError(self.why)

    def update_ack(self, command_id: str, ack: bytes) -> None:
        raise UplinkError(self.why)

    def close(self) -> None:
        """Nothing is open."""


class SqliteLedger:
    """The durable ledger: one file, one connection of one process, WAL, every commit on the disk before it returns.

    A damaged file is put aside: a new ledger is safe, because a command older than its reception window is refused anyway.
    """

    def __init__(
        self,
        path: Path,
        replay_window_ms: int = REPLAY_WINDOW_MS,
        max_entries: int = MAX_ENTRIES,
        timeout_s: float = 5.0,
    ) -> None:
        self._path = path
        self._replay_window_ms = replay_window_ms
        self._max_entries = max_entries
        try:
            self._db, _ = open_or_quarantine(path, self._prepare, timeout_s)
            row = self._db.execute("SELECT seq FROM highest").fetchone()
            self._count: int = self._db.execute("SELECT count(*) FROM command").fetchone()[0]
        except (sqlite3.Error, OSError) as error:
            raise self._failed("can't be opened", error) from error
        self._highest_seq: int = row[0] if row else 0

    @staticmethod
    def _prepare(db: sqlite3.Connection) -> None:
        db.execute(
            "CREATE TABLE IF NOT EXISTS command (id TEXT PRIMARY KEY, seq INTEGER NOT NULL, received_ms INTEGER NOT NULL, "
            "digest BLOB NOT NULL, ack BLOB NOT NULL) WITHOUT ROWID, STRICT"
        )
        db.execute("CREATE INDEX IF NOT EXISTS command_received ON command (received_ms)")
        db.execute("CREATE TABLE IF NOT EXISTS highest (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL) STRICT")

    def find(self, command_id: str) -> Entry | None:
        try:
            row = self._db.execute("SELECT digest, ack FROM command WHERE id = ?", (command_id,)).fetchone()
        except sqlite3.Error as error:
            raise self._failed("can't be read", error) from error
        return Entry(*row) if row else None

    def highest_seq(self) -> int:
        return self._highest_seq

    def accept(self, command_id: str, seq: int, entry: Entry, now_ms: int) -> None:
        highest = max(self._highest_seq, seq)
        try:
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                old = self._db.execute("DELETE FROM command WHERE received_ms < ?", (now_ms - self._replay_window_ms,)).rowcount
                surplus = max(0, self._count - old + 1 - self._max_entries)
                self._db.execute(
                    "DELETE FROM command WHERE id IN (SELECT id FROM command ORDER BY received_ms LIMIT ?)", (surplus,)
                )
                self._db.execute(
                    "INSERT INTO command VALUES (?, ?, ?, ?, ?)", (command_id, seq, now_ms, entry.digest, entry.ack)
                )
                self._db.execute("INSERT OR REPLACE INTO highest VALUES (1, ?)", (highest,))
        except sqlite3.Error as error:
            raise self._failed("can't be written", error) from error
        self._highest_seq = highest
        self._count += 1 - old - surplus

    def update_ack(self, command_id: str, ack: bytes) -> None:
        try:
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                self._db.execute("UPDATE command SET ack = ? WHERE id = ?", (ack, command_id))
        except sqlite3.Error as error:
            raise self._failed("can't be written", error) from error

    def close(self) -> None:
        self._db.close()

    def _failed(self, what: str, error: Exception) -> UplinkError:
        return UplinkError(f"command ledger {self._path} {what}: {error}; no command is obeyed until the disk is in order")
