"""`edgectl config`: a config file before it is used. Needs no gateway."""

from __future__ import annotations

import sys
from pathlib import Path

import click

DEFAULT_FILE = "/etc/v2g-edge/config.yaml"
EXIT_REFUSED = 2

file_path = click.Path(dir_okay=False, path_type=Path)


@click.group()
def config() -> None:
    """The config file, before it is used."""


@config.command()
@click.argument("file", type=file_path, default=DEFAULT_FILE)
@click.option("--no-files", is_flag=True, help="Don't look at certificates and keys.")
def check(file: Path, no_files: bool) -> int:
    """Every problem of a config file, with line, key and remedy; then the load of its serial lines."""
    from edge.config.check import main as check_file

    refused = check_file([*(["--no-files"] if no_files else []), str(file)])
    return refused or _check_core(file)


def _check_core(file: Path) -> int:
    """What only the core can judge of a config that passed every other check: its own ranges, and its serial lines."""
    from edge.config import load
    from edge.config.devices import load_devices
    from edge.core import CoreError
    from edge.core.check import check_config

    try:
        settings = load(file, files=False)
        lines = check_config(settings, load_devices(settings, file.parent))
    except CoreError as error:
        click.echo(f"{file}: {error}")
        click.echo(f"{file}: refused by the core", err=True)
        return EXIT_REFUSED
    for line in lines:
        click.echo(f"bus {line.bus}: {line}")
    return 0


@config.command()
@click.argument("new", type=file_path)
@click.argument("old", type=file_path, default=DEFAULT_FILE)
def diff(new: Path, old: Path) -> int:
    """What NEW would change against OLD, and what applying it takes."""
    from edge.config import ConfigError, load
    from edge.config.change import diff as compare

    try:
        changes = compare(load(old, files=False), load(new, files=False))
    except ConfigError as error:
        click.echo(str(error), err=True)
        return EXIT_REFUSED
    click.echo("\n".join(str(change) for change in changes) or "no difference")
    return 0


@config.command()
@click.argument("file", type=file_path, default=DEFAULT_FILE)
def show(file: Path) -> int:
    """The whole config with every default filled in, and without where secrets lie."""
    from ruamel.yaml import YAML

    from edge.config import ConfigError, load
    from edge.config.change import redacted

    try:
        settings = load(file, files=False)
    except ConfigError as error:
        click.echo(str(error), err=True)
        return EXIT_REFUSED
    yaml = YAML(typ="safe")
    yaml.default_flow_style = None
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.dump(redacted(settings), sys.stdout)
    return 0
