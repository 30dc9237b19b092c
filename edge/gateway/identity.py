"""Who this process is: what doesn't change while it runs, and the config's hash."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Identity:
    boot: str
    started_ns: int
    """CLOCK_MONOTONIC."""
    config_hash: str
