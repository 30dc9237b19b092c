"""The one exception of the core's Python face."""

from __future__ import annotations


class CoreError(Exception):
    """The core can't run what was asked of it. Each line of the message names what, the value, the limit and the remedy."""
