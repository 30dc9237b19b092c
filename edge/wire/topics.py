"""Topic names of contracts.md section 2."""

from __future__ import annotations

CONTENT_TYPE = "application/msgpack"


def telemetry(evse_id: str) -> str:
    return f"v2g/fleet/telemetry/{evse_id}"


def birth(site_id: str) -> str:
    return f"v2g/site/{site_id}/birth"


def death(site_id: str) -> str:
    return f"v2g/site/{site_id}/death"


def command(site_id: str) -> str:
    return f"v2g/site/{site_id}/command"


def ack(site_id: str) -> str:
    return f"v2g/site/{site_id}/ack"


def history(site_id: str) -> str:
    return f"v2g/site/{site_id}/history"


def watermark(site_id: str) -> str:
    return f"v2g/site/{site_id}/watermark"
