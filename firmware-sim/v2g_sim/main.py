"""Program v2g-sim: simulated EVSEs, vehicles, feeders and meters, with faults on command."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from pathlib import Path
from typing import Any

import can
import click

from v2g_sim import control, settings
from v2g_sim.observer import Observer, watch
from v2g_sim.simulation import Simulation, open_bus, run_until


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Simulated firmware of an EV-charging site."""


def _settings(
    config: Path | None, gateway_config: Path | None, evses: int | None, channel: str | None, vehicle: str | None
) -> settings.SimSettings:
    if sum(choice is not None for choice in (config, gateway_config, evses)) != 1:
        raise click.UsageError("give one of --config, --gateway-config and --evses")
    if gateway_config is not None:
        return settings.from_gateway(gateway_config, channel, None if vehicle is None else _json_object(vehicle))
    if vehicle is not None:
        raise click.UsageError("--vehicle goes with --gateway-config")
    if config is not None:
        return settings.load(config)
    if channel is None:
        raise click.UsageError("--evses needs --channel")
    return settings.shortcut(evses or 0, channel)


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"{text!r} is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise click.UsageError(f"{text!r} is no JSON object")
    return value


_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@cli.command()
@click.option("--config", type=_FILE, help="The simulator's own YAML file.")
@click.option("--gateway-config", type=_FILE, help="Simulate the site that a gateway's config.yaml describes.")
@click.option("--evses", type=click.IntRange(1, 255), help="Simulate this many equal EVSEs.")
@click.option("--channel", help="CAN channel: hub:PATH or a SocketCAN interface. Replaces those of --gateway-config.")
@click.option("--vehicle", help="JSON object of the vehicle plugged in everywhere (with --gateway-config).")
@click.option("--control", "control_path", type=click.Path(path_type=Path), help="Listen for commands on this UNIX socket.")
@click.option("--ready-file", type=click.Path(path_type=Path), help="Write this file when everything runs.")
def run(
    config: Path | None,
    gateway_config: Path | None,
    evses: int | None,
    channel: str | None,
    vehicle: str | None,
    control_path: Path | None,
    ready_file: Path | None,
) -> None:
    """Simulate a site until SIGINT or SIGTERM; prints "ready" when everything runs."""
    try:
        simulation = Simulation(_settings(config, gateway_config, evses, channel, vehicle))
        if control_path is not None:
            control_path.unlink(missing_ok=True)  # left behind by a simulator that was killed
        asyncio.run(_run(simulation, control_path, ready_file))
    except (ValueError, OSError, can.CanError) as error:
        raise click.ClickException(str(error)) from None
    finally:
        for path in (control_path, ready_file):
            if path is not None:
                path.unlink(missing_ok=True)


async def _run(simulation: Simulation, control_path: Path | None, ready_file: Path | None) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    def on_ready() -> None:
        if ready_file is not None:
            ready_file.write_text("ready\n")
        click.echo("ready")

    server = None if control_path is None else await control.serve(control_path, simulation.command)
    try:
        await run_until(simulation, stop, on_ready)
    finally:
        if server is not None:
            server.close()


@cli.command()
@click.argument("socket", type=click.Path(path_type=Path))
@click.argument("command")
def ctl(socket: Path, command: str) -> None:
    """Send one JSON COMMAND to the simulator at SOCKET and print the answer; see v2g_sim/control.py."""
    try:
        with control.Client(socket) as client:
            click.echo(json.dumps(client.send(_json_object(command))))
    except control.ControlError as error:
        raise click.ClickException(str(error)) from None


@cli.command()
@click.option("--gateway-config", type=_FILE, required=True, help="The gateway's config.yaml, for buses and limits.")
@click.option("--channel", help="CAN channel that replaces those of the config.")
@click.option("--seconds", type=click.FloatRange(min=0), help="Watch this long; without it until SIGINT or SIGTERM.")
def observe(gateway_config: Path, channel: str | None, seconds: float | None) -> None:
    """Watch the bus, judge every command by the config's limits, print a JSON summary; exit code 1 on a breach."""
    stopped: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: stopped.append(number))
    end = None if seconds is None else time.monotonic() + seconds
    with contextlib.ExitStack() as stack:
        try:
            watcher = Observer.of_config(gateway_config)
            wanted = settings.from_gateway(gateway_config, channel).buses
            buses = {bus.id: stack.enter_context(open_bus(bus)) for bus in wanted}
        except (ValueError, OSError, KeyError, can.CanError) as error:
            raise click.ClickException(f"{gateway_config}: {error}") from None
        watch(watcher, buses, lambda: bool(stopped) or (end is not None and time.monotonic() >= end))
    summary = watcher.summary()
    click.echo(json.dumps(summary, indent=2))
    raise SystemExit(1 if summary["setpoints_beyond_limit"] else 0)


def main() -> None:
    """Entry point of the console program."""
    cli()
