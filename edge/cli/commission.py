"""`edgectl commission`: find, read, measure and check Modbus devices; through the gateway while it runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from edge.cli.client import DEFAULT_SOCKET, Client, Refused, Unreachable
from edge.field.commission import CommissionError, run

LONGEST_S = 180.0

place = click.argument("place")
unit = click.option("--unit", default=1, show_default=True, type=click.IntRange(0, 255), help="Unit identifier.")
baud = click.option("--baud", default=19200, show_default=True, help="Of a serial line.")
parity = click.option("--parity", default="even", show_default=True, type=click.Choice(["even", "odd", "none"]))
as_json = click.option("--json", "as_json", is_flag=True, help="Print the document.")


@click.group()
def commission() -> None:
    """Find and check Modbus devices.

    PLACE is HOST, HOST:PORT, a network such as 10.0.0.0/24 (scan only), a serial port, or tcp:HOST:PORT for a serial server.
    """


def _do(step: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Through the gateway while it runs, so that nobody disturbs its lines; else from here."""
    context = click.get_current_context().find_root()
    path = context.params.get("socket_path") or DEFAULT_SOCKET
    arguments = {key: value for key, value in arguments.items() if value is not None}
    try:
        answer: dict[str, Any] = Client(path, LONGEST_S).post(f"/v1/commission/{step}", arguments)["result"]
        return answer
    except Unreachable:
        pass
    except Refused as error:
        raise click.ClickException(str(error)) from None
    try:
        return run(step, arguments, lambda text: click.echo(text, err=True))
    except CommissionError as error:
        raise click.ClickException(str(error)) from None


def _range(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    first, _, last = text.partition("-")
    try:
        return int(first), int(last or first)
    except ValueError:
        raise click.BadParameter(f"{text}: a unit, or FIRST-LAST") from None


@commission.command()
def ports() -> int:
    """The serial ports of this machine."""
    from serial.tools.list_ports import comports

    for port in sorted(comports()):
        click.echo(f"{port.device}  {port.description}")
    return 0


@commission.command()
@place
@click.option("--units", help="FIRST-LAST; none: 1 on TCP, 1-32 on a line.")
@click.option("--bauds", help="Comma-separated; none: 9600,19200,38400,115200.")
@click.option("--parities", help="Comma-separated; none: even,none.")
@as_json
def scan(place: str, units: str | None, bauds: str | None, parities: str | None, as_json: bool) -> int:
    """Who answers: at one host, in a network, or on a serial line."""
    arguments = {
        "place": place,
        "units": _range(units),
        "bauds": [int(b) for b in bauds.split(",")] if bauds else None,
        "parities": parities.split(",") if parities else None,
    }
    found = _do("scan", arguments)
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return 0
    for device in found["devices"]:
        line = f" {device['baud']} {device['parity']}" if "baud" in device else ""
        sunspec = f"  SunSpec {', '.join(map(str, device['sunspec']))}" if "sunspec" in device else ""
        who = " ".join(device[key] for key in ("manufacturer", "model") if key in device)
        click.echo(f"{device['place']}{line} unit {device['unit']}{sunspec}  {who}".rstrip())
    if not found["complete"]:
        click.echo("the scan reached its time limit: name fewer addresses or units", err=True)
    return 0 if found["devices"] else 1


@commission.command()
@place
@unit
@baud
@parity
@click.option("--table", default="holding", show_default=True, type=click.Choice(["holding", "input"]))
@click.option("--address", required=True, type=click.IntRange(0, 65535), help="Protocol address, counted from 0.")
@click.option("--type", "kind", default="uint16", show_default=True, help="As in a profile.")
@click.option("--words", default="big", show_default=True, type=click.Choice(["big", "little"]))
@click.option("--count", default=1, show_default=True, help="Values one after the other.")
@as_json
def read(place: str, kind: str, as_json: bool, **rest: Any) -> int:
    """What registers hold now."""
    found = _do("read", {"place": place, "type": kind, **rest})
    if as_json:
        click.echo(json.dumps(found, indent=1))
    else:
        click.echo(f"{' '.join(map(str, found['values']))}   ({' '.join(found['registers'])})")
    return 0


@commission.command()
@place
@click.option("--profile", required=True, help="A packaged profile's name or a .yaml file.")
@unit
@baud
@parity
@as_json
def probe(place: str, profile: str, as_json: bool, **rest: Any) -> int:
    """Answer times, how many requests at once it bears, how often its registers change. Reads only."""
    found = _do("probe", {"place": place, **_file(profile), **rest})
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return 0
    reply = found["reply_ms"]
    refresh = "no change seen" if found["refresh_ms"] is None else f"every {found['refresh_ms']} ms"
    click.echo(f"answers in {reply['median']} ms, at the slowest {reply['slowest']} ms ({reply['reads']} reads)")
    click.echo(f"requests at once: {found['window']}")
    click.echo(f"registers change {refresh} ({found['changes']} changes)")
    return 0


@commission.command()
@place
@click.option("--profile", required=True, help="A packaged profile's name or a .yaml file.")
@unit
@baud
@parity
@click.option("--write", is_flag=True, help="Write the fallback registers first, as the gateway will.")
@as_json
def verify(place: str, profile: str, as_json: bool, **rest: Any) -> int:
    """Every register of a profile against the device."""
    found = _do("verify", {"place": place, **_file(profile), **rest})
    if as_json:
        click.echo(json.dumps(found, indent=1))
    else:
        for line in found["lines"]:
            value = "" if line.get("value") is None else f"{line['value']} {line.get('unit', '')}"
            mark = "ok " if line["ok"] else "NO "
            click.echo(f"{mark} {line['what']:<24} {line['table']} {line['address']:<6} {value} {line.get('why', '')}".rstrip())
    return 0 if found["ok"] else 2


def _file(profile: str) -> dict[str, str]:
    """The gateway runs in another folder, so a file's path is made absolute."""
    is_file = "/" in profile or profile.endswith(".yaml")
    return {"profile": str(Path(profile).resolve()) if is_file else profile}


@commission.command()
@place
@unit
@baud
@parity
@click.option("--make", type=click.Choice(["meter", "charger"]), help="Write a profile of what was found.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="The profile's file, NAME.yaml.")
@click.option("--export-positive", is_flag=True, help="This meter counts export as positive.")
@click.option("--grid-profile", help="Compare models 705 to 712 with a grid profile of the config.")
@as_json
def sunspec(place: str, make: str | None, output: Path | None, as_json: bool, **rest: Any) -> int:
    """What a SunSpec device says of itself; with --make the profile for the config."""
    if (make is None) != (output is None):
        raise click.UsageError("--make and --output belong together")
    name = None if output is None else output.stem
    found = _do("sunspec", {"place": place, "make": make, "name": name, **rest})
    if output is not None:
        _write_profile(output, found["profile"])
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return 0
    who = " ".join(found[key] for key in ("manufacturer", "model", "version", "serial") if key in found)
    click.echo(f"base {found['base']}  {who}".rstrip())
    click.echo(f"models {', '.join(str(m['id']) for m in found['models'])}")
    for model, on in found["grid_functions"].items():
        click.echo(f"  {model} {'on' if on else 'off'}")
    for line in found.get("differences", ()):
        click.echo(f"differs: {line}")
    return 2 if found.get("differences") else 0


def _write_profile(path: Path, profile: dict[str, Any]) -> None:
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe")
    yaml.default_flow_style = None
    yaml.width = 120
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    with path.open("w") as file:
        yaml.dump(profile, file)
    click.echo(f"{path}: written; check it with edgectl commission verify, then name it in the config")
