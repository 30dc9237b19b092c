"""Identifiers as contracts.md section 2 writes them."""

from __future__ import annotations

import re

ID_PATTERN = r"[A-Za-z0-9_.:-]{1,48}"
_ID = re.compile(ID_PATTERN)


def check_id(text: str) -> str:
    """Return `text` when it is a valid site, EVSE, feeder or meter id (1–48 of `A-Za-z0-9_.:-`); else ValueError."""
    if not _ID.fullmatch(text):
        raise ValueError(f"{text!r} is not an id: 1 to 48 characters of A-Z a-z 0-9 _ . : -")
    return text
