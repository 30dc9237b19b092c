"""Documents as text for a terminal: 80 columns, readable without colour."""

from __future__ import annotations

import math
import textwrap
import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import click

Document = dict[str, Any]

WIDTH = 80
PLOT_WIDTH, PLOT_HEIGHT = 69, 10
QUIET_CODES = ("NONE", "RATING", "PLAN_LIMIT", "RAMP", "DEVICE_MINIMUM", "INIT")
SHOWN_STRETCHES = 4
COLOURS = {"ok": "green", "degraded": "yellow", "fault": "red"}
MARKS = {"ok": " ", "degraded": "!", "fault": "✗"}


def level_text(level: str) -> str:
    return click.style(level.upper(), fg=COLOURS[level], bold=True)


def watts(value: float | None) -> str:
    """`11.02k` for 11 020 W; `0` for 0; `?` when it is not known."""
    if value is None:
        return "?"
    return f"{value / 1000:.2f}k" if abs(value) >= 1000 else f"{value:.0f}"


def age(value_ms: int | None) -> str:
    if value_ms is None:
        return "never"
    if value_ms < 1000:
        return f"{value_ms}ms"
    seconds = value_ms / 1000
    if seconds < 120:
        return f"{seconds:.1f}s"
    return f"{seconds / 60:.0f}min" if seconds < 7200 else f"{seconds / 3600:.0f}h"


def value_text(value: Document | None, digits: int = 1, unit: str = "") -> str:
    """A value of a document; `~` before what is estimated, `?` behind what can't be believed."""
    if value is None or value["value"] is None:
        return "?"
    mark = "" if value["quality"] in ("good", "estimated") else "?"
    return f"{'~' if value['quality'] == 'estimated' else ''}{value['value']:.{digits}f}{unit}{mark}"


def clip(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def clock(ts_ms: int) -> str:
    return datetime.fromtimestamp(ts_ms / 1000).strftime("%Y-%m-%d %H:%M:%S")


def wrapped(text: str, indent: str, first: str = "") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=first or indent, subsequent_indent=indent)


# ---- status ---------------------------------------------------------------------------------------------------------------


def status_lines(status: Document, height: int | None = None) -> list[str]:
    """The whole site on one screen; with a height, quiet EVSEs are left out when there are too many."""
    lines = [*status_head_lines(status), ""]
    tail = ["", _uplink_line(status)]
    room = None if height is None else max(2, height - len(lines) - len(tail) - 2)
    lines += _evse_lines(status["evses"], room)
    outlook = _outlook_lines(status["evses"])
    if height is not None:
        outlook = outlook[: max(0, height - len(lines) - len(tail) - 1)]
    return [*lines, *outlook, *tail]


def status_head_lines(status: Document, short: bool = False) -> list[str]:
    """What is true of the whole site: its level, what wants a look, and its feeders; short: no notice of a healthy site."""
    notices = [notice for notice in status["notices"] if not short or notice["level"] != "ok"]
    return [*_headline(status), *_notice_lines(notices), "", *_feeder_lines(status), *_site_control_lines(status)]


def _site_control_lines(status: Document) -> list[str]:
    """What site control follows; nothing on a site without target, grid meter or waiting EVSEs."""
    site = status["site_control"]
    parts = []
    if site["target_w"] is not None:
        parts.append(f"target {watts(site['target_w'])}, measured {watts(site['measured_w'])}, asked {watts(site['asked_w'])}")
    if site["frequency_hz"] is not None:
        parts.append(f"{site['frequency_hz']:.3f} Hz")
    if site["response_percent"]:
        parts.append(f"frequency asks {site['response_percent']:+.1f} %")
    if site["service"] != "in":
        left = "" if site["enters_in_ms"] is None else f", enters in {site['enters_in_ms'] / 1000:.0f} s"
        parts.append(click.style(f"grid service {site['service']} ({site['reason']['code']}{left})", fg="yellow"))
    if site["waiting_evses"]:
        parts.append(f"{site['waiting_evses']} EVSEs wait for their turn")
    return [f"site control: {'; '.join(parts)}"] if parts else []


