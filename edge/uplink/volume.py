"""How much the uplink really sends: the kernel's own count of bytes and segments of its connection, over days.

Nothing is estimated but the headers of a segment; TLS records, handshakes and repeated segments are all in the kernel's count.
"""

from __future__ import annotations

import socket
import struct
from collections import deque
from dataclasses import dataclass

SEGMENT_HEADER_BYTES = 52
"""IPv4 20, TCP 20, its timestamps 12; with IPv6 20 more."""

WINDOW_NS = 3_600_000_000_000
"""The rate is that of the last hour."""

MIN_WINDOW_NS = 60_000_000_000
"""Nothing is said about a shorter time."""

_DAY_NS = 86_400_000_000_000

# struct tcp_info of linux/tcp.h since Linux 4.19: a 32-bit and two 64-bit counters at fixed places
_SEGMENTS_OUT, _BYTES_SENT, _BYTES_AGAIN = (136, "=I"), (200, "=Q"), (208, "=Q")
_TCP_INFO_BYTES = 216


@dataclass(frozen=True, slots=True)
class Sent:
    """What one or more connections have sent."""

    wire_bytes: int = 0
    """Payload, repeats and headers."""
    payload_bytes: int = 0
    again_bytes: int = 0
    """Of the payload, what had to be sent more than once."""

    def __add__(self, other: Sent) -> Sent:
        return Sent(
            self.wire_bytes + other.wire_bytes, self.payload_bytes + other.payload_bytes, self.again_bytes + other.again_bytes
        )


def sent_by(sock: socket.socket) -> Sent:
    """The kernel's count for a TCP connection; nothing for one that is closed."""
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    except OSError:
        return Sent()
    if len(info) < _TCP_INFO_BYTES:
        return Sent()

    def field(place: tuple[int, str]) -> int:
        value: int = struct.unpack_from(place[1], info, place[0])[0]
        return value

    sent = field(_BYTES_SENT)
    return Sent(sent + field(_SEGMENTS_OUT) * SEGMENT_HEADER_BYTES, sent, field(_BYTES_AGAIN))


class VolumeMeter:
    """Rate and loss over the last hour, from counts that only rise. `take` is called about every 10 s."""

    def __init__(self) -> None:
        self._counts: deque[tuple[int, Sent]] = deque()

    def take(self, now_ns: int, sent: Sent) -> None:
        self._counts.append((now_ns, sent))
        while now_ns - self._counts[0][0] > WINDOW_NS:
            self._counts.popleft()

    @property
    def mb_per_day(self) -> float | None:
        """What would be sent in a day at the rate of the last hour, MB; None in the first minute."""
        if not self._counts:
            return None
        (began_ns, first), (now_ns, last) = self._counts[0], self._counts[-1]
        if now_ns - began_ns < MIN_WINDOW_NS:
            return None
        return (last.wire_bytes - first.wire_bytes) / (now_ns - began_ns) * _DAY_NS / 1e6

    @property
    def loss(self) -> float | None:
        """Share of the payload of the last hour that had to be sent again, 0 to 1; None: nothing was sent."""
        if not self._counts:
            return None
        first, last = self._counts[0][1], self._counts[-1][1]
        sent = last.payload_bytes - first.payload_bytes
        return (last.again_bytes - first.again_bytes) / sent if sent > 0 else None
