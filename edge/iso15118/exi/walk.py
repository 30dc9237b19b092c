"""Finding one's way in a grammar by the keys of a dict, for the readers and writers of other forms (XML, JSON)."""

from __future__ import annotations

from functools import cache

from edge.iso15118.grammar import Production, Schema, load

from .errors import ExiError


def root_of(schema: Schema, key: str, fragment: bool = False) -> Production:
    """The root production called `key`. Raises ExiError."""
    for production in schema.fragments if fragment else schema.documents:
        if schema.names[production.name][0] == key:
            return production
    raise ExiError("", -1, f"unknown root element {key!r}")


def productions_of(schema: Schema, type_index: int) -> dict[str, Production]:
    """Key in the dict → production, for every attribute, child and text of a type."""
    return _productions(schema.key, type_index)


@cache
def _productions(key: str, type_index: int) -> dict[str, Production]:
    schema = load(key)
    start = schema.types[type_index].start
    found: dict[str, Production] = {}
    queue, seen = [start], {start}
    while queue:
        for p in schema.states[queue.pop()].productions:
            if p.kind in ("attribute", "leaf", "element"):
                found[schema.names[p.name][0]] = p
            elif p.kind == "text":
                found["#text"] = p
            if p.next >= 0 and p.next not in seen:
                seen.add(p.next)
                queue.append(p.next)
    return found
