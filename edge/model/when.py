"""Times as people read them."""

import time


def utc_text(unix_ms: int) -> str:
    """`2026-11-23 08:33 UTC`."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(unix_ms / 1000))
