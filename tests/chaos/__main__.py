"""`make chaos`: the long forms; writes build/chaos/summary.json. Exit 1 when anything was lost or done twice."""

from __future__ import annotations

import json
import logging
import platform
import sys
import tempfile
import time
from pathlib import Path

import click

from tests.chaos.kills import kill_often
from tests.chaos.outage import after_an_outage
from tests.chaos.storm import MUST_BE_ZERO as STORM_MUST_BE_ZERO
from tests.chaos.storm import PHASES, storm
from tests.uplink.test_tpm import tpm_gone

MUST_BE_ZERO = (
    "applied_twice",
    "acked_not_remembered",
    "acks_that_changed",
    "events_lost",
    "damaged_files",
    "records_lost",
    "half_hour_records_lost",
    *STORM_MUST_BE_ZERO,
)


@click.command()
@click.option("--kills", default=1000, show_default=True, help="SIGKILLs of the gateway.")
@click.option("--hours", default=72, show_default=True, help="Of the outage.")
@click.option("--summary", type=click.Path(path_type=Path), default=Path("build/chaos/summary.json"), show_default=True)
def main(kills: int, hours: int, summary: Path) -> None:
    """Kill, cut off, compare the books."""
    logging.disable(logging.CRITICAL)
    figures: dict[str, object] = {"machine": platform.platform(), "started": int(time.time())}
    with tempfile.TemporaryDirectory() as directory:
        click.echo(f"chaos: {kills} kills at random points")
        figures |= kill_often(Path(directory), kills, seed=time.time_ns())
    with tempfile.TemporaryDirectory() as directory:
        click.echo(f"chaos: an outage of {hours} h at 64 EVSEs, then the broker is back")
        figures |= after_an_outage(Path(directory), hours)
    with tempfile.TemporaryDirectory() as directory:
        click.echo("chaos: half an hour's outage at 64 EVSEs")
        half_hour = after_an_outage(Path(directory), 0.5)
        figures |= {f"half_hour_{name}": value for name, value in half_hour.items()}
    with tempfile.TemporaryDirectory() as directory:
        click.echo(f"chaos: {', '.join(phase.__name__ for phase in PHASES)}")
        figures |= storm(Path(directory) / "storm", hold_s=5)
    with tempfile.TemporaryDirectory() as directory:
        click.echo("chaos: the TPM is gone in the middle of a session")
        figures |= tpm_gone(Path(directory))
    summary.parent.mkdir(parents=True, exist_ok=True)
    summary.write_text(json.dumps(figures, indent=1) + "\n")
    click.echo(json.dumps(figures, indent=1))
    sys.exit(any(figures[name] for name in MUST_BE_ZERO))


if __name__ == "__main__":
    main()
