"""`edgectl config check FILE`: print every problem of a config file, one line each."""

from __future__ import annotations

import sys
from pathlib import Path

from edge.config.loader import read
from edge.strict_yaml import Problem

EXIT_OK = 0
EXIT_REFUSED = 2
EXIT_USAGE = 64


def check(path: Path | str, *, files: bool = True) -> list[Problem]:
    """Every error and warning of a file; an empty list: it will be accepted as it is. See `edge.config.read`."""
    return read(path, files=files).problems


def main(arguments: list[str]) -> int:
    """Exit code 0: accepted (warnings are printed), 2: refused, 64: wrong usage."""
    files = "--no-files" not in arguments
    paths = [a for a in arguments if a != "--no-files"]
    if len(paths) != 1 or paths[0].startswith("-"):
        print("usage: config check [--no-files] FILE   (--no-files: don't look at certificates and keys)", file=sys.stderr)
        return EXIT_USAGE
    problems = check(paths[0], files=files)
    for problem in problems:
        print(problem)
    errors = sum(1 for p in problems if p.level == "error")
    if errors:
        print(f"{paths[0]}: refused: {errors} error{'s' if errors > 1 else ''}", file=sys.stderr)
        return EXIT_REFUSED
    print(f"{paths[0]}: ok", file=sys.stderr)
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
