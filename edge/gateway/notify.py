"""sd_notify(3) without a library: one datagram to the socket that systemd names."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable


def notify(state: str) -> None:
    """`READY=1`, `RELOADING=1`, `STOPPING=1`, `WATCHDOG=1`, `STATUS=…`; without systemd nothing happens."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagram:
        try:
            datagram.connect(address)
            datagram.send(state.encode())
        except OSError:
            return  # a supervisor that isn't there is no reason not to run


class Watchdog:
    """Feeds systemd's watchdog (WatchdogSec=) only while the cycle's heartbeat advances: a gateway whose Python runs and whose
    cycle doesn't is restarted."""

    def __init__(self, heartbeat_ns: Callable[[], int]) -> None:
        self._heartbeat_ns = heartbeat_ns
        self._seen_ns = 0

    @property
    def period_s(self) -> float | None:
        """How often `feed` should be called: a third of what systemd waits; None: nobody watches this process."""
        mine = os.environ.get("WATCHDOG_PID") in (None, str(os.getpid()))
        usec = int(os.environ.get("WATCHDOG_USEC", 0)) if mine else 0
        return usec / 3e6 if usec > 0 else None

    def feed(self) -> bool:
        """Tell systemd that all is well, if the heart has beaten since the last time."""
        beat_ns = self._heartbeat_ns()
        alive = beat_ns != self._seen_ns
        self._seen_ns = beat_ns
        if alive:
            notify("WATCHDOG=1")
        return alive
