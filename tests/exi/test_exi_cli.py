"""`edgectl exi`: what an engineer does with a message or a capture on the desk."""

from __future__ import annotations

import base64
import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from edge.cli.main import main as edgectl
from edge.iso15118 import exi
from edge.iso15118.capture import CaptureError, v2gtp_messages
from edge.iso15118.exi import SchemaSet
from edge.iso15118.exi_cli import exi_group

HEADER: dict[str, Any] = {"SessionID": bytes(range(8)), "TimeStamp": 5}
LOOP = {"DC_CableCheckRes": {"Header": HEADER, "ResponseCode": "OK", "EVSEProcessing": "Ongoing"}}
STOP = {"SessionStopReq": {"Header": HEADER, "ChargingSession": "Pause"}}
OFFER = {
    "ProtocolNamespace": "urn:din:70121:2012:MsgDef",
    "VersionNumberMajor": 2,
    "VersionNumberMinor": 0,
    "SchemaID": 7,
    "Priority": 1,
}
DIN_STOP = {"V2G_Message": {"Header": {"SessionID": bytes(8)}, "Body": {"SessionStopReq": {}}}}


def run(*arguments: str, text: str = "") -> Result:
    return CliRunner().invoke(exi_group, arguments, input=text, standalone_mode=False)


def v2gtp(payload_type: int, payload: bytes) -> bytes:
    return struct.pack(">BBHI", 1, 0xFE, payload_type, len(payload)) + payload


@pytest.mark.parametrize("spell", [bytes.hex, lambda b: b.hex(" "), lambda b: base64.b64encode(b).decode()])
def test_hex_and_base64_are_decoded_to_json(spell: Any) -> None:
    result = run("decode", "--schema", "v20_dc", spell(exi.encode(SchemaSet.V20_DC, LOOP)))
    assert result.return_value == 0
    shown = json.loads(result.stdout)
    assert shown["DC_CableCheckRes"]["Header"] == {"SessionID": "0001020304050607", "TimeStamp": 5}


def test_the_payload_type_names_the_schema_set() -> None:
    data = v2gtp(0x8004, exi.encode(SchemaSet.V20_DC, LOOP)) + v2gtp(0x8002, exi.encode(SchemaSet.V20_COMMON, STOP))
    result = run("decode", text=data.hex())
    assert result.return_value == 0
    assert "payload type 0x8004: v20_dc" in result.stdout and "payload type 0x8002: v20_common" in result.stdout


@pytest.mark.parametrize("form", ["json", "xml"])
def test_what_decode_prints_encode_reads(form: str, tmp_path: Path) -> None:
    data = exi.encode(SchemaSet.V20_DC, LOOP)
    text = run("decode", "--schema", "v20_dc", "--format", form, data.hex()).stdout
    file = tmp_path / "message"
    file.write_text(text)
    options = ["--schema", "v20_dc"] if form == "json" else []  # XML says it by its namespace
    assert run("encode", *options, str(file)).stdout.strip() == data.hex()
    assert run("encode", *options, "--format", "base64", text=text).stdout.strip() == base64.b64encode(data).decode()
    assert run("encode", *options, "--format", "raw", text=text).stdout_bytes == data


def test_a_fragment_is_decoded_and_encoded() -> None:
    data = exi.encode_fragment(SchemaSet.V2, {"eMAID": {"@Id": "i", "#text": "DE8AA1A2B3C4D5"}})
    text = run("decode", "--schema", "v2", "--fragment", data.hex()).stdout
    assert json.loads(text) == {"eMAID": {"@Id": "i", "#text": "DE8AA1A2B3C4D5"}}
    assert run("encode", "--schema", "v2", "--fragment", text=text).stdout.strip() == data.hex()


@pytest.mark.parametrize(
    ("arguments", "text", "line"),
    [
        (["decode", "--schema", "sap", "zz"], "", "neither hex nor base64"),
        (["decode", "01fe800400000010"], "", "V2GTP message is not complete"),
        (["decode", "--schema", "v20_dc", "8030"], "", "the message ends here"),
        (["decode", "--pcap", "/nowhere.pcap"], "", "/nowhere.pcap: No such file"),
        (["encode", "--schema", "sap"], "{", "neither XML nor JSON"),
        (["encode", "--schema", "sap"], "[]", "exactly one key"),
        (["encode", "--schema", "sap"], '{"x": {}}', "unknown root element 'x'"),
        (["encode"], "<a", "no well-formed XML"),
        (["encode"], '<a xmlns="urn:x"/>', "no schema set has the namespace 'urn:x'"),
        (["encode", "--schema", "sap"], '<a xmlns="urn:x"/>', "unknown root element"),
    ],
)
def test_bad_input_gets_one_line_and_exit_code_2(arguments: list[str], text: str, line: str) -> None:
    result = run(*arguments, text=text)
    assert result.return_value == 2
    assert line in result.stderr and len(result.stderr.splitlines()) == 1


