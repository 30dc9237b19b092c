"""A season of one site: 90 days, 20 EVSEs, 96 plans a day (build/bench/season.json). See tests/energy/season.py."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from tests.energy.season import run

OUT = Path("build/bench/season.json")
DAYS = 90


def main() -> None:
    season = run(DAYS, progress=lambda day: print(f"\rbench: day {day + 1} of {DAYS}", end="", flush=True))
    print()
    OUT.write_text(json.dumps(asdict(season), indent=2) + "\n")
    print(
        f"season: {season.needs_met} of {season.needs_feasible} feasible departures met ({season.visits} visits), "
        f"{season.limit_violations} limit violations, {season.to_grid_kwh:.0f} kWh to the grid, wear {season.wear_eur:.0f} EUR"
    )


if __name__ == "__main__":
    main()
