"""`edgectl modbus`, `edgectl sunspec` and `edgectl can`: the buses themselves."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from edge.cli.commission import PLACES, Document, as_json, ask, ask_or_do, baud, file_of, parity, place, profile, show, unit


@click.group()
def modbus() -> None:
    """Find Modbus devices, read and write their registers."""


@modbus.command()
@as_json
def ports(as_json: bool) -> int:
    """The serial ports of this machine."""
    from serial.tools.list_ports import comports

    found = [{"device": port.device, "description": port.description} for port in sorted(comports())]
    show({"ports": found}, as_json, lambda document: (f"{p['device']}  {p['description']}" for p in document["ports"]))
    return 0


@modbus.command()
@click.argument("place")
@click.option("--units", help="FIRST-LAST; none: 1 on TCP, 1-32 on a line.")
@click.option("--bauds", help="Comma-separated; none: 9600,19200,38400,115200.")
@click.option("--parities", help="Comma-separated; none: even,none.")
@as_json
def scan(place: str, units: str | None, bauds: str | None, parities: str | None, as_json: bool) -> int:
    """Who answers: at a host, in a network (10.0.0.0/24), or on a serial line."""
    arguments = {
        "place": place,
        "units": _range(units),
        "bauds": [int(b) for b in bauds.split(",")] if bauds else None,
        "parities": parities.split(",") if parities else None,
    }
    found = ask_or_do("scan", arguments)
    show(found, as_json, _scan_lines)
    if not found["complete"]:
        click.echo("the scan reached its time limit: name fewer addresses or units", err=True)
    return 0 if found["devices"] else 1


def _range(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    first, _, last = text.partition("-")
    try:
        return int(first), int(last or first)
    except ValueError:
        raise click.BadParameter(f"{text}: a unit, or FIRST-LAST") from None


def _scan_lines(found: Document) -> Iterable[str]:
    for device in found["devices"]:
        line = f" {device['baud']} {device['parity']}" if "baud" in device else ""
        sunspec = f"  SunSpec {', '.join(map(str, device['sunspec']))}" if "sunspec" in device else ""
        who = " ".join(device[key] for key in ("manufacturer", "model") if key in device)
        yield f"{device['place']}{line} unit {device['unit']}{sunspec}  {who}".rstrip()


address = click.option("--address", required=True, type=click.IntRange(0, 65535), help="Protocol address, counted from 0.")
kind = click.option("--type", "type", default="uint16", show_default=True, help="As in a profile.")
words = click.option("--words", default="big", show_default=True, type=click.Choice(["big", "little"]))


@modbus.command(help=f"What registers hold now.\n\n{PLACES}")
@place
@unit
@baud
@parity
@click.option("--table", default="holding", show_default=True, type=click.Choice(["holding", "input"]))
@address
@kind
@words
@click.option("--count", default=1, show_default=True, help="Values one after the other.")
@as_json
def read(as_json: bool, **arguments: Any) -> int:
    found = ask_or_do("read", arguments)
    show(found, as_json, lambda f: [f"{' '.join(map(str, f['values']))}   ({' '.join(f['registers'])})"])
    return 0


@modbus.command(help=f"Write one value: a setting. What commands a device is refused.\n\n{PLACES}")
@place
@profile
@unit
@baud
@parity
@click.option("--table", default="holding", show_default=True, type=click.Choice(["holding", "coil"]))
@address
@kind
@words
@click.option("--value", required=True, type=int, help="Raw value.")
@as_json
def write(as_json: bool, profile: str | None, **arguments: Any) -> int:
    found = ask("write", {"profile": file_of(profile), **arguments})
    show(found, as_json, lambda f: [f"{f['table']} {f['address']}: {f['before']} → {f['after']}"])
    return 0 if found["after"] in (None, arguments["value"]) else 2


# ---- SunSpec ----------------------------------------------------------------------------------------------------------------


@click.group()
def sunspec() -> None:
    """Devices that describe themselves."""


@sunspec.command("scan", help=f"What a SunSpec device says of itself; with --make the profile for the config.\n\n{PLACES}")
@place
@unit
@baud
@parity
@click.option("--make", type=click.Choice(["meter", "charger"]), help="Write a profile of what was found.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="The profile's file, NAME.yaml.")
@click.option("--export-positive", is_flag=True, help="This meter counts export as positive.")
@click.option("--grid-profile", help="Compare models 703 and 705 to 712 with a grid profile of the config.")
@as_json
def sunspec_scan(make: str | None, output: Path | None, as_json: bool, **rest: Any) -> int:
    if (make is None) != (output is None):
        raise click.UsageError("--make and --output belong together")
    found = ask_or_do("sunspec", {"make": make, "name": None if output is None else output.stem, **rest})
    if output is not None:
        _write_profile(output, found["profile"])
    show(found, as_json, _sunspec_lines)
    return 2 if found.get("differences") else 0


def _sunspec_lines(found: Document) -> Iterable[str]:
    who = " ".join(found[key] for key in ("manufacturer", "model", "version", "serial") if key in found)
    yield f"base {found['base']}  {who}".rstrip()
    yield f"models {', '.join(str(m['id']) for m in found['models'])}"
    for function in found["grid_functions"]:
        figures = ", ".join(f"{key} {_figure(value)}" for key, value in function["figures"].items())
        on = "on" if function["on"] else "off"
        yield f"  {function['model']} {function['name']} {on}  {figures or function['problem']}".rstrip()
    for line in found.get("differences", ()):
        yield f"differs: {line}"


def _figure(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(f"{limit:g}/{delay_s:g}s" for limit, delay_s in value)
    return f"{value:g}"


def _write_profile(path: Path, profile: Document) -> None:
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe")
    yaml.default_flow_style = None
    yaml.width = 120
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    with path.open("w") as file:
        yaml.dump(profile, file)
    click.echo(f"{path}: written; check it with edgectl verify, then name it in the config")


# ---- CAN --------------------------------------------------------------------------------------------------------------------


@click.group()
def can() -> None:
    """Frames of the gateway's CAN buses."""


