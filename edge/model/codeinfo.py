"""What the catalogue says of one code."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How serious a condition is; also the exit code of edgectl."""

    OK = "ok"
    """Normal operation: a limit doing its work."""
    DEGRADED = "degraded"
    """The site is safe but does less than it should; somebody should look."""
    FAULT = "fault"
    """Something is stopped until a person acts."""


LEVELS = (Level.OK, Level.DEGRADED, Level.FAULT)
"""From good to bad; the index is edgectl's exit code."""


@dataclass(frozen=True, slots=True)
class CodeInfo:
    """`row` of the constraint chain (architecture.md section 6); 0: a rule under the chain, None: no reason of a setpoint."""

    code: str
    title: str
    row: int | None
    level: Level
    meaning: str
    cause: str
    remedy: str
    loosens: str
    """What happens next: when the limit goes away."""
