"""Grammars → one constant C file (see native/exi/exi.h for what the fields mean)."""

from __future__ import annotations

from collections.abc import Iterable

from edge.iso15118.grammar import Production, Schema, State, Type, Value

from .xsd import SchemaError

MAX_DEPTH = 12  # EXI_MAX_DEPTH
_KINDS = {
    "attribute": "EXI_ATTRIBUTE",
    "leaf": "EXI_LEAF",
    "element": "EXI_ELEMENT",
    "wildcard": "EXI_WILDCARD",
    "end": "EXI_END",
    "text": "EXI_TEXT",
    "mixed": "EXI_MIXED",
}
_CONTENTS = {"children": "EXI_CHILDREN", "text": "EXI_TEXT_ONLY", "items": "EXI_ITEMS"}


class _Names:
    """All keys and enumeration words of all schemas, each once."""

    def __init__(self) -> None:
        self.index: dict[str, int] = {}

    def of(self, text: str) -> int:
        return self.index.setdefault(text, len(self.index))


def emit(grammars: Iterable[Schema]) -> str:
    """The whole text of exi_tables.c."""
    names, parts, entries = _Names(), [], []
    for grammar in grammars:
        if grammar.depth + 2 > MAX_DEPTH:
            raise SchemaError(f"{grammar.key} nests {grammar.depth} types, the engine has room for {MAX_DEPTH - 2}")
        part, entry = _schema(grammar, names)
        parts.append(part)
        entries.append(entry)
    table = ", ".join(f'"{text}"' for text in names.index)
    return "\n".join(
        [
            "/* Made by native/exi/compiler. */",
            '#include "exi.h"',
            *parts,
            f"const char *const exi_names[] = {{{table}}};",
            f"const uint16_t exi_name_number = {len(names.index)};",
            f"const struct exi_schema exi_schemas[] = {{{', '.join(entries)}}};",
            f"const uint16_t exi_schema_number = {len(entries)};",
            "",
        ]
    )


def _schema(g: Schema, names: _Names) -> tuple[str, str]:
    key_of = [names.of(key) for key, _ in g.names]
    words: list[int] = []

    def production(p: Production) -> str:
        flags = " | ".join(flag for flag, on in (("EXI_MANY", p.many), ("EXI_ABSTRACT", p.abstract)) if on) or "0"
        name = key_of[p.name] if p.name >= 0 else 0
        return f"{{{name}, {max(p.target, 0)}, {max(p.next, 0)}, {_KINDS[p.kind]}, {flags}}}"

    def value(v: Value) -> str:
        first = len(words)
        words.extend(names.of(word) for word in v.words)
        width = {"enumeration": max(len(v.words) - 1, 0).bit_length(), "nbit": (v.most - v.least).bit_length()}.get(v.kind, 0)
        most = "UINT64_MAX" if v.most < 0 else f"UINT64_C({v.most})"
        least = "INT64_MIN" if v.least == -(2**63) else f"INT64_C({v.least})"
        return f"{{{least}, {most}, {first}, {len(v.words)}, EXI_{v.kind.upper()}, {width}}}"

    rows: list[str] = []

    def state(s: State) -> str:
        first = len(rows)
        rows.extend(production(p) for p in s.productions)
        return f"{{{first}, {len(s.productions)}, {s.repeats}, {s.least}, {s.most}}}"

    def kind(t: Type) -> str:
        return f"{{{t.start}, {_CONTENTS[t.content]}}}"

    states = [state(s) for s in g.states]
    values = [value(v) for v in g.values]
    tables = [
        ("struct exi_production", "productions", rows),
        ("struct exi_state", "states", states),
        ("struct exi_value", "values", values),
        ("struct exi_type", "types", [kind(t) for t in g.types]),
        ("uint16_t", "words", [str(w) for w in words] or ["0"]),
        ("struct exi_production", "documents", [production(p) for p in g.documents]),
        ("struct exi_production", "fragments", [production(p) for p in g.fragments]),
    ]
    text = "\n".join(f"static const {c_type} {g.key}_{name}[] = {{{', '.join(items)}}};" for c_type, name, items in tables)
    fields = [f'.key = "{g.key}"', *(f".{name} = {g.key}_{name}" for _, name, _ in tables)]
    fields += [f".document_number = {len(g.documents)}", f".fragment_number = {len(g.fragments)}"]
    return text, f"{{{', '.join(fields)}}}"
