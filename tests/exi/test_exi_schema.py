"""Our reading of the schemas against another one: what the codec carries is valid for an XML Schema validator."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
import xmlschema

from edge.iso15118.exi import SchemaSet
from edge.iso15118.exi.xml import to_xml
from edge.iso15118.grammar import load
from native.exi.compiler import schemas
from tests.exi.vectors import read

CACHE = Path(__file__).resolve().parents[2] / "build/exi"


@pytest.fixture(scope="module")
def validators() -> dict[SchemaSet, xmlschema.XMLSchema]:
    folder = schemas.folder(CACHE)
    locations = {schemas.XMLDSIG: str(folder / schemas.ROOTS["xmldsig"])}
    return {s: xmlschema.XMLSchema(str(folder / schemas.ROOTS[s.key]), locations=locations, defuse="never") for s in SchemaSet}


def test_messages_of_the_vectors_are_valid(validators: dict[SchemaSet, xmlschema.XMLSchema]) -> None:
    rng = random.Random(2)
    for v in rng.choices([v for v in read() if not v.fragment and not v.lenient and len(v.data) < 600], k=150):
        node = to_xml(load(v.schema.key), v.document)
        errors = [error.reason for error in validators[v.schema].iter_errors(node)]
        assert [reason for reason in errors if not about_identifiers(reason)] == []


def about_identifiers(reason: str | None) -> bool:
    """EXI carries an ID or IDREF as any text; whether it is a name and what it refers to is not its business."""
    return re.search(r"IDREF|duplicated xs:ID|^attribute (\w+:)?Id=", str(reason)) is not None
