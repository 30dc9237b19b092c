"""A SunSpec device made by another implementation: pysunspec2 packs the models from its own copy of their definitions."""

from __future__ import annotations

import struct

from sunspec2.device import Model

METER = {"A_SF": -2, "V_SF": -1, "Hz_SF": -2, "W_SF": 1, "TotWh_SF": 0, "W": -1234, "WphA": 500, "AphA": 1550, "PhVphA": 2301}
METER |= {"Hz": 4998, "TotWhExp": 70_000, "TotWhImp": 123_456}


def model(number: int, values: dict[str, float], **counts: int) -> list[int]:
    """The registers of one model with these raw values; all others say "not implemented"."""
    made = Model(model_id=number, **counts)
    for name, value in values.items():
        made.points[name].value = value
    return _words(made.get_mb())


def _words(data: bytes) -> list[int]:
    words = list(struct.unpack(f">{len(data) // 2}H", data))
    words[1] = len(words) - 2
    return words


def common() -> list[int]:
    return model(1, {"Mn": "ACME", "Md": "V2G 11", "Vr": "1.2", "SN": "4711"})


def ports() -> list[int]:
    """Model 714 with a PV port and an EV port that is on."""
    empty = [714, 68, 0, 0, 2, *[0] * 65]
    made = Model(model_id=714, data=struct.pack(">70H", *empty))
    pv, ev = made.groups["Prt"]
    pv.points["PrtTyp"].value = 0
    ev.points["PrtTyp"].value, ev.points["DCSta"].value = 2, 1
    return _words(made.get_mb())


def function(number: int, on: bool) -> list[int]:
    """A grid function of 705 to 712: its curves are of no interest here, only whether it is on."""
    return [number, 20, int(on), *[0] * 19]


def charger() -> list[list[int]]:
    return [
        common(),
        model(701, {"W": -3700, "W_SF": 0, "A_SF": -1, "AL1": -53, "AL2": -54, "AL3": -53, "TmpSnk": 412, "Tmp_SF": -1}),
        model(702, {"WChaRteMax": 1100, "WDisChaRteMax": 1000, "W_SF": 1}),
        model(704, {"WSetMod": 1, "WSetEnaRvrt": 1, "WSet_SF": 0}),
        function(709, True),
        model(713, {"WHRtg": 600, "SoC": 557, "WH_SF": 2, "Pct_SF": -1}),
        ports(),
        model(715, {"LocRemCtl": 0}),
    ]


def memory(base: int, models: list[list[int]]) -> dict[int, int]:
    """Address → register: marker, models, end."""
    words = [0x5375, 0x6E53, *(word for each in models for word in each), 0xFFFF, 0]
    return {base + i: word for i, word in enumerate(words)}
