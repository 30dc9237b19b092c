"""The dependencies of a release: what pyproject.toml needs at run time, in the versions and hashes of requirements.lock."""

from __future__ import annotations

import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.release.run import run
from tools.release.target import Target

ROOT = Path(__file__).resolve().parents[2]


def runtime_names() -> set[str]:
    """pyproject.toml's dependencies and theirs, as the installed packages of .venv name them (it holds the locked versions)."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    todo = [Requirement(line) for line in project["dependencies"]]
    names: set[str] = set()
    while todo:
        wanted = todo.pop()
        name = canonicalize_name(wanted.name)
        if name in names or (wanted.marker is not None and not _needed(wanted)):
            continue
        names.add(name)
        todo += [Requirement(line) for line in importlib.metadata.requires(name) or []]
    return names


def _needed(requirement: Requirement) -> bool:
    """Whether a requirement with a marker is needed on Linux; extras are not."""
    assert requirement.marker is not None
    return requirement.marker.evaluate({"extra": "", "sys_platform": "linux", "platform_system": "Linux"})


def lock_entries(lock: str) -> Iterator[tuple[str, str]]:
    """Each entry of a lock file: its name and its text with all hashes."""
    for entry in re.findall(r"^[A-Za-z0-9][^\n]*==(?:[^\n]*\\\n)*[^\n]*", lock, re.MULTILINE):
        yield canonicalize_name(entry.split("==")[0]), entry


def write_runtime_lock(path: Path) -> set[str]:
    """requirements.lock without what only building and testing need. Returns the names in it."""
    names = runtime_names()
    entries = {name: text for name, text in lock_entries((ROOT / "requirements.lock").read_text()) if name in names}
    if missing := names - entries.keys():
        raise SystemExit(f"dist: requirements.lock has no {', '.join(sorted(missing))}: lock again (see README.md)")
    path.write_text("\n".join(entries[name] for name in sorted(entries)) + "\n")
    return names


def download(target: Target, lock: Path, wheels: Path) -> list[Path]:
    """The wheels of the lock for a target, each checked against its hash. Sorted."""
    wheels.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
    command += ["--implementation", "cp", "--python-version", target.python, "--dest", str(wheels)]
    command += [f"--platform={platform}" for platform in target.platforms]
    run([*command, "--requirement", str(lock)])
    return sorted(wheels.glob("*.whl"))


def install(target: Target, wheels: list[Path], lib: Path) -> None:
    """Unpack wheels into `lib`; nothing is compiled, nothing is looked up."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile", "--only-binary"]
    command += [":all:", "--implementation", "cp", "--python-version", target.python, "--target", str(lib)]
    command += [f"--platform={platform}" for platform in target.platforms]
    run([*command, *map(str, wheels)])