def test_a_schema_set_that_nothing_names_is_a_usage_error() -> None:
    command = [sys.executable, "-m", "edge.iso15118.exi_cli", "decode", "8030"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 64 and "give --schema" in done.stderr


def test_edgectl_has_the_commands_and_their_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert edgectl(["exi", "decode", "--schema", "v20_dc", exi.encode(SchemaSet.V20_DC, LOOP).hex()]) == 0
    assert '"EVSEProcessing": "Ongoing"' in capsys.readouterr().out
    assert edgectl(["exi", "decode", "--schema", "v20_dc", "00"]) == 2


# captures


def ethernet(sequence: int, payload: bytes, flags: int = 0x18, port: int = 50000, back: bool = False) -> bytes:
    """A TCP segment over IPv6 between a vehicle (port 50000) and a station."""
    ports = (port, 61000)[:: -1 if back else 1]
    tcp = struct.pack(">HHIIBBHHH", *ports, sequence % 2**32, 0, 5 << 4, flags, 1000, 0, 0) + payload
    ends = (b"\xfe\x80" + bytes(13) + b"\x01", b"\xfe\x80" + bytes(13) + b"\x02")[:: -1 if back else 1]
    ip = struct.pack(">IHBB", 6 << 28, len(tcp), 6, 64) + b"".join(ends)
    return bytes(12) + b"\x86\xdd" + ip + tcp


def pcap(frames: list[bytes]) -> bytes:
    rows = b"".join(struct.pack("<IIII", 1_700_000_000 + i, 500_000, len(f), len(f)) + f for i, f in enumerate(frames))
    return struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + rows


def pcapng(frames: list[bytes]) -> bytes:
    def block(kind: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 4)
        return struct.pack("<II", kind, len(body) + 12) + body + struct.pack("<I", len(body) + 12)

    made = block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)) + block(1, struct.pack("<HHI", 1, 0, 0))
    for i, f in enumerate(frames):
        stamp = (1_700_000_000 + i) * 1_000_000
        made += block(6, struct.pack("<IIIII", 0, stamp >> 32, stamp & 0xFFFFFFFF, len(f), len(f)) + f)
    return made


def session() -> list[bytes]:
    """SAP handshake for DIN, then SessionStopReq in three segments, out of order, one of them twice."""
    request = v2gtp(0x8001, exi.encode(SchemaSet.SAP, {"supportedAppProtocolReq": {"AppProtocol": [OFFER]}}))
    answer = {"supportedAppProtocolRes": {"ResponseCode": "OK_SuccessfulNegotiation", "SchemaID": 7}}
    stop = v2gtp(0x8001, exi.encode(SchemaSet.DIN, DIN_STOP))
    first = 2**32 - 5
    after = first + 1 + len(request)
    return [
        ethernet(first, b"", flags=2),
        ethernet(first + 1, request),
        ethernet(1, v2gtp(0x8001, exi.encode(SchemaSet.SAP, answer)), back=True),
        ethernet(after, stop[:3]),
        ethernet(after + 9, stop[9:]),
        ethernet(after, stop[:3]),
        ethernet(after + 3, stop[3:9]),
        bytes(60),  # something else on the wire
    ]


@pytest.mark.parametrize("form", [pcap, pcapng])
def test_a_capture_shows_the_whole_session(form: Any, tmp_path: Path) -> None:
    file = tmp_path / "session.pcap"
    file.write_bytes(form(session()))
    result = run("decode", "--pcap", str(file))
    assert result.return_value == 0, result.stderr
    heads = [line for line in result.stdout.splitlines() if line.startswith("#")]
    assert [head.rsplit(" ", 1)[1] for head in heads] == ["sap", "sap", "din"]
    assert "fe80::1 50000 > fe80::2 61000" in heads[0] and heads[0].startswith("# 2023-11-14T22:13:2")
    assert '"SessionStopReq": {}' in result.stdout


def test_a_capture_cut_anywhere_is_read_as_far_as_it_goes_or_refused(tmp_path: Path) -> None:
    file = tmp_path / "cut.pcap"
    for form in (pcap, pcapng):
        whole = form(session())
        for length in range(0, len(whole), 7):
            file.write_bytes(whole[:length])
            try:
                assert len(list(v2gtp_messages(file))) <= 3
            except CaptureError as error:
                assert str(file) in str(error)
