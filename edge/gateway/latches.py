"""What survives a restart: hard thermal stops, "not following", a failed invariant, a service the grid ended. One JSON file."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

from edge.core.core import KeptLatches

LOG = logging.getLogger("v2g.latches")


class Latches:
    """`kept` is what the process before left behind; a file that can't be read means that everything is latched."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "latches.json"
        self.kept = self._read()
        self._written = self.kept
        self._failed = False

    def _read(self) -> KeptLatches:
        if not self._path.exists():
            return KeptLatches()
        try:
            stored = json.loads(self._path.read_text())
            evses = {str(evse_id): int(bits) for evse_id, bits in stored["evses"].items()}
            return KeptLatches(evses, bool(stored["damaged"]), bool(stored.get("out_of_service", False)))
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as err:
            LOG.error(
                "%s: %s: every EVSE starts latched and is released as usual; remove the file if this repeats", self._path, err
            )
            return KeptLatches(unreadable=True)

    def keep(self, latches: KeptLatches) -> None:
        """Write what changed. A disk that refuses is told once; control goes on."""
        if latches == self._written:
            return
        temporary = self._path.with_suffix(".new")
        try:
            with temporary.open("w") as file:
                stored = {"evses": latches.evses, "damaged": latches.damaged, "out_of_service": latches.out_of_service}
                json.dump(stored, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(self._path)
        except OSError as err:
            if not self._failed:
                LOG.error("%s: %s: latches won't survive a restart; free space or repair the disk", self._path, err.strerror)
            self._failed = True
            return
        self._failed = False
        self._written = latches
