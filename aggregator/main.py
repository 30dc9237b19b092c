"""`v2g-aggregator`: the counterpart of the gateways."""

from __future__ import annotations

import json
import logging
import signal
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import click

from aggregator.decode import as_json
from aggregator.dispatch import Dispatcher, load_key, trip_ms
from aggregator.link import Link, LinkError
from aggregator.settings import DEFAULT_PATH, Settings, SettingsError, load
from aggregator.share import candidates, share
from aggregator.store import Store
from aggregator.worker import SUBSCRIPTIONS, Worker
from edge import wire
from edge.model import Outcome, check_id
from edge.wire import topics

SESSION_S = 86_400
"""The broker keeps acks and history for `run` while it is away (numbers.md)."""


class _Failure(click.ClickException):
    """One line on stderr, exit code 2."""

    exit_code = 2

    def format_message(self) -> str:
        return f"v2g-aggregator: {self.message}"


def _settings(context: click.Context) -> Settings:
    try:
        return load(context.obj)
    except SettingsError as error:
        raise _Failure(str(error)) from error


def _store(settings: Settings) -> Store:
    try:
        return Store(settings.database)
    except Exception as error:  # whatever the database driver raises: the person at the shell needs its text
        raise _Failure(f"database {settings.database}: {str(error).splitlines()[0]}") from error


@click.group()
@click.option("--config", type=click.Path(path_type=Path), default=DEFAULT_PATH, show_default=True, help="config.yaml")
@click.pass_context
def main(context: click.Context, config: Path) -> None:
    """Listens to a fleet of V2G gateways and dispatches them."""
    context.obj = config


