"""A hub of its own for each test, on a socket in a short temporary path."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from v2g_sim.canhub import HubBus, HubControl, start_hub


class Hub:
    """A running v2g-hub and the members that a test connects to it."""

    def __init__(self, path: Path, options: tuple[str, ...]) -> None:
        self.path = path
        self.process, first = start_hub(str(path), options)
        first.close()
        self.control = HubControl(path)
        while self.control.command("stats")["members"]:
            pass  # until the hub has seen that connection leave
        self._cleanup = ExitStack()

    def member(self) -> HubBus:
        bus = HubBus(self.path)
        self._cleanup.callback(bus.shutdown)
        return bus

    def close(self) -> None:
        self._cleanup.close()
        self.control.close()
        self.process.terminate()
        self.process.wait(5)


@pytest.fixture
def make_hub() -> Iterator[Callable[..., Hub]]:
    with tempfile.TemporaryDirectory(prefix="v2g") as folder, ExitStack() as stack:

        def make(*options: str) -> Hub:
            hub = Hub(Path(folder) / "can0.sock", options)
            stack.callback(hub.close)
            return hub

        yield make
