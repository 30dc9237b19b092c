"""What the arbiter must know of a site: its EVSEs, its fuse tree, ratings and fallbacks. W, charging and import positive."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EvseModel:
    """One EVSE: its rating and what it may do when nobody reaches it.

    `min_w` ≤ `fallback_min_w` ≤ 0 ≤ `fallback_max_w` ≤ `max_w`.

    The fallback defaults are 0 W of discharge and 4.2 kW of charge (§14a EnWG; numbers.md part 2), cut to the rating.
    """

    id: str
    feeder: str
    min_w: int
    max_w: int
    fallback_min_w: int = 0
    fallback_max_w: int = 4200
    weight: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "fallback_min_w", max(self.fallback_min_w, self.min_w))
        object.__setattr__(self, "fallback_max_w", min(self.fallback_max_w, self.max_w))
        if not self.min_w <= self.fallback_min_w <= 0 <= self.fallback_max_w <= self.max_w:
            raise ValueError(
                f"EVSE {self.id}: want min {self.min_w} <= fallback min {self.fallback_min_w} <= 0 "
                f"<= fallback max {self.fallback_max_w} <= max {self.max_w} W"
            )


@dataclass(frozen=True, slots=True)
class FeederModel:
    """One fused section; its *total* power lies in [`export_w`, `import_w`], `export_w` ≤ 0 ≤ `import_w`.

    `parent` None: the root, which is the grid connection (PCC).

    The fallback bounds hold when a remote limit of this feeder ended and nothing replaced it.
    """

    id: str
    parent: str | None
    export_w: int
    import_w: int
    fallback_export_w: int | None = None
    fallback_import_w: int | None = None

    def __post_init__(self) -> None:
        if not self.export_w <= 0 <= self.import_w:
            raise ValueError(f"feeder {self.id}: want export {self.export_w} <= 0 <= import {self.import_w} W")

    @property
    def fallback(self) -> tuple[int, int]:
        """(export_w, import_w) of the fallback; its rating on a side for which no fallback was given."""
        export_w = self.export_w if self.fallback_export_w is None else max(self.fallback_export_w, self.export_w)
        import_w = self.import_w if self.fallback_import_w is None else min(self.fallback_import_w, self.import_w)
        return min(export_w, 0), max(import_w, 0)


@dataclass(frozen=True, slots=True)
class SiteModel:
    """The site. Raises ValueError when the feeders are no tree with exactly one root or an EVSE names an unknown feeder.

    `cloud_lost_delay_ns`: how long a lease of the aggregator that named no `after` is carried on before the fallback, so that
    a fleet doesn't switch at one instant (numbers.md: random 0–30 s; `edge.arbiter.cloud_lost_delay_ns` draws it).
    """

    id: str
    evses: tuple[EvseModel, ...]
    feeders: tuple[FeederModel, ...]
    cloud_lost_delay_ns: int = 0

    def __post_init__(self) -> None:
        parents = {feeder.id: feeder.parent for feeder in self.feeders}
        roots = [feeder_id for feeder_id, parent in parents.items() if parent is None]
        if len(roots) != 1 or len(parents) != len(self.feeders):
            raise ValueError(f"site {self.id}: want unique feeder ids and exactly one root, have roots {roots}")
        for feeder_id in parents:
            seen: set[str] = set()
            above: str | None = feeder_id
            while above is not None:
                if above in seen or above not in parents:
                    raise ValueError(f"site {self.id}: feeder {feeder_id} doesn't reach the root: {above!r}")
                seen.add(above)
                above = parents[above]
        if len({evse.id for evse in self.evses}) != len(self.evses):
            raise ValueError(f"site {self.id}: two EVSEs have the same id")
        for evse in self.evses:
            if evse.feeder not in parents:
                raise ValueError(f"EVSE {evse.id}: no feeder {evse.feeder!r} at site {self.id}")

    @property
    def root(self) -> FeederModel:
        """The feeder that is the grid connection."""
        return next(feeder for feeder in self.feeders if feeder.parent is None)

    def feeders_above(self, evse: EvseModel) -> list[str]:
        """The ids of the feeders that carry this EVSE, its own first, the root last."""
        parents = {feeder.id: feeder.parent for feeder in self.feeders}
        path = []
        above: str | None = evse.feeder
        while above is not None:
            path.append(above)
            above = parents[above]
        return path
