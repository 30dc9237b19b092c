"""Random valid messages, drawn from the grammars themselves."""

from __future__ import annotations

import random
from typing import Any

from edge.iso15118.grammar import Production, Schema, State, Value

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:/äß€電𝄞"


class Generator:
    """rng: the source of chance. full: the probability to go on where the message could end (long messages near 1)."""

    def __init__(self, schema: Schema, rng: random.Random, full: float = 0.6) -> None:
        self.schema, self.rng, self.full = schema, rng, full
        self.finishing: dict[int, bool] = {}

    def roots(self, fragment: bool = False) -> list[Production]:
        """The elements that a random message can have as its root."""
        return [p for p in (self.schema.fragments if fragment else self.schema.documents) if self.possible(p)]

    def document(self, root: Production) -> dict[str, Any]:
        return {self.schema.names[root.name][0]: self.element(root)}

    def element(self, p: Production) -> Any:
        return self.value(self.schema.values[p.target]) if p.kind == "leaf" else self.complex(p)

    def complex(self, production: Production) -> dict[str, Any]:
        kind = self.schema.types[production.target]
        made: dict[str, Any] = {}
        state, count = self.schema.states[kind.start], 0
        while True:
            p = self.choose(state, count)
            if p.kind == "end":
                return made
            name = "#text" if p.kind == "text" else self.schema.names[p.name][0]
            if p.kind in ("attribute", "text"):
                made[name] = self.value(self.schema.values[p.target])
            elif kind.content == "items":
                made.setdefault("#items", []).append({name: self.element(p)})
            elif p.many:
                made.setdefault(name, []).append(self.element(p))
            else:
                made[name] = self.element(p)
            count = state.count_after(p, count)
            state = self.schema.states[p.next]

    def choose(self, state: State, count: int) -> Production:
        usable = [p for p in state.choices(count) if self.possible(p)]
        ends = [p for p in usable if p.kind == "end"]
        if ends and (self.rng.random() > self.full or count > 30):
            return ends[0]
        onward = [p for p in usable if p not in state.productions[: state.repeats]]
        return self.rng.choice(onward if onward and count > 30 else usable)

    def possible(self, p: Production) -> bool:
        """Can anything valid be drawn? Not from wildcards, nor from SignatureProperty, which holds nothing else."""
        if p.kind == "element" and not p.abstract:
            return self.finishes(self.schema.types[p.target].start)
        return p.kind not in ("wildcard", "mixed") and not p.abstract

    def finishes(self, start: int) -> bool:
        if start not in self.finishing:
            seen, queue = {start}, [start]
            self.finishing[start] = False
            while queue and not self.finishing[start]:
                for p in self.schema.states[queue.pop()].productions:
                    if p.kind == "end":
                        self.finishing[start] = True
                    elif p.next not in seen and self.possible(p):
                        seen.add(p.next)
                        queue.append(p.next)
        return self.finishing[start]

    def value(self, kind: Value) -> Any:
        rng = self.rng
        if kind.kind == "boolean":
            return rng.random() < 0.5
        if kind.kind == "enumeration":
            return rng.choice(kind.words)
        if kind.kind in ("string", "binary"):
            most = kind.most if kind.most >= 0 else kind.least + 40
            least = max(kind.least, 1)  # the oracle's XML side can't carry an empty value
            length = rng.choice((least, most, rng.randint(least, most), rng.randint(least, min(most, least + 12))))
            # Long values repeat a short one: that tests the same and the committed vectors stay small.
            if kind.kind == "binary":
                return (rng.randbytes(rng.randint(1, 6)) * length)[:length]
            return ("".join(rng.choice(ALPHABET) for _ in range(rng.randint(1, 6))) * length)[:length]
        if kind.kind == "big":
            return rng.choice((0, -1, rng.getrandbits(20), -rng.getrandbits(64), rng.getrandbits(160)))
        magnitude = rng.getrandbits(rng.randint(1, 64))
        return rng.choice(
            (kind.least, kind.most, rng.randint(kind.least, kind.most), min(max(magnitude, kind.least), kind.most))
        )
