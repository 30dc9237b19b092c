"""SQLite files of the uplink: opened for one owner, put aside when damaged."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

_LOG = logging.getLogger("v2g.uplink.storage")


def open_database(path: Path, timeout_s: float = 5.0) -> sqlite3.Connection:
    """A database in WAL mode, every commit on the disk, transactions by hand, locked for everybody else.

    Only one connection may write and checkpoint (the WAL-reset bug of SQLite before 3.51.3), so each file has one owner.
    Raises sqlite3.Error.
    """
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=timeout_s)
    try:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
    except sqlite3.Error:
        db.close()
        raise
    return db


def open_or_quarantine(
    path: Path, prepare: Callable[[sqlite3.Connection], None], timeout_s: float = 5.0, check_up_to_bytes: int | None = None
) -> tuple[sqlite3.Connection, Path | None]:
    """Open and prepare a database; put a damaged file aside and begin a new one. Returns also where the old one went.
    Raises sqlite3.Error for what a new file can't mend: no permission, no room, another owner.

    The check reads the whole file; `check_up_to_bytes` leaves it out for a larger one (None: always check)."""
    check = check_up_to_bytes is None or not path.exists() or path.stat().st_size <= check_up_to_bytes
    try:
        return _prepared(path, prepare, timeout_s, check=check), None
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:  # "malformed", "not a database"
        aside = path.with_name(f"{path.name}.damaged-{time.time_ns() // 1_000_000}")
        path.rename(aside)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        _LOG.error("%s is damaged (%s): put aside as %s, a new one begins", path, error, aside.name)
        return _prepared(path, prepare, timeout_s, check=True), aside


def _prepared(
    path: Path, prepare: Callable[[sqlite3.Connection], None], timeout_s: float, *, check: bool
) -> sqlite3.Connection:
    db = open_database(path, timeout_s)
    try:
        verdict = db.execute("PRAGMA quick_check").fetchone()[0] if check else "ok"
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        prepare(db)
    except sqlite3.Error:
        db.close()
        raise
    return db
