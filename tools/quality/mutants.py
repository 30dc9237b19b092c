"""Mutants of C: all that can be changed a little in expressions and statements, in one program, one of them active at a time.

A mutated expression becomes `(V2G_MUTANT(7) ? (mutated) : (original))`, a dropped statement `if (!V2G_MUTANT(8)) { … }`.
The mutated form holds the source as it is written, only the original form holds further mutants, so nesting costs little.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tree_sitter_c
from tree_sitter import Language, Node, Parser

PARSER = Parser(Language(tree_sitter_c.language()))

OPERATORS = {
    "<": ("<=", ">="),
    "<=": ("<", ">"),
    ">": (">=", "<="),
    ">=": (">", "<"),
    "==": ("!=",),
    "!=": ("==",),
    "+": ("-",),
    "-": ("+",),
    "*": ("+",),
    "/": ("*",),
    "<<": (">>",),
    ">>": ("<<",),
    "&": ("|",),
    "|": ("&",),
    "&&": ("||",),
    "||": ("&&",),
}
SWAPPED_CALLS = {
    "min_i32": "max_i32",
    "max_i32": "min_i32",
    "least": "most",
    "cap_both": "cap_charge",
}
CONSTANT = {
    "case_statement",
    "enumerator",
    "preproc_def",
    "preproc_call",
    "preproc_include",
    "field_declaration",
    "array_declarator",
    "static_assert_declaration",
}
"""Where the language wants a constant, so no mutant can stand there (of a case, its label)."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change; `number` is what makes it active. `text` is its source line; of those alike in a function it is the `nth`."""

    number: int
    file: str
    line: int
    function: str
    text: str
    nth: int
    original: str
    mutated: str

    @property
    def name(self) -> str:
        """Without its line number, so that a list of names survives edits above it."""
        which = f" ({self.nth})" if self.nth > 1 else ""
        return f"{self.file} {self.function}: {self.text} | {self.original} → {self.mutated}{which}"

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.original} → {self.mutated}" + (f" ({self.nth})" if self.nth > 1 else "")


class Mutator:
    """Rewrites files so that they hold their mutants; numbers run on from file to file."""

    def __init__(self) -> None:
        self.mutants: list[Mutant] = []

    def rewrite(self, path: Path) -> str:
        source = path.read_bytes()
        return f'extern int v2g_mutant;\n#define V2G_MUTANT(n) (v2g_mutant == (n))\n#line 1 "{path.name}"\n' + self._render(
            PARSER.parse(source).root_node, source, path.name
        )

    def _render(self, node: Node, source: bytes, file: str) -> str:
        """The node's text with its mutants and those of its children."""
        if self._is_constant(node, source):
            return self._text(node, source)
        inner = self._children(node, source, file)
        changes = self._changes(node, source)
        if not changes:
            return inner
        if changes == [""]:
            return f"{{ if (!{self._add(node, source, file, '(dropped)')}) {{ {inner} }} }}"
        for change in changes:
            inner = f"{self._add(node, source, file, change)} ? ({change}) : ({inner})"
        return f"({inner})"

    def _children(self, node: Node, source: bytes, file: str) -> str:
        """The node's text, its children replaced by what they become."""
        parts, at = [], node.start_byte
        for child in node.children:
            parts.append(source[at : child.start_byte].decode())
            constant = node.type == "case_statement" and child == node.child_by_field_name("value")
            parts.append(self._text(child, source) if constant else self._render(child, source, file))
            at = child.end_byte
        return "".join(parts) + source[at : node.end_byte].decode()

    def _add(self, node: Node, source: bytes, file: str, change: str) -> str:
        number, line = len(self.mutants) + 1, node.start_point[0]
        text = " ".join(source.splitlines()[line].decode().split())
        words = " ".join(self._text(node, source).split()), " ".join(change.split())
        place = file, self._function(node, source), text
        alike = sum((m.file, m.function, m.text, m.original, m.mutated) == (*place, *words) for m in self.mutants)
        self.mutants.append(Mutant(number, file, line + 1, *place[1:], alike + 1, *words))
        return f"V2G_MUTANT({number})"

    def _function(self, node: Node, source: bytes) -> str:
        """Name of the function around a node."""
        around: Node | None = node
        while around is not None and around.type != "function_definition":
            around = around.parent
        while around is not None and around.type != "identifier":
            around = around.child_by_field_name("declarator")
        return "" if around is None else self._text(around, source)

    @staticmethod
    def _text(node: Node, source: bytes) -> str:
        return source[node.start_byte : node.end_byte].decode()

    def _is_constant(self, node: Node, source: bytes) -> bool:
        if node.type in CONSTANT - {"case_statement"} or node.type == "preproc_if":
            return True
        if node.type == "declaration" and (node.parent is None or node.parent.type == "translation_unit"):
            return True
        text = self._text(node, source)
        return text.startswith(("_Static_assert", "static const")) or (node.type == "declaration" and "static " in text)

    def _changes(self, node: Node, source: bytes) -> list[str]:
        """The texts that may stand instead of the node; one empty text: the statement may be dropped."""
        if node.type == "binary_expression":
            return self._binary(node, source)
        if node.type == "unary_expression":
            return self._unary(node, source)
        if node.type == "call_expression":
            return self._call(node, source)
        if node.type == "number_literal":
            return [f"{self._text(node, source)} + 1"]
        if node.type == "expression_statement" and node.parent is not None and node.parent.type != "for_statement":
            return [""]
        if node.type in ("continue_statement",) or (node.type == "return_statement" and len(node.named_children) == 0):
            return [""]
        return []

    def _binary(self, node: Node, source: bytes) -> list[str]:
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        operator = node.child_by_field_name("operator")
        assert left is not None and right is not None and operator is not None
        words = self._text(left, source), self._text(right, source)
        return [f"{words[0]} {other} {words[1]}" for other in OPERATORS.get(self._text(operator, source), ())]

    def _unary(self, node: Node, source: bytes) -> list[str]:
        argument = node.child_by_field_name("argument")
        assert argument is not None
        sign, text = source[node.start_byte : argument.start_byte].decode(), self._text(argument, source)
        return [text] if sign in ("!", "-", "~") else []

    def _call(self, node: Node, source: bytes) -> list[str]:
        function, arguments = node.child_by_field_name("function"), node.child_by_field_name("arguments")
        assert function is not None and arguments is not None
        other = SWAPPED_CALLS.get(self._text(function, source))
        return [other + self._text(arguments, source)] if other else []
