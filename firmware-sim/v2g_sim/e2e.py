"""End-to-end protection of the generic EVSE's frames (contracts.md section 3): CRC in byte 0, counter in byte 1."""

from __future__ import annotations

COUNTER_MODULO = 15
"""The alive counter runs 0 to 14; 15 never occurs."""

_POLYNOMIAL = 0x1D


def _table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = ((crc << 1) ^ _POLYNOMIAL) & 0xFF if crc & 0x80 else crc << 1
        table.append(crc)
    return tuple(table)


_TABLE = _table()


def crc8_j1850(data: bytes) -> int:
    """SAE J1850 CRC-8: polynomial 0x1D, initial value 0xFF, final exclusive-or 0xFF. Of b"123456789": 0x4B."""
    crc = 0xFF
    for byte in data:
        crc = _TABLE[crc ^ byte]
    return crc ^ 0xFF


def frame_crc(can_id: int, data: bytes | bytearray) -> int:
    """CRC of a frame: over the id's low byte, its high byte, and bytes 1 to the end of `data`."""
    return crc8_j1850(bytes((can_id & 0xFF, can_id >> 8)) + bytes(data[1:]))
