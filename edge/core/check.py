"""Would the core take a config? Asked before anything runs: by `edgectl config check`, at start and at every reload."""

from __future__ import annotations

from edge.config.devices import Devices
from edge.config.settings import Settings
from edge.core import faults
from edge.core._native import ffi, lib
from edge.core.errors import CoreError
from edge.core.layout import native_config
from edge.core.modbus import LineFigures, check_lines
from edge.core.pack import pack_commit


def check_config(settings: Settings, devices: Devices, boot_id: int = 1) -> list[LineFigures]:
    """Run every check that a commit runs, without touching anything: the figures of every serial line. CoreError with the
    reason when it would be refused."""
    config = native_config(settings, devices, bank=0)
    lines = check_lines(config)
    commit = ffi.new("struct v2g_commit *")
    pack_commit(commit, config, [-1] * len(config.buses), None, 1, boot_id)
    refusal: int = lib.v2g_commit_check(commit, lib.v2g_now_ns())
    if refusal:
        raise CoreError(faults.describe(refusal, config.ids))
    return lines
