"""`make demo`: a whole site at work, with one breach of each row of the chain of constraints and the answer to it.

Broker with TLS 1.3, eight simulated EVSEs, three meters, gateway, aggregator: all real programs. A live table until Ctrl-C, or
for DEMO_SECONDS; then build/demo/summary.json with figures of the core, the broker and an observer on the bus.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hil.acts import Act, acts
from hil.program import RigError
from hil.rig import HUB, Rig
from hil.vcan import CHANNEL, NoCanBusError, native_vcan

BUILD = Path("build/demo")
EVSES = 8
PAGE_PORT = 8088
WISHES_W = {1: -8_000, 2: -7_000, 3: 9_000, 4: 9_000, 5: -6_000, 6: 9_000, 7: 7_000, 8: 9_000}
"""What the aggregator wants of each EVSE: a site that charges and supports the grid at the same time."""
CHANGES = {"ramp": {"normal_pct_s": 50, "after_failsafe_pct_s": 50}}
"""Everything else is as shipped; with the default of 10 %/s each return from a breach would take five seconds."""
ANSWER_TIMEOUT_S = 6.0
SHOWN_LINES = 8
REPORT_WIDTH = 120
"""Where the output is no terminal, as in a CI log."""


@dataclass(slots=True)
class Answer:
    """What became of one act."""

    act: Act
    at_s: float
    reason: str = ""
    """The reason that bound the setpoint, as the gateway tells; empty: none came in time."""
    seconds: float = 0.0
    """From the injection until the gateway told the reason (its status is looked at every 50 ms)."""

    def line(self) -> str:
        told = f"{self.reason} after {self.seconds:.2f} s" if self.reason else "no answer"
        return f"{self.at_s:6.1f} s  row {self.act.row}  {self.act.text} → {told}"


@dataclass(slots=True)
class Demo:
    """The running demo: plays the acts, remembers which reasons bound a setpoint, draws the table."""

    rig: Rig
    seconds: float | None
    began_s: float = field(default_factory=time.monotonic)
    answers: list[Answer] = field(default_factory=list)
    reasons: set[str] = field(default_factory=set)
    status: dict[str, Any] = field(default_factory=dict)
    event_seq: int = 0

    def play(self, live: Live, console: Console) -> None:
        """All acts once, spread over the time; without a time, again and again until Ctrl-C."""
        script = acts()
        slot_s = 4.0 if self.seconds is None else max(0.5, (self.seconds - 1) / len(script))
        due_s = time.monotonic()
        while True:
            for act in script:
                self._play_act(act, live)
                if not console.is_terminal:
                    console.print(self.answers[-1].line(), highlight=False)
                due_s += slot_s
                self._watch(live, due_s)
            if self.seconds is not None:
                self._watch(live, self.began_s + self.seconds)
                return

    def _play_act(self, act: Act, live: Live) -> None:
        began_s = time.monotonic()
        answer = Answer(act, began_s - self.began_s)
        act.begin(self.rig)
        while not answer.reason and time.monotonic() - began_s < ANSWER_TIMEOUT_S:
            self.look(live)
            if act.reason in self._binding(act.evse):  # of a feeder it is enough that one EVSE makes room
                answer.reason, answer.seconds = act.reason, time.monotonic() - began_s
        self.answers.append(answer)
        self._watch(live, time.monotonic() + 0.3)
        act.end(self.rig)

    def _watch(self, live: Live, until_s: float) -> None:
        while time.monotonic() < until_s:
            self.look(live)

    def look(self, live: Live) -> None:
        """One look at the gateway, as often as a person's eye needs."""
        self.status = self.rig.status()
        for evse in self.status["evses"]:
            self.reasons |= {evse["setpoint"]["reason"]["code"]} - {"NONE"}
        live.update(self.picture())
        time.sleep(0.05)

    def _binding(self, evse_id: str | None) -> set[str]:
        """The reasons that bind this EVSE's setpoint; None: any EVSE's."""
        evses = [evse for evse in self.status["evses"] if evse_id in (None, evse["id"])]
        return {evse["setpoint"]["reason"]["code"] for evse in evses}

    # ---- picture ----

    def picture(self) -> Group:
        core, uplink = self.status["core"], self.status["uplink"]
        head = Text()
        if self.status["lab"]:
            head.append(" LAB ", "black on yellow")
            head.append(" no guard, simulated devices: not a site. ", "yellow")
        head.append(f"page: {self.rig.page}\n")
        head.append(
            f"cycle {core['period_us'] / 1000:g} ms {core['scheduling']}, {core['cycles']} done, {core['missed']} missed; "
        )
        head.append(f"broker {uplink['state']} {uplink['tls_version']}; ")
        beyond = self.rig.oracle.summary()["setpoints_beyond_limit"]
        head.append(f"setpoints beyond a limit: {beyond}", "red bold" if beyond else "green")
        lines = [Text(answer.line(), "" if answer.reason else "red") for answer in self.answers[-SHOWN_LINES:]]
        return Group(head, self._table(), *lines)

    def _table(self) -> Table:
        table = Table("EVSE", "feeder", "state", "wish", "told", "measured", "SOC", "connector", "what binds", expand=False)
        for evse in self.status["evses"]:
            told, reason = evse["setpoint"]["target_w"], evse["setpoint"]["reason"]["code"]
            values = evse["values"]
            table.add_row(
                evse["id"],
                evse["feeder"],
                evse["state"] or "?",
                _kw(evse["wish_w"]),
                _kw(told),
                _kw(values["power"]["value"]),
                _value(values["soc"], "%"),
                _value(values["t_connector"], "°C"),
                "" if reason == "NONE" else reason,
            )
        return table

    # ---- figures ----

    def summary(self) -> dict[str, Any]:
        """Everything that was measured; nothing is computed from what was asked for."""
        status, rt, bus = self.rig.status(), self.rig.local("/v1/rt"), self.rig.oracle.summary()
        can = next(each for each in status["buses"] if each["kind"] == "can")
        lateness, compute = rt["lateness_us"], rt["compute_us"]
        outcomes = status["uplink"]["outcomes"]
        return {
            "cycles": rt["cycles"],
            "period_us": rt["period_us"],
            "missed_cycles": rt["missed"],
            "lateness_us": {key: lateness[key] for key in ("p50", "p99", "p99_9", "max")},
            "compute_us": {key: compute[key] for key in ("p50", "p99", "max")},
            "evses": len(status["evses"]),
            "can_frames_in": can["frames_in"],
            "can_frames_out": can["frames_out"],
            "modbus_reads": sum(meter["reads"] for meter in status["meters"]),
            "mqtt_published": status["uplink"]["published"],
            "commands_applied": outcomes.get("applied", 0) + outcomes.get("clipped", 0),
            "tls_version": status["uplink"]["tls_version"],
            "setpoints_beyond_limit": bus["setpoints_beyond_limit"],
            "limits_exercised": sorted(self.reasons),
            "scheduling": rt["scheduling"],
            "can_transport": can["transport"],
            "seconds": round(time.monotonic() - self.began_s, 1),
            "lab": status["lab"],
            "kernel": platform.release(),
            "acts": [
                {"row": a.act.row, "what": a.act.text, "reason": a.reason or None, "seconds": round(a.seconds, 2)}
                for a in self.answers
            ],
            "observer": {key: bus[key] for key in ("cmd_frames", "beyond_limit_by_rule", "violations", "answers")},
        }


