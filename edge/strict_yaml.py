"""A YAML file → a validated pydantic model, or every problem with its line. Shared by config.yaml and device profiles.

Stricter than YAML 1.2: one document, no anchors, merge keys, tags or directives, no duplicate keys, plain decimal or 0x
integers, finite floats. `no`, `on`, `12:30` and dates stay text, as YAML 1.2 says.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

M = TypeVar("M", bound=BaseModel)
KeyPath = tuple[str | int, ...]

MAX_BYTES = 1 << 20
MAX_DEPTH = 12


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a file: where, what was found, what is allowed, what to do."""

    file: str
    line: int
    key: str
    value: str
    limit: str
    remedy: str
    level: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        what = f"{self.value}: {self.limit}" if self.value else self.limit
        mark = "warning: " if self.level == "warning" else ""
        where = f"{self.key}: " if self.key else ""
        return f"{self.file}:{self.line}: {mark}{where}{what}; {self.remedy}"


class Refusal(ValueError):
    """Raised inside a validator: what is allowed, and the remedy."""

    def __init__(self, limit: str, remedy: str) -> None:
        super().__init__(f"{limit}; {remedy}")
        self.limit = limit
        self.remedy = remedy


def key_text(path: KeyPath) -> str:
    """`("evses", 3, "feeder")` → `evses[3].feeder`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def value_text(value: object) -> str:
    """The value as one would write it in the file, cut to 60 characters; nothing for a section."""
    if isinstance(value, dict):
        return ""
    if isinstance(value, tuple):
        return f"a list of {len(value)}"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "…"


@dataclass(frozen=True, slots=True)
class Tree:
    """A file's data (dict, tuple, str, int, float, bool, None) with the line of each key and list item."""

    file: str
    data: Any
    lines: dict[KeyPath, int]

    def line(self, path: KeyPath) -> int:
        """The line of `path`, or of the nearest section around it."""
        while path not in self.lines and path:
            path = path[:-1]
        return self.lines.get(path, 1)

    def problem(
        self, path: KeyPath, value: object, limit: str, remedy: str, level: Literal["error", "warning"] = "error"
    ) -> Problem:
        shown = value if isinstance(value, Shown) else value_text(value)
        return Problem(self.file, self.line(path), key_text(path), str(shown), limit, remedy, level)


class Shown(str):
    """A value's text that is printed as it stands (a figure with its unit, "missing", nothing)."""


_INT = re.compile(r"[-+]?(0|[1-9][0-9]{0,18})|0x[0-9a-fA-F]{1,16}")
_FLOAT = re.compile(r"[-+]?[0-9]*\.?[0-9]+([eE][-+]?[0-9]+)?|[-+]?[0-9]+\.")
_TAG = "tag:yaml.org,2002:"


class _Builder:
    """Walks ruamel's node graph; collects problems instead of stopping at the first."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[KeyPath, int] = {}
        self.problems: list[Problem] = []

    def refuse(self, node: Any, path: KeyPath, value: str, limit: str, remedy: str) -> None:
        self.problems.append(Problem(self.file, node.start_mark.line + 1, key_text(path), value, limit, remedy))

    def build(self, node: Any, path: KeyPath) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        if getattr(node, "anchor", None) is not None:
            self.refuse(node, path, f"&{node.anchor}", "anchors and aliases are not used here", "write the value out")
            return None
        if len(path) > MAX_DEPTH:
            self.refuse(node, path, "", f"nested deeper than {MAX_DEPTH} levels", "check the indentation")
            return None
        kind = str(node.tag).removeprefix(_TAG)
        if kind == "map":
            return self.mapping(node, path)
        if kind == "seq":
            return tuple(self.build(child, (*path, i)) for i, child in enumerate(node.value))
        return self.scalar(node, kind, path)

    def mapping(self, node: Any, path: KeyPath) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            kind = str(key_node.tag).removeprefix(_TAG)
            if kind != "str" or not isinstance(key_node.value, str):
                shown = key_node.value if isinstance(key_node.value, str) else "?"
                self.refuse(key_node, path, shown, "a key must be a plain word", "put it in quotes or spell it out")
                continue
            key: str = key_node.value
            here = (*path, key)
            if key in data:
                first = self.lines[here]
                self.refuse(key_node, here, "given twice", f"first on line {first}", "keep one of the two")
                continue
            self.lines[here] = key_node.start_mark.line + 1
            data[key] = self.build(value_node, here)
        return data

    def scalar(self, node: Any, kind: str, path: KeyPath) -> Any:
        text: str = node.value
        match kind:
            case "str" | "timestamp":
                return text
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int":
                if _INT.fullmatch(text):
                    return int(text, 0)
                self.refuse(node, path, text, "not a plain decimal or 0x number", "no _, no leading zeros, up to 19 digits")
            case "float":
                if _FLOAT.fullmatch(text) and math.isfinite(value := float(text)):
                    return value
                self.refuse(node, path, text, "not a finite number", "write a number")
            case _:
                self.refuse(node, path, kind, "YAML tags are not used here", "remove the tag")
        return None


def read_tree(path: Path | str) -> tuple[Tree, list[Problem]]:
    """Read a file as strict YAML. Never raises for what is in the file: an unreadable one gives an empty tree and a problem."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    file = str(path)
    try:
        text = Path(path).read_bytes().decode("utf-8")
        if len(text) > MAX_BYTES:
            raise OSError(f"larger than {MAX_BYTES} bytes")
    except (OSError, UnicodeDecodeError) as err:
        reason = err.strerror if isinstance(err, OSError) and err.strerror else str(err)
        remedy = "give the path of a readable UTF-8 YAML file"
        return Tree(file, {}, {}), [Problem(file, 0, "", "", f"can't be read: {reason}", remedy)]
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("%"):
            return Tree(file, {}, {}), [Problem(file, number, "", line, "YAML directives are not used here", "remove the line")]
    try:
        node = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as err:
        mark = err.problem_mark or err.context_mark
        line_number = mark.line + 1 if mark else 1
        what = " ".join(str(err.problem or err.context).split())
        return Tree(file, {}, {}), [Problem(file, line_number, "", "", f"not YAML: {what}", "check indentation and quotes")]
    except RecursionError:
        limit = f"nested deeper than {MAX_DEPTH} levels"
        return Tree(file, {}, {}), [Problem(file, 1, "", "", limit, "check brackets and indentation")]
    except YAMLError as err:
        what = " ".join(str(err).split())
        return Tree(file, {}, {}), [Problem(file, 1, "", "", f"not YAML: {what}", "save the file as plain UTF-8 text")]
    if node is None:
        return Tree(file, {}, {(): 1}), []
    builder = _Builder(file)
    data = builder.build(node, ())
    return Tree(file, data, builder.lines), builder.problems


