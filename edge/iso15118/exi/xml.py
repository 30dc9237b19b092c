"""Messages as XML, for people and for comparing with other tools."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Any

from lxml import etree

from edge.iso15118.grammar import Production, Schema, Value

from .errors import ExiError
from .walk import productions_of, root_of


def to_xml(schema: Schema, document: dict[str, Any], fragment: bool = False) -> etree._Element:
    """The XML element of a document that `decode` returned (its keys are in schema order). Raises ExiError."""
    ((name, content),) = document.items()
    root = root_of(schema, name, fragment)
    node = etree.Element(_tag(schema, root), nsmap=_prefixes(schema))
    _fill(schema, node, root, content, name)
    return node


def from_xml(schema: Schema, node: etree._Element, fragment: bool = False) -> dict[str, Any]:
    """{root name: content} of an XML element. Raises ExiError for a name, namespace or text that the schema doesn't know."""
    roots = schema.fragments if fragment else schema.documents
    root = next((p for p in roots if _tag(schema, p) == node.tag), None)
    if root is None:
        raise ExiError("", -1, f"unknown root element {str(node.tag)!r}")
    key = schema.names[root.name][0]
    return {key: _content(schema, node, root, key)}


def _prefixes(schema: Schema) -> dict[str, str]:
    """Prefix → namespace; the prefix is the namespace's last word (CommonTypes, DC, …), ds for signatures."""
    return {"ds" if uri.endswith("xmldsig#") else re.sub(r".*[:/]", "", uri): uri for _, uri in schema.names if uri}


def _tag(schema: Schema, production: Production) -> str:
    key, uri = schema.names[production.name]
    local = key.rpartition("}")[2].removeprefix("@")
    return f"{{{uri}}}{local}" if uri else local


def _fill(schema: Schema, node: etree._Element, production: Production, content: Any, path: str) -> None:
    try:
        if production.kind == "leaf":
            node.text = _text(schema.values[production.target], content)
            return
        known = productions_of(schema, production.target)
        for key, p, value in _entries(known, content):
            if p.kind == "attribute":
                node.set(_tag(schema, p), _text(schema.values[p.target], value))
            elif p.kind == "text":
                node.text = _text(schema.values[p.target], value)
            else:
                _fill(schema, etree.SubElement(node, _tag(schema, p)), p, value, f"{path}/{key}")
    except ExiError:
        raise
    except ValueError as error:
        raise ExiError(path, -1, f"can't be written as XML: {error}") from None


def _entries(known: dict[str, Production], content: dict[str, Any]) -> Iterator[tuple[str, Production, Any]]:
    """Every attribute, child and text of a dict, the entries of lists one by one."""
    for key, value in content.items():
        if key == "#items":
            for item in value:
                yield from _entries(known, item)
        elif known[key].many:
            for entry in value:
                yield key, known[key], entry
        else:
            yield key, known[key], value


def _content(schema: Schema, node: etree._Element, production: Production, path: str) -> Any:
    if production.kind == "leaf":
        return _value(schema.values[production.target], node.text or "", path)
    content = schema.types[production.target].content
    known = productions_of(schema, production.target)
    made = _attributes(schema, node, known, path)
    if content == "text":
        made["#text"] = _value(schema.values[known["#text"].target], node.text or "", path)
    elif any((text or "").strip() for text in (node.text, *(child.tail for child in node))):
        raise ExiError(path, -1, "text between elements")
    by_tag = {_tag(schema, p): (key, p) for key, p in known.items() if p.kind in ("leaf", "element")}
    for child in node.iterchildren("*"):
        if child.tag not in by_tag:
            raise ExiError(path, -1, f"unknown element {str(child.tag)!r}")
        key, p = by_tag[child.tag]
        value = _content(schema, child, p, f"{path}/{key}")
        if content == "items":
            made.setdefault("#items", []).append({key: value})
        elif p.many:
            made.setdefault(key, []).append(value)
        elif key in made:
            raise ExiError(f"{path}/{key}", -1, "occurs more than once")
        else:
            made[key] = value
    return made


def _attributes(schema: Schema, node: etree._Element, known: dict[str, Production], path: str) -> dict[str, Any]:
    by_tag = {_tag(schema, p): (key, p) for key, p in known.items() if p.kind == "attribute"}
    made = {}
    for tag, text in node.attrib.items():
        if tag not in by_tag:
            raise ExiError(path, -1, f"unknown attribute {str(tag)!r}")
        key, p = by_tag[tag]
        made[key] = _value(schema.values[p.target], str(text), f"{path}/{key}")
    return made


def _text(kind: Value, value: Any) -> str:
    if kind.kind == "boolean":
        return "true" if value else "false"
    if kind.lexical == "hexBinary":
        return str(value.hex().upper())
    if kind.lexical == "base64Binary":
        return base64.b64encode(value).decode()
    return str(value)


def _value(kind: Value, text: str, path: str) -> Any:
    try:
        if kind.kind == "boolean":
            return {"true": True, "1": True, "false": False, "0": False}[text.strip()]
        if kind.lexical == "hexBinary":
            return bytes.fromhex(text)
        if kind.lexical == "base64Binary":
            return base64.b64decode("".join(text.split()), validate=True)
        return text if kind.kind in ("string", "enumeration") else int(text)
    except (KeyError, ValueError, binascii.Error):
        raise ExiError(path, -1, f"{text!r} is no {kind.lexical}") from None
