"""The rig's site is one that the gateway accepts, and a program that fails says why."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edge.config.check import check
from hil.acts import acts
from hil.program import Program, RigError
from hil.site import METERS, merged, site_document, write_yaml

ROWS = {1, 2, 3, 5, 6, 7, 8}
"""Rows of the chain that exist; row 4 is that of grid codes."""


@pytest.mark.parametrize("evses", [1, 4, 8])
def test_the_site_passes_the_config_check(tmp_path: Path, evses: int) -> None:
    ports = {name: 20_000 + index for index, name in enumerate((*METERS, "broker", "page"))}
    config = tmp_path / "config.yaml"
    write_yaml(config, site_document(tmp_path, "vcan0", evses, ports, tmp_path))
    assert check(config, files=False) == []


def test_changes_are_merged_key_by_key() -> None:
    assert merged({"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"b": 3}, "d": [2]}) == {"a": {"b": 3, "c": 2}, "d": [2]}


def test_a_program_that_ends_early_shows_the_tail_of_its_log(tmp_path: Path) -> None:
    program = Program("liar", [sys.executable, "-c", "import sys; sys.exit('no such bus')"], tmp_path / "liar.log")
    program.start()
    with pytest.raises(RigError, match=r"liar ended with exit code 1 before it was ready.*(?s:.*)no such bus"):
        program.wait_ready(lambda: False, 20)
    program.stop()


def test_a_stopped_program_can_be_started_again(tmp_path: Path) -> None:
    program = Program("sleeper", [sys.executable, "-c", "import time; time.sleep(60)"], tmp_path / "log")
    for _ in range(2):
        program.start()
        assert program.running
        program.stop()
        assert not program.running


def test_the_demo_breaks_every_row_of_the_chain_that_exists() -> None:
    assert {act.row for act in acts()} == ROWS
