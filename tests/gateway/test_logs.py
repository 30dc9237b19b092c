"""The log: bounded by kind, readable by the journal and by programs; and the history of faults that survives a restart."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge.gateway.events import EventLog
from edge.gateway.faults import KEPT, LINES, Faults
from edge.gateway.logs import JournalLine, JsonLine, KindRate, LogFile, PerKind
from edge.gateway.noticewatch import NoticeWatch
from edge.local.documents import Notice


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def record(text: str, *values: object, level: int = logging.WARNING, event: tuple[str, str, str] | None = None):
    made = logging.LogRecord("v2g.test", level, "", 0, text, values, None)
    if event:
        made.event = event
    return made


def test_lines_of_one_kind_are_held_back_and_counted_on_the_next():
    clock = Clock()
    quiet = PerKind(KindRate(3, 10.0, clock))
    passed = [quiet.filter(record("bus %s is down", n)) for n in range(8)]
    assert passed == [True] * 3 + [False] * 5
    clock.now_s = 10
    late = record("bus %s is down", 9)
    assert quiet.filter(late)
    assert JournalLine(for_journal=False).format(late).endswith("bus 9 is down (and 5 more of this kind since the last line)")


def test_one_kind_costs_another_nothing_and_an_event_is_a_kind_by_subject_and_code():
    quiet = PerKind(KindRate(1, 10.0, Clock()))
    events = [("evse-1", "E_STOP", "a"), ("evse-1", "E_STOP", "b"), ("evse-2", "E_STOP", "a"), ("evse-1", "NONE", "a")]
    assert [quiet.filter(record("%s: %s: %s", *e, event=e)) for e in events] == [True, False, True, True]


def test_the_journal_is_told_the_priority_of_every_line():
    assert JournalLine(for_journal=True).format(record("a\nb", level=logging.ERROR)) == "<3>ERROR v2g.test: a\n<3>b"


def test_a_program_reads_subject_and_code():
    line = json.loads(JsonLine().format(record("%s: %s: %s", event=("evse-1", "E_STOP", "pressed"))))
    assert (line["subject"], line["code"], line["text"], line["level"]) == ("evse-1", "E_STOP", "pressed", "warning")
    assert line["ts"].endswith("Z")


def test_a_log_file_that_cannot_be_written_costs_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    file = LogFile(tmp_path / "not-there" / "v2g-edge.jsonl")
    file.emit(record("lost"))
    assert capfd.readouterr() == ("", "")


def told(folder: Path) -> EventLog:
    faults = Faults(folder)
    return EventLog(faults.add, faults.events, faults.first_seq)


def test_faults_and_their_ends_survive_a_restart_and_numbers_go_on(tmp_path: Path):
    log = told(tmp_path)
    log.add("reason", "evse-1", "RAMP", "ramp")
    log.add("reason", "evse-1", "E_STOP", "pressed", "fault")
    log.add("reason", "evse-1", "NONE", "released")
    log.add("reason", "evse-1", "RAMP", "ramp again")
    last = log.since(0)[-1].seq
    log = told(tmp_path)
    assert [event.text for event in log.since(0)] == ["pressed", "released"]
    log.add("start", "site", "START", "cycle runs")
    assert log.since(0)[-1].seq > last, "who asks for what came after the last number misses nothing"


def test_who_asks_for_a_number_of_the_future_gets_everything(tmp_path: Path):
    log = told(tmp_path)
    log.add("start", "site", "START", "cycle runs")
    assert [event.text for event in log.since(10_000)] == ["cycle runs"]


def test_the_history_stays_small_and_a_flapping_subject_does_not_fill_it(tmp_path: Path):
    log = told(tmp_path)
    for n in range(3 * LINES):
        log.add("bus", f"can{n % 200}", "BUS_DOWN", "bus is down", "fault")
    for _ in range(500):
        log.add("bus", "flapping", "BUS_DOWN", "bus is down", "fault")
    assert len((tmp_path / "faults.jsonl").read_text().splitlines()) <= LINES
    kept = Faults(tmp_path).events
    assert len(kept) == KEPT
    assert 1 <= sum(event.subject == "flapping" for event in kept) <= 20


def test_a_line_that_the_power_cut_is_left_out(tmp_path: Path):
    told(tmp_path).add("reason", "evse-1", "E_STOP", "pressed", "fault")
    with (tmp_path / "faults.jsonl").open("a") as file:
        file.write('{"seq": 7, "ts_ms"')
    assert [event.text for event in Faults(tmp_path).events] == ["pressed"]


def test_a_full_disk_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    log = told(tmp_path / "not-there")
    for _ in range(3):
        log.add("reason", "evse-1", "E_STOP", "pressed", "fault")
    assert len([line for line in caplog.messages if "forgotten at the next restart" in line]) == 1


def notice(code: str, level: str = "degraded") -> Notice:
    return {"level": level, "code": code, "text": code.lower(), "remedy": ""}  # type: ignore[typeddict-item]


def test_a_notice_that_stands_is_told_once_and_again_when_it_is_over():
    said: list[tuple[str, bool]] = []
    watch = NoticeWatch(lambda told, over: said.append((told["code"], over)))
    watch.look([notice("UPLINK_DOWN"), notice("LAB", "ok"), notice("BUS_DOWN", "fault")])
    assert said == [], "a connection that is just being made is no news"
    watch.look([notice("UPLINK_DOWN")])
    watch.look([notice("UPLINK_DOWN")])
    watch.look([])
    assert said == [("UPLINK_DOWN", False), ("UPLINK_DOWN", True)]


def test_the_daemon_writes_json_lines_where_systemd_says(tmp_path: Path):
    code = "from edge.gateway.logs import set_up; import logging; set_up(False, %r); logging.getLogger('v2g').error('x %%d', 1)"
    settings = os.environ | {"JOURNAL_STREAM": "8:1"}
    run = subprocess.run([sys.executable, "-c", code % str(tmp_path)], capture_output=True, text=True, check=True, env=settings)
    assert run.stderr == "<3>ERROR v2g: x 1\n"
    assert json.loads((tmp_path / "v2g-edge.jsonl").read_text())["text"] == "x 1"
