"""What became of a command (contracts.md section 2)."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    APPLIED = "applied"
    CLIPPED = "clipped"
    DUPLICATE = "duplicate"
    EXPIRED = "expired"
    REPLAYED = "replayed"
    BAD_SIGNATURE = "bad_signature"
    UNKNOWN_KEY = "unknown_key"
    WRONG_SITE = "wrong_site"
    UNSUPPORTED = "unsupported"
    MALFORMED = "malformed"
    CLOCK_UNTRUSTED = "clock_untrusted"
