"""Digital inputs: an emergency stop and relays of the utility become constraints with their source.

A contact that can't be read counts as active: nobody knows what it says. Active holds at once, released only after
several reads agree, because contacts bounce.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol

from edge.config.settings import DigitalInput
from edge.model import Constraint, Quantity, Scope, ScopeKind, Source

Level = Literal["ok", "degraded", "fault"]

PERIOD_S = 0.02
"""Between two reads. [C: an emergency stop is in the plan, and with it in the next cycle, within 50 ms]"""
RELEASE_READS = 5
"""Reads in a row that must say so before a contact counts as released. [C: contacts bounce for up to some 10 ms]"""
RETRY_READS = 50
"""Reads after which a chip that was gone is opened again: once a second."""


class Lines(Protocol):
    """Where contacts are read."""

    def read(self) -> Mapping[str, bool]:
        """Input id → active. An input that is missing can't be read."""


class GpioLines:
    """Lines of GPIO chips through the kernel's character device (libgpiod)."""

    def __init__(self, inputs: Sequence[DigitalInput]) -> None:
        self._inputs = inputs
        self._open: dict[str, Any] = {}
        self._reads = 0
        self.errors: dict[str, str] = {}
        """Chip → why it can't be read."""

    def read(self) -> Mapping[str, bool]:
        if self._reads % RETRY_READS == 0:
            self._open_missing()
        self._reads += 1
        active: dict[str, bool] = {}
        for chip, lines in list(self._open.items()):
            own = [each for each in self._inputs if each.chip == chip]
            try:
                values = lines.get_values([each.line for each in own])
            except OSError as error:
                self.errors[chip] = error.strerror or str(error)
                self._close(chip)
                continue
            active |= {each.id: bool(value.value) for each, value in zip(own, values, strict=True)}
        return active

    def _open_missing(self) -> None:
        import gpiod
        from gpiod.line import Bias, Direction

        for chip in sorted({each.chip for each in self._inputs} - self._open.keys()):
            config: Any = {
                each.line: gpiod.LineSettings(
                    direction=Direction.INPUT, bias=Bias[each.bias.upper()], active_low=each.active == "low"
                )
                for each in self._inputs
                if each.chip == chip
            }
            try:
                self._open[chip] = gpiod.request_lines(chip, consumer="v2g-edge", config=config)
                self.errors.pop(chip, None)
            except (OSError, ValueError) as error:
                self.errors[chip] = getattr(error, "strerror", None) or str(error)

    def _close(self, chip: str) -> None:
        self._open.pop(chip).release()

    def close(self) -> None:
        for chip in list(self._open):
            self._close(chip)


def constraints(active: Iterable[DigitalInput], evses: Sequence[str], root: str) -> list[Constraint]:
    """What the active inputs say together: a stop locks every EVSE; of several limits for a feeder the tightest counts."""
    found: list[Constraint] = []
    limits: dict[str, list[DigitalInput]] = {}
    for each in active:
        if each.means == "emergency-stop":
            found += [
                Constraint(Source.OPERATOR, Scope(ScopeKind.EVSE, evse), Quantity.PERMIT, name=f"input {each.id}")
                for evse in evses
            ]
        else:
            limits.setdefault(each.feeder or root, []).append(each)
    for feeder, own in limits.items():
        charge = [each.max_charge_w for each in own if each.max_charge_w is not None]
        discharge = [each.max_discharge_w for each in own if each.max_discharge_w is not None]
        found.append(
            Constraint(
                Source.UTILITY,
                Scope(ScopeKind.FEEDER, feeder),
                min_w=-min(discharge) if discharge else None,
                max_w=min(charge) if charge else None,
                name="input " + ", ".join(each.id for each in own),
            )
        )
    return found


class Inputs:
    """Reads all contacts and keeps the plan's constraints the same as they are."""

    def __init__(
        self,
        inputs: Sequence[DigitalInput],
        evses: Callable[[], Sequence[str]],
        root: str,
        put: Callable[[list[Constraint]], object],
        withdraw: Callable[[Constraint], object],
        say: Callable[[str, str, str, Level], None],
        lines: Lines | None = None,
    ) -> None:
        """`put` and `withdraw` change the plan at once. `say(id, code, text, level)` tells a change."""
        self._inputs = {each.id: each for each in inputs}
        self._evses, self._root = evses, root
        self._put, self._withdraw, self._say = put, withdraw, say
        self._lines = lines if lines is not None else GpioLines(inputs)
        self._state: dict[str, str] = {}
        self._quiet: dict[str, int] = dict.fromkeys(self._inputs, 0)
        self._said: list[Constraint] = []

    def take(self) -> None:
        """One read of every contact."""
        seen = self._lines.read()
        changed = False
        for name in self._inputs:
            state = self._judged(name, seen.get(name))
            if state != self._state.get(name, "off"):
                changed = True
                self._tell(name, state)
            self._state[name] = state
        if changed:
            self.renew()

    def _judged(self, name: str, active: bool | None) -> str:
        self._quiet[name] = self._quiet[name] + 1 if active is False else 0
        if active is None:
            return "lost"
        if active:
            return "active"
        held = self._state.get(name, "off") != "off" and self._quiet[name] < RELEASE_READS
        return self._state[name] if held else "off"

    def renew(self) -> None:
        """Say again what holds: contacts have changed, or the site has other EVSEs now."""
        active = [each for name, each in self._inputs.items() if self._state.get(name, "off") != "off"]
        wanted = constraints(active, self._evses(), self._root)
        kept = {(c.source, c.scope, c.quantity, c.name) for c in wanted}
        for old in self._said:
            if (old.source, old.scope, old.quantity, old.name) not in kept:
                self._withdraw(old)
        self._put(wanted)
        self._said = wanted

    def _tell(self, name: str, state: str) -> None:
        own = self._inputs[name]
        what = "stops every EVSE" if own.means == "emergency-stop" else f"limits {own.feeder or self._root}"
        if state == "lost":
            errors = getattr(self._lines, "errors", {})
            why = errors.get(own.chip, "it is not there")
            text = f"input {name} ({own.chip} line {own.line}) can't be read: {why}; it counts as active and {what}"
            self._say(name, "INPUT_LOST", text, "fault")
        elif state == "active":
            self._say(name, "INPUT_ACTIVE", f"input {name} is active and {what}", "degraded")
        else:
            self._say(name, "INPUT_OFF", f"input {name} is released", "ok")
