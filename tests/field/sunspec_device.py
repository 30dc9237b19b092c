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
    """A grid function without figures (705, 706, 712): of interest is only whether it is on."""
    return [number, 20, int(on), *[0] * 19]


ENTER = {"ES": 1, "ESVHi": 10500, "ESVLo": 9170, "ESHzHi": 6010, "ESHzLo": 5950, "ESDlyTms": 300, "ESRndTms": 0}
ENTER |= {"ESRmpTms": 300, "V_SF": -2, "Hz_SF": -2}


def enter_service(**changed: int) -> list[int]:
    """Model 703 as IEEE 1547-2018 has it by default."""
    return model(703, ENTER | changed)


def trip(number: int, stages: list[tuple[int, int]], on: bool = True) -> list[int]:
    """A trip model with two curves of these must-trip points: 0.1 % or 0.01 Hz, and 0.01 s."""
    what = "V" if number in (707, 708) else "Hz"
    curve = 1 + 3 * (1 + len(stages) * (3 if what == "V" else 4))
    head = [number, 7 + 2 * curve, int(on), 0, 1, len(stages), 2]
    made = Model(model_id=number, data=struct.pack(f">{9 + 2 * curve}H", *head, *[0] * (2 + 2 * curve)))
    made.points[f"{what}_SF"].value, made.points["Tms_SF"].value = (-1 if what == "V" else -2), -2
    must = made.groups["Crv"][0].groups["MustTrip"]
    must.points["ActPt"].value = len(stages)
    for point, (limit, hundredths) in zip(must.groups["Pt"], stages, strict=True):
        point.points[what].value, point.points["Tms"].value = limit, hundredths
    return _words(made.get_mb())


def droop(**changed: int) -> list[int]:
    """Model 711: 36 mHz, 5 %, 5 s."""
    made = Model(model_id=711, data=struct.pack(">24H", 711, 22, 1, 0, 1, 1, *[0] * 18))
    values = {"DbOf": 36, "DbUf": 36, "KOf": 50, "KUf": 50, "RspTms": 50} | changed
    for name, value in values.items():
        made.groups["Ctl"][0].points[name].value = value
    made.points["Db_SF"].value, made.points["K_SF"].value, made.points["RspTms_SF"].value = -3, -3, -1
    return _words(made.get_mb())


def ieee1547_cat2() -> list[list[int]]:
    """Everything that category II wants, as it wants it."""
    return [
        enter_service(),
        trip(707, [(450, 16), (700, 1000)]),
        trip(708, [(1200, 16), (1100, 200)]),
        trip(709, [(5650, 16), (5850, 30_000)]),
        trip(710, [(6200, 16), (6120, 30_000)]),
        droop(),
    ]


def charger() -> list[list[int]]:
    return [
        common(),
        model(701, {"W": -3700, "W_SF": 0, "A_SF": -1, "AL1": -53, "AL2": -54, "AL3": -53, "TmpSnk": 412, "Tmp_SF": -1}),
        model(702, {"WChaRteMax": 1100, "WDisChaRteMax": 1000, "W_SF": 1}),
        enter_service(),
        model(704, {"WSetMod": 1, "WSetEnaRvrt": 1, "WSet_SF": 0}),
        trip(709, [(5650, 16), (5850, 30_000)]),
        model(713, {"WHRtg": 600, "SoC": 557, "WH_SF": 2, "Pct_SF": -1}),
        ports(),
        model(715, {"LocRemCtl": 0}),
    ]


def memory(base: int, models: list[list[int]]) -> dict[int, int]:
    """Address → register: marker, models, end."""
    words = [0x5375, 0x6E53, *(word for each in models for word in each), 0xFFFF, 0]
    return {base + i: word for i, word in enumerate(words)}
