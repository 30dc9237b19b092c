"""`native/exi/bench`: µs per message from and to Python objects, our codec beside EXIficient; writes build/bench/exi.json.

A figure is the best of several rounds: what the code costs when nothing else has the processor.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge.iso15118 import exi
from edge.iso15118.exi import SchemaSet, _exi
from edge.iso15118.exi.jsonform import to_json
from edge.iso15118.grammar import load
from native.exi.compiler import schemas
from tests.exi.oracle import Oracle, extract_jar, prepare_schemas
from tests.exi.samples import SAMPLES
from tests.exi.vectors import Vector, read

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "build/exi-oracle"
JAR_ROUNDS = 30
NAMESPACES = {
    SchemaSet.SAP: "urn:iso:15118:2:2010:AppProtocol",
    SchemaSet.V20_COMMON: "urn:iso:std:iso:15118:-20:CommonMessages",
    SchemaSet.V20_DC: "urn:iso:std:iso:15118:-20:DC",
    SchemaSet.V2: "urn:iso:15118:2:2013:MsgDef",
    SchemaSet.DIN: "urn:din:70121:2012:MsgDef",
}
LIMITS_US = {"DC_ChargeLoopReq": 2.0, "ScheduleExchangeRes, 24 entries": 15.0}


def best_us(function: Callable[[], object], round_s: float = 0.002, rounds: int = 60) -> float:
    """Microseconds of one call: the fastest round."""
    once = max(timeit.timeit(function, number=3) / 3, 1e-7)
    number = max(int(round_s / once), 1)
    return min(timeit.repeat(function, number=number, repeat=rounds)) / number * 1e6


def ours(schema_set: SchemaSet, document: dict[str, Any], rounds: int = 60) -> dict[str, float]:
    data = exi.encode(schema_set, document)
    return {
        "octets": len(data),
        "encode_us": round(best_us(lambda: exi.encode(schema_set, document), rounds=rounds), 2),
        "decode_us": round(best_us(lambda: exi.decode(schema_set, data), rounds=rounds), 2),
    }


def theirs(oracle: Oracle, schema_set: SchemaSet, document: dict[str, Any]) -> dict[str, Any]:
    """The jar as Python stacks use it: JSON through py4j, after ten rounds for the just-in-time compiler."""
    codec, namespace = oracle.codec, NAMESPACES[schema_set]
    text = json.dumps(to_json(load(schema_set.key), document))
    data = codec.encode(text, namespace)
    if data is None:
        return {"jar": f"refuses: {codec.get_last_encoding_error()}"}
    for _ in range(10):
        codec.decode(codec.encode(text, namespace), namespace)
    return {
        "jar_same_octets": bytes(data) == exi.encode(schema_set, document),
        "jar_encode_us": round(min(timeit.repeat(lambda: codec.encode(text, namespace), number=1, repeat=JAR_ROUNDS)) * 1e6),
        "jar_decode_us": round(min(timeit.repeat(lambda: codec.decode(data, namespace), number=1, repeat=JAR_ROUNDS)) * 1e6),
    }


def by_message_type() -> dict[str, dict[str, float]]:
    """The median-sized vector of every message type."""
    groups: dict[tuple[SchemaSet, str], list[Vector]] = {}
    for v in read():
        if not v.fragment and not v.lenient:
            name = next(iter(v.document))
            body = v.document[name].get("Body") if name == "V2G_Message" else None
            groups.setdefault((v.schema, next(iter(body), name) if body else name), []).append(v)
    figures = {}
    for (schema_set, name), group in sorted(groups.items()):
        middle = sorted(group, key=lambda v: len(v.data))[len(group) // 2]
        figures[f"{schema_set.key} {name}"] = ours(schema_set, middle.document, rounds=5)
    return figures


def import_ms() -> dict[str, float]:
    """Import with tables, in a fresh interpreter; best of twenty, by processor and by the clock."""
    code = (
        "import time; w, c = time.perf_counter(), time.process_time(); import edge.iso15118.exi; "
        "print(time.perf_counter() - w, time.process_time() - c)"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(20)]
    wall, cpu = zip(*((float(n) for n in run.stdout.split()) for run in runs), strict=True)
    return {"wall": round(min(wall) * 1e3, 2), "cpu": round(min(cpu) * 1e3, 2)}


def table_bytes() -> int:
    """The constant tables in the object file of exi_tables.c (all sections that are loaded)."""
    source = ROOT / "build/native/native/py/edge/iso15118/messages/exi_tables.c"
    target = ROOT / "build/bench/exi_tables.o"
    subprocess.run(["cc", "-O2", "-fPIC", "-c", f"-I{ROOT}/native/exi", "-o", target, source], check=True)
    sizes = subprocess.run(["size", target], capture_output=True, text=True, check=True).stdout.splitlines()[1].split()
    return int(sizes[3])


def main() -> int:
    (ROOT / "build/bench").mkdir(parents=True, exist_ok=True)
    prepare_schemas(schemas.folder(ROOT / "build/exi"), HERE / "schemas")
    oracle = Oracle(extract_jar(schemas.wheel(ROOT / "build/exi"), HERE), HERE / "schemas", {})
    messages: dict[str, dict[str, Any]] = {}
    for name, (schema_set, document) in SAMPLES.items():
        messages[name] = {**ours(schema_set, document), **theirs(oracle, schema_set, document)}
        print(f"exi-bench: {name}: {messages[name]}", flush=True)
    oracle.close()
    met = {name: messages[name]["encode_us"] + messages[name]["decode_us"] <= limit for name, limit in LIMITS_US.items()}
    figures = {
        "cpu": _cpu(),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "messages": messages,
        "limits_us": LIMITS_US,
        "limits_met": met,
        "import_ms": import_ms(),
        "tables_bytes": table_bytes(),
        "module_bytes": Path(_exi.__file__).stat().st_size,
        "by_message_type": by_message_type(),
    }
    (ROOT / "build/bench/exi.json").write_text(json.dumps(figures, indent=2) + "\n")
    print(f"exi-bench: import {figures['import_ms']} ms, tables {figures['tables_bytes']} octets, limits met: {met}")
    return 0


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    sys.exit(main())
