"""Notices become events when they come and when they go, so that log and history know of them, too."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edge.local.documents import Notice

TOLD_ELSEWHERE = frozenset(
    {"BUS_DOWN", "STALE_METER", "GUARD_LOST", "SAFE", "CYCLE_STOPPED", "ERR_SIG_TIMEOUT", "NOT_REALTIME", "GUARD_OFF", "HUB"}
)
"""These have events of their own, or stand from start to end."""


class NoticeWatch:
    """Tells of a notice that stands at two looks in a row, and once more when it is gone."""

    def __init__(self, tell: Callable[[Notice, bool], None]) -> None:
        """`tell`: a notice, and whether it is over."""
        self._tell = tell
        self._seen: frozenset[str] = frozenset()
        self._told: dict[str, Notice] = {}

    def look(self, notices: Sequence[Notice]) -> None:
        """`notices`: all that stand now; those of a healthy site (level ok) are no news."""
        now = {n["code"]: n for n in notices if n["level"] != "ok" and n["code"] not in TOLD_ELSEWHERE}
        for code in self._told.keys() - now.keys():
            self._tell(self._told.pop(code), True)
        for code in self._seen & (now.keys() - self._told.keys()):
            self._tell(now[code], False)
            self._told[code] = now[code]
        self._seen = frozenset(now)
