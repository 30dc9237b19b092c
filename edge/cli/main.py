"""edgectl: every question answered at the cabinet.

It talks to the local API only, and imports what a command needs when that command runs, because it must start fast.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, ClassVar
from urllib.parse import quote

import click

from edge.cli.client import DEFAULT_SOCKET, Client, Document, Refused, Unreachable

EXIT_CODES = {"ok": 0, "degraded": 1, "fault": 2}
EXIT_UNREACHABLE = 3
EXIT_USAGE = 64
EXIT_INTERRUPTED = 130
CLEAR_SCREEN = "\x1b[H\x1b[J"

as_json = click.option("--json", "as_json", is_flag=True, help="Print the document of the local API.")


def _echo(lines: Iterable[str]) -> None:
    colour = False if os.environ.get("NO_COLOR") else None
    click.echo("\n".join(lines), color=colour)


def _print(document: Document, wanted_json: bool, lines: Callable[[Document], list[str]]) -> None:
    if wanted_json:
        click.echo(json.dumps(document, indent=1, ensure_ascii=False))
    else:
        _echo(lines(document))


def _complete_evse(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    path = context.find_root().params.get("socket_path") or DEFAULT_SOCKET
    try:
        evses = Client(path).get("/v1/status")["evses"]
    except (Unreachable, Refused):
        return []
    return [evse["id"] for evse in evses if evse["id"].startswith(incomplete)]


class LazyGroup(click.Group):
    """A group some of whose commands live in other parts of the gateway, and are imported only when asked for."""

    ELSEWHERE: ClassVar = {
        "bundle": "edge.cli.bundle:bundle",
        "can": "edge.cli.fieldbus:can",
        "config": "edge.cli.config:config",
        "exi": "edge.iso15118.exi_cli:exi_group",
        "modbus": "edge.cli.fieldbus:modbus",
        "pki": "edge.uplink.pki:pki",
        "probe": "edge.cli.commission:probe",
        "simulate": "edge.cli.simulate:simulate",
        "sunspec": "edge.cli.fieldbus:sunspec",
        "test": "edge.cli.commission:test",
        "verify": "edge.cli.commission:verify",
    }

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted([*super().list_commands(context), *self.ELSEWHERE])

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in self.ELSEWHERE:
            return super().get_command(context, name)
        module, attribute = self.ELSEWHERE[name].split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


evse_argument = click.argument("evse", shell_complete=_complete_evse)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80})
@click.option(
    "--socket", "socket_path", envvar="V2G_SOCKET", default=DEFAULT_SOCKET, show_default=True, help="Socket of v2g-edge."
)
@click.pass_context
def cli(context: click.Context, socket_path: str) -> None:
    """What the gateway does and why: what binds, how old, what next.

    Exit codes: 0 ok, 1 degraded, 2 fault, 3 daemon unreachable, 64 usage.
    """
    context.obj = Client(socket_path)


@cli.command()
@as_json
@click.option("--watch", is_flag=True, help="Refresh every second until Ctrl-C.")
@click.pass_obj
def status(client: Client, as_json: bool, watch: bool) -> int:
    """The whole site on one screen."""
    from edge.cli.show import status_lines

    def show(document: Document) -> list[str]:
        return status_lines(document, shutil.get_terminal_size((80, 24)).lines - 1 if sys.stdout.isatty() else None)

    while watch:
        try:
            document = client.get("/v1/status")
            frame = [json.dumps(document, ensure_ascii=False)] if as_json else show(document)
        except Unreachable as error:
            frame = [click.style(f"STALE: {error}", fg="red", bold=True)]
        _echo([(CLEAR_SCREEN if sys.stdout.isatty() else "") + frame[0], *frame[1:]])
        time.sleep(1)
    document = client.get("/v1/status")
    _print(document, as_json, show)
    return EXIT_CODES[document["level"]]


@cli.command()
@click.argument("what", metavar="EVSE|CODE", shell_complete=_complete_evse)
@as_json
@click.pass_obj
def explain(client: Client, what: str, as_json: bool) -> int:
    """The whole chain of an EVSE, or what a code means."""
    from edge.cli.show import code_lines, explain_lines
    from edge.model import catalogue

    info = catalogue.find(what)
    if info is not None:
        fields = {name: getattr(info, name) for name in info.__slots__}
        _print({"schema": "v2g.code/1", **fields}, as_json, lambda _: code_lines(info))
        return 0
    _print(client.get(f"/v1/evses/{quote(what, safe='')}/explain"), as_json, explain_lines)
    return 0


AGO_MS = {"s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}


def _since(context: click.Context, parameter: click.Parameter, text: str) -> tuple[int, int]:
    """The number of an event, and the Unix time in ms; one of them is 0."""
    digits = text.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = text[len(digits) :]
    if not digits.isdecimal() or (unit and unit not in AGO_MS):
        raise click.BadParameter(f"{text!r} is neither an event's number nor a time ago (90s, 10min, 2h, 3d)")
    return (int(digits), 0) if not unit else (0, time.time_ns() // 1_000_000 - int(digits) * AGO_MS[unit])


@cli.command()
@click.argument("subject", required=False, shell_complete=_complete_evse)
@click.option(
    "--since",
    metavar="NUMBER|AGO",
    callback=_since,
    default="0",
    help="Only after this number, or so long ago: 90s, 10min, 2h, 3d.",
)
@click.option("--faults", is_flag=True, help="Only what is degraded or a fault.")
@click.option("--follow", "-f", is_flag=True, help="Go on with what happens, until Ctrl-C.")
@as_json
@click.pass_obj
def events(client: Client, subject: str | None, since: tuple[int, int], faults: bool, follow: bool, as_json: bool) -> int:
    """What happened, oldest first; faults of before a restart as well. SUBJECT: an EVSE, feeder, bus or `site`."""
    from edge.cli.show import event_lines

    number, after_ms = since

    def wanted(event: Document) -> bool:
        by_subject = subject is None or event["subject"] == subject
        return by_subject and event["ts"] >= after_ms and not (faults and event["level"] == "ok")

    def look(number: int) -> int:
        document = client.get(f"/v1/events?since={number}")
        document["events"] = [event for event in document["events"] if wanted(event)]
        if document["events"] or not follow:
            _print(document, as_json, lambda shown: event_lines(shown["events"]) or ["nothing happened"])
        return int(document["last"])

    number = look(number)
    while follow:
        time.sleep(1)
        number = look(number)
    return 0


@cli.command()
@as_json
@click.pass_obj
def rt(client: Client, as_json: bool) -> int:
    """How punctual the cycle is."""
    from edge.cli.show import rt_lines

    _print(client.get("/v1/rt"), as_json, rt_lines)
    return 0


@cli.command()
@as_json
@click.pass_obj
def doctor(client: Client, as_json: bool) -> int:
    """Check the machine and the gateway; one remedy per finding. Without the gateway, the machine alone."""
    from edge.cli.show import check_lines

    try:
        document = client.get("/v1/doctor")
    except Unreachable as error:
        from pathlib import Path

        from edge.local.doctor import host_checks
        from edge.local.host import probe

        gateway = {"name": "gateway", "level": "fault", "text": str(error), "remedy": "systemctl restart v2g-edge"}
        checks = [gateway, *host_checks(probe(Path("/var/lib/v2g-edge")))]
        document = {
            "schema": "v2g.doctor/1",
            "boot": None,
            "ts": time.time_ns() // 1_000_000,
            "level": "fault",
            "checks": checks,
        }
        _print(document, as_json, lambda shown: check_lines(shown["checks"]))
        return EXIT_UNREACHABLE
    _print(document, as_json, lambda shown: check_lines(shown["checks"]))
    return EXIT_CODES[document["level"]]


@cli.command()
@as_json
@click.pass_obj
def sessions(client: Client, as_json: bool) -> int:
    """Vehicles that are here or were: energy and state of charge."""
    from edge.cli.show import session_lines

    _print(client.get("/v1/sessions"), as_json, lambda shown: session_lines(shown["sessions"]))
    return 0


@cli.command()
@evse_argument
@click.option("--reason", required=True, help="Why, for the next person at the cabinet.")
@as_json
@click.pass_obj
def lock(client: Client, evse: str, reason: str, as_json: bool) -> int:
    """Hold an EVSE at 0 W until you unlock it; this survives restarts."""
    document = client.post("/v1/locks", {"evse": evse, "locked": True, "reason": reason})
    _print(document, as_json, lambda shown: [f"{evse} is locked by {shown['by']}: {reason}"])
    return 0


@cli.command()
@evse_argument
@as_json
@click.pass_obj
def unlock(client: Client, evse: str, as_json: bool) -> int:
    """Release your lock of an EVSE."""
    document = client.post("/v1/locks", {"evse": evse, "locked": False})
    _print(document, as_json, lambda shown: [f"{evse} is unlocked by {shown['by']}"])
    return 0


@cli.command("page-token")
@as_json
@click.pass_obj
def page_token(client: Client, as_json: bool) -> int:
    """The token with which the local page may lock an EVSE; new with each start."""
    _print(client.get("/v1/page-token"), as_json, lambda shown: [shown["token"]])
    return 0


@cli.command()
@as_json
@click.pass_obj
def reload(client: Client, as_json: bool) -> int:
    """Apply the config file, whole or not at all."""
    _print(client.post("/v1/reload", {}), as_json, lambda shown: [f"config {shown['config_hash']} holds"])
    return 0


@cli.command()
@evse_argument
@as_json
@click.pass_obj
def history(client: Client, evse: str, as_json: bool) -> int:
    """The last 15 minutes of an EVSE, drawn: power, what it was told, SOC, temperature, what bound."""
    from edge.cli.show import history_lines

    _print(client.get(f"/v1/evses/{quote(evse, safe='')}/history"), as_json, history_lines)
    return 0


@cli.command()
@click.pass_obj
def top(client: Client) -> int:
    """A live screen: every EVSE, and why the chosen one does what it does."""
    try:
        from edge.cli.top import Top
    except ModuleNotFoundError as error:
        if error.name != "textual":
            raise
        click.echo("edgectl: top needs textual: pip install 'v2g-edge[top]'; or use edgectl status --watch", err=True)
        return EXIT_USAGE
    Top(client).run()
    return 0


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    """Print the completion script: source it, or put it where your shell looks."""
    from click.shell_completion import get_completion_class

    shell_class = get_completion_class(shell)
    assert shell_class is not None
    click.echo(shell_class(cli, {}, "edgectl", "_EDGECTL_COMPLETE").source())
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code of contracts.md section 1."""
    try:
        result: Any = cli.main(arguments, prog_name="edgectl", complete_var="_EDGECTL_COMPLETE", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return EXIT_USAGE
    except Unreachable as error:
        click.echo(f"edgectl: {error}", err=True)
        return EXIT_UNREACHABLE
    except Refused as error:
        click.echo(f"edgectl: {error}", err=True)
        return EXIT_USAGE if error.status in (400, 404) else EXIT_CODES["fault"]
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return result if isinstance(result, int) else 0
