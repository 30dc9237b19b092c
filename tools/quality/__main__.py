"""The quality gates of the safety core: `python -m tools.quality GATE… [--fast]`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from xml.etree import ElementTree

from tools.quality import coverage, cross, instructions, misra, model, mutation
from tools.quality.core import BUILD, QualityError

GATES: dict[str, Callable[[bool], None]] = {
    "coverage": lambda fast: coverage.test(),
    "misra": misra.test,
    "cross": cross.test,
    "instructions": lambda fast: instructions.test(),
    "model": lambda fast: model.test(),
    "mutation": mutation.test,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """One gate; an empty `failure` means that it holds."""

    gate: str
    seconds: float
    failure: str


def run(gate: str, fast: bool) -> Outcome:
    began = time.monotonic()
    failure = ""
    try:
        GATES[gate](fast)
    except QualityError as error:
        failure = str(error)
        print(f"quality: {gate}: {failure}", file=sys.stderr, flush=True)
    return Outcome(gate, round(time.monotonic() - began, 1), failure)


def write(outcomes: list[Outcome]) -> None:
    """build/quality/junit.xml (each gate is a test of the closing line that .ci/run prints) and summary.json beside it."""
    BUILD.mkdir(parents=True, exist_ok=True)
    suite = ElementTree.Element("testsuite", name="quality", time=str(round(sum(o.seconds for o in outcomes), 1)))
    for o in outcomes:
        case = ElementTree.SubElement(suite, "testcase", classname="quality", name=o.gate, time=str(o.seconds))
        if o.failure:
            ElementTree.SubElement(case, "failure", message=o.failure)
    ElementTree.ElementTree(suite).write(BUILD / "junit.xml", encoding="unicode")
    summary = {"gates": [asdict(o) for o in outcomes], "figures": "build/prove/summary.json"}
    (BUILD / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(prog="quality", description=__doc__)
    parser.add_argument("gates", nargs="+", choices=list(GATES))
    parser.add_argument("--fast", action="store_true", help="a sample that fits into make test")
    given = parser.parse_args()
    outcomes = [run(gate, given.fast) for gate in given.gates]
    write(outcomes)
    return 1 if any(o.failure for o in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
