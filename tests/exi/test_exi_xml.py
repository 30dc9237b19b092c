"""Messages as XML: what names, namespaces and texts are accepted."""

from __future__ import annotations

import pytest
from lxml import etree

from edge.iso15118.exi import ExiError, SchemaSet
from edge.iso15118.exi.xml import from_xml, to_xml
from edge.iso15118.grammar import load
from tests.exi.vectors import read

DC = "urn:iso:std:iso:15118:-20:DC"
TYPES = "urn:iso:std:iso:15118:-20:CommonTypes"


def message(body: str, root: str = "DC_CableCheckReq", namespace: str = DC) -> etree._Element:
    return etree.fromstring(f'<{root} xmlns="{namespace}" xmlns:t="{TYPES}">{body}</{root}>')


def test_every_fiftieth_vector_goes_there_and_back() -> None:
    for v in read()[::50]:
        schema = load(v.schema.key)
        text = etree.tostring(to_xml(schema, v.document, v.fragment))
        assert from_xml(schema, etree.fromstring(text), v.fragment) == v.document


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        (message("", root="NoSuchReq"), "unknown root element '{urn:iso:std:iso:15118:-20:DC}NoSuchReq'"),
        (message("", namespace="urn:x"), "unknown root element '{urn:x}DC_CableCheckReq'"),
        (message("<Header/>"), "DC_CableCheckReq: unknown element '{urn:iso:std:iso:15118:-20:DC}Header'"),
        (message("<t:Header/><t:Header/>"), "DC_CableCheckReq/Header: occurs more than once"),
        (message("<t:Header>text</t:Header>"), "DC_CableCheckReq/Header: text between elements"),
        (message("<t:Header x='1'/>"), "DC_CableCheckReq/Header: unknown attribute 'x'"),
        (message("<t:Header><t:TimeStamp>now</t:TimeStamp></t:Header>"), "Header/TimeStamp: 'now' is no unsignedLong"),
        (message("<t:Header><t:SessionID>0</t:SessionID></t:Header>"), "Header/SessionID: '0' is no hexBinary"),
    ],
)
def test_xml_that_the_schema_does_not_know_is_refused(node: etree._Element, reason: str) -> None:
    with pytest.raises(ExiError) as caught:
        from_xml(load("v20_dc"), node)
    assert reason in str(caught.value)


def test_a_character_that_xml_cannot_carry_is_refused() -> None:
    document = {"SessionSetupReq": {"Header": {"SessionID": bytes(8), "TimeStamp": 0}, "EVCCID": "\0"}}
    with pytest.raises(ExiError, match="SessionSetupReq/EVCCID: can't be written as XML"):
        to_xml(load(SchemaSet.V20_COMMON.key), document)
