"""Schema components → EXI grammars (EXI 1.0, section 8.5.4: schema-informed element grammars, strict = false).

A content model becomes its position automaton: one state for each element particle, entered when that element has ended.
A particle with a bounded maxOccurs stays one state that counts, where the recommendation would make that many copies.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from edge.iso15118.grammar import UNBOUNDED, Production, Schema, State, Type, Value

from .xsd import Attribute, Complex, Element, Particle, QName, SchemaError, SchemaSet, Simple

_ORDER = {"attribute": 0, "leaf": 1, "element": 1, "wildcard": 2, "end": 3, "text": 4, "mixed": 4}


@dataclass(eq=False)
class _Position:
    """One element particle of a content model and what may come after it."""

    particle: Particle
    follow: list[_Position] = field(default_factory=list)

    def then(self, positions: list[_Position]) -> None:
        self.follow += [p for p in positions if p not in self.follow]


@dataclass
class _Model:
    """A content model: where it may start and end, and whether it may be empty."""

    empty: bool
    first: list[_Position]
    last: list[_Position]
    positions: list[_Position]


def _model(particle: Particle) -> _Model:
    if not particle.parts:
        if particle.term in ("sequence", "choice"):
            return _Model(True, [], [], [])
        position = _Position(particle)
        return _Model(particle.least == 0, [position], [position], [position])
    parts = [_model(part) for part in particle.parts]
    made = _sequence(parts) if particle.term == "sequence" else _choice(parts)
    if particle.most == UNBOUNDED:
        for position in made.last:
            position.then(made.first)
    elif particle.most != 1:
        raise SchemaError(f"a group that occurs up to {particle.most} times is not supported")
    made.empty = made.empty or particle.least == 0
    return made


def _sequence(parts: list[_Model]) -> _Model:
    made = _Model(True, [], [], [])
    for part in parts:
        for position in made.last:
            position.then(part.first)
        if made.empty:
            made.first = made.first + part.first
        made.last = made.last + part.last if part.empty else part.last
        made.empty = made.empty and part.empty
        made.positions = made.positions + part.positions
    return made


def _choice(parts: list[_Model]) -> _Model:
    def joined(which: str) -> list[_Position]:
        return [position for part in parts for position in getattr(part, which)]

    return _Model(any(part.empty for part in parts), joined("first"), joined("last"), joined("positions"))


class Builder:
    """Grammars of one schema set; `schema()` is the result."""

    def __init__(self, key: str, components: SchemaSet) -> None:
        self.key, self.set = key, components
        self.names: dict[QName, int] = {}
        self.values: dict[Value, int] = {}
        self.types: list[Type] = []
        self.states: list[State] = []
        self._type_index: dict[Complex, int] = {}
        self._children: dict[int, set[int]] = {}

    def schema(self) -> Schema:
        documents = [self._element(e) for e in sorted(self.set.globals.values(), key=lambda e: e.name)]
        fragments = [self._fragment(name, uses) for name, uses in sorted(self._declared().items())]
        fragments = self._distinct(fragments)
        depth = max(self._depth(p.target) for p in documents + fragments if p.kind == "element")
        return Schema(
            key=self.key,
            namespace=self.set.namespace,
            names=tuple(self.names),
            values=tuple(self.values),
            types=tuple(self.types),
            states=tuple(self.states),
            documents=tuple(documents),
            fragments=tuple(fragments),
            depth=depth,
        )

    # names, values, productions

    def _name(self, name: QName) -> int:
        return self.names.setdefault(name, len(self.names))

    def _value(self, simple: Simple) -> int:
        return self.values.setdefault(simple.value(), len(self.values))

    def _element(self, element: Element, following: int = -1, many: bool = False) -> Production:
        name, kind = self._name(element.name), element.type
        if isinstance(kind, Simple):
            return Production("leaf", name, self._value(kind), following, many, element.abstract)
        return Production("element", name, self._type(kind), following, many, element.abstract or kind.abstract)

    def _attribute(self, attribute: Attribute, following: int) -> Production:
        local, uri = attribute.name
        return Production("attribute", self._name(("@" + local, uri)), self._value(attribute.type), following)

    def _new_state(self) -> int:
        self.states.append(State(()))
        return len(self.states) - 1

    # types

    def _type(self, kind: Complex) -> int:
        if kind in self._type_index:
            return self._type_index[kind]
        index = self._type_index[kind] = len(self.types)
        self.types.append(Type(kind.name, 0, "text"))
        content: str
        rest: tuple[Production, ...]
        if kind.text is not None:
            content, rest = "text", (Production("text", -1, self._value(kind.text), self._end_state()),)
        else:
            content, rest = self._children_of(kind)
        start = self._attributes(sorted(kind.attributes, key=lambda a: a.name), rest)
        self.types[index] = Type(kind.name, start, content)
        return index

    def _end_state(self) -> int:
        index = self._new_state()
        self.states[index] = State((Production("end"),))
        return index

    def _attributes(self, attributes: list[Attribute], content: tuple[Production, ...]) -> int:
        """The start state: attributes in order, each optional one may be passed over."""
        starts = [self._new_state() for _ in range(len(attributes) + 1)]
        for i, start in enumerate(starts):
            productions: list[Production] = []
            for j in range(i, len(attributes)):
                productions.append(self._attribute(attributes[j], starts[j + 1]))
                if attributes[j].required:
                    break
            else:
                productions += content
            self.states[start] = State(tuple(productions))
        return starts[0]

    def _children_of(self, kind: Complex) -> tuple[str, tuple[Production, ...]]:
        model = _model(kind.content) if kind.content is not None else _Model(True, [], [], [])
        content = _content(kind, model)
        index = {p: self._new_state() for p in model.positions if p.particle.term != "any"}
        for position, state in index.items():
            particle = position.particle
            again = self._productions([position], index, content) if particle.most > 1 else ()
            rest = self._productions(position.follow, index, content, position in model.last, kind.mixed)
            self.states[state] = State(again + rest, len(again), particle.least, particle.most)
        return content, self._productions(model.first, index, content, model.empty, kind.mixed)

    def _productions(
        self, positions: list[_Position], index: dict[_Position, int], content: str, end: bool = False, mixed: bool = False
    ) -> tuple[Production, ...]:
        """Event codes of a state: elements in schema order, then the wildcard, the end, the text (EXI 8.5.4.1.6)."""
        made: list[Production] = []
        for position in positions:
            term = position.particle.term
            if isinstance(term, Element):
                many = content == "children" and (position.particle.most > 1 or position in _reachable(position))
                made += [self._element(e, index[position], many) for e in self.set.substitutes(term)]
            else:
                made.append(Production("wildcard"))
        made += [Production("end")] * end + [Production("mixed")] * mixed
        if sum(p.kind == "wildcard" for p in made) > 1:
            raise SchemaError("two wildcards in one state are not supported")
        return tuple(sorted(made, key=lambda p: _ORDER[p.kind]))

    # fragments

    def _declared(self) -> dict[QName, list[Element]]:
        declared: dict[QName, list[Element]] = {}
        for element in [*self.set.globals.values(), *self.set.locals]:
            uses = declared.setdefault(element.name, [])
            if all(use.type is not element.type for use in uses):
                uses.append(element)
        return declared

    def _distinct(self, roots: list[Production]) -> list[Production]:
        """A local name that two namespaces share gets the key "{namespace}name"."""
        names = list(self.names)
        shared = Counter(names[p.name][0] for p in roots)
        made = []
        for p in roots:
            local, uri = names[p.name]
            made.append(replace(p, name=self._name((f"{{{uri}}}{local}", uri))) if shared[local] > 1 else p)
        return made

    def _fragment(self, name: QName, uses: list[Element]) -> Production:
        if len(uses) == 1:
            return self._element(uses[0])
        return Production("element", self._name(name), self._relaxed(name, uses))

    def _relaxed(self, name: QName, uses: list[Element]) -> int:
        """ElementFragment grammar (EXI 8.5.3) for a name that is declared with different types, text content only.

        All attribute and element names of the set count as productions; used are those of the types in question.
        """
        texts = [use.type if isinstance(use.type, Simple) else use.type.text for use in uses]
        values = [text.value() for text in texts if text is not None]
        if len(values) != len(uses) or any(v.kind != "string" for v in values):
            raise SchemaError(f"element {name[0]} is declared with different types that are not all strings")
        text = Value("string", "string", min(v.least for v in values), max((v.most for v in values), key=lambda m: (m < 0, m)))
        own = {a.name: a for use in uses if isinstance(use.type, Complex) for a in use.type.attributes}
        everything = sorted({a.name for kind in self._all_complex() for a in kind.attributes})
        refused = Production("wildcard")
        elements = (refused,) * (len(self._declared()) + 1)
        last, first = self._new_state(), self._new_state()
        rest = Production("text", -1, self.values.setdefault(text, len(self.values)), last)
        following = first
        for attribute in (None, *own.values()):
            state = following if attribute is None else self._new_state()
            attributes = tuple(
                self._attribute(attribute, following) if attribute is not None and n == attribute.name else refused
                for n in everything
            )
            self.states[state] = State((*attributes, refused, *elements, refused, rest))
            following = state
        self.states[last] = State((*elements, Production("end"), Production("mixed")))
        self.types.append(Type(name[0], following, "text"))
        return len(self.types) - 1

    def _all_complex(self) -> set[Complex]:
        return {e.type for e in [*self.set.globals.values(), *self.set.locals] if isinstance(e.type, Complex)}

    def _depth(self, type_index: int, above: tuple[int, ...] = ()) -> int:
        """Nesting of complex elements below and with this one; the schemas have no recursion outside wildcards."""
        if type_index in above:
            raise SchemaError(f"type {self.types[type_index].name} contains itself")
        if type_index not in self._children:
            self._children[type_index] = self._reached_types(self.types[type_index].start)
        return 1 + max((self._depth(t, (*above, type_index)) for t in self._children[type_index]), default=0)

    def _reached_types(self, start: int) -> set[int]:
        seen, queue, found = {start}, [start], set()
        while queue:
            for p in self.states[queue.pop()].productions:
                if p.kind == "element":
                    found.add(p.target)
                if p.next >= 0 and p.next not in seen:
                    seen.add(p.next)
                    queue.append(p.next)
        return found


def _reachable(position: _Position) -> set[_Position]:
    seen: set[_Position] = set()
    queue = [position]
    while queue:
        for following in queue.pop().follow:
            if following not in seen:
                seen.add(following)
                queue.append(following)
    return seen


def _content(kind: Complex, model: _Model) -> str:
    """ "items" when a dict would lose the order of children, else "children"."""
    elements = [p for p in model.positions if isinstance(p.particle.term, Element)]
    for p in elements:
        for q in _reachable(p):
            if q is not p and isinstance(q.particle.term, Element):
                if p in _reachable(q):
                    return "items"
                if q.particle.term.name == p.particle.term.name:  # type: ignore[union-attr]
                    raise SchemaError(f"type {kind.name}: {q.particle.term.name[0]} occurs twice in one sequence")
    return "children"
