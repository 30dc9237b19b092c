"""The wheel as a user has it: installed in an environment of its own, run outside the checkout (`make dist`)."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tools.package_files import package_files

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture
def env() -> Path:
    return Path(os.environ["V2G_WHEEL_ENV"])


def answer(folder: Path, *command: str) -> str:
    """What a command prints when run in `folder`; fails with its error output."""
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


@pytest.mark.parametrize(("base", "package"), [(ROOT, "edge"), (ROOT, "aggregator"), (ROOT / "firmware-sim", "v2g_sim")])
def test_each_file_of_a_package_is_in_the_wheel(env: Path, tmp_path: Path, base: Path, package: str) -> None:
    init = Path(answer(tmp_path, str(env / "bin/python"), "-c", f"import {package}; print({package}.__file__)"))
    assert init.is_relative_to(env), "the wheel's own package is imported, not the checkout's"
    assert package_files(init.parents[1], package) == package_files(base, package)


def test_the_wheel_carries_the_version_of_the_project(env: Path, tmp_path: Path) -> None:
    code = "import edge, importlib.metadata as m; print(edge.__version__, m.version('v2g-edge'))"
    assert answer(tmp_path, str(env / "bin/python"), "-c", code) == f"{PROJECT['version']} {PROJECT['version']}"


def test_each_compiled_module_of_the_checkout_is_in_the_wheel(env: Path, tmp_path: Path) -> None:
    for module in sorted((ROOT / "edge").rglob("*.so")):
        name = ".".join([*module.parent.relative_to(ROOT).parts, module.name.split(".")[0]])
        assert answer(tmp_path, str(env / "bin/python"), "-c", f"import {name}; print({name}.__file__)").startswith(str(env))


def test_each_console_program_is_installed(env: Path) -> None:
    assert {name for name in PROJECT["scripts"] if not (env / "bin" / name).exists()} == set()


def test_the_can_hub_is_installed_as_a_program(env: Path, tmp_path: Path) -> None:
    assert "v2g-hub" in answer(tmp_path, str(env / "bin/v2g-hub"), "--help")


def test_the_wheel_is_made_for_this_python(env: Path) -> None:
    (wheel,) = (ROOT / "dist").glob("*.whl")
    assert f"cp{sys.version_info.major}{sys.version_info.minor}" in wheel.name
