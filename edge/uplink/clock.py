"""What time it is, and whether the wall clock can be believed.

Control runs on CLOCK_MONOTONIC and never asks here. Commands carry wall times, so they are refused while the clock is not
trusted (numbers.md: a step above 1 s).
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable

STEP_LIMIT_NS = 1_000_000_000
SETTLE_NS = 60_000_000_000
"""Without time synchronisation a clock that stepped is trusted again after it ran evenly for this long (our choice)."""

_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised


class _Timex(ctypes.Structure):
    """`struct timex` of adjtimex(2); only `modes` is set, the kernel fills the rest."""

    _fields_ = (("modes", ctypes.c_uint), ("rest", ctypes.c_byte * 256))


def kernel_is_synchronised() -> bool:
    """Whether some daemon keeps the kernel's clock synchronised (adjtimex(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    status: int = libc.adjtimex(ctypes.byref(_Timex()))
    return 0 <= status != _TIME_ERROR


class Clock:
    """Both clocks of the machine and the judgement about the wall clock. `check` is called about once a second.

    Untrusted: after a step above `step_limit_ns` until the kernel is synchronised (or, where it never was, until the clock ran
    evenly for a minute); after a lost synchronisation; from the start when `require_sync` and nothing synchronises it; while it
    shows a time before `not_before_ms`, which this gateway has already seen (a machine without a battery for its clock).
    """

    def __init__(
        self,
        *,
        require_sync: bool = False,
        step_limit_ns: int = STEP_LIMIT_NS,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        wall_ns: Callable[[], int] = time.time_ns,
        synchronised: Callable[[], bool] = kernel_is_synchronised,
    ) -> None:
        self.monotonic_ns = monotonic_ns
        self._wall_ns = wall_ns
        self._synchronised = synchronised
        self._step_limit_ns = step_limit_ns
        self._offset_ns = wall_ns() - monotonic_ns()
        self._was_synchronised = synchronised()
        self._stepped_ns: int | None = None
        self._step = ""
        self._require_sync = require_sync
        self.not_before_ms = 0
        """Unix ms that were already past at the last start; a clock behind them that nothing synchronises is wrong."""
        self.distrust = self._why(synchronised=self._was_synchronised)
        """Why the wall clock isn't trusted; empty: it is."""

    @property
    def trusted(self) -> bool:
        self.check()
        return not self.distrust

    def unix_ms(self) -> int:
        """The wall clock, ms since 1970 UTC, trusted or not."""
        return self._wall_ns() // 1_000_000

    def check(self) -> None:
        """Look at the clock; notices a step and the loss or return of synchronisation."""
        now_ns = self.monotonic_ns()
        offset_ns = self._wall_ns() - now_ns
        step_ns = offset_ns - self._offset_ns
        self._offset_ns = offset_ns
        synchronised = self._synchronised()
        settled = self._stepped_ns is not None and now_ns - self._stepped_ns >= SETTLE_NS
        if abs(step_ns) > self._step_limit_ns:
            self._stepped_ns, self._step = now_ns, f"the clock stepped by {step_ns / 1e9:+.1f} s"
        elif synchronised or (settled and not self._was_synchronised):
            self._stepped_ns = None
        self.distrust = self._why(synchronised=synchronised)
        self._was_synchronised = self._was_synchronised or synchronised

    def _why(self, *, synchronised: bool) -> str:
        if self._stepped_ns is not None:
            return self._step
        if synchronised:
            return ""
        behind_ms = self.not_before_ms - self.unix_ms()
        if behind_ms * 1_000_000 > self._step_limit_ns:
            return f"the clock is {behind_ms / 1e3:.0f} s behind a time that this gateway has already seen"
        if self._was_synchronised:
            return "time synchronisation was lost"
        return "no time synchronisation since start" if self._require_sync else ""
