"""`edgectl modbus|sunspec|can|probe|verify|test`: what a technician does with devices; through the gateway while it runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from edge.cli.client import DEFAULT_SOCKET, Client, Refused, Unreachable

LONGEST_S = 180.0
"""Of a scan; a test adds its own time."""

Document = dict[str, Any]

place = click.argument("place", metavar="PLACE|DEVICE")
unit = click.option("--unit", type=click.IntRange(0, 255), help="Unit identifier; none: 1, or the device's own.")
baud = click.option("--baud", default=19200, show_default=True, help="Of a serial line.")
parity = click.option("--parity", default="even", show_default=True, type=click.Choice(["even", "odd", "none"]))
profile = click.option("--profile", help="A packaged profile's name or a .yaml file; a device of the config has its own.")
as_json = click.option("--json", "as_json", is_flag=True, help="Print the document.")
PLACES = (
    """PLACE is HOST, HOST:PORT, a serial port or tcp:HOST:PORT of a serial server; DEVICE a meter or EVSE of the gateway."""
)


def ask(step: str, arguments: Document, longest_s: float = LONGEST_S) -> Document:
    """A step of the running gateway. Unreachable: none runs."""
    context = click.get_current_context().find_root()
    path = context.params.get("socket_path") or DEFAULT_SOCKET
    arguments = {key: value for key, value in arguments.items() if value is not None}
    try:
        answer: Document = Client(path, longest_s).post(f"/v1/commission/{step}", arguments)["result"]
    except Refused as error:
        raise click.ClickException(str(error)) from None
    return answer


def ask_or_do(step: str, arguments: Document) -> Document:
    """Through the gateway while it runs, so that nobody disturbs its lines; else from here."""
    try:
        return ask(step, arguments)
    except Unreachable:
        pass
    from edge.field.commission import CommissionError, run

    arguments = {key: value for key, value in arguments.items() if value is not None}
    try:
        return run(step, arguments, lambda text: click.echo(text, err=True))
    except CommissionError as error:
        raise click.ClickException(str(error)) from None


def show(document: Document, as_json: bool, lines: Callable[[Document], Iterable[str]]) -> None:
    if as_json:
        click.echo(json.dumps(document, indent=1))
        return
    for line in lines(document):
        click.echo(line)


def file_of(profile: str | None) -> str | None:
    """The gateway runs in another folder, so a file's path is made absolute."""
    if profile is None or not ("/" in profile or profile.endswith(".yaml")):
        return profile
    return str(Path(profile).resolve())


# ---- One device -------------------------------------------------------------------------------------------------------------


@click.command(help=f"Measure what no paper says of a device: answer times, window, refresh, fallback, silence.\n\n{PLACES}")
@place
@profile
@unit
@baud
@parity
@click.option("--silence", is_flag=True, help="Let the EVSE charge, say nothing for its time-out, see what it does.")
@click.option("--power", "power_w", type=int, help="W that it charges in the test of silence; none: little.")
@click.option("--seconds", type=float, help="Its time-out, where its registers don't tell it.")
@as_json
def probe(place: str, profile: str | None, as_json: bool, silence: bool, **rest: Any) -> int:
    if silence:
        tried = {"power_w": rest["power_w"], "seconds": rest["seconds"]}
        found = ask("probe", {"place": place, "silence": True, **tried}, longest_s=900)
        show(found, as_json, _silence_lines)
        return 0 if found["falls_back"] else 2
    asked = {key: rest[key] for key in ("unit", "baud", "parity")}
    found = ask_or_do("probe", {"place": place, "profile": file_of(profile), **asked})
    show(found, as_json, lambda document: _probe_lines(document, place))
    return 0


def _probe_lines(found: Document, place: str) -> Iterable[str]:
    reply = found["reply_ms"]
    refresh = "no change seen" if found["refresh_ms"] is None else f"every {found['refresh_ms']} ms"
    yield f"answers in {reply['median']} ms, {reply['fastest']} to {reply['slowest']} ms ({reply['reads']} reads)"
    yield f"requests at once: {found['window']}"
    yield f"registers change {refresh} ({found['changes']} changes)"
    fallback = found["fallback"]
    if fallback is None:
        yield "fallback: the profile knows no register of it"
    else:
        after_s = fallback["after_ms"] / 1000
        yield f"fallback: {fallback['power_w']:g} W after {after_s:g} s without a write, as its registers say"
    yield f"silence: not tested; while a vehicle charges: edgectl probe {place} --silence"


def _silence_lines(found: Document) -> Iterable[str]:
    yield f"charged {found['before_w']} W; after {found['silent_s']:g} s of silence {found['after_w']} W"
    if found["falls_back"]:
        yield f"{found['evse']} falls back to 0 W by itself"
    else:
        yield f"{found['evse']} goes on: never set silence_tested for it; the guard stops it, its own time-out doesn't"


@click.command(help=f"Compare every register of a profile with the device.\n\n{PLACES}")
@place
@profile
@unit
@baud
@parity
@click.option("--write", is_flag=True, help="Write the fallback registers first, as the gateway will.")
@as_json
def verify(place: str, profile: str | None, as_json: bool, **rest: Any) -> int:
    found = ask_or_do("verify", {"place": place, "profile": file_of(profile), **rest})
    show(found, as_json, _verify_lines)
    return 0 if found["ok"] else 2


def _verify_lines(found: Document) -> Iterable[str]:
    for line in found["lines"]:
        value = "" if line.get("value") is None else f"{line['value']} {line.get('unit', '')}"
        mark = "ok " if line["ok"] else "NO "
        yield f"{mark} {line['what']:<24} {line['table']} {line['address']:<6} {value} {line.get('why', '')}".rstrip()


@click.command()
@click.argument("evse")
@click.option("--power", "power_w", required=True, type=int, help="W, charging positive.")
@click.option("--for", "seconds", required=True, type=click.FloatRange(1, 600), help="Seconds.")
@as_json
def test(evse: str, power_w: int, seconds: float, as_json: bool) -> int:
    """Ask an EVSE for a power, as a constraint among all others, and see how it follows.

    Every limit holds: what binds is shown. It is taken back at the end; edgectl lock stops the EVSE before.
    """
    found = ask("test", {"evse": evse, "power_w": power_w, "seconds": seconds}, longest_s=seconds + 30)
    show(found, as_json, _test_lines)
    return 0 if found["ok"] else 2


def _test_lines(found: Document) -> Iterable[str]:
    measured = "no power" if found["measured_w"] is None else f"{found['measured_w']} W"
    yield f"{found['evse']}: asked {found['asked_w']} W, told {found['told_w']} W, measured {measured}"
    yield f"bound by {', '.join(found['reasons'])}"
    if found["followed_after_ms"] is None:
        yield f"it didn't follow: edgectl explain {found['evse']}"
    else:
        yield f"followed within {found['followed_after_ms']} ms of its last setpoint"