def _kw(power_w: float | None) -> str:
    return "–" if power_w is None else f"{power_w / 1000:+.1f} kW"


def _value(document: dict[str, Any], unit: str) -> str:
    return "–" if document["value"] is None else f"{document['value']:.0f} {unit}"


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0


@contextmanager
def demo_channel() -> Iterator[str]:
    """vcan0 where the kernel has CAN, else a hub."""
    try:
        with native_vcan():
            yield CHANNEL
    except NoCanBusError:
        yield HUB


def play(seconds: float | None, console: Console) -> int:
    """Start everything, play, report; the exit code."""
    with demo_channel() as channel, tempfile.TemporaryDirectory(prefix="v2g-demo-") as folder:
        page_port = PAGE_PORT if port_is_free(PAGE_PORT) else None
        rig = Rig(Path(folder), evses=EVSES, channel=channel, changes=CHANGES, page_port=page_port)
        try:
            console.print("demo: starting broker, simulator, gateway and aggregator")
            with rig:
                console.print(f"demo: LAB configuration, no guard. Page: {rig.page}", style="yellow")
                rig.dispatch_wishes({f"evse-{number}": power_w for number, power_w in WISHES_W.items()}, valid_s=86_400)
                demo = Demo(rig, seconds)
                with Live(console=console, refresh_per_second=8, transient=False) as live:
                    try:
                        demo.play(live, console)
                    except KeyboardInterrupt:
                        if seconds is not None:
                            raise
                summary = demo.summary()
        finally:
            rig.keep_logs(BUILD / "logs")
    (BUILD / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    return report(summary, console)


def report(summary: dict[str, Any], console: Console) -> int:
    """Say what was found; 1 when a limit was broken or a breach stayed unanswered."""
    unanswered = [act["what"] for act in summary["acts"] if act["reason"] is None]
    console.print(
        f"demo: {summary['cycles']} cycles of {summary['period_us']} µs, {summary['missed_cycles']} missed; "
        f"{summary['setpoints_beyond_limit']} setpoints beyond a limit; figures in {BUILD}/summary.json"
    )
    for text in unanswered:
        console.print(f"demo: no answer to: {text}", style="red")
    return 1 if summary["setpoints_beyond_limit"] or unanswered else 0


def main() -> int:
    text = os.environ.get("DEMO_SECONDS", "")
    try:
        seconds = float(text) if text else None
    except ValueError:
        print(f"demo: DEMO_SECONDS={text!r} is no number of seconds", file=sys.stderr)
        return 64
    shutil.rmtree(BUILD, ignore_errors=True)
    BUILD.mkdir(parents=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        return play(seconds, Console(width=None if sys.stdout.isatty() else REPORT_WIDTH))
    except RigError as error:
        print(f"demo: {error}\ndemo: all logs are in {BUILD}/logs", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
