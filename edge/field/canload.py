"""How much of a CAN bus's time its frames take, with worst-case stuffing."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from edge.field.canmap import CanNode, RxMessage, TxMessage

MAX_BUS_LOAD_PERMILLE = 700
"""contracts.md section 3: more than 70 % is refused."""


def frame_bits(length: int, extended: bool) -> int:
    """Bits of a classic CAN frame with worst-case stuffing and the pause after it.

    Source: Davis, Burns, Bril, Lukkien, "Controller Area Network (CAN) schedulability analysis", Real-Time Systems 35, 2007,
    equation 1: g + 8s + 13 + ⌊(g + 8s − 1) ÷ 4⌋ with g = 34 (11-bit identifier) or 54 (29-bit).
    """
    stuffed = (54 if extended else 34) + 8 * length
    return stuffed + 13 + (stuffed - 1) // 4


def fd_frame_bits(length: int, extended: bool) -> tuple[int, int]:
    """Bits of a CAN FD frame with worst-case stuffing: those sent at the nominal and those sent at the data bit rate.

    Fields of ISO 11898-1:2015: start, identifier, RRS (SRR, IDE), FDF, res, BRS; ESI, DLC, data; stuff count,
    CRC of 17 or 21 bits with fixed stuff bits; delimiter, acknowledgement, end, pause.
    """
    arbitration = 36 if extended else 17
    payload = 1 + 4 + 8 * length
    check = 4 + (17 + 6 if length <= 16 else 21 + 7)
    return arbitration + arbitration // 4 + 13, payload + payload // 4 + check


def frame_time_s(message: RxMessage | TxMessage, bitrate: int, data_bitrate: int) -> Fraction:
    """How long a frame occupies the wire at worst."""
    if not message.fd:
        return Fraction(frame_bits(message.length, message.extended), bitrate)
    nominal, data = fd_frame_bits(message.length, message.extended)
    return Fraction(nominal, bitrate) + Fraction(data, data_bitrate)


def bus_load_permille(nodes: Iterable[CanNode], bitrate: int, data_bitrate: int | None = None) -> int:
    """Share of a bus's time that all frames of these nodes take at their periods, in ‰, rounded up. `data_bitrate`: of the data
    phase of CAN FD frames; None: as `bitrate`."""
    load = Fraction(0)
    for node in nodes:
        messages: tuple[RxMessage | TxMessage, ...] = (*node.rx, *node.tx)
        for message in messages:
            load += frame_time_s(message, bitrate, data_bitrate or bitrate) * 10**12 / message.period_ns
    return -(-load.numerator // load.denominator)
