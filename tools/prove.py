"""Proves the safety core: `tools/prove [--fast] [NAME…]`.

Each proof of native/proof/proofs.toml runs on its own copy of native/ (with the sizes and abstractions named there) and
must succeed; its twin, the same with a planted bug, must fail, else the proof shows nothing. Then random runs of the real
core. Everything goes into build/prove/summary.json. Exit 0: all proven, all planted bugs found, no violation.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tools.summary import merge

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "prove"
TIMEOUT_S = 600
MEMORY_KB = 6_000_000
SEED = 20261122
PROPERTIES = [f"P{n}" for n in range(1, 16)] + [f"S{n}" for n in range(1, 6)]
"""P: the safety core; S: site control (native/SAFETY.md)."""


@dataclass(frozen=True, slots=True)
class Proof:
    """One entry of proofs.toml."""

    name: str
    properties: tuple[str, ...]
    source: str
    bound: str
    copy: str = "plain"
    tool: str = "esbmc"
    args: tuple[str, ...] = ()
    plant: tuple[str, str, str] = ("", "", "")
    fast: bool = False
    checks: bool = True
    unwind: int = 22


@dataclass(frozen=True, slots=True)
class Outcome:
    """`verdict`: proven, refuted, or undecided (time-out, crash)."""

    proof: Proof
    twin: bool
    verdict: str
    seconds: float


class ProveError(Exception):
    """The proofs can't be run as written."""


def load() -> tuple[list[Proof], dict[str, Any]]:
    """The proofs and the copies they work on."""
    with (ROOT / "native/proof/proofs.toml").open("rb") as file:
        table: dict[str, Any] = tomllib.load(file)
    proofs = []
    for entry in table["proof"]:
        fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
        proofs.append(Proof(**fields))
    return proofs, table["copies"]


def replacements(copies: dict[str, Any], name: str) -> list[list[str]]:
    """All replacements of a copy, those of its base first."""
    base = copies[name].get("base")
    return (replacements(copies, base) if base else []) + list(copies[name]["replace"])


def make_copy(proof: Proof, copies: dict[str, Any], twin: bool) -> Path:
    """The proof's own copy of the sources; each text stands there exactly once, so that no plant dies unnoticed."""
    folder = BUILD / "copies" / (proof.name + ("_twin" if twin else ""))
    shutil.rmtree(folder, ignore_errors=True)
    for part in ("include", "core", "can", "modbus", "guard", "proof"):
        shutil.copytree(ROOT / "native" / part, folder / part)
    plant = [list(proof.plant)] if twin else []
    for file, old, new in plant + replacements(copies, proof.copy):
        path = folder / file
        text = path.read_text()
        if text.count(old) != 1:
            raise ProveError(
                f"proofs.toml: {proof.name}: {old!r} stands {text.count(old)} times in native/{file}, not once; adapt it"
            )
        path.write_text(text.replace(old, new))
    return folder


def command(proof: Proof, folder: Path) -> list[str]:
    """What runs the proof, inside its copy."""
    if proof.tool == "esbmc":
        checks = ["--unwind", str(proof.unwind), "--multi-property", "--quiet", "--boolector"]
        checks += ["--overflow-check"] if proof.checks else ["--no-pointer-check", "--no-bounds-check", "--no-align-check"]
        return [str(esbmc()), f"proof/{proof.source}", "-I", "include", "-I", "core", *checks, *proof.args]
    if proof.tool == "spin":
        return ["sh", "-ec", f"spin -a proof/{proof.source}; cc -w -O2 -DSAFETY -DCOLLAPSE -o pan pan.c; ./pan -m1000000 -n -E"]
    if proof.tool == "frama-c":
        wp = ["-wp", "-wp-rte", "-wp-prover", "z3", "-wp-timeout", "10", "-wp-par", "1", "-wp-msg-key", "no-time-info"]
        return ["frama-c", "-c11", "-cpp-extra-args=-Iinclude -Icore", *wp, *proof.args, f"proof/{proof.source}"]
    raise ProveError(f"proofs.toml: {proof.name}: tool {proof.tool!r} is unknown (esbmc, spin, frama-c)")


def judge(proof: Proof, output: str) -> str:
    """The tool's own words for success and failure; anything else decides nothing."""
    if proof.tool == "esbmc":
        if re.search(r"^\*\* [1-9]\d* of \d+ properties failed", output, re.MULTILINE):
            return "refuted"  # also when the solver then ran out of memory over the counterexample
        found = re.findall(r"^VERIFICATION (SUCCESSFUL|FAILED)$", output, re.MULTILINE)
        return {"SUCCESSFUL": "proven", "FAILED": "refuted"}.get(found[-1] if found else "", "undecided")
    if proof.tool == "frama-c":
        goals = re.search(r"Proved goals: +(\d+) / (\d+)", output)
        if goals is None or goals[2] == "0":
            return "undecided"
        return "proven" if goals[1] == goals[2] else "refuted"  # refuted: a goal that no solver could show
    errors = re.search(r"errors: (\d+)", output)
    if errors is None or "max search depth too small" in output:
        return "undecided"
    return "proven" if errors[1] == "0" else "refuted"


