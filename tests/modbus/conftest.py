"""An engine and a loop of peers for each test."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from modbus_line import Line
from modbus_peers import Device, Loop
from modbus_rig import LineRig, Rig


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def rig(loop: Loop) -> Iterator[Rig]:
    """Depends on the loop so that the engine ends before its peers."""
    rig = Rig()
    yield rig
    rig.stop()


@pytest.fixture
def make_device(loop: Loop) -> Callable[..., Device]:
    return lambda registers=None: Device(loop, registers)


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    line = Line(tmp_path / "ttyRS485")
    yield line
    line.close()


@pytest.fixture
def line_rig(line: Line) -> Iterator[LineRig]:
    rig = LineRig(str(line.path), line.baud)
    yield rig
    rig.stop()
