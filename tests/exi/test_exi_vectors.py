"""The codec against what EXIficient wrote: 15 000 messages of every type, in both directions, in both engines."""

from __future__ import annotations

import pytest

from edge.iso15118 import exi
from edge.iso15118.exi import SchemaSet, jsonform, reference
from edge.iso15118.exi.walk import productions_of
from edge.iso15118.grammar import Schema, load
from tests.exi.generator import Generator
from tests.exi.vectors import Vector, read

ENGINE_SETS = list(SchemaSet)


def vectors_of(schema_set: SchemaSet, lenient: bool = False) -> list[Vector]:
    return [v for v in read() if v.schema == schema_set and v.lenient == lenient]


def test_there_are_at_least_ten_thousand_documents() -> None:
    assert sum(not v.fragment and not v.lenient for v in read()) >= 10_000


@pytest.mark.parametrize("schema_set", ENGINE_SETS)
def test_every_message_is_encoded_as_the_oracle_does(schema_set: SchemaSet) -> None:
    for v in vectors_of(schema_set):
        encode = exi.encode_fragment if v.fragment else exi.encode
        assert encode(schema_set, v.document) == v.data


@pytest.mark.parametrize("schema_set", ENGINE_SETS)
def test_every_message_is_decoded_as_the_oracle_does(schema_set: SchemaSet) -> None:
    for v in vectors_of(schema_set):
        decode = exi.decode_fragment if v.fragment else exi.decode
        assert decode(schema_set, v.data, strict=True) == v.document
        assert decode(schema_set, v.data) == v.document


@pytest.mark.parametrize("schema_set", ENGINE_SETS)
def test_the_reference_engine_does_the_same(schema_set: SchemaSet) -> None:
    schema = load(schema_set.key)
    for v in vectors_of(schema_set):
        encode = reference.encode_fragment if v.fragment else reference.encode
        decode = reference.decode_fragment if v.fragment else reference.decode
        assert encode(schema, v.document) == v.data
        assert decode(schema, v.data, strict=True) == v.document


def test_decoded_keys_are_in_schema_order_and_any_order_encodes_the_same() -> None:
    for v in read()[::7]:
        if not v.lenient:
            encode = exi.encode_fragment if v.fragment else exi.encode
            assert encode(v.schema, backwards(v.document)) == v.data


def test_a_value_that_a_peer_sent_as_text_is_understood_unless_strict() -> None:
    lenient = [v for v in read() if v.lenient]
    assert len(lenient) >= 3
    for v in lenient:
        assert exi.decode(v.schema, v.data) == v.document == reference.decode(load(v.schema.key), v.data)
        with pytest.raises(exi.ExiError, match="in place of the value"):
            exi.decode(v.schema, v.data, strict=True)


@pytest.mark.parametrize("schema_set", ENGINE_SETS)
def test_the_vectors_contain_every_message_type(schema_set: SchemaSet) -> None:
    schema = load(schema_set.key)
    drawn = {next(iter(v.document)) for v in vectors_of(schema_set) if not v.fragment}
    assert drawn == {schema.names[p.name][0] for p in Generator(schema, None).roots()}  # type: ignore[arg-type]
    if "V2G_Message" in drawn:
        bodies = {key for v in vectors_of(schema_set) for key in v.document.get("V2G_Message", {}).get("Body", {})}
        assert bodies == message_bodies(schema)


def message_bodies(schema: Schema) -> set[str]:
    message = next(p for p in schema.documents if schema.names[p.name][0] == "V2G_Message")
    body = productions_of(schema, message.target)["Body"]
    return {key for key, p in productions_of(schema, body.target).items() if not p.abstract}


def test_json_form_goes_there_and_back() -> None:
    for v in read()[::50]:
        schema = load(v.schema.key)
        assert jsonform.from_json(schema, jsonform.to_json(schema, v.document, v.fragment), v.fragment) == v.document


def backwards(content: object) -> object:
    """The same content with the keys of every dict turned round."""
    if isinstance(content, dict):
        return {key: backwards(content[key]) for key in reversed(content)}
    return [backwards(entry) for entry in content] if isinstance(content, list) else content
