"""One program of a rig: started with its output in a log file, watched while it gets ready, ended with all it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
TAIL_LINES = 25


class RigError(RuntimeError):
    """A program of the rig didn't start, ended, or didn't do what it was asked; the text ends with the tail of its log."""


def console_script(name: str) -> str:
    """A console program of this checkout's virtual environment."""
    return str(Path(sys.executable).with_name(name))


def prefer(pid: int, fifo_priority: int) -> None:
    """Put a process or thread (0: the calling thread) above all ordinary work; without the right to, it stays as it is.

    What stands for hardware (a device's firmware, the wire, who listens to it) must not stop because a machine is busy.
    """
    if fifo_priority > 0:
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(fifo_priority))


class Program:
    """A program with its log. The same object can be started again after it was stopped or killed."""

    def __init__(self, name: str, command: Sequence[str], log: Path, fifo_priority: int = 0) -> None:
        """`fifo_priority` above 0: SCHED_FIFO where it is granted (see `prefer`)."""
        self.name = name
        self._fifo_priority = fifo_priority
        self.command = list(command)
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id; RigError when it isn't running."""
        if self._process is None or self._process.poll() is not None:
            raise self.error("is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=CHECKOUT,
                start_new_session=True,
            )
        prefer(self._process.pid, self._fifo_priority)

    def wait_ready(self, ready: Callable[[], bool], timeout_s: float) -> None:
        """Wait until `ready()`; RigError when the program ends before, or the time is over."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            if not self.running:
                raise self.error(
                    f"ended with exit code {self._process.returncode if self._process else None} before it was ready"
                )
            if time.monotonic() > deadline:
                raise self.error(f"was not ready after {timeout_s:.0f} s")
            time.sleep(0.05)

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL, as a power cut would end it."""
        self.send(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def stop(self, timeout_s: float = 15) -> None:
        """SIGTERM, then SIGKILL to all that is left of it. Nothing happens when it isn't running."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def tail(self) -> str:
        """The last lines of the log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-TAIL_LINES:]) or "(empty)"

    def error(self, what: str) -> RigError:
        return RigError(f"{self.name} {what}; its log {self.log} ends with:\n{self.tail()}")
