"""Hostile messages: an error or the same bytes again, in bounded memory, and both engines agree."""

from __future__ import annotations

import random
import resource
from typing import Any

import pytest

from edge.iso15118 import exi
from edge.iso15118.exi import ExiError, SchemaSet, reference
from edge.iso15118.exi.limits import MAX_ELEMENTS
from edge.iso15118.grammar import load
from tests.exi.mutation import broken, mutated, run
from tests.exi.vectors import Vector, read


def test_a_mutated_message_is_an_error_or_encodes_to_the_same_bytes() -> None:
    figures = run(100_000)
    assert figures["refused"] and figures["decoded_and_encoded_equal"]
    assert figures["memory_growth_kb"] < 32_000


def attempt(function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except ExiError as error:
        return error.path


@pytest.mark.parametrize("strict", [True, False])
def test_both_engines_agree_on_mutated_messages(strict: bool) -> None:
    rng = random.Random(7)
    for v in rng.choices([v for v in read() if len(v.data) < 300], k=10_000):
        data = mutated(rng, v.data)
        assert ours(v, data, strict) == theirs(v, data, strict), (v.schema.key, v.fragment, data.hex())


def ours(v: Vector, data: bytes, strict: bool) -> Any:
    decode = exi.decode_fragment if v.fragment else exi.decode
    return attempt(lambda: decode(v.schema, data, strict=strict))


def theirs(v: Vector, data: bytes, strict: bool) -> Any:
    decode = reference.decode_fragment if v.fragment else reference.decode
    return attempt(decode, load(v.schema.key), data, strict)


def test_both_engines_agree_on_broken_documents() -> None:
    """Bytes or ExiError, never another exception, and the same of both."""
    rng = random.Random(11)
    refused = 0
    for v in rng.choices([v for v in read() if len(v.data) < 500 and not v.lenient], k=5_000):
        document = broken(rng, v.document)
        encode, plain = (exi.encode_fragment, reference.encode_fragment) if v.fragment else (exi.encode, reference.encode)
        ours_is = attempt(encode, v.schema, document)
        theirs_is = attempt(plain, load(v.schema.key), document)
        assert type(ours_is) is type(theirs_is), document
        refused += isinstance(ours_is, str)
        if isinstance(ours_is, bytes):
            assert ours_is == theirs_is
    assert refused > 2_000


def test_a_small_message_cannot_become_a_huge_object() -> None:
    document = {"KeyInfo": {"#items": [{"KeyName": ""}] * (MAX_ELEMENTS - 1)}}
    data = exi.encode(SchemaSet.XMLDSIG, document)
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert len(exi.decode(SchemaSet.XMLDSIG, data)["KeyInfo"]["#items"]) == MAX_ELEMENTS - 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 200_000
    document["KeyInfo"]["#items"].append({"KeyName": ""})
    with pytest.raises(ExiError, match=f"more than {MAX_ELEMENTS} elements"):
        exi.encode(SchemaSet.XMLDSIG, document)