def _headline(status: Document) -> list[str]:
    core = status["core"]
    uptime_s = status["uptime_ms"] // 1000
    uptime = f"{uptime_s // 3600}:{uptime_s // 60 % 60:02}:{uptime_s % 60:02}"
    cpu = "" if core["cpu"] is None else f" cpu{core['cpu']}"
    cycle = f"cycle {core['period_us'] / 1000:g} ms {core['scheduling'].upper()}{cpu}, {core['missed']} missed"
    site = click.style(status["site"], bold=True)
    return [f"{site}  {level_text(status['level'])}  up {uptime}  {cycle}  guard {core['guard']}"]


def _notice_lines(notices: Iterable[Document]) -> list[str]:
    lines = []
    for notice in notices:
        colour = COLOURS[notice["level"]] if notice["level"] != "ok" else "cyan"
        first, *rest = wrapped(f"{notice['code']}: {notice['text']}", "  ", "! ")
        lines += [click.style(line, fg=colour, bold=True) for line in (first, *rest)]
    return lines


def _depths(feeders: Sequence[Document]) -> dict[str, int]:
    depths: dict[str, int] = {}
    for feeder in feeders:
        depths[feeder["id"]] = depths.get(feeder["parent"], -1) + 1
    return depths


def _feeder_lines(status: Document) -> list[str]:
    meters = {meter["id"]: meter for meter in status["meters"]}
    depths = _depths(status["feeders"])
    lines = [f"{'FEEDER':<18}{'POWER':>9}{'EVSES':>9}{'LIMIT':>9}{'ROOM':>9}  METER"]
    for feeder in status["feeders"]:
        name = clip("  " * depths[feeder["id"]] + feeder["id"], 17)
        meter = meters.get(feeder["meter"])
        power = feeder["power"]
        source = "none: estimated" if meter is None else f"{meter['id']} {age(power['age_ms'])}"
        if feeder["lost"]:
            source = click.style(f"{source} LOST, fallback", fg="yellow", bold=True)
        shown = watts(power["value"]) + ("" if power["quality"] in ("good", "estimated") or power["value"] is None else "?")
        lines.append(
            f"{name:<18}{shown:>9}{watts(feeder['evse_power_w']):>9}{watts(feeder['import_w'][3]):>9}"
            f"{watts(feeder['room_import_w'][3]):>9}  {source}"
        )
    return lines


def _evse_lines(evses: Sequence[Document], room: int | None) -> list[str]:
    lines = [f"  {'EVSE':<12}{'ST':>2}{'SOC':>8}{'POWER':>9}{'TOLD':>9}{'CONN':>7}  {'WHAT BINDS':<22}{'AGE':>7}"]
    shown, hidden = list(evses), 0
    if room is not None and len(shown) > room:
        order = sorted(shown, key=lambda evse: (evse["level"] == "ok", evse["setpoint"]["reason"]["code"] == "NONE"))
        kept = {id(evse) for evse in order[: room - 1]}
        shown, hidden = [evse for evse in shown if id(evse) in kept], len(shown) - room + 1
    for evse in shown:
        line = _evse_line(evse)
        lines.append(line if evse["level"] == "ok" else click.style(line, fg=COLOURS[evse["level"]]))
    if hidden:
        lines.append(f"  … and {hidden} more with less to say (edgectl status --json shows all)")
    return lines


def _evse_line(evse: Document) -> str:
    values = evse["values"]
    power = values.get("power")
    shown = watts(power["value"] if power else None) + ("" if power is None or power["quality"] == "good" else "?")
    soc, connector = value_text(values.get("soc"), 1, "%"), value_text(values.get("t_connector"), 0, "°")
    binds = clip(evse["answer"]["binds"], 22)
    return (
        f"{MARKS[evse['level']]} {clip(evse['id'], 12):<12}{evse['state'] or '?':>2}{soc:>8}{shown:>9}"
        f"{watts(evse['setpoint']['target_w']):>9}{connector:>7}  {binds:<22}{age(evse['age_ms']):>7}"
    )


