"""Stop some threads of a process and let the others run (ptrace(2)), as a call that holds Python's lock does."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH = 0x4206, 0x4207, 17
WALL = 0x40000000
"""waitpid(2): also for threads."""


def _ptrace(request: int, tid: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    nothing = ctypes.c_void_p(0)
    if library.ptrace(ctypes.c_long(request), ctypes.c_long(tid), nothing, nothing) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"ptrace({request:#x}, {tid}): {os.strerror(error)}")


def python_threads(pid: int) -> list[int]:
    """Every thread that isn't real-time: all that can hold Python's lock."""
    threads = [int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir()]
    return [tid for tid in threads if os.sched_getscheduler(tid) & ~os.SCHED_RESET_ON_FORK == os.SCHED_OTHER]


@contextmanager
def frozen_python(pid: int) -> Iterator[None]:
    """The Python half stands still while the context lasts; cycle and bus engines run on."""
    threads = python_threads(pid)
    for tid in threads:
        _ptrace(PTRACE_SEIZE, tid)
        _ptrace(PTRACE_INTERRUPT, tid)
        os.waitpid(tid, WALL)
    try:
        yield
    finally:
        for tid in threads:
            _ptrace(PTRACE_DETACH, tid)
