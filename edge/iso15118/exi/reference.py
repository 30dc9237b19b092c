"""The reference engine: EXI as plainly as it can be written, and slowly.

It says what the C engine has to do; tests compare the two on every message. Rules and section numbers are those of the EXI
recommendation; the profile (header 0x80, schema-informed, bit-packed, strict = false, nothing preserved, no string table) is
that of ISO 15118 and DIN 70121.
"""

from __future__ import annotations

from typing import Any

from edge.iso15118.grammar import Production, Schema, Type, Value

from .errors import ExiError
from .limits import MAX_BIG_OCTETS, MAX_BYTES, MAX_ELEMENTS

HEADER = 0x80
_SECOND_LEVEL_END, _SECOND_LEVEL_TEXT = 0, 6  # of the first state of an element with a simple type (8.5.4.4.1)


def encode(schema: Schema, document: dict[str, Any]) -> bytes:
    """The EXI document of {root name: content}."""
    return _Writer(schema).whole(schema.documents, document, fragment=False)


def encode_fragment(schema: Schema, document: dict[str, Any]) -> bytes:
    """The EXI fragment of one element, {name: content}: what signatures are computed over."""
    return _Writer(schema).whole(schema.fragments, document, fragment=True)


def decode(schema: Schema, data: bytes, strict: bool = False) -> dict[str, Any]:
    """The content of an EXI document. strict: refuse everything that `encode` would not have written the same way."""
    return _Reader(schema, data, strict).whole(schema.documents, fragment=False)


def decode_fragment(schema: Schema, data: bytes, strict: bool = False) -> dict[str, Any]:
    """The content of an EXI fragment of one element."""
    return _Reader(schema, data, strict).whole(schema.fragments, fragment=True)


def _root_width(roots: tuple[Production, ...], fragment: bool) -> int:
    """Event code of the first element: all roots and SE(*), in a fragment also ED."""
    return (len(roots) + fragment).bit_length()


