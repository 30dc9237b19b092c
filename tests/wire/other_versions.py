"""Messages as an older and a newer side write them: the golden files in `golden/older` and `golden/newer`.

Older: what version 1 began with and nothing more. Newer: keys, a quantity and a record kind that this version doesn't know.
Run as a program it writes the files; they change only with the contract.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgpack

from tests.wire.wire_examples import EXAMPLES, TEST_KEY

FOLDER = Path(__file__).parent / "golden"
PREFIX = b"v2g-cmd-v1\0"

LATER: dict[str, set[str]] = {"birth": {"uplink_mb_per_day"}, "telemetry": {"share"}}
"""Keys that came after the first release."""


def read(version: str, name: str) -> bytes:
    return (FOLDER / version / f"{name}.msgpack").read_bytes()


def _document(name: str) -> dict[str, Any]:
    document: dict[str, Any] = msgpack.unpackb(EXAMPLES[name].encode())
    return document


def _signed(body: dict[str, Any]) -> bytes:
    data: bytes = msgpack.packb(body)
    packed: bytes = msgpack.packb({"v": 1, "kid": "test", "body": data, "sig": TEST_KEY.sign(PREFIX + data)})
    return packed


def _newer(name: str) -> bytes:
    document = _document(name) | {"later": {"x": [1, 2]}}
    if name == "birth":
        document["evses"] = [evse | {"later": 1} for evse in document["evses"]]
    if name == "telemetry":
        document["t"] = document["t"] | {"inlet": 300}
    if name == "history":
        last = document["records"][-1]["seq"]
        document["records"].append({"seq": last + 1, "ts": 1, "kind": "flicker", "pst": 4})
    packed: bytes = msgpack.packb(document)
    return packed


def _command(**later: Any) -> bytes:
    constraint = {"scope": {"evse": "evse-1"}, "q": "p_w", "target": -5000} | later
    body = {
        "id": "0b7c6f0e-58a7-4a43-9a5e-6a1f0d3c2b19",
        "site": "site-1",
        "seq": 1_764_000_000_001,
        "issued": 1_764_000_000_001,
        "accept_until": 1_764_000_002_001,
        "constraints": [constraint],
    }
    return _signed(body | ({"later": True} if later else {}))


def files() -> dict[str, bytes]:
    """Path below `golden` to content."""
    found = {}
    for name in ("birth", "telemetry", "ack", "history"):
        document = {key: value for key, value in _document(name).items() if key not in LATER.get(name, ())}
        found[f"older/{name}.msgpack"] = msgpack.packb(document)
        found[f"newer/{name}.msgpack"] = _newer(name)
    found["older/watermark.msgpack"] = msgpack.packb(_document("watermark"))
    found["newer/watermark.msgpack"] = msgpack.packb(_document("watermark") | {"later": 1})
    found["older/command.msgpack"] = _command()
    found["newer/command.msgpack"] = _command(weight=2, valid_for_ms=30_000)
    found["newer/command_quantity.msgpack"] = _command(q="q_var")
    return found


if __name__ == "__main__":
    for path, data in files().items():
        (FOLDER / path).parent.mkdir(exist_ok=True)
        (FOLDER / path).write_bytes(data)