def _outlook_lines(evses: Iterable[Document]) -> list[str]:
    """What happens next at the EVSEs that want a look."""
    lines = [clip(f"  {evse['id']}: {evse['answer']['next']}", WIDTH) for evse in evses if evse["level"] != "ok"]
    return ["", *lines] if lines else []


def _uplink_line(status: Document) -> str:
    uplink, core = status["uplink"], status["core"]
    state = uplink["state"] if uplink["state"] != "off" else "off (the site runs on its own)"
    if uplink["state"] == "connected":
        state = f"{uplink['broker']} {uplink['tls_version']}"
    command = "no command yet" if uplink["command_age_ms"] is None else f"command {age(uplink['command_age_ms'])} ago"
    return clip(f"uplink {state}, {command}; plan {age(core['plan_age_ms'])} old", WIDTH)


# ---- explain --------------------------------------------------------------------------------------------------------------


def explain_lines(document: Document) -> list[str]:
    evse = document["evse"]
    setpoint, answer = evse["setpoint"], evse["answer"]
    by = f" by {evse['wish_by']}" if evse["wish_by"] else ""
    asked = "nothing counts while it is locked" if evse["locks"] else f"{document['wish_w']} W{by}"
    lines = [
        f"{click.style(evse['id'], bold=True)}  {level_text(evse['level'])}  {evse['device']}, feeder {evse['feeder']}",
        f"  state   {evse['state'] or '?'}, {evse['state_text']}; {', '.join(evse['flags']) or 'no flags'}",
        f"  asked   {asked}",
        f"  told    {setpoint['target_w']} W, {setpoint['mode']}, within {setpoint['min_w']} … {setpoint['max_w']} W",
        click.style(f"  binds   {answer['binds']} ({setpoint['reason']['code']})", bold=True),
        *wrapped(answer["age"], " " * 10, "  age     "),
        *wrapped(answer["next"], " " * 10, "  next    "),
        "",
        f"{'LEFT AFTER ROW':<24}{'CHARGE':>10}{'DISCHARGE':>13}   TIGHTENED BY  (* binds)",
    ]
    for row in document["rows"]:
        lines += _row_lines(row)
    lines += ["", f"  {evse['frames']} good frames, {evse['bad_frames']} bad; latches: {', '.join(evse['latches']) or 'none'}"]
    return lines


def row_line(row: Document) -> str:
    """One row of the chain: what it leaves of both directions, and who tightened."""
    charge, discharge = row["charge"], row["discharge"]

    def limit(side: Document) -> str:
        return f"{'*' if side['binds'] else ''}{side['limit_w']} W"

    codes = [side["reason"]["code"] for side in (charge, discharge) if side["tightens"]]
    line = f"{row['row']} {row['title']:<22}{limit(charge):>10}{limit(discharge):>13}   {', '.join(dict.fromkeys(codes))}"
    return click.style(line, bold=True) if charge["binds"] or discharge["binds"] else line


def _row_lines(row: Document) -> list[str]:
    lines = [row_line(row)]
    for fact in row["facts"]:
        lines += wrapped(fact, "      ", "    · ")
    if row["next"]:
        lines += wrapped(row["next"], "      ", "    → ")
    return lines


def code_lines(info: Any) -> list[str]:
    """An entry of the catalogue."""
    lines = [f"{click.style(info.code, bold=True)}  {info.title}, {level_text(info.level)}"]
    for name in ("meaning", "cause", "remedy", "loosens"):
        title = "next" if name == "loosens" else name
        lines += wrapped(getattr(info, name), " " * 11, f"  {title:<9}")
    return lines


# ---- the rest -------------------------------------------------------------------------------------------------------------


