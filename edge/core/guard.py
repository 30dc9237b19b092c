"""The line to v2g-guard: who we are, what we are about to do, and goodbye (native/include/v2g_guard.h).

The guard decides by the heartbeat in the arena alone; a lost connection changes nothing but its knowledge of later configs.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import select
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edge.core._native import ffi, lib
from edge.core.errors import CoreError

ANSWER_TIMEOUT_S = 1.0
"""The guard looks every 2 to 10 ms; one that takes this long is no guard."""

REFUSALS = {
    lib.V2G_GUARD_BAD_MESSAGE: "it speaks another version: install v2g-guard and v2g-edge of one release",
    lib.V2G_GUARD_BAD_ARENA: "it can't use the shared memory: install v2g-guard and v2g-edge of one release",
    lib.V2G_GUARD_BAD_TABLES: "it refuses the tables of buses and devices: install v2g-guard and v2g-edge of one release",
    lib.V2G_GUARD_SAME_BOOT: "it has fenced this process: restart v2g-edge",
}


@dataclass(frozen=True, slots=True)
class Watch:
    """What the guard must know of one commit: `tables` is a `struct v2g_can_config`, `bus_fds` its sockets in order."""

    boot_id: int
    arena_fd: int
    epoch: int
    evses: int
    period_ns: int
    timeout_ns: int
    tables: bytes
    bus_fds: tuple[int, ...]
    fallbacks: tuple[bytes, ...] = ()
    """One `struct v2g_guard_fallback` for each Modbus/TCP device that is told setpoints."""


class GuardLink:
    """One connection to the guard at `path`; CoreError names the path and the remedy."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket: socket.socket | None = None
        self._lock: int | None = None

    def acknowledge(self, watch: Watch) -> bool:
        """Tell the guard of a commit and wait for its answer. False: there is no guard, so no power flows where one is
        required. CoreError: there is one and it refuses, or somebody else sends; the commit must not be used."""
        self._hold()
        return self._tell(watch)

    def release(self) -> None:
        """This process sends no more. Another may only when this was called, or the process has ended."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _hold(self) -> None:
        """One gateway at a time, from before it asks for a guard until its process has ended: a guard that comes back later
        takes nothing back while somebody holds this (guard_systemd.c)."""
        if self._lock is not None:
            return
        path = f"{self._path}.lock"
        lock = -1
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            os.close(lock)
            raise CoreError(f"guard: {path}: another gateway is running: stop it first (systemctl stop v2g-edge)") from err
        except OSError as err:
            raise CoreError(f"guard: {path}: {err.strerror}: its folder must exist and be writable for v2g-edge") from err
        self._lock = lock

    def _tell(self, watch: Watch) -> bool:
        if self._socket is not None and self._is_over():
            self.close()
        if self._socket is None and not self._connect(watch):
            return False
        self._send_config(watch)
        return True

    def keep(self, watch: Watch) -> bool:
        """Connect again after the guard was restarted, and tell it of the commit in force. False: it is not there."""
        if self._socket is not None and not self._is_over():
            return True
        with contextlib.suppress(CoreError):
            return self.acknowledge(watch)
        return False

    def goodbye(self) -> None:
        """A clean stop: everything is at 0 W, the guard need not take over."""
        if self._socket is None:
            return
        bye = ffi.new("struct v2g_guard_hello *")
        bye.kind = lib.V2G_GUARD_BYE
        with contextlib.suppress(OSError):  # a guard that is gone takes over nothing
            self._socket.send(bytes(ffi.buffer(bye)))
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connect(self, watch: Watch) -> bool:
        line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        line.settimeout(ANSWER_TIMEOUT_S)
        try:
            line.connect(self._path)
        except OSError:
            line.close()
            return False
        self._socket = line
        hello = ffi.new("struct v2g_guard_hello *")
        hello.kind, hello.abi, hello.boot_id = lib.V2G_GUARD_HELLO, lib.V2G_GUARD_ABI, watch.boot_id
        pidfd = os.pidfd_open(os.getpid())
        try:
            self._ask(bytes(ffi.buffer(hello)), (watch.arena_fd, pidfd))
        finally:
            os.close(pidfd)
        return True

    def _send_config(self, watch: Watch) -> None:
        message = ffi.new("struct v2g_guard_config *")
        message.kind, message.epoch, message.boot_id = lib.V2G_GUARD_CONFIG, watch.epoch, watch.boot_id
        message.period_ns, message.timeout_ns, message.evses = watch.period_ns, watch.timeout_ns, watch.evses
        ffi.memmove(ffi.addressof(message, "can"), watch.tables, len(watch.tables))
        message.fallbacks = len(watch.fallbacks)
        for i, fallback in enumerate(watch.fallbacks[: lib.V2G_GUARD_MAX_FALLBACKS]):
            ffi.memmove(ffi.addressof(message.fallback[i]), fallback, len(fallback))
        self._ask(bytes(ffi.buffer(message)), watch.bus_fds)

    def _ask(self, packet: bytes, fds: Sequence[int]) -> None:
        assert self._socket is not None
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            self._socket.sendmsg([packet], rights)
            reply = self._socket.recv(64)
        except OSError as err:
            self.close()
            raise CoreError(f"guard: {self._path}: no answer: {err}: see journalctl -u v2g-guard") from err
        if len(reply) != ffi.sizeof("struct v2g_guard_answer"):
            self.close()
            raise CoreError(f"guard: {self._path}: it closed the line: see journalctl -u v2g-guard")
        answer: Any = ffi.from_buffer("struct v2g_guard_answer *", reply)
        if answer.error:
            self.close()
            raise CoreError(f"guard: {self._path}: {REFUSALS.get(answer.error, f'error {answer.error}')}")

    def _is_over(self) -> bool:
        """Whether the guard has closed the line. Never waits: a Python socket with a time-out waits for it in `recv` even when
        MSG_DONTWAIT is given, so it is read only when something is there."""
        assert self._socket is not None
        there = select.poll()
        there.register(self._socket, select.POLLIN)
        if not there.poll(0):
            return False
        try:
            return self._socket.recv(1, socket.MSG_PEEK) == b""
        except OSError:
            return True
