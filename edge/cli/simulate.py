"""`edgectl simulate`: what the chain would say for inputs that are only assumed. Needs a config file and no gateway."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge.cli.config import DEFAULT_FILE, EXIT_REFUSED, file_path

if TYPE_CHECKING:
    from edge.core.whatif import Answer, Situation

DEGREES = ("connector", "cable", "charger", "cell-max", "cell-min")
LOSABLE = ("link", "soc", *DEGREES, "limits", "phases")
LOST_VALUES = {
    "link": ("STATE", "FLAGS", "POWER"),
    "limits": ("MAX_CHARGE", "MAX_DISCHARGE", "CAPACITY"),
    "phases": ("P_L1", "P_L2", "P_L3"),
    "soc": ("SOC",),
} | {name: (f"T_{name.replace('-', '_').upper()}",) for name in DEGREES}


class Load(click.ParamType[tuple[str, int]]):
    """METER=W."""

    name = "METER=W"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        meter, _, power = str(value).partition("=")
        try:
            return meter, int(power)
        except ValueError:
            self.fail(f"{value}: write the meter's id, =, and whole W, for example grid=12000", param, ctx)


def _degrees(command: Any) -> Any:
    for name in reversed(DEGREES):
        command = click.option(f"--{name}", type=click.FloatRange(-100, 300), help=f"Temperature of {name}, °C.")(command)
    return command


@click.command()
@click.argument("evse")
@click.option("--config", "file", type=file_path, default=DEFAULT_FILE, show_default=True, help="The config to try.")
@click.option("--target", type=int, required=True, help="What is asked of the EVSE, W; negative discharges.")
@click.option("--soc", type=click.FloatRange(0, 100), help="State of charge, %.  [default: 50]")
@_degrees
@click.option("--state", type=click.Choice(list("ABCDEFT")), help="State (IEC 61851-1; T: energy transfer).  [default: T]")
@click.option("--unidirectional", is_flag=True, help="The vehicle can't discharge.")
@click.option("--e-stop", is_flag=True, help="The emergency stop is pressed.")
@click.option("--lost", multiple=True, type=click.Choice(LOSABLE), help="A value that doesn't come.")
@click.option("--load", "loads", multiple=True, type=Load(), help="Load beside the EVSEs at a meter.  [default: declared]")
@click.option("--lost-meter", "lost_meters", multiple=True, metavar="METER", help="A meter that doesn't answer.")
@click.option("--locked", is_flag=True, help="Somebody has locked the EVSE.")
@click.option("--expired", is_flag=True, help="Everybody's limits are over.")
@click.option("--no-guard", is_flag=True, help="The guard is gone.")
@click.option("--no-realtime", is_flag=True, help="Real-time scheduling was refused.")
@click.option("--json", "as_json", is_flag=True, help="Print a document.")
def simulate(evse: str, file: Path, as_json: bool, **assumed: Any) -> int:
    """What would EVSE be told, and which row of the chain binds, if …?

    The core's own code answers, for a vehicle that does what it is told. Other EVSEs stand empty.
    """
    from edge.config import ConfigError, load
    from edge.config.devices import load_devices
    from edge.core.errors import CoreError
    from edge.core.whatif import what_if

    try:
        settings = load(file, files=False)
        _known(evse, [e.id for e in settings.evses], "EVSE", file)
        for meter in (*dict(assumed["loads"]), *assumed["lost_meters"]):
            _known(meter, [m.id for m in settings.meters], "meter", file)
        answer = what_if(settings, load_devices(settings, file.parent), _situation(evse, assumed))
    except (ConfigError, CoreError) as error:
        click.echo(str(error), err=True)
        return EXIT_REFUSED
    document = _document(evse, answer)
    click.echo(json.dumps(document, indent=1, ensure_ascii=False) if as_json else "\n".join(_lines(document)))
    return 0


def _known(name: str, names: list[str], kind: str, file: Path) -> None:
    if name not in names:
        raise click.UsageError(f"{name}: no such {kind} in {file}: one of {', '.join(names) or 'none'}")


def _situation(evse: str, assumed: dict[str, Any]) -> Situation:
    from edge.core._native import lib
    from edge.core.whatif import READY_FLAGS, Situation
    from edge.field.canmap import EvseField
    from edge.local.view import STATES

    values: dict[EvseField, int] = {}
    for name in DEGREES:
        degrees = assumed[name.replace("-", "_")]
        if degrees is not None:
            values[EvseField[LOST_VALUES[name][0]]] = round(10 * degrees)
    if assumed["soc"] is not None:
        values[EvseField.SOC] = round(100 * assumed["soc"])
    if assumed["state"] is not None:
        values[EvseField.STATE] = STATES.index(assumed["state"])
    flags = READY_FLAGS | (lib.V2G_FLAG_E_STOP if assumed["e_stop"] else 0)
    values[EvseField.FLAGS] = flags & ~(lib.V2G_FLAG_BIDIRECTIONAL if assumed["unidirectional"] else 0)
    return Situation(
        evse=evse,
        wish_w=assumed["target"],
        values=values,
        lost=frozenset(EvseField[name] for group in assumed["lost"] for name in LOST_VALUES[group]),
        loads_w=dict(assumed["loads"]),
        lost_meters=frozenset(assumed["lost_meters"]),
        locked=assumed["locked"],
        lease_over=assumed["expired"],
        guard=not assumed["no_guard"],
        realtime=not assumed["no_realtime"],
    )


def _document(evse: str, answer: Answer) -> dict[str, Any]:
    from edge.local.builders import ROW_TITLES, reason_doc, sides_of

    setpoint, trace = answer.setpoint, answer.trace
    charge = sides_of([row.charge_w for row in trace.rows], [row.reason_charge for row in trace.rows])
    discharge = sides_of([row.discharge_w for row in trace.rows], [row.reason_discharge for row in trace.rows])
    return {
        "schema": "v2g.simulate/1",
        "evse": evse,
        "wish_w": trace.wish_w,
        "setpoint": {"target_w": setpoint.target_w, "min_w": setpoint.min_w, "max_w": setpoint.max_w},
        "reason": reason_doc(setpoint.reason),
        "settled": answer.settled,
        "settled_ms": answer.settled_ns // 1_000_000,
        "rows": [
            {"row": i + 1, "title": title, "charge": charge[i], "discharge": discharge[i]} for i, title in enumerate(ROW_TITLES)
        ],
    }


def _lines(document: dict[str, Any]) -> list[str]:
    from edge.cli.show import row_line, wrapped
    from edge.model import catalogue

    setpoint, reason = document["setpoint"], document["reason"]
    info = catalogue.find(reason["code"])
    when = f"after {document['settled_ms'] / 1000:.1f} s" if document["settled"] else "and still moving after two minutes"
    lines = [
        f"{click.style(document['evse'], bold=True)}  asked {document['wish_w']} W, told {setpoint['target_w']} W {when}",
        click.style(f"  binds   {reason['title']} ({reason['code']})", bold=True),
    ]
    if info is not None and info.loosens:
        lines += wrapped(info.loosens, " " * 10, "  next    ")
    lines += ["", f"{'LEFT AFTER ROW':<24}{'CHARGE':>10}{'DISCHARGE':>13}   TIGHTENED BY  (* binds)"]
    return lines + [row_line(row) for row in document["rows"]]
