"""How many requests at once each Modbus/TCP device was seen to bear: a window above 1 holds as far as a probe proved it."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import TypeVar

from edge.config import Settings
from edge.config.settings import Evse, Meter

LOG = logging.getLogger("v2g.windows")
Device = TypeVar("Device", Meter, Evse)


def _place(device: Meter | Evse) -> str:
    """A device that moved is another device."""
    return f"{device.host}:{device.port} unit {device.unit}"


class Windows:
    """What probes found, by place; one JSON file. A file that can't be read proves nothing."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "windows.json"
        self._proven = self._read()

    def _read(self) -> dict[str, int]:
        try:
            stored = json.loads(self._path.read_text())
            return {str(place): int(window) for place, window in stored["windows"].items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as err:
            LOG.error("%s: %s: every device gets one request at a time until it is probed again", self._path, err)
            return {}

    def keep(self, device: Meter | Evse, window: int) -> None:
        """A probe found this. A disk that refuses costs the proof after the next restart, no more."""
        self._proven = self._proven | {_place(device): window}
        temporary = self._path.with_suffix(".new")
        try:
            with temporary.open("w") as file:
                json.dump({"windows": self._proven}, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(self._path)
        except OSError as err:
            LOG.error("%s: %s: the window of %s must be probed again after a restart", self._path, err.strerror, device.id)

    def of(self, device: Meter | Evse) -> int:
        """Requests that may be under way at once: what was proven at this address, else 1."""
        return self._proven.get(_place(device), 1)

    def granted(self, settings: Settings) -> Settings:
        """The settings with no window wider than was proven."""
        return settings.model_copy(update={"meters": self._narrow(settings.meters), "evses": self._narrow(settings.evses)})

    def _narrow(self, devices: tuple[Device, ...]) -> tuple[Device, ...]:
        return tuple(d.model_copy(update={"window": min(d.window, self.of(d))}) for d in devices)

    def unproven(self, settings: Settings) -> list[tuple[str, str]]:
        """(device, text) of every window in the config that is wider than was proven."""
        devices: tuple[Meter | Evse, ...] = (*settings.meters, *settings.evses)
        return [
            (d.id, f"window: {d.window} in the config, {self.of(d)} proven and used: edgectl probe {d.id}, then edgectl reload")
            for d in devices
            if d.window > self.of(d)
        ]
