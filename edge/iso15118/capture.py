"""V2GTP messages out of packet captures (pcap and pcapng), for people who look at a session afterwards.

Reads Ethernet, raw IP and Linux "cooked" captures, IPv4 and IPv6, and puts TCP segments in order. A session under TLS shows
nothing here: capture it decrypted, or at the vehicle's or the station's own log.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

V2GTP_HEADER = struct.Struct(">BBHI")
V2GTP_VERSION = (0x01, 0xFE)
MAX_PAYLOAD = 1 << 20

_TCP = 6
_IPV6_EXTENSIONS = {0, 43, 60}  # hop-by-hop, routing, destination options
_LINK_OFFSETS = {1: 12, 101: None, 113: 14, 276: 0}  # linktype → offset of the EtherType
_LINK_HEADERS = {1: 14, 101: 0, 113: 16, 276: 20}


class CaptureError(ValueError):
    """A file that is no capture, or not one that can be read; the message names it."""


@dataclass(frozen=True, slots=True)
class V2gtpMessage:
    """One V2GTP message. time_s: Unix time; source, destination: "address port"."""

    time_s: float
    source: str
    destination: str
    payload_type: int
    payload: bytes


@dataclass(slots=True)
class _Flow:
    """One direction of a TCP connection: what arrived out of order, and what no message has used up."""

    next_sequence: int | None = None
    waiting: dict[int, bytes] = field(default_factory=dict)
    data: bytearray = field(default_factory=bytearray)


def v2gtp_messages(path: Path) -> Iterator[V2gtpMessage]:
    """Every V2GTP message over TCP, in the order in which it was complete. Raises CaptureError."""
    flows: dict[tuple[bytes, bytes, int, int], _Flow] = {}
    for time_s, link, frame in _frames(path):
        segment = _tcp_segment(link, frame)
        if segment is None:
            continue
        source, destination, ports, sequence, syn, payload = segment
        flow = flows.setdefault((source, destination, *ports), _Flow())
        if syn:
            flow.next_sequence, flow.data = (sequence + 1) % 2**32, bytearray()
            continue
        _accept(flow, sequence, payload)
        for payload_type, body in _split(flow.data):
            sender, receiver = f"{ip_address(source)} {ports[0]}", f"{ip_address(destination)} {ports[1]}"
            yield V2gtpMessage(time_s, sender, receiver, payload_type, body)


def split(data: bytes) -> list[tuple[int, bytes]]:
    """(payload type, payload) of V2GTP messages one after the other; whatever is no V2GTP ends the list."""
    return list(_split(bytearray(data)))


def _split(data: bytearray) -> Iterator[tuple[int, bytes]]:
    """Takes whole messages off the front; octets that start no message are dropped."""
    while len(data) >= V2GTP_HEADER.size:
        version, inverse, payload_type, length = V2GTP_HEADER.unpack_from(data)
        if (version, inverse) != V2GTP_VERSION or length > MAX_PAYLOAD:
            data.clear()
            return
        end = V2GTP_HEADER.size + length
        if len(data) < end:
            return
        body = bytes(data[V2GTP_HEADER.size : end])
        del data[:end]
        yield payload_type, body


def _accept(flow: _Flow, sequence: int, payload: bytes) -> None:
    """Adds a segment; repeats are cut, gaps wait."""
    if not payload:
        return
    if flow.next_sequence is None:
        flow.next_sequence = sequence
    flow.waiting[sequence] = payload
    progress = True
    while progress:
        progress = False
        for start, octets in list(flow.waiting.items()):
            known = (flow.next_sequence - start) % 2**32
            if known >= 2**31:
                continue  # ahead of the gap
            del flow.waiting[start]
            flow.data += octets[known:]
            flow.next_sequence = (flow.next_sequence + max(len(octets) - known, 0)) % 2**32
            progress = True


def _tcp_segment(link: int, frame: bytes) -> tuple[bytes, bytes, tuple[int, int], int, bool, bytes] | None:
    """Source, destination, ports, sequence, SYN, payload of a frame; None when it is something else."""
    packet = _ip_packet(link, frame)
    try:
        source, destination, protocol, body = _ipv6(packet) if packet[:1] and packet[0] >> 4 == 6 else _ipv4(packet)
        if protocol != _TCP:
            return None
        source_port, destination_port, sequence, _, offset, flags = struct.unpack_from(">HHIIBB", body)
    except (struct.error, IndexError):
        return None
    return source, destination, (source_port, destination_port), sequence, bool(flags & 2), body[4 * (offset >> 4) :]


def _ip_packet(link: int, frame: bytes) -> bytes:
    offset, header = _LINK_OFFSETS[link], _LINK_HEADERS[link]
    if link == 1 and frame[12:14] == b"\x81\x00":  # VLAN tag
        header += 4
        offset = 16
    if offset is not None and frame[offset : offset + 2] not in (b"\x08\x00", b"\x86\xdd"):
        return b""
    return frame[header:]


def _ipv4(packet: bytes) -> tuple[bytes, bytes, int, bytes]:
    length = struct.unpack_from(">H", packet, 2)[0]
    return packet[12:16], packet[16:20], packet[9], packet[4 * (packet[0] & 15) : length]


def _ipv6(packet: bytes) -> tuple[bytes, bytes, int, bytes]:
    length, protocol = struct.unpack_from(">HB", packet, 4)
    body = packet[40 : 40 + length]
    while protocol in _IPV6_EXTENSIONS:
        protocol, body = body[0], body[8 * (body[1] + 1) :]
    return packet[8:24], packet[24:40], protocol, body


def _frames(path: Path) -> Iterator[tuple[float, int, bytes]]:
    """(time, linktype, frame) of a capture file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CaptureError(f"{path}: {error.strerror}") from None
    magic = data[:4]
    if magic == b"\x0a\x0d\x0d\x0a":
        frames = _pcapng(data)
    elif magic in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1", b"\xa1\xb2\xc3\xd4", b"\xa1\xb2\x3c\x4d"):
        frames = _pcap(data)
    else:
        raise CaptureError(f"{path} is neither pcap nor pcapng")
    try:
        for time_s, link, frame in frames:
            if link not in _LINK_HEADERS:
                raise CaptureError(f"{path}: link type {link} is not supported (Ethernet, raw IP and Linux cooked are)")
            yield time_s, link, frame
    except struct.error:
        raise CaptureError(f"{path} ends in the middle of a packet") from None


