"""Where the log goes: to the journal, and as JSON lines to the folder that systemd gives (LogsDirectory=, /var/log/v2g-edge).

One line of each kind now and then; what comes faster is counted, and the count stands on the next line of that kind. A flapping
bus must not wear out a flash disk or push everything else out of the log.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable
from logging.handlers import RotatingFileHandler
from pathlib import Path

from edge.model.when import utc_ms_text

FILE_BYTES, OLD_FILES = 2 * 1024 * 1024, 4
"""10 MiB in all."""
BURST, PERIOD_S = 20, 10.0
"""Of each kind so many lines at once, then one each so often."""
MAX_KINDS = 1024
PRIORITIES = ((logging.ERROR, "<3>"), (logging.WARNING, "<4>"), (logging.INFO, "<6>"))
"""sd-daemon(3): what the journal takes as the line's priority."""


class KindRate:
    """A token bucket for each kind; remembers a bounded number of kinds."""

    def __init__(self, burst: int, period_s: float, now_s: Callable[[], float] = time.monotonic) -> None:
        self._burst, self._period_s, self._now_s = float(burst), period_s, now_s
        self._kinds: dict[tuple[object, ...], tuple[float, float, int]] = {}

    def take(self, kind: tuple[object, ...]) -> int | None:
        """None: hold it back. Else how many of this kind were held back since the last one."""
        now_s = self._now_s()
        tokens, seen_s, held_back = self._kinds.pop(kind, (self._burst, now_s, 0))
        tokens = min(self._burst, tokens + (now_s - seen_s) / self._period_s)
        passes = tokens >= 1
        self._kinds[kind] = (tokens - 1, now_s, 0) if passes else (tokens, now_s, held_back + 1)
        if len(self._kinds) > MAX_KINDS:
            del self._kinds[next(iter(self._kinds))]
        return held_back if passes else None


class PerKind(logging.Filter):
    """Lets a bounded number of lines of each kind pass; serves several handlers with one verdict."""

    def __init__(self, rate: KindRate) -> None:
        super().__init__()
        self._rate = rate

    def filter(self, record: logging.LogRecord) -> bool:
        if not hasattr(record, "held_back"):
            record.held_back = self._rate.take(_kind(record))
        return record.held_back is not None  # type: ignore[attr-defined]


def _kind(record: logging.LogRecord) -> tuple[object, ...]:
    """An event's kind is its subject and code; of all else the text before its values were put in."""
    return (record.name, *getattr(record, "event", (record.msg,))[:2])


def _text(record: logging.LogRecord) -> str:
    more = getattr(record, "held_back", 0)
    return record.getMessage() + (f" (and {more} more of this kind since the last line)" if more else "")


class JournalLine(logging.Formatter):
    """For people; under systemd with the priority in front, so that `journalctl -p warning` finds what matters."""

    def __init__(self, for_journal: bool) -> None:
        super().__init__()
        self._for_journal = for_journal

    def format(self, record: logging.LogRecord) -> str:
        line = f"{record.levelname} {record.name}: {_text(record)}"
        if record.exc_info:
            line += f"\n{self.formatException(record.exc_info)}"
        if not self._for_journal:
            return line
        priority = next((text for level, text in PRIORITIES if record.levelno >= level), "<7>")
        return "\n".join(priority + part for part in line.splitlines())


class JsonLine(logging.Formatter):
    """For programs: one object a line; of an event its subject and code, too."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "ts": utc_ms_text(int(record.created * 1000)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "text": record.getMessage(),
        }
        if event := getattr(record, "event", None):
            entry |= dict(zip(("subject", "code", "text"), event, strict=True))
        if more := getattr(record, "held_back", 0):
            entry["held_back"] = more
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


class LogFile(RotatingFileHandler):
    """Bounded; a disk that is full costs lines, never the gateway."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=FILE_BYTES, backupCount=OLD_FILES, encoding="utf-8", delay=True)

    def handleError(self, record: logging.LogRecord) -> None:
        """The journal has the line as well."""


def set_up(verbose: bool, folders: str | None = None) -> None:
    """`folders`: what systemd says in $LOGS_DIRECTORY; nothing: to stderr alone."""
    journal = logging.StreamHandler(sys.stderr)
    journal.setFormatter(JournalLine(for_journal="JOURNAL_STREAM" in os.environ))
    handlers: list[logging.Handler] = [journal]
    if folders:
        file = LogFile(Path(folders.split(":")[0]) / "v2g-edge.jsonl")
        file.setFormatter(JsonLine())
        handlers.append(file)
    quiet = PerKind(KindRate(BURST, PERIOD_S))
    root = logging.getLogger()
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    for handler in handlers:
        handler.addFilter(quiet)
        root.addHandler(handler)
