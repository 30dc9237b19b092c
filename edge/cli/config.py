"""`edgectl config`: a config file before it is used. Needs no gateway."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from edge.config import Settings

DEFAULT_FILE = "/etc/v2g-edge/config.yaml"
EXIT_REFUSED = 2

file_path = click.Path(dir_okay=False, path_type=Path)
as_json = click.option("--json", "as_json", is_flag=True, help="Print a document.")


@click.group()
def config() -> None:
    """The config file, before it is used."""


@config.command()
@click.argument("file", type=file_path, default=DEFAULT_FILE)
@click.option("--no-files", is_flag=True, help="Don't look at certificates and keys.")
@as_json
def check(file: Path, no_files: bool, as_json: bool) -> int:
    """Every problem of a config file, with line, key and remedy; then the load of its serial lines."""
    from edge.config.check import check as find_problems

    problems = find_problems(file, files=not no_files)
    refused = [problem for problem in problems if problem.level == "error"]
    lines, core_error = ([], "") if refused else _check_core(file)
    accepted = not refused and not core_error
    if as_json:
        document = {"accepted": accepted, "problems": [asdict(p) for p in problems], "core": core_error, "buses": lines}
        click.echo(json.dumps({"schema": "v2g.config-check/1", "file": str(file), **document}, indent=1, ensure_ascii=False))
    else:
        for line in (*map(str, problems), *([core_error] if core_error else []), *lines):
            click.echo(line)
        errors = len(refused) + bool(core_error)
        verdict = "ok" if accepted else f"refused: {errors} error{'s' if errors > 1 else ''}"
        click.echo(f"{file}: {verdict}", err=True)
    return 0 if accepted else EXIT_REFUSED


def _check_core(file: Path) -> tuple[list[str], str]:
    """What only the core can judge of a config that passed every other check: its serial lines, or why it refuses."""
    from edge.config import load
    from edge.config.devices import load_devices
    from edge.core import CoreError
    from edge.core.check import check_config

    try:
        settings = load(file, files=False)
        return [f"bus {line.bus}: {line}" for line in check_config(settings, load_devices(settings, file.parent))], ""
    except CoreError as error:
        return [], f"{file}: {error}"


def _load(file: Path) -> Settings | None:
    """None: it was refused, and why is on stderr."""
    from edge.config import ConfigError, load

    try:
        return load(file, files=False)
    except ConfigError as error:
        click.echo(str(error), err=True)
        return None


@config.command()
@click.argument("new", type=file_path)
@click.argument("old", type=file_path, default=DEFAULT_FILE)
@as_json
def diff(new: Path, old: Path, as_json: bool) -> int:
    """What NEW would change against OLD, and what applying it takes."""
    from edge.config.change import diff as compare

    before, after = _load(old), _load(new)
    if before is None or after is None:
        return EXIT_REFUSED
    changes = compare(before, after)
    if as_json:
        listed = [{"key": c.key, "old": c.old, "new": c.new, "effect": c.effect.value} for c in changes]
        click.echo(json.dumps({"schema": "v2g.config-diff/1", "changes": listed}, indent=1, ensure_ascii=False))
    else:
        click.echo("\n".join(str(change) for change in changes) or "no difference")
    return 0


@config.command()
@click.argument("file", type=file_path, default=DEFAULT_FILE)
@click.option("--redacted", is_flag=True, help="Without where secrets lie: to be passed on.")
@as_json
def show(file: Path, redacted: bool, as_json: bool) -> int:
    """The whole config with every default filled in."""
    from edge.config.change import as_written, without_secrets

    settings = _load(file)
    if settings is None:
        return EXIT_REFUSED
    shown = without_secrets(settings) if redacted else as_written(settings)
    if as_json:
        click.echo(json.dumps(shown, indent=1, ensure_ascii=False))
        return 0
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe")
    yaml.default_flow_style = None
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.dump(shown, sys.stdout)
    return 0
