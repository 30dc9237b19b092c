"""One example of every message. Run as a program it writes the golden files anew, which changes the contract."""

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import msgpack
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge import wire
from edge.model import Outcome
from edge.wire.codec import Message

GOLDEN = Path(__file__).parent / "golden"
TEST_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))

BODY = wire.CommandBody(
    id="0b7c6f0e-58a7-4a43-9a5e-6a1f0d3c2b19",
    site="site-1",
    seq=1764000000001,
    issued=1764000000001,
    accept_until=1764000002001,
    constraints=[
        wire.CommandConstraint(
            scope=wire.CommandScope(evse="evse-1"),
            quantity="p_w",
            min_w=-7000,
            max_w=0,
            target_w=-5000,
            ramp_w_s=500,
            valid_for_ms=60_000,
            after=wire.CommandAfter(min_w=0, max_w=3000, target_w=0),
        ),
        wire.CommandConstraint(scope=wire.CommandScope(site="site-1"), quantity="p_w", max_w=40_000, valid_for_ms=60_000),
    ],
)

EXAMPLES: dict[str, Message] = {
    "telemetry": wire.Telemetry(
        site="site-1",
        evse="evse-1",
        boot="b-8d1f",
        ts=1764000000123,
        state="transfer",
        power_w=-4980,
        setpoint=wire.Setpoint(min_w=-7000, max_w=0, target_w=-5000),
        reason="NONE",
        share=wire.Share(site_target_w=-20_000, site_power_w=-19_960, target_w=-5000, min_w=-6500, reason="FEEDER_LIMIT"),
        soc=6412,
        soc_source="evse",
        temperature=wire.Temperatures(connector=412, cable=380, charger=455, cell_max=291),
        currents_ma=[7210, 7190, 7230],
        voltages_dv=[2301, 2298, 2304],
        import_wh=1_204_500,
        export_wh=88_200,
        capacity=wire.Capacity(up_w=2000, down_w=27_000, up_wh=21_000, down_wh=14_000),
        age_ms=14,
    ),
    "telemetry_unknown_values": wire.Telemetry(
        site="site-1",
        evse="evse-2",
        boot="b-8d1f",
        ts=1764000000123,
        state="A",
        setpoint=wire.Setpoint(min_w=0, max_w=0, target_w=0),
        reason="EVSE_LOST",
    ),
    "birth": wire.Birth(
        boot="b-8d1f",
        ts=1764000000000,
        sw="0.1.0",
        config_hash="9f2b",
        evses=[
            wire.BirthEvse(
                id="evse-1", capability="bidirectional", phases=3, ratings=wire.Ratings(charge_w=22_000, discharge_w=10_000)
            )
        ],
        feeders=[wire.BirthFeeder(id="main", rating_w=69_000), wire.BirthFeeder(id="row-a", parent="main", rating_w=43_000)],
        clock="trusted",
    ),
    "death": wire.Death(boot="b-8d1f"),
    "command_body": BODY,
    "command": wire.sign(BODY, "dispatch-2026", TEST_KEY),
    "ack": wire.Ack(
        id=BODY.id,
        seq=BODY.seq,
        outcome=Outcome.CLIPPED,
        evses=[wire.AckEvse(id="evse-1", min_w=-4000, max_w=0, target_w=-4000, reason="PLAN_LIMIT")],
        stamps=wire.AckStamps(
            issued=1764000000001, received=1764000000021, adopted=1764000000030, on_bus=1764000000031, confirmed=1764000000480
        ),
    ),
    "ack_refused": wire.Ack(id="", outcome=Outcome.MALFORMED, code="msgpack"),
    "history": wire.History(
        first=41,
        records=[
            wire.Record(seq=41, ts=1764000000000, kind="event", event="SOC_FLOOR", evse="evse-1"),  # type: ignore[call-arg]
            wire.Record(seq=42, ts=1764000060000, kind="energy15", meter="grid", import_wh=812, export_wh=0),  # type: ignore[call-arg]
        ],
    ),
    "watermark": wire.Watermark(seq=42),
}


def as_json(data: bytes) -> Any:
    """The decoded map as a JSON document; binary values as base64, so that a person can read the golden files."""
    return json.loads(json.dumps(msgpack.unpackb(data), default=lambda value: {"base64": b64encode(value).decode()}))


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name, message in EXAMPLES.items():
        (GOLDEN / f"{name}.msgpack").write_bytes(message.encode())
        (GOLDEN / f"{name}.json").write_text(json.dumps(as_json(message.encode()), indent=1) + "\n")