@can.command()
@click.argument("bus", required=False)
@click.option("--for", "seconds", default=2.0, show_default=True, type=click.FloatRange(0.1, 60), help="Seconds.")
@click.option("--count", type=click.IntRange(1, 5000), help="End after so many frames.")
@as_json
def dump(bus: str | None, seconds: float, count: int | None, as_json: bool) -> int:
    """What is on a bus: time, identifier, data, and whose it is. Heard on a socket of its own, beside the cycle's."""
    found = ask("can-dump", {"bus": bus, "seconds": seconds, "count": count})
    show(found, as_json, _dump_lines)
    if not found["complete"]:
        click.echo(f"ended after {len(found['frames'])} frames", err=True)
    return 0 if found["frames"] else 1


def _dump_lines(found: Document) -> Iterable[str]:
    for frame in found["frames"]:
        data = " ".join(frame["data"][i : i + 2] for i in range(0, len(frame["data"]), 2))
        kind = "" if frame["kind"] == "data" else f"{frame['kind']} "
        length = len(frame["data"]) // 2
        yield f"{frame['time_s']:.6f} {found['bus']} {frame['id']} [{length}] {kind}{data}  {frame['of']}".rstrip()


@can.command()
@click.argument("bus")
@click.argument("frame", metavar="ID#DATA")
@as_json
def send(bus: str, frame: str, as_json: bool) -> int:
    """One frame in hexadecimal (123#0102ff; 8 digits: extended). Identifiers of EVSEs are refused."""
    identifier, mark, data = frame.partition("#")
    try:
        arguments = {"can_id": int(identifier, 16), "extended": len(identifier) == 8, "data": bytes.fromhex(data).hex()}
    except ValueError:
        raise click.BadParameter(f"{frame}: ID#DATA in hexadecimal") from None
    if not mark:
        raise click.BadParameter(f"{frame}: ID#DATA in hexadecimal")
    found = ask("can-send", {"bus": bus, **arguments})
    show(found, as_json, lambda f: [f"{f['bus']} {f['id']}#{f['data']}: sent"])
    return 0
