"""XML signatures of ISO 15118 over EXI fragments: digests of the signed elements, and a signature over SignedInfo.

A signed element is encoded as a fragment of its message's schema set, SignedInfo as a fragment of a schema set that
implementations don't agree on (the signature schema alone, or the message's own), so that set is a parameter. The algorithm
is fixed by the suite that the caller expects, never chosen by the message. Values of ECDSA are r and s of fixed length one
after the other, not DER.

Algorithm names: XML Encryption 1.0 and RFC 9231 (ecdsa-sha512, eddsa-ed448). Which digest ISO 15118-20 wants beside Ed448 could
not be verified; ED448 takes SHA-512, and another Suite can be made.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from edge.iso15118 import exi
from edge.iso15118.exi import SchemaSet

CANONICAL_EXI = "http://www.w3.org/TR/canonical-exi/"

PrivateKey = ec.EllipticCurvePrivateKey | ed448.Ed448PrivateKey
PublicKey = ec.EllipticCurvePublicKey | ed448.Ed448PublicKey


class SignatureError(ValueError):
    """A signature that doesn't hold, or a key that doesn't fit the suite; the message says which part."""


@dataclass(frozen=True, slots=True)
class Suite:
    """One signature algorithm with its digest. curve: name of the EC curve, or "" for Ed448; digest: hashlib's name."""

    signature_method: str
    digest_method: str
    digest: str
    curve: str


ECDSA_P256 = Suite(
    "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256", "http://www.w3.org/2001/04/xmlenc#sha256", "sha256", "secp256r1"
)
"""ISO 15118-2."""
ECDSA_P521 = Suite(
    "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha512", "http://www.w3.org/2001/04/xmlenc#sha512", "sha512", "secp521r1"
)
"""ISO 15118-20."""
ED448 = Suite("http://www.w3.org/2021/04/xmldsig-more#eddsa-ed448", "http://www.w3.org/2001/04/xmlenc#sha512", "sha512", "")
"""ISO 15118-20, the alternative."""


@dataclass(frozen=True, slots=True)
class SignedElement:
    """An element that a signature covers: {name: content} with "@Id", and the schema set of its message."""

    schema: SchemaSet
    fragment: dict[str, Any]

    @property
    def uri(self) -> str:
        """How a Reference names it: "#" and the Id. Raises SignatureError when there is none."""
        ((name, content),) = self.fragment.items()
        if not isinstance(content, dict) or "@Id" not in content:
            raise SignatureError(f"{name} has no Id, so no signature can refer to it")
        return f"#{content['@Id']}"

    def digest(self, suite: Suite) -> bytes:
        """DigestValue: the hash of the EXI fragment."""
        return hashlib.new(suite.digest, exi.encode_fragment(self.schema, self.fragment)).digest()


def sign(
    key: PrivateKey, elements: Sequence[SignedElement], suite: Suite, signed_info_schema: SchemaSet = SchemaSet.XMLDSIG
) -> dict[str, Any]:
    """The content of the header's Signature element. Raises SignatureError (key) or exi.ExiError (elements)."""
    references = [
        {
            "@URI": element.uri,
            "Transforms": {"Transform": [{"@Algorithm": CANONICAL_EXI}]},
            "DigestMethod": {"@Algorithm": suite.digest_method},
            "DigestValue": element.digest(suite),
        }
        for element in elements
    ]
    signed_info = {
        "CanonicalizationMethod": {"@Algorithm": CANONICAL_EXI},
        "SignatureMethod": {"@Algorithm": suite.signature_method},
        "Reference": references,
    }
    data = exi.encode_fragment(signed_info_schema, {"SignedInfo": signed_info})
    return {"SignedInfo": signed_info, "SignatureValue": {"#text": _sign(key, data, suite)}}


def verify(
    key: PublicKey,
    signature: dict[str, Any],
    elements: Sequence[SignedElement],
    suite: Suite,
    signed_info_schema: SchemaSet = SchemaSet.XMLDSIG,
) -> None:
    """Does `signature` (the content of a Signature element) cover exactly `elements`? Raises SignatureError when not."""
    signed_info = signature["SignedInfo"]
    _expect("SignatureMethod", signed_info["SignatureMethod"]["@Algorithm"], suite.signature_method)
    references = {reference.get("@URI"): reference for reference in signed_info["Reference"]}
    if len(references) != len(signed_info["Reference"]) or set(references) != {element.uri for element in elements}:
        raise SignatureError(f"signed are {sorted(map(str, references))}, expected {sorted(e.uri for e in elements)}")
    for element in elements:
        reference = references[element.uri]
        _expect(f"DigestMethod of {element.uri}", reference["DigestMethod"]["@Algorithm"], suite.digest_method)
        if not hmac.compare_digest(reference["DigestValue"], element.digest(suite)):
            raise SignatureError(f"the digest of {element.uri} is wrong: the element is not the one that was signed")
    data = exi.encode_fragment(signed_info_schema, {"SignedInfo": signed_info})
    try:
        _verify(key, signature["SignatureValue"]["#text"], data, suite)
    except InvalidSignature:
        raise SignatureError("the signature over SignedInfo is wrong") from None


def _expect(what: str, found: str, wanted: str) -> None:
    if found != wanted:
        raise SignatureError(f"{what} is {found}, expected {wanted}")


def _hash(suite: Suite) -> hashes.HashAlgorithm:
    return hashes.SHA256() if suite.digest == "sha256" else hashes.SHA512()


def _number_length(suite: Suite, key: ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey) -> int:
    """Octets of r and of s."""
    if key.curve.name != suite.curve:
        raise SignatureError(f"the key is on {key.curve.name}, expected {suite.curve or 'Ed448'}")
    return (key.curve.key_size + 7) // 8


def _sign(key: PrivateKey, data: bytes, suite: Suite) -> bytes:
    if isinstance(key, ed448.Ed448PrivateKey):
        if suite.curve:
            raise SignatureError(f"the key is Ed448, expected {suite.curve}")
        return key.sign(data)
    length = _number_length(suite, key)
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(_hash(suite))))
    return r.to_bytes(length, "big") + s.to_bytes(length, "big")


def _verify(key: PublicKey, value: bytes, data: bytes, suite: Suite) -> None:
    if isinstance(key, ed448.Ed448PublicKey):
        if suite.curve:
            raise SignatureError(f"the key is Ed448, expected {suite.curve}")
        key.verify(value, data)
        return
    length = _number_length(suite, key)
    if len(value) != 2 * length:
        raise SignatureError(f"SignatureValue has {len(value)} octets, expected {2 * length}")
    r, s = int.from_bytes(value[:length], "big"), int.from_bytes(value[length:], "big")
    key.verify(encode_dss_signature(r, s), data, ec.ECDSA(_hash(suite)))
