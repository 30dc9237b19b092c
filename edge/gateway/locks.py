"""Lock-outs (row 7) that survive a restart: one small JSON file, written before the lock is promised."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from edge.gateway.errors import GatewayError

UNREADABLE = "lock file"
"""In whose name everything is locked while the file can't be read."""


@dataclass(frozen=True, slots=True)
class Lock:
    evse: str
    by: str
    reason: str
    since_ms: int
    """Unix UTC."""


class Locks:
    """The lock-outs of the site; every padlock is one person's."""

    def __init__(self, folder: Path) -> None:
        """GatewayError when the folder can't be written; a file that can't be read locks everything (`unreadable` says why)."""
        self._path = folder / "locks.json"
        self.unreadable = ""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._locks = self._read()
            if not self.unreadable:
                self._write(self._locks)
        except OSError as err:
            remedy = "let the service write there (StateDirectory=v2g-edge), or name another local.state_dir"
            raise GatewayError(f"{self._path}: {err.strerror}: {remedy}") from err

    def _read(self) -> tuple[Lock, ...]:
        if not self._path.exists():
            return ()
        try:
            return tuple(Lock(**entry) for entry in json.loads(self._path.read_text())["locks"])
        except (ValueError, TypeError, KeyError) as err:
            self.unreadable = (
                f"{self._path}: not a list of locks ({err}): every EVSE stays locked; repair or remove it, then restart"
            )
            return ()

    def _write(self, locks: tuple[Lock, ...]) -> None:
        temporary = self._path.with_suffix(".new")
        with temporary.open("w") as file:
            json.dump({"locks": [asdict(lock) for lock in locks]}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self._path)

    def all(self) -> tuple[Lock, ...]:
        return self._locks

    def of(self, evse_id: str) -> tuple[Lock, ...]:
        return tuple(lock for lock in self._locks if lock.evse == evse_id)

    def add(self, lock: Lock) -> None:
        """Replaces the same person's older lock of this EVSE. GatewayError when it can't be made durable."""
        self._change((*self._without(lock.evse, lock.by), lock))

    def remove(self, evse_id: str, by: str) -> bool:
        """False: `by` holds no lock there."""
        left = self._without(evse_id, by)
        if left == self._locks:
            return False
        self._change(left)
        return True

    def _without(self, evse_id: str, by: str) -> tuple[Lock, ...]:
        return tuple(lock for lock in self._locks if (lock.evse, lock.by) != (evse_id, by))

    def _change(self, locks: tuple[Lock, ...]) -> None:
        if self.unreadable:
            raise GatewayError(self.unreadable)
        try:
            self._write(locks)
        except OSError as err:
            raise GatewayError(f"{self._path}: {err.strerror}: free space or repair the disk; nothing was changed") from err
        self._locks = locks
