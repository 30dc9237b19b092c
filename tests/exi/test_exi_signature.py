"""A signature covers exactly the elements that were signed, with the algorithm that the receiver expects."""

from __future__ import annotations

import copy
import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448

from edge.iso15118 import exi
from edge.iso15118.exi import SchemaSet
from edge.iso15118.signature import ECDSA_P256, ECDSA_P521, ED448, SignatureError, SignedElement, Suite, sign, verify

AUTHORIZATION = SignedElement(SchemaSet.V2, {"AuthorizationReq": {"@Id": "id1", "GenChallenge": bytes(16)}})
EMAID = SignedElement(SchemaSet.V2, {"eMAID": {"@Id": "id2", "#text": "DE8AA1A2B3C4D5"}})
PNC = SignedElement(
    SchemaSet.V20_COMMON,
    {
        "PnC_AReqAuthorizationMode": {
            "@Id": "id3",
            "GenChallenge": bytes(16),
            "ContractCertificateChain": {"Certificate": b"leaf", "SubCertificates": {"Certificate": [b"sub"]}},
        }
    },
)
CASES = [
    (ECDSA_P256, ec.generate_private_key(ec.SECP256R1()), [AUTHORIZATION, EMAID], 64),
    (ECDSA_P521, ec.generate_private_key(ec.SECP521R1()), [PNC], 132),
    (ED448, ed448.Ed448PrivateKey.generate(), [PNC], 114),
]


@pytest.mark.parametrize(("suite", "key", "elements", "octets"), CASES, ids=["P-256", "P-521", "Ed448"])
@pytest.mark.parametrize("signed_info_schema", [SchemaSet.XMLDSIG, SchemaSet.V2, SchemaSet.V20_COMMON])
def test_what_was_signed_verifies(
    suite: Suite, key: Any, elements: list[SignedElement], octets: int, signed_info_schema: SchemaSet
) -> None:
    signature = sign(key, elements, suite, signed_info_schema)
    verify(key.public_key(), signature, elements, suite, signed_info_schema)
    assert len(signature["SignatureValue"]["#text"]) == octets


@pytest.mark.parametrize(("suite", "key", "elements", "octets"), CASES, ids=["P-256", "P-521", "Ed448"])
def test_a_signature_survives_the_message_that_carries_it(
    suite: Suite, key: Any, elements: list[SignedElement], octets: int
) -> None:
    header = {"SessionID": bytes(8), "TimeStamp": 1, "Signature": sign(key, elements, suite)}
    data = exi.encode(SchemaSet.V20_COMMON, {"SessionStopReq": {"Header": header, "ChargingSession": "Terminate"}})
    received = exi.decode(SchemaSet.V20_COMMON, data)["SessionStopReq"]["Header"]["Signature"]
    verify(key.public_key(), received, elements, suite)


def changed_signature(change: str) -> tuple[dict[str, Any], list[SignedElement]]:
    suite, key, elements, _ = CASES[0]
    signature = copy.deepcopy(sign(key, elements, suite))
    info = signature["SignedInfo"]
    if change == "element":
        altered = SignedElement(SchemaSet.V2, {"eMAID": {"@Id": "id2", "#text": "DE8AA1A2B3C4D6"}})
        return signature, [AUTHORIZATION, altered]
    if change == "value":
        signature["SignatureValue"]["#text"] = bytes(64)
    elif change == "length":
        signature["SignatureValue"]["#text"] += b"\0"
    elif change == "reference":
        del info["Reference"][0]
    elif change == "method":
        info["SignatureMethod"]["@Algorithm"] = "http://www.w3.org/2000/09/xmldsig#rsa-sha1"
    elif change == "digest method":
        info["Reference"][0]["DigestMethod"]["@Algorithm"] = "http://www.w3.org/2000/09/xmldsig#sha1"
    else:
        info["@Id"] = "new"
    return signature, elements


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("element", "the digest of #id2 is wrong"),
        ("value", "signature over SignedInfo is wrong"),
        ("length", "has 65 octets, expected 64"),
        ("reference", "expected \\['#id1', '#id2'\\]"),
        ("method", "SignatureMethod is"),
        ("digest method", "DigestMethod of #id1 is"),
        ("signed info", "signature over SignedInfo is wrong"),
    ],
)
def test_whatever_is_changed_is_noticed(change: str, reason: str) -> None:
    suite, key, _, _ = CASES[0]
    signature, elements = changed_signature(change)
    with pytest.raises(SignatureError, match=reason):
        verify(key.public_key(), signature, elements, suite)


def test_a_key_of_another_kind_is_refused() -> None:
    with pytest.raises(SignatureError, match="secp521r1, expected secp256r1"):
        sign(CASES[1][1], [EMAID], ECDSA_P256)
    with pytest.raises(SignatureError, match="Ed448, expected secp256r1"):
        sign(CASES[2][1], [EMAID], ECDSA_P256)


def test_an_element_without_id_cannot_be_signed() -> None:
    element = SignedElement(SchemaSet.V20_COMMON, {"SignedInfo": {}})
    with pytest.raises(SignatureError, match="SignedInfo has no Id"):
        sign(CASES[0][1], [element], ECDSA_P256)


def test_a_digest_is_the_hash_of_the_fragment() -> None:
    expected = hashlib.sha256(exi.encode_fragment(SchemaSet.V2, EMAID.fragment)).digest()
    assert EMAID.digest(ECDSA_P256) == expected
