from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "core"))

from core_site import CoreSite
from gateway_process import GatewayProcess


@pytest.fixture
def core_site() -> Iterator[CoreSite]:
    with tempfile.TemporaryDirectory(prefix="v2g") as folder:
        site = CoreSite(Path(folder))
        yield site
        site.close()


@pytest.fixture
def gateway(core_site: CoreSite) -> Iterator[GatewayProcess]:
    process = GatewayProcess(core_site)
    process.start()
    yield process
    process.close()
