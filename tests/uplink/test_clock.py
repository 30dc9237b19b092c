"""When the wall clock can be believed."""

from __future__ import annotations

from edge.uplink import Clock
from edge.uplink.clock import kernel_is_synchronised

S = 1_000_000_000


class Machine:
    """A machine whose clocks we turn by hand."""

    def __init__(self, *, synchronised: bool, require_sync: bool = False) -> None:
        self.monotonic_ns, self.wall_ns, self.synchronised = 5 * S, 1_764_000_000 * S, synchronised
        self.clock = Clock(
            require_sync=require_sync,
            monotonic_ns=lambda: self.monotonic_ns,
            wall_ns=lambda: self.wall_ns,
            synchronised=lambda: self.synchronised,
        )

    def run(self, seconds: int) -> bool:
        for _ in range(seconds):
            self.monotonic_ns += S
            self.wall_ns += S
            self.clock.check()
        return self.clock.trusted


def test_a_clock_that_runs_evenly_is_trusted() -> None:
    assert Machine(synchronised=True).run(10)
    assert Machine(synchronised=False).run(10)


def test_a_step_of_an_hour_is_distrusted_until_the_kernel_is_synchronised_again() -> None:
    machine = Machine(synchronised=True)
    machine.synchronised = False
    machine.wall_ns += 3600 * S
    assert not machine.clock.trusted
    assert machine.clock.distrust == "the clock stepped by +3600.0 s"
    assert not machine.run(300)
    machine.synchronised = True
    assert machine.run(1)


def test_small_corrections_are_no_step() -> None:
    machine = Machine(synchronised=True)
    machine.wall_ns += S // 2
    assert machine.clock.trusted


def test_without_any_time_daemon_a_stepped_clock_is_trusted_after_a_quiet_minute() -> None:
    machine = Machine(synchronised=False)
    machine.wall_ns -= 3600 * S
    assert not machine.clock.trusted
    assert not machine.run(59)
    assert machine.run(2)


def test_a_lost_synchronisation_is_distrusted() -> None:
    machine = Machine(synchronised=True)
    machine.synchronised = False
    assert not machine.run(1)
    assert machine.clock.distrust == "time synchronisation was lost"


def test_a_site_that_requires_synchronisation_trusts_nothing_before_it() -> None:
    machine = Machine(synchronised=False, require_sync=True)
    assert not machine.run(1000)
    machine.synchronised = True
    assert machine.run(1)


def test_the_kernel_answers() -> None:
    assert kernel_is_synchronised() in (True, False)


def test_a_clock_behind_a_time_that_was_already_seen_is_wrong_until_something_synchronises_it() -> None:
    machine = Machine(synchronised=False)
    machine.clock.not_before_ms = machine.clock.unix_ms() + 3_600_000
    assert not machine.run(1)
    assert machine.clock.distrust == "the clock is 3599 s behind a time that this gateway has already seen"
    machine.synchronised = True
    assert machine.run(1)


def test_a_clock_that_catches_up_with_what_was_seen_is_trusted_again() -> None:
    machine = Machine(synchronised=False)
    machine.clock.not_before_ms = machine.clock.unix_ms() + 10_000
    assert not machine.run(5)
    assert machine.run(5)


def test_a_quiet_minute_is_no_substitute_where_synchronisation_is_required() -> None:
    machine = Machine(synchronised=False, require_sync=True)
    machine.wall_ns += 3600 * S
    assert not machine.run(120)
    assert machine.clock.distrust == "no time synchronisation since start"
