"""The README promises nothing that isn't there: CI or a test runs each command, links and folders are real."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.frame.ci_gates import gates
from tools.rtbench import modbus

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
PROGRAMS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]


def commands() -> list[str]:
    """Every command line of the README's sh blocks, without comments, and every `make …` in its text."""
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return sorted({line for line in lines if line} | set(re.findall(r"`(make [a-z-]+)`", README)))


def test_the_readme_has_commands() -> None:
    assert "make test" in commands()


@pytest.mark.parametrize("command", commands())
def test_a_command_of_the_readme_exists(command: str) -> None:
    program, *arguments = command.split()
    if program == "make":
        dry_run = subprocess.run(["make", "-n", arguments[0]], cwd=ROOT, capture_output=True, text=True)
        assert dry_run.returncode == 0, dry_run.stderr
    else:
        assert program in PROGRAMS or (ROOT / program).exists(), (
            f"{program} is neither a program of the project nor a file of it"
        )


@pytest.mark.parametrize("command", commands())
def test_a_command_of_the_readme_is_run_by_ci_or_by_a_test(command: str) -> None:
    program, *arguments = command.split()
    if program == "make" and arguments[0] in gates():
        return
    tests = "".join(path.read_text() for path in [*ROOT.glob("tests/**/test_*.py"), *ROOT.glob("hil/**/test_*.py")])
    assert f'"{program}", "{arguments[0]}"' in tests if arguments else f'"{program}"' in tests, f"nothing runs `{command}`"


def test_the_figures_of_modbus_are_those_that_were_measured() -> None:
    page = modbus.PAGE.read_text()
    assert modbus.renewed(page, json.loads(modbus.FIGURES.read_text())) == page, "run python -m tools.rtbench.modbus"


def test_each_folder_and_link_of_the_readme_is_there() -> None:
    named = re.findall(r"^\| `([^`]+/)`", README, re.MULTILINE) + re.findall(r"\]\(([^)#:]+)\)", README)
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_make_help_lists_its_targets() -> None:
    listed = subprocess.run(
        ["make", "help", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert {"make build", "make test", "make hil"} <= {line.split("  ")[1] for line in listed.splitlines()}
