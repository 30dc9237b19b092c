"""From a topic and bytes to the message it is."""

from __future__ import annotations

import json
from typing import Any

from edge import wire
from edge.wire import WireError
from edge.wire.codec import Message

_SITE_MESSAGES: dict[str, type[Message]] = {
    "birth": wire.Birth,
    "death": wire.Death,
    "command": wire.Envelope,
    "ack": wire.Ack,
    "history": wire.History,
    "watermark": wire.Watermark,
}


def decode(topic: str, payload: bytes) -> tuple[str, Message | None]:
    """(site or EVSE id, message) of any topic of contracts.md section 2; None for a cleared retained message.
    Raises WireError."""
    match topic.split("/"):
        case ["v2g", "fleet", "telemetry", evse_id]:
            telemetry = wire.Telemetry.decode(payload)
            if telemetry.evse != evse_id:
                raise WireError("schema", f"telemetry of {telemetry.evse} on the topic of {evse_id}")
            return evse_id, telemetry
        case ["v2g", "site", site_id, name] if name in _SITE_MESSAGES:
            return site_id, _SITE_MESSAGES[name].decode(payload) if payload else None
    raise WireError("schema", f"topic {topic!r} is none of ours")


def as_json(topic: str, payload: bytes) -> str:
    """One line for `watch`: the decoded message, a command with its body, or why it can't be read."""
    line: dict[str, Any] = {"topic": topic}
    try:
        _, message = decode(topic, payload)
        line["message"] = None if message is None else message.model_dump(by_alias=True, exclude_none=True)
        if isinstance(message, wire.Envelope):
            body = wire.CommandBody.decode(message.body)
            line["message"]["body"] = body.model_dump(by_alias=True, exclude_none=True)
    except WireError as error:
        line["error"] = str(error)
    return json.dumps(line, default=lambda value: value.hex() if isinstance(value, bytes) else str(value))
