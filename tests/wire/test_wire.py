"""The messages on the wire stay what contracts.md section 2 says."""

import json
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import wire
from edge.wire.codec import Message
from tests.wire.wire_examples import BODY, EXAMPLES, GOLDEN, TEST_KEY, as_json

NAMES = sorted(EXAMPLES)
TYPES = sorted({type(message) for message in EXAMPLES.values()}, key=lambda t: t.__name__)


def document(name: str) -> dict[str, Any]:
    map_: dict[str, Any] = msgpack.unpackb(EXAMPLES[name].encode())
    return map_


@pytest.mark.parametrize("name", NAMES)
def test_a_message_is_written_exactly_as_the_golden_file(name: str) -> None:
    assert EXAMPLES[name].encode() == (GOLDEN / f"{name}.msgpack").read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_a_golden_file_is_read_back_as_the_same_message(name: str) -> None:
    data = (GOLDEN / f"{name}.msgpack").read_bytes()
    assert type(EXAMPLES[name]).decode(data) == EXAMPLES[name]
    assert as_json(data) == json.loads((GOLDEN / f"{name}.json").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_a_key_of_a_newer_version_is_ignored(name: str) -> None:
    if isinstance(EXAMPLES[name], wire.History):
        newer = document(name) | {"later": {"x": 1}}
    else:
        newer = {key: value | {"later": 1} if isinstance(value, dict) else value for key, value in document(name).items()}
        newer["later"] = [1, 2]
    assert type(EXAMPLES[name]).decode(msgpack.packb(newer)) == EXAMPLES[name]


@pytest.mark.parametrize("version", [None, 0, 2, "1", True, 1.5])
def test_another_version_is_refused_as_such(version: object) -> None:
    with pytest.raises(wire.WireError) as refused:
        wire.Death.decode(msgpack.packb({"v": version, "boot": "b"}))
    assert refused.value.code == "version"


@pytest.mark.parametrize(
    ("name", "wrong", "place"),
    [
        ("telemetry", {"p": 1.5}, "p"),
        ("telemetry", {"p": "5"}, "p"),
        ("telemetry", {"soc": 10_001}, "soc"),
        ("telemetry", {"i": [1, 2]}, "i"),
        ("telemetry", {"evse": "a/b"}, "evse"),
        ("telemetry", {"evse": "a\n"}, "evse"),
        ("command", {"sig": b"short"}, "sig"),
        ("command", {"body": "text"}, "body"),
        ("command_body", {"seq": 0}, "seq"),
        ("command_body", {"seq": True}, "seq"),
        ("command_body", {"id": "not-a-uuid"}, "id"),
        ("command_body", {"constraints": []}, "constraints"),
        ("command_body", {"constraints": [{"scope": {"evse": "a", "site": "b"}, "q": "p_w"}]}, "constraints.0.scope"),
        ("command_body", {"constraints": [{"scope": {}, "q": "p_w"}]}, "constraints.0.scope"),
        (
            "command_body",
            {"constraints": [{"scope": {"evse": "a"}, "q": "p_w", "valid_for_ms": 0}]},
            "constraints.0.valid_for_ms",
        ),
        ("ack", {"outcome": "maybe"}, "outcome"),
        ("watermark", {"seq": -1}, "seq"),
    ],
)
def test_a_wrong_value_is_refused_and_its_place_named(name: str, wrong: dict[str, Any], place: str) -> None:
    with pytest.raises(wire.WireError) as refused:
        type(EXAMPLES[name]).decode(msgpack.packb(document(name) | wrong))
    assert refused.value.code == "schema"
    assert f" {place}" in str(refused.value)


@pytest.mark.parametrize("name", NAMES)
def test_a_message_that_is_too_large_is_refused_before_it_is_parsed(name: str) -> None:
    kind = type(EXAMPLES[name])
    with pytest.raises(wire.WireError) as refused:
        kind.decode(b"\x00" * (kind.max_bytes + 1))
    assert refused.value.code == "size"


def test_a_message_that_grew_too_large_is_not_sent() -> None:
    records = [wire.Record(seq=n, ts=0, kind="event", text="x" * 180) for n in range(2000)]  # type: ignore[call-arg]
    with pytest.raises(wire.WireError, match="at most 262144 are sent"):
        wire.History(first=0, records=records).encode()


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused_never_a_crash(data: bytes) -> None:
    for kind in TYPES:
        try:
            kind.decode(data)
        except wire.WireError:
            continue


junk = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(NAMES), st.data())
def test_any_value_in_any_place_is_read_or_refused_never_a_crash(name: str, data: st.DataObject) -> None:
    map_ = document(name)
    map_[data.draw(st.sampled_from(sorted(map_)))] = data.draw(junk)
    kind: type[Message] = type(EXAMPLES[name])
    try:
        kind.decode(msgpack.packb(map_))
    except wire.WireError:
        return


def test_a_signature_covers_the_prefix_and_every_byte_of_the_body() -> None:
    envelope = wire.sign(BODY, "k", TEST_KEY)
    public = TEST_KEY.public_key()
    assert wire.signature_is_good(envelope, public)
    for index in range(0, len(envelope.body), 7):
        bad = bytearray(envelope.body)
        bad[index] ^= 1
        assert not wire.signature_is_good(wire.Envelope(kid="k", body=bytes(bad), sig=envelope.sig), public)
    unprefixed = wire.Envelope(kid="k", body=envelope.body, sig=TEST_KEY.sign(envelope.body))
    assert not wire.signature_is_good(unprefixed, public)
