"""Mutated messages: every one must be an error or encode to the same bytes again.

`python -m tests.exi.mutation seeds FOLDER` writes a corpus for libFuzzer; `… run NUMBER` mutates and prints the figures.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import resource
import sys
import time
from pathlib import Path
from typing import Any

from edge.iso15118 import exi
from edge.iso15118.exi import ExiError
from tests.exi.vectors import Vector, read

STRICT, FRAGMENT = 0x80, 0x40  # first octet of a libFuzzer input, see native/exi/fuzz_decode.c


def mutated(rng: random.Random, data: bytes) -> bytes:
    """A message with a few bits, an octet or a piece changed."""
    made = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        choice = rng.random()
        place = rng.randrange(len(made))
        if choice < 0.6:
            made[place] ^= 1 << rng.randrange(8)
        elif choice < 0.8:
            made[place] = rng.randrange(256)
        elif choice < 0.9:
            del made[place + 1 :]
        else:
            made[place:place] = made[rng.randrange(len(made)) :][:8]
    return bytes(made)


def broken(rng: random.Random, content: Any) -> Any:
    """Content with one thing wrong (or only reordered) somewhere inside."""
    if isinstance(content, dict) and content:
        made = dict(content)
        key, choice = rng.choice(list(made)), rng.random()
        if choice < 0.15:
            del made[key]
        elif choice < 0.25:
            made["Unknown"] = 1
        elif choice < 0.35:
            made = {name: made[name] for name in reversed(made)}
        else:
            made[key] = broken(rng, made[key])
        return made
    if isinstance(content, list) and content:
        place = rng.randrange(len(content))
        made_list = [*content[:place], broken(rng, content[place]), *content[place + 1 :]]
        return made_list * rng.choice((1, 1, 1, 40))
    return rng.choice(
        (None, 0, -1, 1.5, True, 2**70, -(2**70), "", "x" * 300, "\ud800", b"", bytes(300), [], {}, [1], {"a": 1})
    )


def outcome(vector: Vector, data: bytes) -> bool:
    """True when the message decodes strictly (and was checked to encode to itself), False when it is refused."""
    encode, decode = (exi.encode_fragment, exi.decode_fragment) if vector.fragment else (exi.encode, exi.decode)
    try:
        document = decode(vector.schema, data, strict=True)
    except ExiError:
        return False
    if encode(vector.schema, document) != data:
        raise AssertionError(f"{vector.schema.key} {data.hex()} decodes, but encodes differently")
    return True


def run(number: int, seed: int = 1) -> dict[str, Any]:
    """Figures of `number` mutated messages."""
    rng, vectors = random.Random(seed), [v for v in read() if not v.lenient]
    before_kb, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    decoded = sum(outcome(v, mutated(rng, v.data)) for v in rng.choices(vectors, k=number))
    return {
        "mutated": number,
        "decoded_and_encoded_equal": decoded,
        "refused": number - decoded,
        "memory_growth_kb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb,
        "seconds": round(time.monotonic() - begin, 1),
    }


def seeds(folder: Path) -> None:
    """Every fifth vector, alternately strict and lenient."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, v in enumerate(read()[::5]):
        first = int(v.schema) | (FRAGMENT if v.fragment else 0) | (STRICT if number % 2 else 0)
        (folder / f"{number:05}").write_bytes(bytes([first]) + v.data)


def fuzz_figures(log: Path) -> dict[str, Any]:
    """What libFuzzer says at its end."""
    text = log.read_text(errors="replace")
    found = {name: int(value) for name, value in re.findall(r"stat::(\w+):\s+(\d+)", text)}
    coverage = re.findall(r"cov: (\d+)", text)
    return {
        "executions": found.get("number_of_executed_units", 0),
        "peak_rss_mb": found.get("peak_rss_mb", 0),
        "edges_covered": int(coverage[-1]) if coverage else 0,
        "findings": 0,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("seeds").add_argument("folder", type=Path)
    runner = commands.add_parser("run")
    runner.add_argument("number", type=int)
    runner.add_argument("--log", type=Path, help="libFuzzer's output, for the summary")
    runner.add_argument("--summary", type=Path)
    options = parser.parse_args()
    if options.command == "seeds":
        seeds(options.folder)
        return 0
    figures = {"mutation": run(options.number)}
    if options.log:
        figures["libfuzzer"] = fuzz_figures(options.log)
    print(json.dumps(figures))
    if options.summary:
        options.summary.parent.mkdir(parents=True, exist_ok=True)
        options.summary.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