@main.command()
@click.pass_context
def run(context: click.Context) -> None:
    """Store telemetry, history and acks until SIGTERM or Ctrl-C; SIGHUP reads the config again."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    settings = _settings(context)
    store = _store(settings)
    try:
        link = Link(settings.broker, "v2g-aggregator", SUBSCRIPTIONS, session_s=SESSION_S)
        link.wait_subscribed()
    except LinkError as error:
        raise _Failure(str(error)) from error
    stopping = threading.Event()
    worker = Worker(link, store, authorize_new=settings.authorize_new)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    signal.signal(signal.SIGHUP, lambda *_: _reload(context, worker))
    click.echo(f"v2g-aggregator: listening to {settings.broker.host}:{settings.broker.port}", err=True)
    worker.run(stopping.is_set)
    link.close()
    store.close()


def _reload(context: click.Context, worker: Worker) -> None:
    try:
        settings = load(context.obj)
        worker.authorize_new = settings.authorize_new
        logging.getLogger("v2g.aggregator").info(
            "config reloaded: min_soc_threshold %g %%, priority_weight %g", settings.min_soc_threshold, settings.priority_weight
        )
    except SettingsError as error:
        logging.getLogger("v2g.aggregator").error("config not reloaded, the old one runs on: %s", error)


@main.command()
@click.option("--evse", "evse_id", help="An EVSE of authorized_devices.")
@click.option("--site", "site_id", help="A whole site: its target at the grid connection; or the site of --evse.")
@click.option("--power", "power_w", type=int, help="Wish in W: positive charges, negative discharges.")
@click.option("--min", "min_w", type=int, help="Lower bound in W, 0 or below.")
@click.option("--max", "max_w", type=int, help="Upper bound in W, 0 or above.")
@click.option("--valid", "valid_s", type=click.FloatRange(0.001, 86_400), default=60.0, show_default=True, help="Seconds.")
@click.option("--wait", "wait_s", type=click.FloatRange(0.1, 600), default=10.0, show_default=True, help="For the ack, s.")
@click.option("--json", "as_document", is_flag=True, help="Print one JSON document.")
@click.pass_context
def dispatch(
    context: click.Context,
    evse_id: str | None,
    site_id: str | None,
    power_w: int | None,
    min_w: int | None,
    max_w: int | None,
    valid_s: float,
    wait_s: float,
    as_document: bool,
) -> None:
    """Send one signed command and print what became of it. Exit 0: applied or clipped, 1: refused, 2: no answer."""
    settings = _settings(context)
    if power_w is None and min_w is None and max_w is None:
        raise click.UsageError("give at least one of --power, --min, --max")
    store = _store(settings)
    site, scope = _target(store, evse_id, site_id)
    constraint = wire.CommandConstraint(
        scope=scope, quantity="p_w", min_w=min_w, max_w=max_w, target_w=power_w, valid_for_ms=round(valid_s * 1000)
    )
    try:
        kid, key = load_key(settings.command_key)
        link = Link(settings.broker, "", [topics.ack(site)])
        link.wait_subscribed()
    except (LinkError, SettingsError) as error:
        raise _Failure(str(error)) from error
    try:
        dispatcher = Dispatcher(link, store, kid, key)
        body = dispatcher.send(site, [constraint])
        ack = dispatcher.wait(body, wait_s)
    finally:
        link.close()
    line = _report(body, ack)
    _log_dispatch(settings, line)
    click.echo(json.dumps(line) if as_document else _sentence(line))
    context.exit(2 if ack is None else 0 if ack.outcome in (Outcome.APPLIED, Outcome.CLIPPED) else 1)


@main.command()
@click.option(
    "--power", "power_w", type=int, required=True, help="Of the whole fleet, W: positive charges, negative discharges."
)
@click.option("--valid", "valid_s", type=click.FloatRange(0.001, 86_400), default=60.0, show_default=True, help="Seconds.")
@click.option("--wait", "wait_s", type=click.FloatRange(0.1, 600), default=10.0, show_default=True, help="For the acks, s.")
@click.pass_context
def fleet(context: click.Context, power_w: int, valid_s: float, wait_s: float) -> None:
    """Share a target out over all authorized EVSEs by priority_weight; one signed command for each site.

    Prints one JSON line a site. Exit 0: every site obeyed, 1: one refused or there was nobody to ask, 2: one gave no answer.
    """
    settings = _settings(context)
    store = _store(settings)
    among = candidates(
        store.devices(),
        store.latest(),
        power_w,
        time.time_ns() // 1_000_000,
        min_soc_threshold=settings.min_soc_threshold,
        priority_weight=settings.priority_weight,
    )
    shares = share(power_w, among)
    sites = {candidate.evse: candidate.site for candidate in among}
    try:
        kid, key = load_key(settings.command_key)
        link = Link(settings.broker, "", [topics.ack("+")])
        link.wait_subscribed()
    except (LinkError, SettingsError) as error:
        raise _Failure(str(error)) from error
    exit_code = 0 if shares else 1
    try:
        dispatcher = Dispatcher(link, store, kid, key)
        bodies = []
        for site in sorted(set(sites.values())):
            wishes = [
                wire.CommandConstraint(
                    scope=wire.CommandScope(evse=evse), quantity="p_w", target_w=watts, valid_for_ms=round(valid_s * 1000)
                )
                for evse, watts in shares.items()
                if sites[evse] == site
            ]
            bodies.append(dispatcher.send(site, wishes))
        acks = dispatcher.wait_all(bodies, wait_s)
    finally:
        link.close()
    for body in bodies:
        ack = acks.get(body.id)
        line = _report(body, ack)
        _log_dispatch(settings, line)
        click.echo(json.dumps(line))
        exit_code = max(exit_code, 2 if ack is None else 0 if ack.outcome in (Outcome.APPLIED, Outcome.CLIPPED) else 1)
    context.exit(exit_code)


def _target(store: Store, evse_id: str | None, site_id: str | None) -> tuple[str, wire.CommandScope]:
    """The site to send to and the scope in it."""
    try:
        if evse_id is None and site_id is None:
            raise click.UsageError("give --evse or --site")
        if evse_id is None:
            assert site_id is not None
            return check_id(site_id), wire.CommandScope(site=site_id)
        device = store.device(check_id(evse_id))
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if device is None or not device.authorized:
        raise _Failure(f"{evse_id} is not in authorized_devices; `v2g-aggregator devices authorize {evse_id}` enters it")
    if site_id is not None and site_id != device.site:
        raise _Failure(f"{evse_id} is at site {device.site}, not {site_id}")
    return device.site, wire.CommandScope(evse=evse_id)


def _report(body: wire.CommandBody, ack: wire.Ack | None) -> dict[str, object]:
    line: dict[str, object] = {"id": body.id, "site": body.site, "seq": body.seq, "issued": body.issued}
    line["constraints"] = [c.model_dump(by_alias=True, exclude_none=True) for c in body.constraints]
    line["outcome"] = None if ack is None else str(ack.outcome)
    if ack is not None:
        line["code"] = ack.code
        line["evses"] = [evse.model_dump(by_alias=True) for evse in ack.evses]
        line["trip_ms"] = trip_ms(ack)
    return line


def _sentence(line: dict[str, object]) -> str:
    if line["outcome"] is None:
        return f"no answer from site {line['site']} (command {line['id']})"
    trip = line["trip_ms"]
    assert isinstance(trip, dict)
    code = f" ({line['code']})" if line["code"] else ""
    way = ", ".join(f"{name.replace('_', ' ')} {ms} ms" for name, ms in trip.items())
    return f"{line['outcome']}{code} by site {line['site']}{': ' + way if way else ''}"


def _log_dispatch(settings: Settings, line: dict[str, object]) -> None:
    if settings.dispatch_log is None:
        return
    try:
        with settings.dispatch_log.open("a") as file:
            file.write(json.dumps(line) + "\n")
    except OSError as error:
        click.echo(f"v2g-aggregator: dispatch_log {settings.dispatch_log} can't be written: {error.strerror}", err=True)


@main.command()
@click.option("--count", type=int, default=0, help="End after this many messages; 0: never.")
@click.option("--topic", default="v2g/#", show_default=True, help="MQTT topic filter.")
@click.pass_context
def watch(context: click.Context, count: int, topic: str) -> None:
    """Print every message decoded, one JSON line each."""
    settings = _settings(context)
    try:
        link = Link(settings.broker, "", [topic])
        link.wait_subscribed()
    except LinkError as error:
        raise _Failure(str(error)) from error
    seen = 0
    try:
        while count == 0 or seen < count:
            message = link.inbox.get()
            click.echo(as_json(message.topic, bytes(message.payload)))
            seen += 1
    except KeyboardInterrupt:
        pass
    finally:
        link.close()


@main.group()
def devices() -> None:
    """The table authorized_devices: which EVSEs may be dispatched."""


@devices.command("list")
@click.option("--json", "as_document", is_flag=True, help="Print one JSON document.")
@click.pass_context
def list_devices(context: click.Context, as_document: bool) -> None:
    """Every known EVSE with its newest telemetry."""
    store = _store(_settings(context))
    latest = store.latest()
    rows = [
        {
            "evse": d.evse,
            "site": d.site,
            "authorized": d.authorized,
            "capability": d.capability,
            "priority_weight": d.priority_weight,
            "min_soc_threshold": d.min_soc_threshold,
            "p": latest.get(d.evse, {}).get("p"),
            "soc": latest.get(d.evse, {}).get("soc"),
            "ts": latest.get(d.evse, {}).get("ts"),
        }
        for d in store.devices()
    ]
    if as_document:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        mark = "authorized" if row["authorized"] else "not authorized"
        power = "-" if row["p"] is None else f"{row['p']} W"
        click.echo(f"{row['site']:<16} {row['evse']:<24} {mark:<15} {row['capability']:<14} {power}")


@devices.command()
@click.argument("evse_ids", nargs=-1, required=True)
@click.option("--site", "site_id", help="Enter EVSEs that haven't announced themselves yet at this site.")
@click.option("--weight", "priority_weight", type=click.FloatRange(0.001, 1000), help="priority_weight")
@click.option("--min-soc", "min_soc_threshold", type=click.FloatRange(0, 100), help="min_soc_threshold, %")
@click.option("--departure", type=click.DateTime(), help="When the vehicle leaves, UTC.")
@click.option("--departure-soc", type=click.FloatRange(0, 100), help="State of charge wanted by then, %.")
@click.pass_context
def authorize(
    context: click.Context,
    evse_ids: tuple[str, ...],
    site_id: str | None,
    priority_weight: float | None,
    min_soc_threshold: float | None,
    departure: datetime | None,
    departure_soc: float | None,
) -> None:
    """Allow EVSEs to be dispatched."""
    store = _store(_settings(context))
    values: dict[str, object] = {"authorized": True}
    if priority_weight is not None:
        values["priority_weight"] = priority_weight
    if min_soc_threshold is not None:
        values["min_soc_threshold"] = min_soc_threshold
    if departure is not None:
        values["departure"] = round(departure.replace(tzinfo=UTC).timestamp() * 1000)
    if departure_soc is not None:
        values["departure_soc"] = departure_soc
    for evse_id in evse_ids:
        try:
            store.set_device(check_id(evse_id), None if site_id is None else check_id(site_id), **values)
        except KeyError as error:
            raise _Failure(f"{evse_id} is unknown; give its --site") from error
        except ValueError as error:
            raise click.UsageError(str(error)) from error


@devices.command()
@click.argument("evse_ids", nargs=-1, required=True)
@click.pass_context
def revoke(context: click.Context, evse_ids: tuple[str, ...]) -> None:
    """Dispatch these EVSEs no more."""
    store = _store(_settings(context))
    for evse_id in evse_ids:
        try:
            store.set_device(evse_id, authorized=False)
        except KeyError as error:
            raise _Failure(f"{evse_id} is unknown") from error


@main.command()
@click.pass_context
def latency(context: click.Context) -> None:
    """The trip-latency table of the last commands, one JSON line each."""
    for ident, outcome, down_ms, bus_ms, whole_ms in _store(_settings(context)).latencies_ms():
        row = {"id": ident, "outcome": outcome, "issued_to_received_ms": down_ms, "received_to_on_bus_ms": bus_ms}
        click.echo(json.dumps(row | {"issued_to_confirmed_ms": whole_ms}))


if __name__ == "__main__":
    main()
