"""Messages as JSON values: the dicts of the codec with binary values spelled as in XML (hexBinary, base64Binary)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

from edge.iso15118.grammar import Production, Schema, Value

from .errors import ExiError
from .walk import productions_of, root_of

Convert = Callable[[Value, Any, str], Any]


def to_json(schema: Schema, document: dict[str, Any], fragment: bool = False) -> dict[str, Any]:
    """What json.dumps can write. The document is one that `decode` returned."""
    return _whole(schema, document, fragment, _spell)


def from_json(schema: Schema, document: Any, fragment: bool = False) -> dict[str, Any]:
    """What `encode` can read, from what json.loads returned. Raises ExiError."""
    if not isinstance(document, dict) or len(document) != 1:
        raise ExiError("", -1, "a message is a JSON object with exactly one key, the name of its root element")
    return _whole(schema, document, fragment, _read)


def _whole(schema: Schema, document: dict[str, Any], fragment: bool, convert: Convert) -> dict[str, Any]:
    ((name, content),) = document.items()
    return {name: _mapped(schema, root_of(schema, name, fragment), content, convert, name)}


def _mapped(schema: Schema, p: Production, content: Any, convert: Convert, path: str) -> Any:
    """The content with every binary value converted; whatever has a wrong shape is left for the codec to name."""
    if p.kind != "element":
        return convert(schema.values[p.target], content, path)
    if not isinstance(content, dict):
        return content
    known, made = productions_of(schema, p.target), dict[str, Any]()
    for key, value in content.items():
        child, below = known.get(key), f"{path}/{key}"
        if key == "#items" and isinstance(value, list):
            made[key] = [_mapped(schema, p, item, convert, path) for item in value]
        elif child is None:
            made[key] = value
        elif child.many and isinstance(value, list):
            made[key] = [_mapped(schema, child, item, convert, below) for item in value]
        else:
            made[key] = _mapped(schema, child, value, convert, below)
    return made


def _spell(kind: Value, value: Any, path: str) -> Any:
    if kind.kind != "binary":
        return value
    return value.hex().upper() if kind.lexical == "hexBinary" else base64.b64encode(value).decode()


def _read(kind: Value, value: Any, path: str) -> Any:
    if kind.kind != "binary" or not isinstance(value, str):
        return value
    try:
        return bytes.fromhex(value) if kind.lexical == "hexBinary" else base64.b64decode(value, validate=True)
    except (ValueError, binascii.Error):
        raise ExiError(path, -1, f"{value!r} is no {kind.lexical}") from None