def run(proof: Proof, copies: dict[str, Any], twin: bool) -> Outcome:
    """Runs one proof or its twin; the whole output stays in build/prove/logs."""
    folder = make_copy(proof, copies, twin)
    log = BUILD / "logs" / f"{folder.name}.log"
    began = time.monotonic()
    limited = ["bash", "-c", f'ulimit -v {MEMORY_KB}; exec timeout {TIMEOUT_S} "$@"', "prove", *command(proof, folder)]
    with log.open("w") as file:
        subprocess.run(limited, cwd=folder, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, check=False)
    outcome = Outcome(proof, twin, judge(proof, log.read_text(errors="replace")), round(time.monotonic() - began, 1))
    shutil.rmtree(folder)
    good = outcome.verdict == ("refuted" if twin else "proven")
    print(f"prove: {'ok  ' if good else 'FAIL'} {folder.name}: {outcome.verdict} in {outcome.seconds} s", flush=True)
    return outcome


def esbmc() -> Path:
    """The model checker that tools/prepare-esbmc put under build/."""
    return ROOT / "build/prove/esbmc/bin/esbmc"


def random_run(evse_steps: int) -> dict[str, int]:
    """Random runs of the compiled core against the same properties; adversarial inputs, 1 to 256 EVSEs."""
    program = ROOT / "build/native/native/proof/random_run"
    done = subprocess.run([program, str(SEED), str(evse_steps)], capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise ProveError(f"random_run: exit code {done.returncode}: {done.stderr.strip()}")
    result: dict[str, int] = json.loads(done.stdout)
    print(f"prove: random run: {result['evse_steps']} EVSE-steps, violated: {result['violated']}", flush=True)
    return result


def percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 1) if whole else 0.0


def summarize(outcomes: list[Outcome], random: dict[str, int], everything: bool) -> dict[str, Any]:
    """The figures of build/prove/summary.json."""
    proven: list[str] = []
    open_properties: dict[str, str] = {}
    for name in PROPERTIES:
        mine = [o for o in outcomes if name in o.proof.properties]
        if mine and all(o.verdict == "proven" for o in mine if not o.twin):
            proven.append(name)
        elif mine or everything:
            open_properties[name] = "a proof failed or is missing"
    return {
        "properties_proven": len(proven),
        "properties_total": len(PROPERTIES),
        "proven": proven,
        "not_proven": open_properties,
        "twins_failed_as_planted": sum(o.twin and o.verdict == "refuted" for o in outcomes),
        "twins_total": sum(o.twin for o in outcomes),
        "random_steps": random["evse_steps"],
        "random_moving_percent": percent(random["moving"], random["evse_steps"]),
        "random_gentle_steps": random["gentle_steps"],
        "random_gentle_moving_percent": percent(random["gentle_moving"], random["gentle_steps"]),
        "random_violations": random["violated"],
        "random_seed": SEED,
        "proofs": [
            {
                "name": o.proof.name + ("_twin" if o.twin else ""),
                "property": ", ".join(o.proof.properties),
                "tool": o.proof.tool,
                "bound": o.proof.bound,
                "result": o.verdict,
                "expected": "refuted" if o.twin else "proven",
                "seconds": o.seconds,
            }
            for o in outcomes
        ],
    }


def write_junit(outcomes: list[Outcome]) -> None:
    """build/prove/junit.xml: each proof and each twin is a test of the closing line that .ci/run prints."""
    suite = ElementTree.Element("testsuite", name="prove", time=str(round(sum(o.seconds for o in outcomes), 1)))
    for o in outcomes:
        name = o.proof.name + ("_twin" if o.twin else "")
        case = ElementTree.SubElement(suite, "testcase", classname="prove", name=name, time=str(o.seconds))
        if o.verdict != ("refuted" if o.twin else "proven"):
            ElementTree.SubElement(case, "failure", message=o.verdict)
    ElementTree.ElementTree(suite).write(BUILD / "junit.xml", encoding="unicode")


def main() -> int:
    parser = argparse.ArgumentParser(description="proves the safety core; figures go to build/prove/summary.json")
    parser.add_argument("--fast", action="store_true", help="the quick proofs and a short random run only")
    parser.add_argument("names", nargs="*", help="only these proofs of native/proof/proofs.toml")
    options = parser.parse_args()
    proofs, copies = load()
    chosen = [p for p in proofs if (p.name in options.names if options.names else p.fast or not options.fast)]
    if unknown := set(options.names) - {p.name for p in proofs}:
        raise ProveError(f"proofs.toml has no proof named {', '.join(sorted(unknown))}")
    (BUILD / "logs").mkdir(parents=True, exist_ok=True)
    everything = not options.fast and not options.names
    absent = [p.name for p in chosen if p.tool == "frama-c" and shutil.which("frama-c") is None]
    if absent:
        print(f"prove: NOT RUN, this Debian has no Frama-C (Debian 12 has): {', '.join(absent)}", flush=True)
        chosen = [p for p in chosen if p.name not in absent]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        jobs = [pool.submit(run, proof, copies, twin) for proof in chosen for twin in (False, True)]
        outcomes = [job.result() for job in jobs]
    random = random_run(100_000_000 if everything else 300_000)
    summary = summarize(outcomes, random, everything) | {"not_run": absent}
    if everything:
        merge(BUILD / "summary.json", "prove", summary)
        write_junit(outcomes)
    else:
        (BUILD / "fast.json").write_text(json.dumps(summary, indent=1) + "\n")
    wrong = [o for o in outcomes if o.verdict != ("refuted" if o.twin else "proven")]
    print(f"prove: {summary['properties_proven']} of {len(PROPERTIES)} properties proven, {len(wrong)} surprises")
    return 1 if wrong or random["violated"] or (everything and summary["not_proven"]) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ProveError, OSError) as error:
        print(f"prove: {error}", file=sys.stderr)
        sys.exit(2)
