"""How a CAN frame proves that it is intact (CRC) and new (counter): the plain reading of native/can/can_e2e.c."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

COUNTERS = 15
"""Alive counters run 0 to 14; those of E2E profile 2 to 15."""
LOST_MOST = 4
"""A counter may run ahead by at most so many: one to three frames lost (native/can/can_e2e.c)."""
LIST_LENGTH = 16


class Protection(StrEnum):
    """How a frame proves that it is intact and new: `enum v2g_can_e2e`."""

    PLAIN = "plain"
    PROTECTED = "sae-j1850"
    """Byte 0: SAE J1850 CRC-8 over identifier low byte, high byte, bytes 1 to the end; byte 1 low nibble: counter 0–14."""
    P01 = "autosar-p01"
    P02 = "autosar-p02"
    """AUTOSAR_PRS_E2EProtocol, profiles 1 and 2, with the CRC in byte 0 and the counter in byte 1 low nibble (1A, 1B, 1C)."""

    @property
    def counters(self) -> int:
        """The counter runs from 0 to this − 1."""
        return 16 if self is Protection.P02 else COUNTERS


class IdMode(StrEnum):
    """Profile 1: how the data identifier gets into the CRC: `enum v2g_can_id_mode`, in its order."""

    BOTH = "both"
    ALT = "alternating"
    LOW = "low"
    NIBBLE = "nibble"


@dataclass(frozen=True, slots=True)
class Proof:
    """How the frames of one message prove that they are intact and new."""

    protection: Protection = Protection.PLAIN
    id_mode: IdMode = IdMode.BOTH
    data_id: int = 0
    """Profile 1: the message's 16-bit data identifier."""
    data_list: tuple[int, ...] = ()
    """Profile 2: the data identifier of each counter."""


def crc_j1850(can_id: int, data: bytes) -> int:
    """SAE J1850 CRC-8 (polynomial 0x1D, initial value 0xFF, final 0xFF) over id low byte, id high byte, `data[1:]`."""
    return _crc(0x1D, 0xFF, bytes((can_id & 0xFF, (can_id >> 8) & 0xFF)) + data[1:]) ^ 0xFF


def crc_p01(proof: Proof, data: bytes) -> int:
    """E2E profile 1: CRC-8 0x1D from 0 over the data identifier as its mode says, then `data[1:]`."""
    low, high = proof.data_id & 0xFF, proof.data_id >> 8
    head = {
        IdMode.BOTH: (low, high),
        IdMode.ALT: (high if data[1] & 1 else low,),
        IdMode.LOW: (low,),
        IdMode.NIBBLE: (low, 0),
    }[proof.id_mode]
    return _crc(0x1D, 0, bytes(head) + data[1:])


def crc_p02(proof: Proof, data: bytes) -> int:
    """E2E profile 2: CRC-8 0x2F from 0xFF, inverted, over `data[1:]` and the identifier of its counter."""
    return _crc(0x2F, 0xFF, data[1:] + bytes((proof.data_list[data[1] & 0x0F],))) ^ 0xFF


def _crc(polynomial: int, crc: int, data: bytes) -> int:
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = ((crc << 1) ^ polynomial) & 0xFF if crc & 0x80 else crc << 1
    return crc


def protected(proof: Proof, can_id: int, data: bytes, counter: int) -> bytes:
    """The frame with counter and CRC in its first two bytes."""
    if proof.protection is Protection.PLAIN:
        return data
    frame = bytearray(data)
    upper = frame[1] & 0xF0
    if proof.protection is Protection.P01 and proof.id_mode is IdMode.NIBBLE:
        upper = proof.data_id >> 4 & 0xF0
    frame[1] = upper | counter % proof.protection.counters
    whole = bytes(frame)
    if proof.protection is Protection.P01:
        frame[0] = crc_p01(proof, whole)
    elif proof.protection is Protection.P02:
        frame[0] = crc_p02(proof, whole)
    else:
        frame[0] = crc_j1850(can_id, whole)
    return bytes(frame)
