"""Times as people read them."""

import time


def utc_text(unix_ms: int) -> str:
    """`2026-11-23 08:33 UTC`."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(unix_ms / 1000))


def utc_ms_text(unix_ms: int) -> str:
    """`2026-11-23T08:33:01.042Z`: sorts as text."""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(unix_ms / 1000))}.{unix_ms % 1000:03}Z"
