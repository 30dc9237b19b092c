"""A serial line that can't do what it is asked to do is refused before anything runs, with the figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.cli.main import main

CONFIG = """
site: {{id: site-1}}
feeders: [{{id: main, rating_a: 400, meter: grid}}]
buses: [{{id: rs485, kind: modbus-rtu, port: /dev/ttyRS485, baud: {baud}}}]
meters: [{{id: grid, bus: rs485, unit: 1, profile: sim-meter, poll: {poll}}}]
evses:
  - {{id: evse-1, bus: rs485, unit: 2, profile: sim-evse, feeder: main, rating_w: 22000, poll: {poll}, reaction_time: 2s}}
"""


def checked(folder: Path, baud: int, poll: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    path = folder / "config.yaml"
    path.write_text(CONFIG.format(baud=baud, poll=poll))
    code = main(["config", "check", str(path)])
    return code, capsys.readouterr().out.replace(f"{path}: ", "").splitlines()


def test_a_line_that_fits_says_how_full_it_is(tmp_path, capsys):
    code, (line,) = checked(tmp_path, 19200, "500ms", capsys)
    assert code == 0
    assert line.startswith("bus rs485: 2 devices need ")
    assert line.endswith(" ms to spare")
    used = float(line.split()[5])
    assert 15 < used < 25, "27 registers of a meter, 19 and two writes of an EVSE"


def test_a_line_that_is_too_slow_is_refused_with_its_load(tmp_path, capsys):
    code, (line,) = checked(tmp_path, 9600, "140ms", capsys)
    assert code == 2
    assert line.startswith("bus rs485: rtu line /dev/ttyRS485: polls and writes need ")
    assert "% of the line at 9600 baud, 97.0 % is there: lengthen `poll`" in line


def test_a_deadline_that_is_missed_names_the_device(tmp_path, capsys):
    text = CONFIG.replace("unit: 1, profile: sim-meter, poll: {poll}", "unit: 1, profile: sim-meter, poll: 60ms")
    path = tmp_path / "config.yaml"
    path.write_text(text.format(baud=19200, poll="2s").replace("reaction_time: 2s", "reaction_time: 3s"))
    assert main(["config", "check", str(path)]) == 2
    assert "meter grid wants an answer within 60.0 ms, it may take " in capsys.readouterr().out
