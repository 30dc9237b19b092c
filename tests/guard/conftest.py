from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "guard"), str(TESTS / "core"), str(TESTS / "modbus")]

from core_site import CoreSite  # noqa: E402


@pytest.fixture
def core_site() -> Iterator[CoreSite]:
    with tempfile.TemporaryDirectory(prefix="v2g") as folder:
        site = CoreSite(Path(folder))
        yield site
        site.close()
