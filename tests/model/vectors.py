"""Records random sites for native/proof/replay.c: what they were given, and what core and model answered alike.

`python -m tests.model.vectors FILE EXAMPLES [SEED]`. A file is a row of commands, each a kind, an object, a place in it and a
length (four 32-bit words), then that many bytes. Inputs are put only when they differ from the last time.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from typing import Any, BinaryIO

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from edge.core._native import ffi
from tests.model.native_core import NativeCore
from tests.model.records import Config, Estimate, Image, Plan, Setpoint
from tests.model.test_reference import after, is_silent_in_the_end
from tests.model.worlds import EVENTS, Event, sites

NEW, BEGIN, ADOPT, ESTIMATE, ENFORCE, PUT, COMPARE = range(7)
CONFIG, PLAN, IMAGE, STATE, OUT = range(5)
STRUCTS = ("v2g_config", "v2g_plan", "v2g_image", "v2g_state", "v2g_setpoints")


class RecordingCore(NativeCore):
    """A core whose inputs and answers go into a file; whoever steps it compares the answers with the model's."""

    def __init__(self, config: Config, file: BinaryIO) -> None:
        self.file, self.site, self.last = file, config, dict[tuple[int, int], bytes]()
        super().__init__(config)
        self._command(NEW)
        self._each(PUT, CONFIG, self.config, evse=len(config.evses), feeder=len(config.feeders), derate=len(config.derates))
        self._command(BEGIN)
        self._compare_state()

    def adopt(self, plan: Plan, now_ns: int) -> None:
        super().adopt(plan, now_ns)
        self._each(PUT, PLAN, self.plan, evse=len(self.site.evses), feeder=len(self.site.feeders))
        self._command(ADOPT, data=struct.pack("<q", now_ns))

    def see(self, image: Image) -> None:
        super().see(image)
        evses = len(self.site.evses)
        self._each(PUT, IMAGE, self.image, evse=evses, meter=self.site.meters, proposal=evses)

    def see_estimate(self, evse: int, estimate: Estimate) -> None:
        super().see_estimate(evse, estimate)
        self._array(PUT, IMAGE, self.image, "estimate", len(self.site.evses))
        self.last.clear()  # the core itself writes there, too

    def estimate(self, now_ns: int) -> list[Estimate]:
        answer = super().estimate(now_ns)
        self._command(ESTIMATE, data=struct.pack("<q", now_ns))
        self._array(COMPARE, IMAGE, self.image, "estimate", len(self.site.evses))
        return answer

    def enforce(self, now_ns: int) -> list[Setpoint]:
        answer = super().enforce(now_ns)
        self._command(ENFORCE, data=struct.pack("<q", now_ns))
        self._each(COMPARE, OUT, self.out, evse=len(self.site.evses))
        self._compare_state()
        return answer

    def _compare_state(self) -> None:
        evses = len(self.site.evses)
        self._each(COMPARE, STATE, self.state, evse=evses, estimate=evses, feeder=len(self.site.feeders))

    def _each(self, kind: int, thing: int, native: Any, **arrays: int) -> None:
        """What stands before the first array, then so many entries of each."""
        header = min(ffi.offsetof(f"struct {STRUCTS[thing]}", name) for name in arrays)
        self._bytes(kind, thing, 0, bytes(ffi.buffer(native, header)))
        for name, count in arrays.items():
            self._array(kind, thing, native, name, count)

    def _array(self, kind: int, thing: int, native: Any, name: str, count: int) -> None:
        entries = getattr(native, name)
        size, place = ffi.sizeof(entries[0]), ffi.offsetof(f"struct {STRUCTS[thing]}", name)
        for i in range(count):
            self._bytes(kind, thing, place + i * size, bytes(ffi.buffer(ffi.addressof(entries, i), size)))

    def _bytes(self, kind: int, thing: int, place: int, data: bytes) -> None:
        if kind == PUT and self.last.get((thing, place)) == data:
            return
        self.last[thing, place] = data
        self._command(kind, thing, place, data)

    def _command(self, kind: int, thing: int = 0, place: int = 0, data: bytes = b"") -> None:
        self.file.write(struct.pack("<4I", kind, thing, place, len(data)) + data)


def record(path: Path, examples: int, number: int) -> None:
    """Raises where core and model differ."""
    with path.open("wb") as file:

        @seed(number)
        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(config=sites(), events=st.lists(EVENTS, max_size=12))
        def recorded(config: Config, events: list[Event]) -> None:
            is_silent_in_the_end(after(config, events, lambda site: RecordingCore(site, file)))

        recorded()


if __name__ == "__main__":
    record(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1)
