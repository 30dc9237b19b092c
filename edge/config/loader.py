"""config.yaml → Settings, or every problem. Nothing half-valid ever leaves this module."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge.config.crosscheck import cross_check
from edge.config.devices import check_devices
from edge.config.files import check_files
from edge.config.settings import Settings
from edge.strict_yaml import KeyPath, Problem, Tree, key_text, read_tree, validate


class ConfigError(Exception):
    """The file was refused. `problems` holds every error, `str()` one line for each."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(p) for p in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Result:
    """What a file gave: settings (None when there is an error) and every problem in the order of lines."""

    settings: Settings | None
    problems: list[Problem] = field(default_factory=list)

    @property
    def errors(self) -> list[Problem]:
        return [p for p in self.problems if p.level == "error"]


def read(path: Path | str, *, files: bool = True) -> Result:
    """Read and check a file completely.

    `files=False` leaves out what only the gateway itself can tell (certificates, keys), to check a file anywhere else.
    """
    tree, problems = read_tree(path)
    if not tree.lines:
        return Result(None, problems)
    settings, invalid = validate(Settings, tree)
    problems += invalid
    provisional = settings or _without_broken_keys(tree, invalid)
    if provisional is not None:
        broken = [p.key for p in problems]
        found = cross_check(tree, provisional) + check_devices(tree, provisional)
        found += check_files(tree, provisional) if files else []
        problems += [p for p in found if not _echoes(p, broken)]
    problems.sort(key=lambda p: p.line)
    refused = any(p.level == "error" for p in problems)
    return Result(None if refused else settings, problems)


def load(path: Path | str, *, files: bool = True) -> Settings:
    """The settings of a file without errors; else ConfigError with all of them. Warnings don't refuse."""
    result = read(path, files=files)
    if result.settings is None:
        raise ConfigError(result.errors)
    return result.settings


def _without_broken_keys(tree: Tree, problems: list[Problem]) -> Settings | None:
    """The settings that remain without the refused keys, so that the other keys can still be checked; None: too little."""
    broken = {p.key for p in problems}

    def prune(data: Any, path: KeyPath) -> Any:
        if isinstance(data, dict):
            kept = {k: v for k, v in data.items() if key_text((*path, k)) not in broken}
            return {k: prune(v, (*path, k)) for k, v in kept.items()}
        if isinstance(data, tuple):
            return tuple(prune(item, (*path, i)) for i, item in enumerate(data))
        return data

    return validate(Settings, Tree(tree.file, prune(tree.data, ()), tree.lines))[0]


def _echoes(problem: Problem, broken: list[str]) -> bool:
    """A cross-check's complaint about a section that has a broken key already may only be that key's echo."""
    section = problem.key.split(".")[0]
    return any(key.split(".")[0] == section for key in broken)
