"""One log line when something starts to happen, then counts: a flood must not wear out the flash (lessons.md, EVerest#523)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

REPEAT_S = 600.0
"""A kind that goes on happening is told again, with its count, at most this often."""


class QuietLog:
    """Logs by kind; `kind` must come from the program, never from a message, so that the table stays small."""

    def __init__(self, logger: logging.Logger, now_s: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._now_s = now_s
        self._told_s: dict[str, float] = {}
        self._untold: dict[str, int] = {}
        self.counts: dict[str, int] = {}
        """How often each kind happened since the start."""

    def warning(self, kind: str, text: str) -> None:
        """Count `kind`; write a line when it is new or was last told 10 minutes ago."""
        now_s = self._now_s()
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if kind in self._told_s and now_s - self._told_s[kind] < REPEAT_S:
            self._untold[kind] = self._untold.get(kind, 0) + 1
            return
        self._told_s[kind] = now_s
        more = self._untold.pop(kind, 0)
        self._logger.warning("%s: %s%s", kind, text[:300], f" (and {more} more since the last line)" if more else "")
