"""Sizes in a DBC file that no bus has, found before cantools reads it.

cantools lays out every bit of a message and every multiplexer value before it judges them: with one digit too many it takes all
memory, or never comes back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from edge.strict_yaml import Problem

MOST_BYTES = 1785
"""Of a message: the longest that J1939 transports; CAN FD has 64."""

_DIGITS = 12
"""Of a number that are looked at; more make it no smaller."""

_SIZES = (
    (re.compile(r"\bBO_\s+\d+\s+[^\s:]+\s*:\s*(\d+)"), "bytes of a message", MOST_BYTES),
    (re.compile(r":\s*(\d+)\s*\|\s*(\d+)\s*@"), "start or length of a signal in bits", 8 * MOST_BYTES),
    (re.compile(r"\b(\d+)\s*-\s*(\d+)\s*[,;]"), "multiplexer value", 65_535),
)


def oversized(file: str, text: str) -> Iterator[Problem]:
    """A problem for each number that is beyond what any CAN bus carries."""
    for pattern, what, most in _SIZES:
        for match in pattern.finditer(text):
            worst = max((number[:_DIGITS] for number in match.groups()), key=int)
            if int(worst) > most:
                line = text.count("\n", 0, match.start()) + 1
                yield Problem(file, line, "", worst, f"{what}: at most {most}", "repair the file with a DBC editor")
