"""All EVSEs of one bus: takes Cmd frames from it, advances the EVSEs, sends what is due. One bank a bus, one thread for all."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import can
from can.typechecking import CanFilters

from v2g_sim import frames
from v2g_sim.evse import Evse

CMD_FILTER: CanFilters = [{"can_id": frames.CMD_BASE, "can_mask": 0x700, "extended": False}]


@dataclass(frozen=True, slots=True)
class FramePeriods:
    """How often each frame is sent, s (contracts.md section 3)."""

    status_a: float = 0.02
    status_b: float = 0.05
    status_c: float = 0.2
    limits: float = 0.5


class EvseBank:
    """The EVSEs behind one python-can bus. `poll` and `step` are for one thread."""

    def __init__(self, bus: can.BusABC, evses: Sequence[Evse], periods: FramePeriods | None = None) -> None:
        nodes = [evse.spec.node for evse in evses]
        if len(set(nodes)) < len(nodes):
            raise ValueError(f"two EVSEs on {bus.channel_info} have the same node: {sorted(nodes)}")
        self.bus = bus
        self.evses = evses
        self.send_errors = 0
        self.bus_errors = 0
        self._by_id = {frames.CMD_BASE + evse.spec.node: evse for evse in evses}
        bus.set_filters(CMD_FILTER)
        self._due = self._spread(periods or FramePeriods())

    def _spread(self, periods: FramePeriods) -> list[_Due]:
        """First sendings spread over each period, so that the EVSEs don't all talk in the same step."""
        due = []
        for index, evse in enumerate(self.evses):
            for name in ("status_a", "status_b", "status_c", "limits"):
                period_s = getattr(periods, name)
                due.append(_Due(evse, name, period_s, period_s * (1 + index / len(self.evses))))
        return due

    def shutdown(self) -> None:
        self.bus.shutdown()

    def poll(self) -> None:
        """Take every Cmd that has arrived."""
        while True:
            try:
                message = self.bus.recv(0)
            except can.CanOperationError:
                self.bus_errors += 1
                return
            if message is None:
                return
            evse = self._by_id.get(message.arbitration_id)
            if evse is not None and not message.is_error_frame:
                evse.on_cmd(message.data)

    def step(self, dt_s: float) -> None:
        """Advance all EVSEs by `dt_s` s and send the frames that are due."""
        for evse in self.evses:
            evse.step(dt_s)
        for due in self._due:
            if due.elapsed(dt_s):
                self._send(due.evse.frame(due.name))

    def _send(self, frame: tuple[int, bytes] | None) -> None:
        if frame is None:
            return
        try:
            self.bus.send(can.Message(arbitration_id=frame[0], data=frame[1], is_extended_id=False))
        except can.CanOperationError:  # a full or dead bus: a real controller would drop the frame too
            self.send_errors += 1


@dataclass(slots=True)
class _Due:
    """When one frame of one EVSE is next to be sent."""

    evse: Evse
    name: str
    period_s: float
    left_s: float

    def elapsed(self, dt_s: float) -> bool:
        """Count down; True once a period. After a stall of several periods one frame is sent, not several."""
        self.left_s -= dt_s
        if self.left_s > 1e-9:
            return False
        self.left_s = self.left_s % self.period_s or self.period_s
        return True


class Bank(Protocol):
    """EVSEs that are advanced together."""

    def poll(self) -> None: ...

    def step(self, dt_s: float) -> None: ...


class Scheduler:
    """Polls and steps every bank on a fixed grid of `period_s`, with `lock` held. `run` needs a thread of its own."""

    def __init__(self, banks: Sequence[Bank], period_s: float, lock: threading.Lock) -> None:
        self.late_steps = 0
        self._lock = lock
        self._banks = banks
        self._period_s = period_s
        self._stop = threading.Event()

    def stop(self) -> None:
        """Let `run` return after its present step."""
        self._stop.set()

    def run(self) -> None:
        """Step until `stop`."""
        last = due = time.monotonic()
        while not self._stop.is_set():
            due += self._period_s
            wait_s = due - time.monotonic()
            if wait_s > 0:
                time.sleep(wait_s)
            else:  # overrun: keep the phase, skip the missed points
                self.late_steps += 1
                due -= wait_s - wait_s % self._period_s
            now = time.monotonic()
            with self._lock:
                for bank in self._banks:
                    bank.poll()
                    bank.step(now - last)
            last = now
