"""The site's electrical model: a tree of feeders with base load and EVSEs below. Pure, no I/O.

Power is positive towards the loads (import at the grid connection), per phase in W.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

Phases = tuple[float, float, float]

NO_POWER: Phases = (0.0, 0.0, 0.0)


def per_phase(value: float | Sequence[float]) -> Phases:
    """Three phase values: a sequence of three as it is, a single total split evenly."""
    if isinstance(value, int | float):
        return (value / 3, value / 3, value / 3)
    one, two, three = (float(each) for each in value)
    return one, two, three


def add(a: Phases, b: Phases) -> Phases:
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2])


@dataclass(slots=True)
class Feeder:
    """A fused section: `base_load_w` per phase is what hangs on this very section besides EVSEs.

    `profile`: (second, total W) points, linear in between and repeated after the last one; it overrides `base_load_w`.
    """

    id: str
    parent: str | None = None
    base_load_w: Phases = NO_POWER
    profile: Sequence[tuple[float, float]] = ()

    def set_profile(self, profile: Sequence[tuple[float, float]]) -> None:
        """Follow `profile` from now on; ValueError when its times don't rise from 0."""
        times = [second for second, _ in profile]
        if profile and (len(times) < 2 or times[0] != 0 or any(b <= a for a, b in pairwise(times))):
            raise ValueError(f"feeder {self.id}: a profile has two or more points, the first at 0 s, with rising times")
        self.profile = tuple(profile)

    def base_at(self, time_s: float) -> Phases:
        """Base load `time_s` s after the start."""
        if not self.profile:
            return self.base_load_w
        time_s %= self.profile[-1][0]
        for (start_s, start_w), (end_s, end_w) in pairwise(self.profile):
            if time_s <= end_s:
                return per_phase(start_w + (end_w - start_w) * (time_s - start_s) / (end_s - start_s))
        return per_phase(self.profile[-1][1])


@dataclass(frozen=True, slots=True)
class Flow:
    """What a meter on a feeder would see: W per phase, V per phase to neutral, Hz."""

    powers_w: Phases
    voltages_v: Phases
    frequency_hz: float

    @property
    def power_w(self) -> float:
        return sum(self.powers_w)

    @property
    def currents_a(self) -> Phases:
        """Magnitudes, as most meters show them; power factor 1."""
        one, two, three = (abs(p) / u if u > 0 else 0.0 for p, u in zip(self.powers_w, self.voltages_v, strict=True))
        return one, two, three


@dataclass(slots=True)
class Site:
    """Feeders, the grid's voltage and frequency, and on which feeder each EVSE is."""

    feeders: dict[str, Feeder]
    evse_feeder: dict[str, str]
    voltages_v: Phases = (230.0, 230.0, 230.0)
    frequency_hz: float = 50.0
    _children: dict[str, list[str]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for feeder in self.feeders.values():
            if feeder.parent is not None:
                if feeder.parent not in self.feeders:
                    raise ValueError(f"feeder {feeder.id}: no feeder {feeder.parent!r} for its parent")
                self._children.setdefault(feeder.parent, []).append(feeder.id)
            self._check_no_loop(feeder)
        for evse, feeder_id in self.evse_feeder.items():
            if feeder_id not in self.feeders:
                raise ValueError(f"evse {evse}: no feeder {feeder_id!r}")

    def _check_no_loop(self, feeder: Feeder) -> None:
        seen = {feeder.id}
        parent = feeder.parent
        while parent is not None and parent in self.feeders:
            if parent in seen:
                raise ValueError(f"feeder {feeder.id}: its parents form a loop")
            seen.add(parent)
            parent = self.feeders[parent].parent

    def below(self, feeder_id: str) -> Iterable[str]:
        """This feeder and all under it."""
        yield feeder_id
        for child in self._children.get(feeder_id, ()):
            yield from self.below(child)

    def flow(self, feeder_id: str, evse_powers_w: Mapping[str, Phases], time_s: float) -> Flow:
        """Base load and EVSE power of the feeder and everything under it, `time_s` s after the start."""
        sections = set(self.below(feeder_id))
        total = NO_POWER
        for section in sections:
            total = add(total, self.feeders[section].base_at(time_s))
        for evse, section in self.evse_feeder.items():
            if section in sections:
                total = add(total, evse_powers_w[evse])
        return Flow(total, self.voltages_v, self.frequency_hz)
