"""Reads the part of XML Schema that the charging schemas use, and refuses everything else by name.

Only the standard library: the compiler runs inside the build, before any dependency of the product is there.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path

from edge.iso15118.grammar import UNBOUNDED, Value

XS = "{http://www.w3.org/2001/XMLSchema}"
QName = tuple[str, str]  # (local name, namespace): in this order it sorts as EXI wants it

_INTEGERS = {
    "byte": (-(2**7), 2**7 - 1),
    "unsignedByte": (0, 2**8 - 1),
    "short": (-(2**15), 2**15 - 1),
    "unsignedShort": (0, 2**16 - 1),
    "int": (-(2**31), 2**31 - 1),
    "unsignedInt": (0, 2**32 - 1),
    "long": (-(2**63), 2**63 - 1),
    "unsignedLong": (0, 2**64 - 1),
}
_STRINGS = {"string", "anyURI", "ID", "IDREF"}
_BINARIES = {"hexBinary", "base64Binary"}


class SchemaError(Exception):
    """The schema uses something that this compiler does not know; the message names it."""


@dataclass(eq=False)
class Simple:
    """A simple type with all facets of its chain."""

    lexical: str
    least: int | None = None
    most: int | None = None
    words: tuple[str, ...] = ()
    name: str = ""

    def value(self) -> Value:
        if self.words:
            return Value("enumeration", self.lexical, words=self.words, name=self.name)
        if self.lexical == "boolean":
            return Value("boolean", self.lexical)
        if self.lexical == "integer":
            return Value("big", self.lexical)
        if self.lexical in _INTEGERS:
            low, high = _INTEGERS[self.lexical]
            least, most = (
                max(low, self.least if self.least is not None else low),
                min(high, self.most if self.most is not None else high),
            )
            # EXI 7.1.5: at most 4096 values are an n-bit integer, otherwise the sign of the lower bound decides.
            kind = "nbit" if most - least < 4096 else "unsigned" if least >= 0 else "signed"
            return Value(kind, self.lexical, least, most)
        kind = "binary" if self.lexical in _BINARIES else "string"
        return Value(kind, self.lexical, self.least or 0, -1 if self.most is None else self.most)


@dataclass(eq=False)
class Element:
    """A declared element. type is set when the whole set is read."""

    name: QName
    abstract: bool
    type: Simple | Complex
    head: QName | None = None


@dataclass(eq=False)
class Attribute:
    name: QName
    type: Simple
    required: bool


@dataclass(eq=False)
class Particle:
    """term: the declared element, "any", or a group ("sequence" or "choice") with its parts."""

    term: Element | str
    least: int
    most: int
    parts: list[Particle] = field(default_factory=list)


@dataclass(eq=False)
class Complex:
    name: str
    abstract: bool = False
    mixed: bool = False
    attributes: list[Attribute] = field(default_factory=list)
    content: Particle | None = None
    text: Simple | None = None


class SchemaSet:
    """All components of a schema file and of what it imports."""

    def __init__(self, root: Path, locations: dict[str, Path]) -> None:
        """locations: namespace → file for imports whose schemaLocation points elsewhere."""
        self.locations = locations
        self.globals: dict[QName, Element] = {}
        self.locals: list[Element] = []
        self._types: dict[QName, tuple[ET.Element, _File]] = {}
        self._elements: dict[QName, tuple[ET.Element, _File]] = {}
        self._built: dict[QName, Simple | Complex] = {}
        self._files: set[Path] = set()
        self.namespace = self._read(root).target
        for name in self._elements:
            self.element(name)
        for name in self._types:
            self.type(name)
        self.members: dict[QName, list[Element]] = {}
        for element in self.globals.values():
            head = element.head
            while head is not None:
                self.members.setdefault(head, []).append(element)
                head = self.globals[head].head

    def substitutes(self, element: Element) -> list[Element]:
        """The element and the members of its substitution group, sorted; only a global element has members."""
        if self.globals.get(element.name) is not element:
            return [element]
        return sorted([element, *self.members.get(element.name, [])], key=lambda e: e.name)

    def _read(self, path: Path) -> _File:
        tree, prefixes = _parse(path)
        file = _File(path, tree, prefixes)
        self._files.add(path)
        for node in tree:
            tag = node.tag.removeprefix(XS)
            if tag == "import":
                target = self.locations.get(node.attrib["namespace"], path.parent / node.attrib["schemaLocation"])
                if target not in self._files:
                    self._read(target)
            elif tag == "element":
                self._elements[node.attrib["name"], file.target] = node, file
            elif tag in ("complexType", "simpleType"):
                self._types[node.attrib["name"], file.target] = node, file
            elif tag != "annotation":
                raise SchemaError(f"{path.name}: xs:{tag} is not supported")
        return file

    def element(self, name: QName) -> Element:
        if name not in self.globals:
            node, file = self._elements[name]
            element = Element(name, node.get("abstract") == "true", Simple("string"))
            self.globals[name] = element  # before its type: types refer back to global elements
            element.type = self._type_of(node, file)
            if "substitutionGroup" in node.attrib:
                element.head = file.qname(node.attrib["substitutionGroup"])
        return self.globals[name]

    def type(self, name: QName) -> Simple | Complex:
        if name not in self._built:
            if name[1] == XS[1:-1]:
                self._built[name] = _builtin(name[0])
            else:
                node, file = self._types[name]
                if node.tag == XS + "simpleType":
                    self._built[name] = self._simple(node, file)
                else:
                    self._built[name] = complex_type = Complex(name[0])
                    self._complex(node, file, complex_type)
        return self._built[name]

    def _type_of(self, node: ET.Element, file: _File) -> Simple | Complex:
        if "type" in node.attrib:
            return self.type(file.qname(node.attrib["type"]))
        for child in node:
            if child.tag == XS + "simpleType":
                return self._simple(child, file)
            if child.tag == XS + "complexType":
                anonymous = Complex(node.attrib["name"])
                self._complex(child, file, anonymous)
                return anonymous
        raise SchemaError(f"{file.path.name}: element {node.get('name')} has no type")

    def _simple(self, node: ET.Element, file: _File) -> Simple:
        restriction = _only(node, "restriction")
        base = self.type(file.qname(restriction.attrib["base"]))
        assert isinstance(base, Simple)
        made = Simple(base.lexical, base.least, base.most, base.words, node.get("name", ""))
        words = []
        for facet in restriction:
            tag, text = facet.tag.removeprefix(XS), facet.attrib.get("value", "")
            if tag == "enumeration":
                words.append(text)
            elif tag in ("minInclusive", "minLength"):
                made.least = int(text)
            elif tag in ("maxInclusive", "maxLength"):
                made.most = int(text)
            elif tag == "length":
                made.least = made.most = int(text)
            elif tag != "annotation":
                raise SchemaError(f"{file.path.name}: facet {tag} is not supported")
        made.words = tuple(words) or base.words
        return made

    def _complex(self, node: ET.Element, file: _File, made: Complex) -> None:
        made.abstract, made.mixed = node.get("abstract") == "true", node.get("mixed") == "true"
        for child in node:
            tag = child.tag.removeprefix(XS)
            if tag in ("simpleContent", "complexContent"):
                extension = _only(child, "extension")
                self._extend(made, self.type(file.qname(extension.attrib["base"])))
                self._body(extension, file, made)
        self._body(node, file, made)

    def _extend(self, made: Complex, base: Simple | Complex) -> None:
        if isinstance(base, Simple):
            made.text = base
            return
        made.attributes += base.attributes
        made.content, made.text, made.mixed = base.content, base.text, made.mixed or base.mixed

    def _body(self, node: ET.Element, file: _File, made: Complex) -> None:
        for child in node:
            tag = child.tag.removeprefix(XS)
            if tag in ("sequence", "choice"):
                own = self._particle(child, file)
                made.content = own if made.content is None else Particle("sequence", 1, 1, [made.content, own])
            elif tag == "attribute":
                uri = file.target if file.tree.get("attributeFormDefault") == "qualified" else ""
                kind = self.type(file.qname(child.attrib["type"]))
                assert isinstance(kind, Simple)
                made.attributes.append(Attribute((child.attrib["name"], uri), kind, child.get("use") == "required"))
            elif tag not in ("simpleContent", "complexContent", "annotation"):
                raise SchemaError(f"{file.path.name}: xs:{tag} is not supported in type {made.name}")

    def _particle(self, node: ET.Element, file: _File) -> Particle:
        most = node.get("maxOccurs", "1")
        bounds = int(node.get("minOccurs", "1")), UNBOUNDED if most == "unbounded" else int(most)
        tag = node.tag.removeprefix(XS)
        if tag in ("sequence", "choice"):
            return Particle(tag, *bounds, [self._particle(c, file) for c in node if c.tag != XS + "annotation"])
        if tag == "any":
            return Particle("any", *bounds)
        if tag != "element":
            raise SchemaError(f"{file.path.name}: xs:{tag} is not supported")
        if "ref" in node.attrib:
            return Particle(self.element(file.qname(node.attrib["ref"])), *bounds)
        uri = file.target if file.tree.get("elementFormDefault") == "qualified" else ""
        element = Element((node.attrib["name"], uri), False, self._type_of(node, file))
        self.locals.append(element)
        return Particle(element, *bounds)


class _File:
    """One schema file: its prefixes and target namespace."""

    def __init__(self, path: Path, tree: ET.Element, prefixes: dict[str, str]) -> None:
        self.path, self.tree, self.prefixes = path, tree, prefixes
        self.target = tree.attrib["targetNamespace"]

    def qname(self, text: str) -> QName:
        prefix, _, local = text.rpartition(":")
        return local, self.prefixes[prefix]


def _parse(path: Path) -> tuple[ET.Element, dict[str, str]]:
    """The root element and the prefixes in scope (all of them are declared on the root of these files)."""
    prefixes: dict[str, str] = {}
    root: ET.Element | None = None
    for event, item in ET.iterparse(path, ("start-ns", "start")):
        if event == "start-ns":
            prefixes.setdefault(item[0], item[1])
        elif root is None:
            root = item
    assert root is not None
    return root, prefixes


def _builtin(local: str) -> Simple:
    if local in _INTEGERS or local in _STRINGS or local in _BINARIES or local in ("boolean", "integer"):
        return Simple(local)
    raise SchemaError(f"the built-in type xs:{local} is not supported")


def _only(node: ET.Element, tag: str) -> ET.Element:
    found = [child for child in node if child.tag != XS + "annotation"]
    if len(found) != 1 or found[0].tag != XS + tag:
        raise SchemaError(f"expected one xs:{tag} in {node.tag}, found {[c.tag for c in found]}")
    return found[0]
