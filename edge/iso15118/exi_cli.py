"""`edgectl exi`: messages of a charging session for people. Needs no gateway; also `python -m edge.iso15118.exi_cli`."""

from __future__ import annotations

import base64
import binascii
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from edge.iso15118.exi import ExiError, SchemaSet, decode, decode_fragment, encode, encode_fragment

EXIT_FAULT, EXIT_USAGE = 2, 64
_KEYS = [schema.key for schema in SchemaSet]

# Payload type → schema sets that may be meant, the likeliest first (ISO 15118-20 table of V2GTP payload types).
_BY_PAYLOAD_TYPE = {
    0x8001: (SchemaSet.SAP, SchemaSet.V2, SchemaSet.DIN),
    0x8002: (SchemaSet.V20_COMMON,),
    0x8003: (SchemaSet.V20_AC,),
    0x8004: (SchemaSet.V20_DC,),
    0x8101: (SchemaSet.V20_COMMON,),
    0x8102: (SchemaSet.V20_COMMON,),
}


@dataclass(frozen=True, slots=True)
class _Found:
    """A payload to decode: where it comes from, and which schema sets to try."""

    place: str
    data: bytes
    candidates: tuple[SchemaSet, ...]


class _Fault(Exception):
    """Input that can't be used; its text is the one line that the user sees."""


@click.group("exi")
def exi_group() -> None:
    """Read and write EXI messages of ISO 15118-20, ISO 15118-2 and DIN 70121."""


schema_option = click.option(
    "--schema", type=click.Choice(_KEYS), help="Schema set; found out by itself where the input says it."
)
fragment_option = click.option("--fragment", is_flag=True, help="A signed element instead of a whole message.")


@exi_group.command("decode")
@click.argument("text", nargs=-1)
@click.option("--pcap", type=click.Path(path_type=Path), help="Every V2GTP message of a pcap or pcapng file.")
@schema_option
@fragment_option
@click.option("--strict", is_flag=True, help="Refuse what only careless peers write.")
@click.option("--format", "form", type=click.Choice(["json", "xml"]), default="json", show_default=True)
def decode_command(
    text: tuple[str, ...], pcap: Path | None, schema: str | None, fragment: bool, strict: bool, form: str
) -> int:
    """EXI as hex or base64, with or without V2GTP header (TEXT, else standard input), to JSON or XML."""
    given = SchemaSet[schema.upper()] if schema else None
    code = 0
    try:
        for found in _capture(pcap, given) if pcap else _typed(" ".join(text) or sys.stdin.read(), given):
            try:
                schema_set, document = _decoded(found, fragment, strict)
            except ExiError as error:
                click.echo(f"{found.place}{error}", err=True)
                code = EXIT_FAULT
                continue
            if found.place:
                click.echo(f"# {found.place}{schema_set.key}")
            click.echo(_shown(schema_set, document, fragment, form))
    except _Fault as error:
        click.echo(f"exi: {error}", err=True)
        return EXIT_FAULT
    return code


@exi_group.command("encode")
@click.argument("source", type=click.File("rb"), default="-")
@schema_option
@fragment_option
@click.option("--format", "form", type=click.Choice(["hex", "base64", "raw"]), default="hex", show_default=True)
def encode_command(source: Any, schema: str | None, fragment: bool, form: str) -> int:
    """JSON or XML (SOURCE, else standard input) to EXI. XML names its schema set, JSON needs --schema."""
    text = source.read()
    try:
        schema_set, document = _parsed(text, SchemaSet[schema.upper()] if schema else None, fragment)
        data = encode_fragment(schema_set, document) if fragment else encode(schema_set, document)
    except (ExiError, _Fault) as error:
        click.echo(f"exi: {error}", err=True)
        return EXIT_FAULT
    if form == "raw":
        sys.stdout.buffer.write(data)
    else:
        click.echo(data.hex() if form == "hex" else base64.b64encode(data).decode())
    return 0


def _typed(text: str, schema: SchemaSet | None) -> Iterator[_Found]:
    """What somebody typed or piped: one message, or V2GTP messages one after the other."""
    from edge.iso15118.capture import V2GTP_VERSION, split

    data = _octets(text)
    if tuple(data[:2]) != V2GTP_VERSION:
        if schema is None:
            raise click.UsageError("without V2GTP header the schema set is unknown: give --schema")
        yield _Found("", data, (schema,))
        return
    messages = split(data)
    if not messages:
        raise _Fault("the V2GTP message is not complete")
    for number, (payload_type, payload) in enumerate(messages, 1):
        place = f"message {number}, payload type {payload_type:#06x}: " if len(messages) > 1 else ""
        yield _Found(place, payload, _candidates(payload_type, schema))