class _Writer:
    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.bits: list[str] = []
        self.elements = 0
        self.path: list[str] = []

    def fail(self, reason: str) -> ExiError:
        return ExiError("/".join(self.path), -1, reason)

    def put(self, value: int, width: int) -> None:
        if width:
            self.bits.append(format(value, f"0{width}b"))

    def whole(self, roots: tuple[Production, ...], document: dict[str, Any], fragment: bool) -> bytes:
        if not isinstance(document, dict) or len(document) != 1:
            raise self.fail("a message is a dict with exactly one key, the name of its root element")
        ((name, content),) = document.items()
        width = _root_width(roots, fragment)
        code = next((i for i, root in enumerate(roots) if self.schema.names[root.name][0] == name), None)
        if code is None:
            raise self.fail(f"unknown root element {name!r}")
        self.put(HEADER, 8)
        self.put(code, width)
        self.element(roots[code], content)
        if fragment:
            self.put(len(roots) + 1, width)
        text = "".join(self.bits)
        text += "0" * (-len(text) % 8)
        if len(text) // 8 > MAX_BYTES:
            raise self.fail(f"the message is longer than {MAX_BYTES} octets")
        return int(text, 2).to_bytes(len(text) // 8, "big")

    def element(self, production: Production, content: Any) -> None:
        self.path.append(self.schema.names[production.name][0])
        if production.abstract:
            raise self.fail("is abstract: one of its substitutes is needed")
        self.elements += 1
        if self.elements > MAX_ELEMENTS:
            raise self.fail(f"more than {MAX_ELEMENTS} elements")
        if production.kind == "leaf":
            self.put(0, 1)
            self.value(self.schema.values[production.target], content)
            self.put(0, 1)
        else:
            self.complex(self.schema.types[production.target], content)
        self.path.pop()

    def complex(self, kind: Type, content: Any) -> None:
        if not isinstance(content, dict):
            raise self.fail(f"must be a dict, not {type(content).__name__}")
        left = _Left(self, kind, content)
        state, count = self.schema.states[kind.start], 0
        while True:
            choices = state.choices(count)
            code = next((i for i, p in enumerate(choices) if p.kind == "end" or left.has(p)), None)
            if code is None:
                raise self.fail("missing " + " or ".join(filter(None, map(self.key, choices))))
            self.put(code, len(choices).bit_length())
            p = choices[code]
            if p.kind == "end":
                break
            self.item(p, left.take(p))
            count = state.count_after(p, count)
            state = self.schema.states[p.next]
        if left.rest():
            raise self.fail(f"unknown, too many or not allowed together: {', '.join(left.rest())}")

    def item(self, p: Production, content: Any) -> None:
        if p.kind in ("leaf", "element"):
            self.element(p, content)
        else:
            self.path.append(self.key(p) or "")
            self.value(self.schema.values[p.target], content)
            self.path.pop()

    def key(self, p: Production) -> str | None:
        """The key under which a dict holds what this production stands for."""
        if p.kind == "text":
            return "#text"
        return self.schema.names[p.name][0] if p.kind in ("attribute", "leaf", "element") else None

    def value(self, kind: Value, value: Any) -> None:
        expected: Any = {"boolean": bool, "enumeration": str, "string": str, "binary": bytes}.get(kind.kind, int)
        if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
            raise self.fail(f"must be {expected.__name__}, not {type(value).__name__}")
        if kind.kind == "boolean":
            self.put(int(value), 1)
        elif kind.kind == "enumeration":
            if value not in kind.words:
                raise self.fail(f"{value!r} is not one of {', '.join(kind.words)}")
            self.put(kind.words.index(value), (len(kind.words) - 1).bit_length())
        elif kind.kind == "string":
            self.length(kind, len(value), "characters")
            self.unsigned(len(value) + 2)
            for character in value:
                if 0xD800 <= ord(character) <= 0xDFFF:
                    raise self.fail("holds a surrogate, which is no character")
                self.unsigned(ord(character))
        elif kind.kind == "binary":
            self.length(kind, len(value), "octets")
            self.unsigned(len(value))
            for octet in value:
                self.put(octet, 8)
        else:
            self.integer(kind, value)

    def integer(self, kind: Value, value: int) -> None:
        if kind.kind == "big":
            if not -(1 << (8 * MAX_BIG_OCTETS)) <= value < 1 << (8 * MAX_BIG_OCTETS):
                raise self.fail(f"has more than {MAX_BIG_OCTETS} octets")
        elif not kind.least <= value <= kind.most:
            raise self.fail(f"{value} is outside {kind.least}..{kind.most}")
        if kind.kind == "nbit":
            self.put(value - kind.least, (kind.most - kind.least).bit_length())
        elif kind.kind == "unsigned":
            self.unsigned(value)
        else:
            self.put(int(value < 0), 1)
            self.unsigned(-value - 1 if value < 0 else value)

    def length(self, kind: Value, length: int, unit: str) -> None:
        if length < kind.least or 0 <= kind.most < length:
            raise self.fail(f"has {length} {unit}, allowed are {_range(kind)}")

    def unsigned(self, value: int) -> None:
        """Seven bits per octet, the lowest first (7.1.6)."""
        while value >= 0x80:
            self.put(0x80 | value & 0x7F, 8)
            value >>= 7
        self.put(value, 8)


class _Left:
    """What of a dict is not written yet: (key, contents) with the contents of a repeated element in a list."""

    def __init__(self, writer: _Writer, kind: Type, content: dict[str, Any]) -> None:
        self.writer, self.ordered = writer, kind.content == "items"
        self.values = {key: value for key, value in content.items() if key != "#items" or not self.ordered}
        items = content.get("#items", []) if self.ordered else []
        if not isinstance(items, list) or any(not isinstance(item, dict) or len(item) != 1 for item in items):
            raise writer.fail("#items must be a list of dicts with one key each")
        self.items = [pair for item in items for pair in item.items()]

    def has(self, p: Production) -> bool:
        key = self.writer.key(p)
        if self.ordered and p.kind in ("leaf", "element"):
            return bool(self.items) and self.items[0][0] == key
        if key not in self.values:
            return False
        if p.many and (not isinstance(self.values[key], list) or not self.values[key]):
            raise self.writer.fail(f"{key} must be a list with at least one entry")
        return True

    def take(self, p: Production) -> Any:
        key = self.writer.key(p) or ""
        if self.ordered and p.kind in ("leaf", "element"):
            return self.items.pop(0)[1]
        value = self.values.pop(key)
        if not p.many:
            return value
        if value[1:]:
            self.values[key] = value[1:]
        return value[0]

    def rest(self) -> list[str]:
        return [*self.values, *(key for key, _ in self.items)]


class _Reader:
    def __init__(self, schema: Schema, data: bytes, strict: bool) -> None:
        self.schema, self.strict = schema, strict
        self.size = 8 * len(data)
        self.data = int.from_bytes(data, "big")
        self.position = 0
        self.elements = 0
        self.path: list[str] = []

    def fail(self, reason: str, bit: int | None = None) -> ExiError:
        return ExiError("/".join(self.path), self.position if bit is None else bit, reason)

    def take(self, width: int) -> int:
        if self.position + width > self.size:
            raise self.fail("the message ends here")
        self.position += width
        return self.data >> (self.size - self.position) & ((1 << width) - 1)

    def whole(self, roots: tuple[Production, ...], fragment: bool) -> dict[str, Any]:
        if self.size > 8 * MAX_BYTES:
            raise self.fail(f"the message is longer than {MAX_BYTES} octets")
        if self.take(8) != HEADER:
            raise self.fail("no EXI header 0x80", 0)
        width = _root_width(roots, fragment)
        code = self.take(width)
        if code >= len(roots):
            raise self.fail(f"unknown root element (event code {code})", 8)
        name = self.schema.names[roots[code].name][0]
        document = {name: self.element(roots[code])}
        if fragment and self.take(width) != len(roots) + 1:
            raise self.fail("a fragment must end after its one element", self.position - width)
        if self.size - self.position >= 8:
            raise self.fail(f"{(self.size - self.position) // 8} octets after the end")
        if self.take(self.size - self.position) and self.strict:
            raise self.fail("the padding is not zero")
        return document

    def element(self, production: Production) -> Any:
        self.path.append(self.schema.names[production.name][0])
        if production.abstract:
            raise self.fail("is abstract")
        self.elements += 1
        if self.elements > MAX_ELEMENTS:
            raise self.fail(f"more than {MAX_ELEMENTS} elements")
        if production.kind == "leaf":
            content = self.leaf(self.schema.values[production.target])
        else:
            content = self.complex(self.schema.types[production.target])
        self.path.pop()
        return content

    def leaf(self, kind: Value) -> Any:
        start = self.position
        if self.take(1) == 0:
            value = self.value(kind)
            if self.take(1):
                raise self.fail("the element goes on after its value", self.position - 1)
            return value
        code = self.take(3)
        if self.strict or code not in (_SECOND_LEVEL_END, _SECOND_LEVEL_TEXT):
            raise self.fail("an undeclared item in place of the value", start)
        if code == _SECOND_LEVEL_END:
            if kind.kind not in ("string", "binary") or kind.least > 0:
                raise self.fail("is empty", start)
            return "" if kind.kind == "string" else b""
        value = self.untyped(kind, start)
        if self.take(3) != 0b100:  # escape, then the undeclared end
            raise self.fail("the element goes on after its value", self.position - 3)
        return value

    def untyped(self, kind: Value, start: int) -> Any:
        """A value outside of its type's range arrives as text (EXIficient writes it so); an integer is handed over as it is."""
        text = self.string(kind if kind.kind == "string" else Value("string", "string", 0, 20))
        if kind.kind == "string":
            return text
        if kind.kind == "boolean" and text in ("true", "false", "1", "0"):
            return text in ("true", "1")
        digits = text.removeprefix("-")
        if (
            kind.kind in ("nbit", "unsigned", "signed", "big")
            and digits.isascii()
            and digits.isdigit()
            and abs(int(text)) < 1 << 63
        ):
            return int(text)
        raise self.fail("text in place of the value", start)

    def complex(self, kind: Type) -> dict[str, Any]:
        made: dict[str, Any] = {}
        state, count = self.schema.states[kind.start], 0
        while True:
            start, choices = self.position, state.choices(count)
            code = self.take(len(choices).bit_length())
            if code >= len(choices):
                raise self.fail("an undeclared item", start)
            p = choices[code]
            if p.kind == "end":
                return made
            if p.kind in ("wildcard", "mixed"):
                raise self.fail("content of unknown meaning (wildcard)", start)
            self.add(made, kind, p)
            count = state.count_after(p, count)
            state = self.schema.states[p.next]

    def add(self, made: dict[str, Any], kind: Type, p: Production) -> None:
        """Reads what a production stands for into its place in the dict."""
        name = "#text" if p.kind == "text" else self.schema.names[p.name][0]
        if p.kind == "text":
            made[name] = self.value(self.schema.values[p.target])
        elif p.kind == "attribute":
            self.path.append(name)
            made[name] = self.value(self.schema.values[p.target])
            self.path.pop()
        elif kind.content == "items":
            made.setdefault("#items", []).append({name: self.element(p)})
        elif p.many:
            made.setdefault(name, []).append(self.element(p))
        else:
            made[name] = self.element(p)

    def value(self, kind: Value) -> Any:
        start = self.position
        if kind.kind == "boolean":
            return bool(self.take(1))
        if kind.kind == "enumeration":
            code = self.take((len(kind.words) - 1).bit_length())
            if code >= len(kind.words):
                raise self.fail(f"enumeration value {code} of {len(kind.words)}", start)
            return kind.words[code]
        if kind.kind == "string":
            return self.string(kind)
        if kind.kind == "binary":
            length = self.unsigned(64)
            self.length(kind, length, "octets", start)
            return self.take(8 * length).to_bytes(length, "big")
        return self.integer(kind)

    def integer(self, kind: Value) -> int:
        start = self.position
        if kind.kind == "nbit":
            value = kind.least + self.take((kind.most - kind.least).bit_length())
        elif kind.kind == "unsigned":
            value = self.unsigned(64)
        else:
            negative = self.take(1)
            value = self.unsigned(8 * MAX_BIG_OCTETS if kind.kind == "big" else 64)
            value = -value - 1 if negative else value
            if kind.kind == "big":
                return value
        if not kind.least <= value <= kind.most:
            raise self.fail(f"{value} is outside {kind.least}..{kind.most}", start)
        return value

    def string(self, kind: Value) -> str:
        start = self.position
        length = self.unsigned(64) - 2
        if length < 0:
            raise self.fail("refers to a string table, which has no entries", start)
        self.length(kind, length, "characters", start)
        return "".join(self.character() for _ in range(length))

    def character(self) -> str:
        start = self.position
        point = self.unsigned(64)
        if point > 0x10FFFF or 0xD800 <= point <= 0xDFFF:
            raise self.fail(f"{point:#x} is no character", start)
        return chr(point)

    def length(self, kind: Value, length: int, unit: str, start: int) -> None:
        if length < kind.least or 0 <= kind.most < length:
            raise self.fail(f"has {length} {unit}, allowed are {_range(kind)}", start)
        if 8 * length > self.size - self.position:
            raise self.fail(f"has {length} {unit}, but the message ends before", start)

    def unsigned(self, bits: int) -> int:
        start, value, shift = self.position, 0, 0
        while True:
            octet = self.take(8)
            value |= (octet & 0x7F) << shift
            shift += 7
            if value >> bits or shift > bits + 7:
                raise self.fail(f"an integer of more than {bits} bits", start)
            if octet < 0x80:
                break
        if self.strict and octet == 0 and shift > 7:
            raise self.fail("an integer with superfluous octets", start)
        return value


def _range(kind: Value) -> str:
    return f"{kind.least}..{kind.most}" if kind.most >= 0 else f"at least {kind.least}"
