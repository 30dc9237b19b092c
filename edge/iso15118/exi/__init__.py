"""EXI for ISO 15118-20, ISO 15118-2 and DIN 70121: messages as plain dicts ⇄ bytes.

A message is a dict with one key, the name of its root element: `{"SessionSetupReq": {"Header": {…}, "EVCCID": "…"}}`.
Element names are keys. Values are bool, int, str (text, enumeration) and bytes; an element that may occur more than once is a
list, also with one entry; an absent element has no key. "@Id" is an attribute, "#text" the text of an element that also has
attributes, and where the order of different children matters (KeyInfo, X509Data of XML signatures) they are one-key dicts in
the list "#items". Keys may come in any order; those of a decoded message are in schema order, which is encoded fastest.

`decode` accepts three things that `encode` never writes, because peers send them: a value as text (EXIficient does that with
a value outside of its type's range, which then is handed over as it is), integers with superfluous zero octets, and padding
that isn't zero. With strict=True they are errors, and whatever decodes encodes to the same bytes.

Every fault of a message is an ExiError with path and bit position. The functions keep no state between calls.
"""

from __future__ import annotations

from enum import IntEnum

from ._exi import SCHEMAS, decode, decode_fragment, encode, encode_fragment
from .errors import ExiError

__all__ = ["ExiError", "SchemaSet", "decode", "decode_fragment", "encode", "encode_fragment"]


class SchemaSet(IntEnum):
    """The first argument of encode and decode: which messages are meant (the V2GTP payload type or the SAP answer says it)."""

    SAP = 0
    V20_COMMON = 1
    V20_AC = 2
    V20_DC = 3
    V2 = 4
    DIN = 5
    XMLDSIG = 6

    @property
    def key(self) -> str:
        """The name in file names and on the command line: "v20_dc"."""
        return SCHEMAS[self]

    @classmethod
    def of_namespace(cls, namespace: str) -> SchemaSet:
        """The set whose messages live in an XML namespace, as the SAP request names it. Raises ExiError."""
        try:
            return _NAMESPACES[namespace]
        except KeyError:
            raise ExiError(
                "", -1, f"no schema set has the namespace {namespace!r}; known are {', '.join(_NAMESPACES)}"
            ) from None


_NAMESPACES = {
    "urn:iso:15118:2:2010:AppProtocol": SchemaSet.SAP,
    "urn:iso:std:iso:15118:-20:CommonMessages": SchemaSet.V20_COMMON,
    "urn:iso:std:iso:15118:-20:AC": SchemaSet.V20_AC,
    "urn:iso:std:iso:15118:-20:DC": SchemaSet.V20_DC,
    "urn:iso:15118:2:2013:MsgDef": SchemaSet.V2,
    "urn:din:70121:2012:MsgDef": SchemaSet.DIN,
    "http://www.w3.org/2000/09/xmldsig#": SchemaSet.XMLDSIG,
}
