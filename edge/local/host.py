"""What the machine says about itself. Reading it needs no daemon, so `edgectl doctor` works when the gateway doesn't."""

from __future__ import annotations

import ctypes
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

TIME_ERROR = 5
"""adjtimex(2): the clock is not synchronised."""
_TIMEX_BYTES = 256
"""More than sizeof(struct timex) on every Linux ABI (208 on 64-bit)."""


@dataclass(frozen=True, slots=True)
class HostFacts:
    kernel: str
    preempt_rt: bool
    """The kernel says that it is PREEMPT_RT."""
    cpus: int
    isolated_cpus: frozenset[int]
    clock_synchronised: bool | None
    """None: the kernel doesn't tell."""
    disk_path: str
    disk_free_bytes: int
    disk_total_bytes: int


def parse_cpu_list(text: str) -> frozenset[int]:
    """`1,3-5` of sysfs → {1, 3, 4, 5}."""
    cpus: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        cpus.update(range(int(first), int(last or first) + 1))
    return frozenset(cpus)


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def clock_synchronised() -> bool | None:
    timex = ctypes.create_string_buffer(_TIMEX_BYTES)
    state = ctypes.CDLL(None, use_errno=True).adjtimex(timex)
    return None if state < 0 else state != TIME_ERROR


def probe(state_dir: Path) -> HostFacts:
    """`state_dir`: where the gateway keeps its state; the nearest directory that exists is measured."""
    disk = next(path for path in (state_dir, *state_dir.absolute().parents) if path.is_dir())
    usage = shutil.disk_usage(disk)
    return HostFacts(
        kernel=os.uname().release,
        preempt_rt=_read("/sys/kernel/realtime").strip() == "1" or "PREEMPT_RT" in os.uname().version,
        cpus=os.cpu_count() or 1,
        isolated_cpus=parse_cpu_list(_read("/sys/devices/system/cpu/isolated")),
        clock_synchronised=clock_synchronised(),
        disk_path=str(disk),
        disk_free_bytes=usage.free,
        disk_total_bytes=usage.total,
    )
