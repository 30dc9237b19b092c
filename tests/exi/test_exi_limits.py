"""Values at and beyond their limits, and messages that are none: always an ExiError that says where and what."""

from __future__ import annotations

import copy
import threading
from typing import Any

import pytest

from edge.iso15118 import exi
from edge.iso15118.exi import ExiError, SchemaSet, reference
from edge.iso15118.exi.limits import MAX_BYTES
from edge.iso15118.grammar import load

HEADER: dict[str, Any] = {"SessionID": bytes(range(8)), "TimeStamp": 1_700_000_000}
CABLE_CHECK = {"DC_CableCheckReq": {"Header": HEADER}}


def setup_request(evcc_id: str = "WMIV1234567890ABCDEX") -> dict[str, Any]:
    return {"SessionSetupReq": {"Header": HEADER, "EVCCID": evcc_id}}


def schedule_exchange(entries: int) -> dict[str, Any]:
    power = {"Exponent": 0, "Value": -11000}
    schedule = {
        "TimeAnchor": 0,
        "PowerScheduleEntries": {"PowerScheduleEntry": [{"Duration": 900, "Power": power} for _ in range(entries)]},
    }
    mode = {"ScheduleTuple": [{"ScheduleTupleID": 1, "ChargingSchedule": {"PowerSchedule": schedule}}]}
    return {
        "ScheduleExchangeRes": {
            "Header": HEADER,
            "ResponseCode": "OK",
            "EVSEProcessing": "Finished",
            "Scheduled_SEResControlMode": mode,
        }
    }


