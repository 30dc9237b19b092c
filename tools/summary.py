"""One summary.json that several gates fill: each replaces its own figures, says when, and leaves the others' alone."""

from __future__ import annotations

import fcntl
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def merge(path: Path, gate: str, figures: dict[str, Any]) -> None:
    """Put the figures of a gate into the file; `measured` there says when each gate did so (UTC)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        text = file.read()
        summary: dict[str, Any] = json.loads(text) if text else {}
        measured = summary.get("measured", {}) | {gate: datetime.now(UTC).isoformat(timespec="seconds")}
        summary |= figures | {"measured": measured}
        file.seek(0)
        file.truncate()
        file.write(json.dumps(summary, indent=1) + "\n")
