"""The history of faults on disk: what went wrong, and when it was over, also of the time before a restart.

JSON lines in the state folder, bounded, the newest last. What binds a healthy EVSE is left out, and of each kind only so many
are written in a row: a flapping cable must not wear out a flash disk. Every event goes to the log and to the uplink.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge.gateway.logs import KindRate
from edge.local.view import Event

LOG = logging.getLogger("v2g.faults")

KEPT = 500
LINES = 2 * KEPT
"""So many lines make the file be written anew with the newest `KEPT`."""
BURST, PERIOD_S = 20, 60.0
HEALTHY_KIND = "reason"
RESERVED = 1000
"""Event numbers are promised in blocks: after a restart they go on above every number that anybody has seen."""


class Faults:
    """What is remembered over restarts. A file that can't be read or written costs history, never the gateway."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "faults.jsonl"
        self._rate = KindRate(BURST, PERIOD_S)
        self._bound: set[str] = set()
        """EVSEs bound by a fault: the next good word about them is its end."""
        self._failed = False
        self._promised = 0
        self._events: deque[Event] = deque(maxlen=KEPT)
        entries = self._read()
        for entry in entries:
            self._take(entry)
        self._lines = len(entries)
        self.first_seq = self._promised + 1

    @property
    def events(self) -> Sequence[Event]:
        return self._events

    def add(self, event: Event) -> None:
        """Keep it, unless it only says what binds a healthy EVSE. The number is promised in any case."""
        if event.seq > self._promised:
            self._promised = event.seq + RESERVED
            self._append({"promised": self._promised})
        if event.kind == HEALTHY_KIND:
            before = event.subject in self._bound
            (self._bound.discard if event.level == "ok" else self._bound.add)(event.subject)
            if event.level == "ok" and not before:
                return
        if self._rate.take((event.subject, event.code)) is None:
            return
        self._events.append(event)
        self._append(asdict(event))

    def _read(self) -> list[dict[str, Any]]:
        try:
            lines = self._path.read_text().splitlines()
        except OSError:
            return []
        entries = []
        for line in lines:
            try:
                entries.append(json.loads(line))
            except ValueError:  # the power failed while it was written
                continue
        return entries

    def _take(self, entry: dict[str, Any]) -> None:
        try:
            if "promised" in entry:
                self._promised = max(self._promised, int(entry["promised"]))
            else:
                self._events.append(Event(**entry))
        except (TypeError, ValueError):  # of another version
            return

    def _append(self, entry: dict[str, Any]) -> None:
        try:
            if self._lines >= LINES:
                self._write_anew()
            with self._path.open("a") as file:
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")
            self._lines += 1
            self._failed = False
        except OSError as err:
            if not self._failed:
                LOG.warning("%s: %s: faults from now on are forgotten at the next restart", self._path, err.strerror)
            self._failed = True

    def _write_anew(self) -> None:
        entries: list[dict[str, Any]] = [{"promised": self._promised}, *(asdict(event) for event in self._events)]
        temporary = self._path.with_suffix(".new")
        temporary.write_text("".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries))
        temporary.rename(self._path)
        self._lines = len(entries)
