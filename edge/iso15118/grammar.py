"""The grammars of one schema set as plain data: what the compiler writes, and the slow readers (reference engine, XML) walk.

The C engine has the same content as constant tables; `native/exi/compiler` writes both from the same objects, so the two
can be compared message by message. Words follow the EXI recommendation (W3C, Efficient XML Interchange 1.0, second edition).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

UNBOUNDED = 0xFFFF
"""maxOccurs="unbounded" in `State.most`; larger than every bounded maxOccurs of the schemas."""


@dataclass(frozen=True, slots=True)
class Value:
    """A simple type: how a value is coded, and its facets.

    kind: boolean, enumeration, nbit (integer of at most 4096 values), unsigned, signed, big (no limit), string, binary.
    lexical: the built-in XSD type at its root, which fixes the XML spelling ("hexBinary" or "base64Binary").
    least, most: bounds of the integer, or of the length (characters, octets); most -1 means no bound.
    words: the enumeration in document order. name: the schema's name of the first type with this content, for people.
    """

    kind: str
    lexical: str
    least: int = 0
    most: int = -1
    words: tuple[str, ...] = ()
    name: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Production:
    """One alternative of a state.

    kind: attribute, leaf (an element with a simple type), element, wildcard (counted, never used), end, text, mixed (counted,
    never used). name indexes `Schema.names`; target indexes `Schema.values` (attribute, leaf, text) or `Schema.types`
    (element); next is the state that follows. many: the element may occur more than once, so it is a list in the dict.
    """

    kind: str
    name: int = -1
    target: int = -1
    next: int = -1
    many: bool = False
    abstract: bool = False


@dataclass(frozen=True, slots=True)
class State:
    """A state after an element that may occur `least` to `most` times: the first `repeats` productions are that element again.

    Below `least` occurrences only they apply, at `most` they are gone. repeats 0: an ordinary state.
    """

    productions: tuple[Production, ...]
    repeats: int = 0
    least: int = 0
    most: int = 1

    def choices(self, count: int) -> tuple[Production, ...]:
        """The productions that apply after `count` occurrences; a production's event code is its index."""
        if self.repeats and count < self.least:
            return self.productions[: self.repeats]
        if self.repeats and count >= self.most:
            return self.productions[self.repeats :]
        return self.productions

    def count_after(self, taken: Production, count: int) -> int:
        """Occurrences of the element after which the next state comes."""
        return count + 1 if taken in self.productions[: self.repeats] else 1


@dataclass(frozen=True, slots=True)
class Type:
    """A complex type. content: children (a dict), text ("#text"), items (children whose order matters: "#items")."""

    name: str
    start: int
    content: str


@dataclass(frozen=True, slots=True)
class Schema:
    """Everything that one schema set needs. names: (local name, namespace); attributes start with "@" as in the dict."""

    key: str
    namespace: str
    names: tuple[tuple[str, str], ...]
    values: tuple[Value, ...]
    types: tuple[Type, ...]
    states: tuple[State, ...]
    documents: tuple[Production, ...]
    fragments: tuple[Production, ...]
    depth: int

    def to_json(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "namespace": self.namespace,
            "names": self.names,
            "values": [[v.kind, v.lexical, v.least, v.most, v.words, v.name] for v in self.values],
            "types": [[t.name, t.start, t.content] for t in self.types],
            "states": [[s.repeats, s.least, s.most, [_row(p) for p in s.productions]] for s in self.states],
            "documents": [_row(p) for p in self.documents],
            "fragments": [_row(p) for p in self.fragments],
            "depth": self.depth,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Schema:
        return cls(
            key=data["key"],
            namespace=data["namespace"],
            names=tuple((local, uri) for local, uri in data["names"]),
            values=tuple(
                Value(kind, lexical, least, most, tuple(words), name)
                for kind, lexical, least, most, words, name in data["values"]
            ),
            types=tuple(Type(*row) for row in data["types"]),
            states=tuple(
                State(tuple(_production(p) for p in productions), repeats, least, most)
                for repeats, least, most, productions in data["states"]
            ),
            documents=tuple(_production(p) for p in data["documents"]),
            fragments=tuple(_production(p) for p in data["fragments"]),
            depth=data["depth"],
        )


def _row(p: Production) -> list[object]:
    return [p.kind, p.name, p.target, p.next, int(p.many), int(p.abstract)]


def _production(row: list[Any]) -> Production:
    return Production(row[0], row[1], row[2], row[3], bool(row[4]), bool(row[5]))


@cache
def load(key: str) -> Schema:
    """The grammars of schema set `key` ("sap", "v20_common", "v20_ac", "v20_dc", "v2", "din", "xmldsig")."""
    text = files("edge.iso15118.messages").joinpath(f"{key}.grammar.json").read_text()
    return Schema.from_json(json.loads(text))
