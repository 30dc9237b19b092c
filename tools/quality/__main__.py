"""The quality gates of the safety core: `python -m tools.quality GATE… [--fast]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from tools.quality import coverage, cross, instructions, misra, mutation
from tools.quality.core import QualityError


def main() -> int:
    parser = argparse.ArgumentParser(prog="quality", description=__doc__)
    parser.add_argument("gates", nargs="+", choices=["coverage", "cross", "instructions", "misra", "mutation"])
    parser.add_argument("--fast", action="store_true", help="a sample that fits into make test")
    given = parser.parse_args()
    gates: dict[str, Callable[[], None]] = {
        "coverage": coverage.test,
        "cross": lambda: cross.test(given.fast),
        "instructions": instructions.test,
        "misra": lambda: misra.test(given.fast),
        "mutation": lambda: mutation.test(given.fast),
    }
    status = 0
    for gate in given.gates:
        try:
            gates[gate]()
        except QualityError as error:
            print(f"quality: {gate}: {error}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
