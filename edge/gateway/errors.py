"""The gateway's own start-up error."""

from __future__ import annotations


class GatewayError(Exception):
    """The gateway can't start or can't apply a config. Each line names file or device, key, value, limit and remedy."""
