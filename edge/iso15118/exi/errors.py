"""The one error of the codec."""

from __future__ import annotations


class ExiError(ValueError):
    """A message that can't be encoded or decoded.

    path: the elements down to the fault, "DC_ChargeLoopReq/Header/SessionID" ("" outside of any element).
    bit: position in the EXI stream where the faulty item starts, -1 when encoding. reason: what is wrong, with value and limit.
    """

    def __init__(self, path: str, bit: int, reason: str) -> None:
        self.path, self.bit, self.reason = path, bit, reason
        place = [part for part in (path, f"bit {bit}" if bit >= 0 else "") if part]
        super().__init__(f"EXI {', '.join(place)}: {reason}" if place else f"EXI: {reason}")
