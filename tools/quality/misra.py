"""MISRA C:2012 of the safety core by cppcheck's addon; a planted violation of each rule must be found in the same way."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tools.quality.core import BUILD, CORE, NATIVE, QualityError, report
from tools.quality.planted import PLANTED

DEVIATIONS = NATIVE / "MISRA.md"
FAST_SAMPLE = 6
FINDING = re.compile(r"^(?P<file>[^:]+):(?P<line>\d+):misra-c2012-(?P<rule>\d+\.\d+)$", re.MULTILINE)


def findings(sources: Iterable[Path]) -> list[tuple[str, str, str]]:
    """File name, line and rule of each finding."""
    checker = Path(sys.executable).with_name("cppcheck")
    # Two forms of a source's configuration would double the time; the core has no conditional code.
    options = ["--addon=misra", "--std=c11", "--platform=unix64", "--enable=style", "--quiet", "--max-configs=1"]
    command: list[str | Path] = [checker, *options, "--template={file}:{line}:{id}", f"-I{NATIVE / 'include'}", *sources]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise QualityError(f"cppcheck failed: {done.stderr[-1000:]}")
    return [(Path(m["file"]).name, m["line"], m["rule"]) for m in FINDING.finditer(done.stderr)]


def planted_but_not_found(every: int = 1) -> list[str]:
    """Rules whose planted violation is not found; of `every` so many only one is tried."""
    tried = list(PLANTED)[::every]
    folder = BUILD / "planted"
    folder.mkdir(parents=True, exist_ok=True)
    sources = {rule: folder / f"{rule}.c" for rule in tried}
    for rule, path in sources.items():
        path.write_text(PLANTED[rule] + "\n")
    found = {(Path(name).stem, rule) for name, _, rule in findings(sources.values())}
    return [rule for rule in tried if (rule, rule) not in found]


def deviations() -> set[str]:
    """The rules in the table of MISRA.md."""
    return set(re.findall(r"^\| (\d+\.\d+) \|", DEVIATIONS.read_text(), re.MULTILINE))


def test(fast: bool = False) -> None:
    """The fast form tries a sample of the planted violations. Raises on a violation without a record, a record that nothing
    needs, or a planted violation that isn't found."""
    allowed, found = deviations(), findings(CORE)
    places = Counter(rule for _, _, rule in found)
    problems = [f"{name}:{line}: rule {rule}, no deviation record" for name, line, rule in found if rule not in allowed]
    problems += [f"MISRA.md: rule {rule} is enabled, it has no record" for rule in sorted(allowed & set(PLANTED))]
    problems += [f"MISRA.md: no place deviates from rule {rule}: remove its record" for rule in sorted(allowed - set(places))]
    lost = planted_but_not_found(FAST_SAMPLE if fast else 1)
    problems += [f"rule {rule}: its planted violation is not found" for rule in lost]
    figures = {
        "enabled": len(PLANTED),
        "planted_tried": len(list(PLANTED)[:: FAST_SAMPLE if fast else 1]),
        "planted_lost": lost,
        "deviations": dict(sorted(places.items())),
        "problems": problems,
    }
    report("misra", figures, misra_rules=len(PLANTED), misra_violations=len(problems))
    tried = figures["planted_tried"]
    print(f"misra: {len(PLANTED)} rules enabled, {tried} planted violations tried; {len(places)} rules with deviation records")
    if problems:
        raise QualityError("\n  ".join(problems))