def _pcap(data: bytes) -> Iterator[tuple[float, int, bytes]]:
    order = "<" if data[0] in (0xD4, 0x4D) else ">"
    fraction = 1e-9 if data[:4] in (b"\x4d\x3c\xb2\xa1", b"\xa1\xb2\x3c\x4d") else 1e-6
    link = struct.unpack_from(order + "I", data, 20)[0] & 0xFFFF
    position = 24
    while position < len(data):
        seconds, parts, length, _ = struct.unpack_from(order + "IIII", data, position)
        position += 16
        yield seconds + parts * fraction, link, data[position : position + length]
        position += length


def _pcapng(data: bytes) -> Iterator[tuple[float, int, bytes]]:
    position, order = 0, "<"
    interfaces: list[tuple[int, float]] = []
    while position < len(data):
        if data[position : position + 4] == b"\x0a\x0d\x0d\x0a":
            order = "<" if data[position + 8 : position + 12] == b"\x4d\x3c\x2b\x1a" else ">"
            interfaces = []
        kind, length = struct.unpack_from(order + "II", data, position)
        if length < 12:
            raise struct.error
        body = data[position + 8 : position + length - 4]
        if kind == 1:  # interface description
            interfaces.append((struct.unpack_from(order + "H", body)[0], _resolution_s(body, order)))
        elif kind == 6:  # enhanced packet
            number, high, low, captured = struct.unpack_from(order + "IIII", body)
            if number >= len(interfaces):
                raise struct.error
            link, resolution_s = interfaces[number]
            yield ((high << 32) + low) * resolution_s, link, body[20 : 20 + captured]
        position += length


def _resolution_s(body: bytes, order: str) -> float:
    """The unit of an interface's time stamps: option 9, else a microsecond."""
    position = 8
    while position + 4 <= len(body):
        code, length = struct.unpack_from(order + "HH", body, position)
        if code == 9 and length == 1:
            exponent = body[position + 4]
            return float(2.0 ** -(exponent & 127) if exponent & 128 else 10.0**-exponent)
        if code == 0:
            break
        position += 4 + (length + 3) // 4 * 4
    return 1e-6