def _octets(text: str) -> bytes:
    """Hex with any separators ("80 98", "0x80:98"), else base64."""
    packed = re.sub(r"0x|[\s:,]", "", text)
    try:
        return bytes.fromhex(packed)
    except ValueError:
        pass
    try:
        return base64.b64decode(packed, validate=True)
    except (ValueError, binascii.Error):
        raise _Fault("the input is neither hex nor base64") from None


def _candidates(payload_type: int, schema: SchemaSet | None) -> tuple[SchemaSet, ...]:
    return (schema,) if schema is not None else _BY_PAYLOAD_TYPE.get(payload_type, ())


def _capture(path: Path, schema: SchemaSet | None) -> Iterator[_Found]:
    """All messages of a capture; the handshake of each connection says what payload type 0x8001 means after it."""
    from edge.iso15118.capture import CaptureError, v2gtp_messages

    chosen: dict[frozenset[str], _Handshake] = {}
    try:
        for message in v2gtp_messages(path):
            handshake = chosen.setdefault(frozenset((message.source, message.destination)), _Handshake())
            candidates = _candidates(message.payload_type, schema)
            if message.payload_type == 0x8001 and schema is None:
                candidates = handshake.candidates()
                handshake.see(message.payload)
            if not candidates:
                continue  # SDP and private types carry no EXI
            when = datetime.fromtimestamp(message.time_s, UTC).isoformat(timespec="milliseconds")
            yield _Found(f"{when} {message.source} > {message.destination}: ", message.payload, candidates)
    except CaptureError as error:
        raise _Fault(str(error)) from None


class _Handshake:
    """The SAP request and answer of one connection."""

    def __init__(self) -> None:
        self.offered: dict[int, str] = {}
        self.schema: SchemaSet | None = None

    def candidates(self) -> tuple[SchemaSet, ...]:
        return (self.schema,) if self.schema is not None else _BY_PAYLOAD_TYPE[0x8001]

    def see(self, payload: bytes) -> None:
        """Learns from a payload when it is part of the handshake."""
        if self.schema is not None:
            return
        try:
            message = decode(SchemaSet.SAP, payload)
            if request := message.get("supportedAppProtocolReq"):
                self.offered = {entry["SchemaID"]: entry["ProtocolNamespace"] for entry in request["AppProtocol"]}
            elif answer := message.get("supportedAppProtocolRes"):
                self.schema = SchemaSet.of_namespace(self.offered.get(answer.get("SchemaID", -1), ""))
        except ExiError:
            return


def _decoded(found: _Found, fragment: bool, strict: bool) -> tuple[SchemaSet, dict[str, Any]]:
    """The first schema set that fits; the error of the likeliest one when none does."""
    first: ExiError | None = None
    for schema_set in found.candidates:
        try:
            return schema_set, (decode_fragment if fragment else decode)(schema_set, found.data, strict=strict)
        except ExiError as error:
            first = first or error
    raise first or ExiError("", -1, "this payload type carries no EXI message")


def _shown(schema_set: SchemaSet, document: dict[str, Any], fragment: bool, form: str) -> str:
    from edge.iso15118.grammar import load

    schema = load(schema_set.key)
    if form == "xml":
        from lxml import etree

        from edge.iso15118.exi.xml import to_xml

        return str(etree.tostring(to_xml(schema, document, fragment), pretty_print=True, encoding="unicode")).rstrip()
    from edge.iso15118.exi.jsonform import to_json

    return json.dumps(to_json(schema, document, fragment), indent=2, ensure_ascii=False)


def _parsed(text: bytes, schema_set: SchemaSet | None, fragment: bool) -> tuple[SchemaSet, dict[str, Any]]:
    """The message in JSON or XML. Raises ExiError for content, click errors for what is neither."""
    from edge.iso15118.grammar import load

    if text.lstrip()[:1] == b"<":
        from lxml import etree

        from edge.iso15118.exi.xml import from_xml

        try:
            node = etree.fromstring(text, etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True))
        except etree.XMLSyntaxError as error:
            raise _Fault(f"no well-formed XML: {error.msg}") from None
        schema_set = schema_set if schema_set is not None else SchemaSet.of_namespace(etree.QName(node).namespace or "")
        return schema_set, from_xml(load(schema_set.key), node, fragment)
    from edge.iso15118.exi.jsonform import from_json

    if schema_set is None:
        raise click.UsageError("JSON doesn't name its schema set: give --schema")
    try:
        document = json.loads(text)
    except ValueError as error:
        raise _Fault(f"neither XML nor JSON: {error}") from None
    return schema_set, from_json(load(schema_set.key), document, fragment)


def main() -> int:
    """`python -m edge.iso15118.exi_cli`; the exit codes are those of edgectl."""
    try:
        return int(exi_group.main(prog_name="exi", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        return EXIT_USAGE


if __name__ == "__main__":
    sys.exit(main())
