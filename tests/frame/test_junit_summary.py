"""The closing line of CI counts every test of every gate once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools.junit_summary import main

JUNIT = """<testsuites><testsuite time="1.5">
<testcase name="a"/><testcase name="b"/><testcase name="c"><{}/></testcase>
</testsuite></testsuites>"""


def folder(path: Path, result: str) -> str:
    path.mkdir()
    (path / "junit.xml").write_text(JUNIT.format(result))
    return str(path)


def test_one_folder_gets_its_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([folder(tmp_path / "test", "failure")]) == 1
    assert capsys.readouterr().out == "2 passed, 1 failed\n"
    summary = json.loads((tmp_path / "test/summary.json").read_text())
    assert summary == {"passed": 2, "failed": 1, "skipped": 0, "seconds": 1.5}


def test_several_folders_are_added_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([folder(tmp_path / "test", "error"), folder(tmp_path / "hil", "skipped")]) == 1
    assert capsys.readouterr().out == "4 passed, 1 failed, 1 skipped\n"


def test_a_folder_that_a_gate_never_made_counts_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "missing")]) == 0
    assert capsys.readouterr().out == "0 passed, 0 failed\n"
