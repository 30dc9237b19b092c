"""Where the bridge of a python-can bus is and how it is started; light, so that the core can ask."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path


def bridge_socket(bus_id: str) -> Path:
    """Where this gateway's process expects the bridge of a bus: in its runtime directory, else in the temporary one."""
    folder = os.environ.get("RUNTIME_DIRECTORY", tempfile.gettempdir()).split(":")[0]
    return Path(folder) / f"can-{os.getpid()}-{bus_id}.sock"


def bridge_command(
    path: Path, interface: str, channel: str, bitrate: int, fd: bool, options: Mapping[str, str | int | bool]
) -> list[str]:
    """The command line that starts the bridge of a bus."""
    command = [sys.executable, "-m", "edge.field.canbridge", "--socket", str(path), "--interface", interface]
    command += ["--channel", channel, "--bitrate", str(bitrate), *(["--fd"] if fd else [])]
    return command + [part for key, value in options.items() for part in ("--option", f"{key}={value}")]
