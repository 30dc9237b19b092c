"""The committed vectors: messages that EXIficient encoded and decoded the same way (made by `make exi-oracle`)."""

from __future__ import annotations

import json
import lzma
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from edge.iso15118.exi import SchemaSet
from edge.iso15118.exi.jsonform import from_json, to_json
from edge.iso15118.grammar import load

FILE = Path(__file__).with_name("vectors.jsonl.xz")


@dataclass(frozen=True, slots=True)
class Vector:
    """document encodes to data; lenient: only data decodes to document (the oracle wrote a value as text)."""

    schema: SchemaSet
    fragment: bool
    document: dict[str, Any]
    data: bytes
    lenient: bool = False

    def line(self) -> str:
        grammar = load(self.schema.key)
        row = [
            self.schema.key,
            int(self.fragment),
            int(self.lenient),
            to_json(grammar, self.document, self.fragment),
            self.data.hex(),
        ]
        return json.dumps(row, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def of_line(cls, line: str) -> Vector:
        key, fragment, lenient, document, data = json.loads(line)
        document = from_json(load(key), document, bool(fragment))
        return cls(SchemaSet[key.upper()], bool(fragment), document, bytes.fromhex(data), bool(lenient))


def write(vectors: list[Vector]) -> None:
    """Replaces the committed file."""
    text = "\n".join(vector.line() for vector in vectors) + "\n"
    FILE.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))


@cache
def read() -> tuple[Vector, ...]:
    """All vectors, in the order in which the oracle made them."""
    return tuple(Vector.of_line(line) for line in lzma.decompress(FILE.read_bytes()).decode().splitlines())