def event_lines(events: Iterable[Document]) -> list[str]:
    """Number, time (with the day where it isn't today), mark, subject, and what happened."""
    lines = []
    today = clock(time.time_ns() // 1_000_000)[:10]
    for event in events:
        at = clock(event["ts"])
        at = at[11:] if at.startswith(today) else at
        code = "" if event["code"] == "NONE" else f" {event['code']}"
        head = f"{event['seq']:>6}  {at} {MARKS[event['level']]} {event['subject']:<10} "
        folded = wrapped(f"{event['text']}{code}", " " * min(len(head), 30), head)
        lines += folded if event["level"] == "ok" else [click.style(line, fg=COLOURS[event["level"]]) for line in folded]
    return lines


def check_lines(checks: Iterable[Document]) -> list[str]:
    lines = []
    for check in checks:
        mark = click.style(
            {"ok": "ok  ", "degraded": "LOOK", "fault": "BAD "}[check["level"]], fg=COLOURS[check["level"]], bold=True
        )
        first, *rest = wrapped(f"{check['name']}: {check['text']}", "      ", "      ")
        lines += [f"{mark}  {first.strip()}", *rest]
        if check["remedy"]:
            lines += wrapped(check["remedy"], "        ", "      → ")
    return lines


RT_HISTOGRAMS = (
    ("wake-up after the grid point", "lateness_us"),
    ("computing and sending", "compute_us"),
    ("taking frames off the buses", "drain_us"),
    ("sending setpoints", "send_us"),
    ("left until the next grid point", "slack_us"),
    ("age of a meter's power at use", "meter_age_us"),
    ("from a new plan to its adoption", "command_age_us"),
    ("from an EVSE's frame to the tighter setpoint in answer", "reaction_us"),
)


def rt_lines(rt: Document) -> list[str]:
    kind = "real-time" if rt["realtime"] else click.style("NOT REAL-TIME", fg="yellow", bold=True)
    cpu = "not pinned" if rt["cpu"] is None else f"CPU {rt['cpu']}"
    lines = [
        f"{kind}: {rt['scheduling'].upper()}, {cpu}, period {rt['period_us']} µs, {rt['cycles']} cycles, {rt['missed']} missed"
    ]
    lines.append(f"since the first cycle: {rt['page_faults']} page faults, {rt['preemptions']} times preempted")
    for title, key in RT_HISTOGRAMS:
        histogram = rt[key]
        if not any(histogram["counts"]):
            continue
        lines += [
            "",
            f"{title}, µs: p50 {histogram['p50']:g}, p99 {histogram['p99']:g}, "
            f"p99.9 {histogram['p99_9']:g}, max {histogram['max']:g}",
            *histogram_lines(histogram),
        ]
    return [*lines, "", "bars are logarithmic"]


def histogram_lines(histogram: Document) -> list[str]:
    """One bar per bin that holds anything; the bars are logarithmic, so that a single late cycle is seen."""
    counts = histogram["counts"]
    names = [f"≤ {bound:g}" for bound in histogram["bounds"]] + ["above"]
    used = [index for index, count in enumerate(counts) if count]
    if not used:
        return ["  no cycle yet"]
    longest = math.log10(2 * max(counts))
    bars = ["█" * max(1, round(math.log10(2 * count) / longest * 40)) if count else "" for count in counts]
    shown = range(used[0], used[-1] + 1)
    return [f"  {names[index]:>9} {counts[index]:>11}  {bars[index]}".rstrip() for index in shown]


def history_lines(history: Document) -> list[str]:
    """Power over time as bars from the zero line; `·` is what the EVSE was told. Below: SOC, temperatures, and what bound."""
    power, target = (_columns(history[key], PLOT_WIDTH) for key in ("power_w", "target_w"))
    known = [value for value in (*power, *target) if value is not None]
    if not known:
        return [f"{history['evse']}: no sample yet"]
    high, low = max(0.0, *known), min(0.0, *known)
    step = max((high - low) / PLOT_HEIGHT, 100.0)
    up, down = math.ceil(high / step), math.ceil(-low / step)
    seconds = len(history["power_w"]) * history["period_ms"] / 1000
    lines = [
        f"{click.style(history['evse'], bold=True)}  power, W, of the last {age(int(seconds * 1000))} (█ measured, · told)"
    ]
    for row in range(up, -down, -1):
        lines.append(_plot_row(row * step, (row - 1) * step, power, target))
        if row == 1:
            lines.append(f"{0:>8} ┼{'─' * len(power)}")
    if up == 0:
        lines.insert(1, f"{0:>8} ┼{'─' * len(power)}")
    first = clock(history["ts"] - int(seconds * 1000))[11:]
    lines.append(f"{'':>9} {first}{clock(history['ts'])[11:]:>{max(10, len(power) - len(first))}}")
    return [*lines, *_range_lines(history), *_bound_lines(history)]


def _plot_row(upper: float, lower: float, power: Sequence[float | None], target: Sequence[float | None]) -> str:
    cells = [_cell(*values, lower, upper) for values in zip(power, target, strict=True)]
    return f"{watts(upper if upper > 0 else lower):>8} │{''.join(cells)}".rstrip()


def _range_lines(history: Document) -> list[str]:
    """First, last and extremes of what moves slowly."""
    shown = (("SOC", "soc_percent", "%", 1), ("connector", "connector_c", "°C", 0), ("cable", "cable_c", "°C", 0))
    lines = []
    for title, key, unit, digits in (*shown, ("charger", "charger_c", "°C", 0), ("cell", "cell_max_c", "°C", 0)):
        known = [value for value in history[key] if value is not None]
        if known:
            ends = f"{known[0]:.{digits}f} → {known[-1]:.{digits}f} {unit}"
            lines.append(f"  {title:<10}{ends:<18}{min(known):.{digits}f} to {max(known):.{digits}f}")
    return lines


def _bound_lines(history: Document) -> list[str]:
    """The newest stretches in which something bound that is no healthy day's limit."""
    samples, period_ms = len(history["power_w"]), history["period_ms"]
    starts = [*(stretch["first"] for stretch in history["reasons"]), samples]
    lines = []
    for stretch, end in zip(history["reasons"], starts[1:], strict=True):
        if stretch["code"] in QUIET_CODES:
            continue
        began_ms = history["ts"] - (samples - stretch["first"]) * period_ms
        lines.append(f"  {clock(began_ms)[11:]}  {stretch['code']} for {age((end - stretch['first']) * period_ms)}")
    return lines[-SHOWN_STRETCHES:]


def _columns(samples: Sequence[float | None], width: int) -> list[float | None]:
    """The means of `width` equal stretches; None where nothing was known."""
    columns: list[float | None] = []
    for column in range(min(width, len(samples))):
        count = min(width, len(samples))
        stretch = samples[column * len(samples) // count : (column + 1) * len(samples) // count]
        known = [value for value in stretch if value is not None]
        columns.append(sum(known) / len(known) if known else None)
    return columns


def _cell(power: float | None, target: float | None, lower: float, upper: float) -> str:
    middle = (lower + upper) / 2
    if power is not None and (0 <= middle <= power or power <= middle <= 0):
        return "█"
    inside = target is not None and target and (lower < target <= upper if upper > 0 else lower <= target < upper)
    return "·" if inside else " "


def session_lines(sessions: Iterable[Document]) -> list[str]:
    lines = [f"{'EVSE':<12}{'STARTED':<21}{'ENDED':<21}{'CHARGED':>9}{'BACK':>8}  SOC"]
    for session in sessions:
        ended = "running" if session["ended"] is None else clock(session["ended"])
        soc = " → ".join(
            "?" if soc is None else f"{soc:.0f}%" for soc in (session["soc_start_percent"], session["soc_last_percent"])
        )
        lines.append(
            f"{session['evse']:<12}{clock(session['started']):<21}{ended:<21}"
            f"{session['charged_wh'] / 1000:>6.1f}kWh{session['discharged_wh'] / 1000:>5.1f}kWh  {soc}"
        )
    return lines
