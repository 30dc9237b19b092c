from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from core_site import CoreSite


@pytest.fixture
def core_site() -> Iterator[CoreSite]:
    with tempfile.TemporaryDirectory(prefix="v2g") as folder:
        site = CoreSite(Path(folder))
        yield site
        site.close()
