"""A gateway process with Modbus/TCP devices, as the guard sees it: an arena and what stops each device.

Usage: watched_devices.py GUARD_SOCKET BOOT_ID PORT…

Prints "running" once the guard has acknowledged; then keeps a connection to each device, as the polling engine does, until
it is killed. Every device's stop is 0 in its holding register 0.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import time

from edge.core._native import ffi, lib
from edge.core.guard import GuardLink, Watch


def fallback(port: int) -> bytes:
    entry = ffi.new("struct v2g_guard_fallback *")
    entry.family, entry.unit, entry.port, entry.address = 4, 1, port, [127, 0, 0, 1] + [0] * 12
    entry.stop.function, entry.stop.count, entry.stop.address = 6, 1, 0
    return bytes(ffi.buffer(entry))


def main(path: str, boot_id: str, *ports: str) -> None:
    holder = ffi.new("struct v2g_arena **")
    watch = Watch(
        boot_id=int(boot_id),
        arena_fd=lib.v2g_arena_create(int(boot_id), holder),
        epoch=1,
        evses=0,
        period_ns=10_000_000,
        timeout_ns=100_000_000,
        tables=bytes(ffi.sizeof("struct v2g_can_config")),
        bus_fds=(),
        fallbacks=tuple(fallback(int(port)) for port in ports),
    )
    with contextlib.ExitStack() as stack:
        for port in ports:
            with contextlib.suppress(ConnectionRefusedError):
                stack.enter_context(socket.create_connection(("127.0.0.1", int(port))))
        assert GuardLink(path).acknowledge(watch)
        print("running", flush=True)
        while True:
            holder[0].heartbeat.beats += 1  # stands for the cycle
            time.sleep(0.005)


if __name__ == "__main__":
    main(*sys.argv[1:])