def validate(model: type[M], tree: Tree) -> tuple[M | None, list[Problem]]:
    """Validate a tree: the model and no problem, or None and every problem that pydantic found."""
    if not isinstance(tree.data, dict):
        return None, [tree.problem((), tree.data, "must be sections of `key: value`", "start from the example file")]
    try:
        return model.model_validate(tree.data), []
    except ValidationError as err:
        known = sorted(_known_keys(model))
        return None, [_problem_of(tree, detail, known) for detail in err.errors(include_url=False)]


def _known_keys(model: type[BaseModel]) -> Iterator[str]:
    schema = model.model_json_schema()
    for part in (schema, *schema.get("$defs", {}).values()):
        yield from part.get("properties", {})


def _path_in(tree: Tree, loc: Iterable[str | int], missing: bool) -> KeyPath:
    """pydantic's location without the union tags that it inserts."""
    path: KeyPath = ()
    data = tree.data
    parts = list(loc)
    for i, part in enumerate(parts):
        if isinstance(data, dict) and part in data:
            data = data[str(part)]
        elif isinstance(data, tuple) and isinstance(part, int) and part < len(data):
            data = data[part]
        elif not (missing and i == len(parts) - 1):
            continue
        path = (*path, part)
    return path


def _problem_of(tree: Tree, detail: Any, known: list[str]) -> Problem:
    kind: str = detail["type"]
    path = _path_in(tree, detail["loc"], kind == "missing")
    context: dict[str, Any] = detail.get("ctx", {})
    value: object = detail["input"]
    cause = context.get("error")
    if isinstance(cause, Refusal):
        return tree.problem(path, value, cause.limit, cause.remedy)
    match kind:
        case "missing":
            return tree.problem(path, Shown("missing"), "this key is required", "add it")
        case "extra_forbidden":
            near = difflib.get_close_matches(str(path[-1]), known, 1)
            return tree.problem(path, value, "no such key here", f"did you mean {near[0]}?" if near else "remove it")
        case "literal_error" | "union_tag_invalid":
            allowed = context.get("expected") or context.get("expected_tags")
            return tree.problem(path, _tagged(value, context), f"must be {allowed}", "choose one of these")
        case "union_tag_not_found":
            return tree.problem((*path, "kind"), Shown("missing"), "this key is required", "add it")
        case "string_pattern_mismatch":
            return tree.problem(path, value, f"must match {context['pattern']}", "change the spelling")
    for name, words in _BOUNDS.items():
        if name in context:
            return tree.problem(path, value, f"{words} {context[name]}", "change the value")
    return tree.problem(path, value, *_TYPES.get(kind, (str(detail["msg"]), "change the value")))


def _tagged(value: object, context: dict[str, Any]) -> object:
    return context.get("tag", value)


_BOUNDS = {
    "ge": "must be at least",
    "gt": "must be above",
    "le": "must be at most",
    "lt": "must be below",
    "min_length": "the smallest length is",
    "max_length": "the largest length is",
}
_TYPES = {
    "int_type": ("must be a whole number", "write it without quotes, fraction or unit"),
    "float_type": ("must be a number", "write it without quotes or unit"),
    "bool_type": ("must be true or false", "YAML 1.2 has no yes, no, on or off"),
    "string_type": ("must be text", "put it in quotes"),
    "tuple_type": ("must be a list", "write [a, b] or one `- item` a line"),
    "model_type": ("must be a section", "indent its keys under it"),
    "model_attributes_type": ("must be a section", "indent its keys under it"),
    "dict_type": ("must be a section", "indent its keys under it"),
}
