"""`make exi-oracle`: random valid messages through EXIficient and through our codec, both ways, byte by byte.

Writes build/exi-oracle/summary.json and the vectors that the tests use. Usage: oracle_run.py [--seed N] [--scale N] [--keep]
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from lxml import etree

from edge.iso15118 import exi
from edge.iso15118.exi import ExiError, SchemaSet, reference
from edge.iso15118.exi.xml import from_xml, to_xml
from edge.iso15118.grammar import Schema, load
from native.exi.compiler import schemas
from tests.exi.generator import Generator
from tests.exi.oracle import Oracle, extract_jar, prepare_schemas
from tests.exi.samples import schedule_exchange
from tests.exi.vectors import Vector, write

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "build/exi-oracle"
CACHE = ROOT / "build/exi"

DOCUMENTS_PER_ROOT = 30
FULL_EVERY = 10  # every tenth message takes what it can: long lists, most optional elements
FRAGMENTS_PER_ROOT = 3
MESSAGES_OF_V2 = 1500  # of ISO 15118-2 and of DIN: one root, V2G_Message, with every message as its body

# What the oracle can't do; nothing else may differ.
KNOWN_DEFECTS = {
    "an empty string or binary value": "its SAX side sees no characters and writes an undeclared end of element instead; "
    "no such value is drawn, and the lenient decoder is tested with what it writes",
    "JSON API: absent optional integers of -2": "written as 0; the differential test uses the XML side, which is right",
    "JSON API: 1024 entries of a schedule": "after the last one it writes as if one more could follow; its XML side does not",
    "JSON API: ACDP and WPT": "fail in it; not built by us",
}

LONG_SCHEDULES = (1022, 1023, 1024)  # entries; 1024 is the schema's limit

# Out of range on purpose: EXIficient writes such a value as untyped text.
LENIENT = [
    (SchemaSet.V2, "PowerDeliveryReq/SAScheduleTupleID", "0"),
    (SchemaSet.V2, "PreChargeReq/DC_EVStatus/EVRESSSOC", "-1"),
    (SchemaSet.DIN, "PreChargeReq/DC_EVStatus/EVRESSSOC", "101"),
]


def roots(schema: Schema, generator: Generator, fragment: bool, scale: int) -> list[Any]:
    """Every root as often as it is to be drawn."""
    drawn = []
    for root in generator.roots(fragment):
        number = FRAGMENTS_PER_ROOT if fragment else DOCUMENTS_PER_ROOT
        if schema.names[root.name][0] == "V2G_Message" and not fragment:
            number = MESSAGES_OF_V2
        drawn += [root] * (number * scale)
    return drawn


def compare(oracle: Oracle, schema: Schema, fragment: bool, document: dict[str, Any]) -> tuple[bytes, str]:
    """Our bytes, and what differs ("" when nothing)."""
    schema_set = SchemaSet[schema.key.upper()]
    ours = (exi.encode_fragment if fragment else exi.encode)(schema_set, document)
    xml = etree.tostring(to_xml(schema, document, fragment), encoding="unicode")
    theirs = oracle.encode(schema.key, xml, fragment)
    if theirs != ours:
        return ours, f"encoded {theirs.hex()}, ours {ours.hex()}"
    decoded = oracle.decode(schema.key, ours, fragment)
    back = from_xml(schema, etree.fromstring(decoded.encode()), fragment)
    return ours, "" if back == document else f"decoded {decoded[:500]}"


def lenient_vector(oracle: Oracle, rng: random.Random, schema_set: SchemaSet, path: str, text: str) -> Vector:
    """What the oracle writes for an out-of-range integer, and what a lenient decoder makes of it."""
    schema = load(schema_set.key)
    message, *steps = path.split("/")
    generator = Generator(schema, rng)
    root = next(p for p in generator.roots() if schema.names[p.name][0] == "V2G_Message")
    while True:
        document = generator.document(root)
        node = to_xml(schema, document)
        found = node.findall(f".//{{*}}{message}/{'/'.join(f'{{*}}{step}' for step in steps)}")
        if found:
            break
    found[0].text = text
    data = oracle.encode(schema.key, etree.tostring(node, encoding="unicode"))
    return Vector(schema_set, False, from_xml(schema, node), data, lenient=data != _strict(schema, node))


def _strict(schema: Schema, node: etree._Element) -> bytes:
    try:
        return reference.encode(schema, from_xml(schema, node))
    except ExiError:
        return b""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=15118)
    parser.add_argument("--scale", type=int, default=1, help="times as many messages")
    parser.add_argument("--keep", action="store_true", help="leave the committed vectors as they are")
    options = parser.parse_args()
    HERE.mkdir(parents=True, exist_ok=True)
    prepare_schemas(schemas.folder(CACHE), HERE / "schemas")
    oracle = Oracle(extract_jar(schemas.wheel(CACHE), HERE), HERE / "schemas", schemas.ROOTS)
    rng, begin = random.Random(options.seed), time.monotonic()
    vectors: list[Vector] = []
    counts: Counter[str] = Counter()
    differences = []
    for schema_set in SchemaSet:
        schema = load(schema_set.key)
        for fragment in (False, True):
            usual, full = Generator(schema, rng), Generator(schema, rng, full=0.95)
            drawn = roots(schema, usual, fragment, options.scale)
            documents = [(usual if n % FULL_EVERY else full).document(root) for n, root in enumerate(drawn)]
            if schema_set == SchemaSet.V20_COMMON and not fragment:
                documents += [schedule_exchange(entries) for entries in LONG_SCHEDULES]
            for document in documents:
                data, difference = compare(oracle, schema, fragment, document)
                counts[f"{schema.key} {'fragments' if fragment else 'documents'}"] += 1
                if difference:
                    differences.append({"schema": schema.key, "root": next(iter(document)), "difference": difference})
                vectors.append(Vector(schema_set, fragment, document, data))
        print(f"exi-oracle: {schema.key}: {len(vectors)} messages so far, {len(differences)} differ", flush=True)
    vectors += [lenient_vector(oracle, rng, *case) for case in LENIENT]
    oracle.close()
    summary = {
        "oracle": "EXIficient in EXICodec.jar of " + schemas.PACKAGE,
        "seed": options.seed,
        "documents": sum(n for key, n in counts.items() if key.endswith("documents")),
        "fragments": sum(n for key, n in counts.items() if key.endswith("fragments")),
        "by_schema": dict(counts),
        "differences": differences[:20],
        "different": len(differences),
        "known_defects": KNOWN_DEFECTS,
        "seconds": round(time.monotonic() - begin, 1),
    }
    (HERE / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    both = f"{summary['documents']} documents and {summary['fragments']} fragments both ways"
    print(f"exi-oracle: {both}, {len(differences)} differ")
    if not differences and not options.keep:
        write(vectors)
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