def changed(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The document with one value replaced (or removed when value is ...)."""
    made = copy.deepcopy(document)
    *way, last = path.split("/")
    place = made
    for key in way:
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return made


def both(schema_set: SchemaSet, document: dict[str, Any]) -> bytes:
    """The message from both engines, which must agree."""
    data = exi.encode(schema_set, document)
    assert data == reference.encode(load(schema_set.key), document)
    assert exi.decode(schema_set, data, strict=True) == document
    return data


def refused(schema_set: SchemaSet, document: Any, path: str, reason: str) -> None:
    """Both engines refuse the document at the same place; the C engine says why."""
    with pytest.raises(ExiError, match=reason) as caught:
        exi.encode(schema_set, document)
    assert (caught.value.path, caught.value.bit) == (path, -1)
    with pytest.raises(ExiError) as expected:
        reference.encode(load(schema_set.key), document)
    assert expected.value.path == path


@pytest.mark.parametrize("length", [0, 1, 254, 255])
def test_a_string_may_have_every_length_up_to_its_facet(length: int) -> None:
    both(SchemaSet.V20_COMMON, setup_request("ä" * length))


def test_a_string_beyond_its_facet_is_refused() -> None:
    refused(SchemaSet.V20_COMMON, setup_request("x" * 256), "SessionSetupReq/EVCCID", "256 characters, allowed are 0..255")


@pytest.mark.parametrize("text", ["\x7f", "\x80", "ÿ", "€", "\U0010ffff", "\x00"])
def test_every_character_is_carried(text: str) -> None:
    both(SchemaSet.V20_COMMON, setup_request(text))


def test_half_a_surrogate_pair_is_no_character() -> None:
    refused(SchemaSet.V20_COMMON, setup_request("\ud800"), "SessionSetupReq/EVCCID", "surrogate")


@pytest.mark.parametrize("length", [0, 7, 9])
def test_a_session_id_has_exactly_eight_octets(length: int) -> None:
    document = changed(CABLE_CHECK, "DC_CableCheckReq/Header/SessionID", bytes(length))
    refused(SchemaSet.V20_DC, document, "DC_CableCheckReq/Header/SessionID", f"{length} octets, allowed are 8..8")


@pytest.mark.parametrize("value", [0, 127, 128, 2**32, 2**63 - 1, 2**63, 2**64 - 1])
def test_an_unsigned_long_reaches_from_0_to_its_largest_value(value: int) -> None:
    both(SchemaSet.V20_DC, changed(CABLE_CHECK, "DC_CableCheckReq/Header/TimeStamp", value))


@pytest.mark.parametrize("value", [-1, 2**64, 2**100, -(2**100)])
def test_an_unsigned_long_beyond_64_bits_is_refused(value: int) -> None:
    document = changed(CABLE_CHECK, "DC_CableCheckReq/Header/TimeStamp", value)
    refused(SchemaSet.V20_DC, document, "DC_CableCheckReq/Header/TimeStamp", "is outside 0..18446744073709551615")


@pytest.mark.parametrize(("exponent", "value"), [(-128, -(2**15)), (127, 2**15 - 1), (0, 0), (-1, -1)])
def test_rational_numbers_reach_their_limits(exponent: int, value: int) -> None:
    number = {"Exponent": exponent, "Value": value}
    both(SchemaSet.V20_DC, {"DC_WeldingDetectionRes": {"Header": HEADER, "ResponseCode": "OK", "EVSEPresentVoltage": number}})


@pytest.mark.parametrize(("exponent", "value"), [(-129, 0), (128, 0), (0, -(2**15) - 1), (0, 2**15)])
def test_rational_numbers_beyond_their_limits_are_refused(exponent: int, value: int) -> None:
    number = {"Exponent": exponent, "Value": value}
    message = {"DC_WeldingDetectionRes": {"Header": HEADER, "ResponseCode": "OK", "EVSEPresentVoltage": number}}
    with pytest.raises(ExiError, match=r"EVSEPresentVoltage/(Exponent|Value).*is outside"):
        exi.encode(SchemaSet.V20_DC, message)


@pytest.mark.parametrize("serial", [0, -1, 2**160 - 1, 2**256 - 1, -(2**256)])
def test_certificate_serial_numbers_may_be_large(serial: int) -> None:
    both(SchemaSet.XMLDSIG, serial_number(serial))


def test_an_absurd_serial_number_is_refused() -> None:
    path = "KeyInfo/X509Data/X509IssuerSerial/X509SerialNumber"
    refused(SchemaSet.XMLDSIG, serial_number(2**256), path, "more than 32 octets")


def serial_number(serial: int) -> dict[str, Any]:
    issuer = {"X509IssuerSerial": {"X509IssuerName": "CN=x", "X509SerialNumber": serial}}
    return {"KeyInfo": {"@Id": "k", "#items": [{"KeyName": "n"}, {"X509Data": {"#items": [issuer, {"X509SKI": b"\0"}]}}]}}


@pytest.mark.parametrize("entries", [1, 2, 1023, 1024])
def test_a_schedule_has_up_to_1024_entries(entries: int) -> None:
    both(SchemaSet.V20_COMMON, schedule_exchange(entries))


def test_entry_1025_is_refused() -> None:
    path = "ScheduleExchangeRes/Scheduled_SEResControlMode/ScheduleTuple/ChargingSchedule/PowerSchedule/PowerScheduleEntries"
    with pytest.raises(ExiError, match="1025 entries, only 1024 are allowed") as caught:
        exi.encode(SchemaSet.V20_COMMON, schedule_exchange(1025))
    assert caught.value.path == path
    with pytest.raises(ExiError):
        reference.encode(load("v20_common"), schedule_exchange(1025))


def test_a_message_larger_than_any_buffer_is_refused_not_truncated() -> None:
    proofs = [{"KeyName": "x" * 60_000} for _ in range(20)]
    refused(SchemaSet.XMLDSIG, {"KeyInfo": {"#items": proofs}}, "", f"longer than {MAX_BYTES} octets")
    with pytest.raises(ExiError, match="longer than"):
        exi.decode(SchemaSet.SAP, bytes(MAX_BYTES + 1))


WRONG = [
    ({}, "", "exactly one key"),
    ([], "", "exactly one key"),
    ({"a": {}, "b": {}}, "", "exactly one key"),
    ({"NoSuchReq": {}}, "", "unknown root element 'NoSuchReq'"),
    ({"SessionSetupReq": {}}, "", "unknown root element 'SessionSetupReq'"),
    ({"DC_CableCheckReq": []}, "DC_CableCheckReq", "must be dict, not list"),
    ({"DC_CableCheckReq": {}}, "DC_CableCheckReq", "missing Header"),
    (changed(CABLE_CHECK, "DC_CableCheckReq/Extra", 1), "DC_CableCheckReq", "known or allowed together"),
    (changed(CABLE_CHECK, "DC_CableCheckReq/Header/SessionID", ...), "DC_CableCheckReq/Header", "missing SessionID"),
    (changed(CABLE_CHECK, "DC_CableCheckReq/Header/SessionID", "00"), "DC_CableCheckReq/Header/SessionID", "must be bytes"),
    (
        changed(CABLE_CHECK, "DC_CableCheckReq/Header/TimeStamp", True),
        "DC_CableCheckReq/Header/TimeStamp",
        "must be int, not bool",
    ),
    (
        changed(CABLE_CHECK, "DC_CableCheckReq/Header/TimeStamp", 1.0),
        "DC_CableCheckReq/Header/TimeStamp",
        "must be int, not float",
    ),
    ({"CLReqControlMode": {}}, "CLReqControlMode", "is abstract"),
    (
        {"DC_CableCheckRes": {"Header": HEADER, "ResponseCode": "OKAY", "EVSEProcessing": "Finished"}},
        "DC_CableCheckRes/ResponseCode",
        "'OKAY' is not among the 40 values",
    ),
]


@pytest.mark.parametrize(("document", "path", "reason"), WRONG)
def test_a_wrong_document_is_refused_where_it_is_wrong(document: Any, path: str, reason: str) -> None:
    refused(SchemaSet.V20_DC, document, path, reason.replace("must be dict", "must be (a )?dict"))


def test_two_alternatives_of_a_choice_exclude_one_another() -> None:
    parameter = {"@Name": "x", "boolValue": True, "intValue": 1}
    with pytest.raises(ExiError, match="allowed together"):
        exi.encode_fragment(SchemaSet.V20_COMMON, {"Parameter": parameter})


def test_an_element_that_may_repeat_is_a_list_with_entries() -> None:
    entry = {"ProtocolNamespace": "urn:x", "VersionNumberMajor": 2, "VersionNumberMinor": 0, "SchemaID": 1, "Priority": 1}
    both(SchemaSet.SAP, {"supportedAppProtocolReq": {"AppProtocol": [entry]}})
    for wrong in (entry, [], None):
        with pytest.raises(ExiError, match=r"AppProtocol (must be a list|is an empty list)"):
            exi.encode(SchemaSet.SAP, {"supportedAppProtocolReq": {"AppProtocol": wrong}})


def test_a_message_cut_at_any_octet_says_where_it_ends() -> None:
    schema_set = SchemaSet.V20_COMMON
    data = exi.encode(schema_set, schedule_exchange(3))
    for length in range(len(data)):
        with pytest.raises(ExiError) as caught:
            exi.decode(schema_set, data[:length])
        assert 0 <= caught.value.bit <= 8 * length


def test_a_message_cut_at_any_bit_is_an_error_or_says_the_padding_is_wrong() -> None:
    """Bits after the cut are ones: never the same message, whatever bit the cut is at."""
    for document in (CABLE_CHECK, {"DC_CableCheckReq": {"Header": HEADER | {"TimeStamp": 5}}}):
        data = exi.encode(SchemaSet.V20_DC, document)
        for bit in range(8 * len(data)):
            octets = bytearray(data[: bit // 8 + 1])
            octets[-1] |= 0xFF >> (bit % 8)
            if bytes(octets) != data:
                with pytest.raises(ExiError):
                    exi.decode(SchemaSet.V20_DC, bytes(octets), strict=True)


def test_the_wrong_schema_set_is_an_error_not_another_message() -> None:
    data = exi.encode(SchemaSet.V20_COMMON, schedule_exchange(1))
    for schema_set in (SchemaSet.SAP, SchemaSet.V20_DC, SchemaSet.V2, SchemaSet.DIN, SchemaSet.XMLDSIG):
        with pytest.raises(ExiError):
            exi.decode(schema_set, data)


def test_an_unknown_namespace_is_named() -> None:
    assert SchemaSet.of_namespace("urn:iso:std:iso:15118:-20:DC") is SchemaSet.V20_DC
    with pytest.raises(ExiError, match="'urn:x'"):
        SchemaSet.of_namespace("urn:x")


def test_what_is_no_exi_or_goes_on_is_refused() -> None:
    good = exi.encode(SchemaSet.V20_DC, CABLE_CHECK)
    for data, reason in (
        (b"", "ends here"),
        (b"$EXI\x80", "no EXI header"),
        (b"\xa0" + good[1:], "no EXI header"),
        (b"\x80\xff", "unknown root element"),
        (good + b"\0", "1 octets after the end"),
    ):
        with pytest.raises(ExiError, match=reason):
            exi.decode(SchemaSet.V20_DC, data)


def test_a_long_string_in_a_short_message_allocates_nothing() -> None:
    """The length says 2^35 characters; the message has none of them."""
    data = exi.encode_fragment(SchemaSet.XMLDSIG, {"KeyName": "x"})
    start = format(int.from_bytes(data, "big"), "b")[:15]  # header, event code of 6 bits, the bit before a value
    bits = start + "1" * 32 + "01111111" + "0" * 17
    with pytest.raises(ExiError, match="KeyName, bit 15: the message ends here"):
        exi.decode_fragment(SchemaSet.XMLDSIG, int(bits, 2).to_bytes(len(bits) // 8, "big"))


def test_several_threads_use_the_codec_at_once() -> None:
    documents = [schedule_exchange(n) for n in (1, 10, 100)]
    expected = [exi.encode(SchemaSet.V20_COMMON, d) for d in documents]
    wrong: list[object] = []

    def work() -> None:
        for _ in range(200):
            for document, data in zip(documents, expected, strict=True):
                if exi.encode(SchemaSet.V20_COMMON, document) != data or exi.decode(SchemaSet.V20_COMMON, data) != document:
                    wrong.append(document)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
