"""What CI runs, as .ci/run says."""

from __future__ import annotations

import re
from pathlib import Path

RUN = Path(__file__).resolve().parents[2] / ".ci" / "run"


def gates() -> list[str]:
    """Its make targets; each stands there with the minutes after which it is stopped."""
    found = re.search(r"^gates=\((.*?)\)", RUN.read_text(), re.MULTILINE)
    assert found
    return [gate.split(":")[0] for gate in found[1].split()]
