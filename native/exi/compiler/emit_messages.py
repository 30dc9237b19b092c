"""Grammars → typed messages: one Python module per schema set, whose TypedDicts describe the dicts of the codec.

A TypedDict costs nothing at run time: the typed message is the dict that the codec reads and writes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from edge.iso15118.grammar import Production, Schema, Type, Value

from .units import unit_of

PACKAGE = (
    '"""Typed messages and grammars, made by native/exi/compiler from the XML schemas; never edited, never committed."""\n'
)

_TITLES = {
    "sap": "supportedAppProtocol, the handshake before any other message",
    "v20_common": "ISO 15118-20, messages common to AC and DC",
    "v20_ac": "ISO 15118-20, AC messages",
    "v20_dc": "ISO 15118-20, DC messages",
    "v2": "ISO 15118-2",
    "din": "DIN 70121",
    "xmldsig": "XML signatures",
}
_PYTHON = {"boolean": "bool", "string": "str", "binary": "bytes"}


@dataclass
class _Field:
    """A key of a dict; required when no content can do without it."""

    key: str
    production: Production
    required: bool
    doc: str = field(default="")


def emit(schema: Schema) -> str:
    """The text of edge/iso15118/messages/<key>.py."""
    return _Module(schema).text()


class _Module:
    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.names: dict[int, str] = {}  # type index → class name
        self.enums: dict[int, str] = {}  # value index → alias
        self.taken: set[str] = {"Message", "Fragment", "SCHEMA"}
        self.parts: list[str] = []

    def text(self) -> str:
        for number, value in enumerate(self.schema.values):
            if value.kind == "enumeration":
                self.enums[number] = self.unique(value.name or f"enumeration{number}")
                words = ", ".join(f'"{word}"' for word in value.words)
                self.parts.append(f"{self.enums[number]} = Literal[{words}]")
        documents = self.roots(self.schema.documents)
        fragments = self.roots(self.schema.fragments)
        self.parts.append(self.root_type("Message", documents))
        self.parts.append(self.root_type("Fragment", fragments))
        self.parts.append(_FUNCTIONS.replace("@SET@", self.schema.key.upper()))
        title = f'"""{_TITLES[self.schema.key]}: what the dicts of `edge.iso15118.exi` hold. Made by native/exi/compiler."""'
        head = [title, _IMPORTS, f"SCHEMA = SchemaSet.{self.schema.key.upper()}"]
        return "\n\n".join(head + self.parts) + "\n"

    def unique(self, name: str) -> str:
        base, number = name, 1
        while name in self.taken:
            number += 1
            name = f"{base}_{number}"
        self.taken.add(name)
        return name

    def roots(self, roots: tuple[Production, ...]) -> list[tuple[str, str]]:
        return [(self.key(p), self.annotation(p)) for p in roots if not p.abstract]

    def key(self, p: Production) -> str:
        return "#text" if p.kind == "text" else self.schema.names[p.name][0]

    def annotation(self, p: Production) -> str:
        if p.kind == "element":
            return self.class_of(p.target)
        value = self.schema.values[p.target]
        return self.enums.get(p.target) or _PYTHON.get(value.kind, "int")

    def class_of(self, index: int) -> str:
        """The class of a type; its parts come first in the module."""
        if index not in self.names:
            kind = self.schema.types[index]
            fields = self.fields(kind)
            lines = {f.key: self.field_type(f, kind) for f in fields}
            if kind.content == "items":
                lines["#items"] = "NotRequired[list[dict[str, Any]]]"
                fields = [f for f in fields if f.production.kind == "attribute"]
                lines = {key: line for key, line in lines.items() if key == "#items" or key.startswith("@")}
            self.names[index] = self.unique(kind.name)
            self.parts.append(self.class_text(self.names[index], lines, {f.key: f.doc for f in fields}))
        return self.names[index]

    def class_text(self, name: str, lines: dict[str, str], docs: dict[str, str]) -> str:
        if all(key.isidentifier() for key in lines):
            body = [f"    {key}: {line}" + (f'\n    """{docs[key]}"""' if docs.get(key) else "") for key, line in lines.items()]
            return f"class {name}(TypedDict):\n" + ("\n".join(body) or f'    """{name} has no content."""')
        body = [f'        "{key}": {line},' + (f"  # {docs[key]}" if docs.get(key) else "") for key, line in lines.items()]
        return f'{name} = TypedDict(\n    "{name}",\n    {{\n' + "\n".join(body) + "\n    },\n)"

    def field_type(self, f: _Field, kind: Type) -> str:
        inner = self.annotation(f.production)
        inner = f"list[{inner}]" if f.production.many else inner
        return inner if f.required else f"NotRequired[{inner}]"

    def fields(self, kind: Type) -> list[_Field]:
        """Every key of a type in schema order (order of first reach)."""
        order: dict[str, Production] = {}
        queue, seen = [kind.start], {kind.start}
        while queue:
            for p in self.schema.states[queue.pop(0)].productions:
                if p.kind in ("attribute", "leaf", "element", "text") and not p.abstract:
                    order.setdefault(self.key(p), p)
                if p.next >= 0 and p.next not in seen:
                    seen.add(p.next)
                    queue.append(p.next)
        return [_Field(key, p, not self.ends_without(kind.start, key), self.doc(p)) for key, p in order.items()]

    def ends_without(self, start: int, key: str) -> bool:
        """Can content end without `key`?"""
        queue, seen = [start], {start}
        while queue:
            for p in self.schema.states[queue.pop()].productions:
                if p.kind == "end":
                    return True
                if p.next >= 0 and p.next not in seen and not p.abstract and self.key(p) != key:
                    seen.add(p.next)
                    queue.append(p.next)
        return False

    def doc(self, p: Production) -> str:
        name, uri = self.schema.names[p.name] if p.name >= 0 else ("", "")
        unit = unit_of(uri, name.removeprefix("@"))
        return " ".join(
            part for part in (self.bounds(self.schema.values[p.target]) if p.kind != "element" else "", unit) if part
        )

    def bounds(self, value: Value) -> str:
        if value.kind in ("nbit", "unsigned", "signed"):
            return f"{value.least}..{value.most}"
        if value.kind in ("string", "binary") and value.most >= 0:
            length = f"{value.least}" if value.least == value.most else f"{value.least}..{value.most}"
            return f"{length} {'characters' if value.kind == 'string' else 'octets'}"
        return ""

    def root_type(self, name: str, roots: list[tuple[str, str]]) -> str:
        what = "exactly one of these elements" if name == "Message" else "exactly one of these elements, as signatures cover it"
        rows = "\n".join(f'        "{key}": {annotation},' for key, annotation in roots)
        return f'# {name}: {what}.\n{name} = TypedDict(\n    "{name}",\n    {{\n{rows}\n    }},\n    total=False,\n)'


_IMPORTS = """from typing import Any, Literal, NotRequired, TypedDict, cast  # noqa: F401

from edge.iso15118 import exi
from edge.iso15118.exi import SchemaSet"""

_FUNCTIONS = '''def encode(message: Message) -> bytes:
    """The EXI document of a message. Raises exi.ExiError."""
    return exi.encode(SchemaSet.@SET@, message)


def decode(data: bytes, *, strict: bool = False) -> Message:
    """The message of an EXI document. Raises exi.ExiError."""
    return cast(Message, exi.decode(SchemaSet.@SET@, data, strict=strict))


def encode_fragment(fragment: Fragment) -> bytes:
    """The EXI fragment of one element. Raises exi.ExiError."""
    return exi.encode_fragment(SchemaSet.@SET@, fragment)


def decode_fragment(data: bytes, *, strict: bool = False) -> Fragment:
    """The element of an EXI fragment. Raises exi.ExiError."""
    return cast(Fragment, exi.decode_fragment(SchemaSet.@SET@, data, strict=strict))'''
