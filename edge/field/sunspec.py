"""SunSpec: what a device that describes itself offers, found once at commissioning and written down as a plain profile.

Model identifiers, offsets and types are those of the SunSpec Information Model Reference as published in the repository
sunspec/models (JSON, Apache-2.0): models 1, 201–204, 211–214 (meters), 701–715 (DER, IEEE 1547-2018). Offsets count from the
model's ID register. A profile made here reads no scale factor again: those found are written into it, and `requires` names
their registers, so that `edgectl verify` finds a device that has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from edge.field.modbus_client import ModbusError

BASES = (40000, 50000, 0)
"""Where the marker may stand, in the order in which the specification wants them tried."""
MARKER = [0x5375, 0x6E53]
"""SunS."""
END = 0xFFFF
MAX_MODELS = 64
MAX_LENGTH = 4096
METERS_INT, METERS_FLOAT = (201, 202, 203, 204), (211, 212, 213, 214)
INT_METER_LENGTH, FLOAT_METER_LENGTH = 105, 124

Read = Callable[[int, int], list[int]]
"""(address, count) → holding registers."""


@dataclass(frozen=True, slots=True)
class Model:
    """One model in the device: its ID register's address, and how many registers follow the length."""

    id: int
    address: int
    length: int


@dataclass(frozen=True, slots=True)
class Point:
    """A signal of a model: `offset` from the model's ID, `sf` the offset of its scale factor (0: none)."""

    signal: str
    offset: int
    type: str
    unit: str
    sf: int = 0
    invalid: int | str = ""
    sign: int = 1


_NAN16, _NAN_U16, _NAN32 = 0x8000, 0xFFFF, "nan"

INT_METER = (
    Point("current_l1_a", 3, "int16", "A", 6, _NAN16),
    Point("current_l2_a", 4, "int16", "A", 6, _NAN16),
    Point("current_l3_a", 5, "int16", "A", 6, _NAN16),
    Point("voltage_l1_v", 8, "int16", "V", 15, _NAN16),
    Point("voltage_l2_v", 9, "int16", "V", 15, _NAN16),
    Point("voltage_l3_v", 10, "int16", "V", 15, _NAN16),
    Point("frequency_hz", 16, "int16", "Hz", 17, _NAN16),
    Point("power_w", 18, "int16", "W", 22, _NAN16),
    Point("power_l1_w", 19, "int16", "W", 22, _NAN16),
    Point("power_l2_w", 20, "int16", "W", 22, _NAN16),
    Point("power_l3_w", 21, "int16", "W", 22, _NAN16),
    Point("energy_export_wh", 38, "uint32", "Wh", 54, 0),
    Point("energy_import_wh", 46, "uint32", "Wh", 54, 0),
)
"""Models 201 to 204. An accumulator of 0 is "not there"."""

FLOAT_METER = (
    Point("current_l1_a", 4, "float32", "A", 0, _NAN32),
    Point("current_l2_a", 6, "float32", "A", 0, _NAN32),
    Point("current_l3_a", 8, "float32", "A", 0, _NAN32),
    Point("voltage_l1_v", 12, "float32", "V", 0, _NAN32),
    Point("voltage_l2_v", 14, "float32", "V", 0, _NAN32),
    Point("voltage_l3_v", 16, "float32", "V", 0, _NAN32),
    Point("frequency_hz", 26, "float32", "Hz", 0, _NAN32),
    Point("power_w", 28, "float32", "W", 0, _NAN32),
    Point("power_l1_w", 30, "float32", "W", 0, _NAN32),
    Point("power_l2_w", 32, "float32", "W", 0, _NAN32),
    Point("power_l3_w", 34, "float32", "W", 0, _NAN32),
    Point("energy_export_wh", 60, "float32", "Wh", 0, _NAN32),
    Point("energy_import_wh", 68, "float32", "Wh", 0, _NAN32),
)
"""Models 211 to 214."""

DER_701 = (
    Point("power_w", 10, "int16", "W", 116, _NAN16, sign=-1),
    Point("charger_c", 37, "int16", "degC", 122, _NAN16),
    Point("current_l1_a", 45, "int16", "A", 113, _NAN16, sign=-1),
    Point("current_l2_a", 68, "int16", "A", 113, _NAN16, sign=-1),
    Point("current_l3_a", 91, "int16", "A", 113, _NAN16, sign=-1),
)
"""701: power is positive for generation, so the sign turns. The heat sink is the power electronics' temperature."""
DER_702 = (
    Point("max_charge_w", 34, "uint16", "W", 45, _NAN_U16),
    Point("max_discharge_w", 35, "uint16", "W", 45, _NAN_U16),
)
DER_713 = (Point("soc_percent", 4, "uint16", "%", 8, _NAN_U16),)
CAPACITY_713 = Point("capacity_wh", 2, "uint16", "Wh", 7, _NAN_U16)

PORT_FIRST, PORT_LENGTH, PORT_TYPE, PORT_STATE, PORT_EV = 20, 25, 0, 22, 2
"""714: its ports follow 20 registers, each 25 long; type at +0 (2: EV), state at +22 (0 off, 1 on, 2 warning, 3 error)."""
WSET_ENABLE, WSET_MODE, WSET, WSET_REVERT, WSET_ENABLE_REVERT, WSET_REVERT_S, WSET_SF = 22, 23, 24, 26, 30, 31, 55
"""704: enable, mode (1: watts), setpoint, value and enable after the reversion time, that time in s, scale factor."""
REMOTE_715, HEARTBEAT_715 = 2, 5
"""715: who controls (0: remote), and the controller's heartbeat: a number that rises every second."""
HEARTBEAT_MS = 1000
PERMIT_703 = 2
"""703: whether the device may enter service (1)."""


class SunSpecError(Exception):
    """The device isn't what is wanted; one line."""


def discover(read: Read) -> tuple[int, list[Model]]:
    """(base address, models). SunSpecError when no marker is found, or the chain doesn't end."""
    for base in BASES:
        try:
            if read(base, 2) == MARKER:
                return base, list(_chain(read, base + 2))
        except ModbusError:
            continue  # many devices refuse addresses that they don't have
    raise SunSpecError(f"no SunSpec marker at {', '.join(map(str, BASES))}")


def _chain(read: Read, address: int) -> Iterator[Model]:
    for _ in range(MAX_MODELS):
        model, length = read(address, 2)
        if model == END:
            return
        if length > MAX_LENGTH or address + 2 + length > 65534:
            raise SunSpecError(f"model {model} at {address} has a length of {length}, beyond the address space")
        yield Model(model, address, length)
        address += 2 + length
    raise SunSpecError(f"more than {MAX_MODELS} models: the chain doesn't end")


def identity(read: Read, models: list[Model]) -> dict[str, str]:
    """Manufacturer, model, version and serial number of model 1, as far as they are there."""
    common = next((m for m in models if m.id == 1), None)
    if common is None:
        return {}
    places = {"manufacturer": (2, 16), "model": (18, 16), "version": (42, 8), "serial": (50, 16)}
    return {name: _text(read(common.address + at, count)) for name, (at, count) in places.items() if at < common.length + 2}


def _text(words: list[int]) -> str:
    data = b"".join(word.to_bytes(2, "big") for word in words)
    return data.split(b"\0")[0].decode("ascii", "replace").strip()


def scale_factor(word: int) -> Fraction:
    """10^sf of a sunssf register; SunSpecError when it isn't one."""
    exponent = word - 65536 if word >= 0x8000 else word
    if not -10 <= exponent <= 10:
        raise SunSpecError(f"scale factor {exponent} is outside -10 to 10")
    return Fraction(10) ** exponent


class _Profile:
    """Collects registers of one profile, and what must hold for them to mean what they say."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._factors: dict[int, int] = {}
        self.registers: list[dict[str, Any]] = []

    def factor(self, address: int) -> Fraction:
        if address not in self._factors:
            self._factors[address] = self._read(address, 1)[0]
        return scale_factor(self._factors[address])

    def add(self, model: Model, points: tuple[Point, ...], turn: int = 1) -> None:
        """Every point that the device has; one without a scale factor, or with the code for "not there", is left out."""
        for point in points:
            at = model.address + point.offset
            if point.offset >= model.length + 2:
                continue
            words = self._read(at, 2 if point.type in ("uint32", "float32") else 1)
            factor = Fraction(1)
            if point.sf:
                if self._read(model.address + point.sf, 1)[0] == _NAN16:
                    continue
                factor = self.factor(model.address + point.sf)
            if _absent(point, words):
                continue
            scale = factor * point.sign * (turn if "power" in point.signal or "current" in point.signal else 1)
            self.registers.append(register(point.signal, at, point.type, point.unit, scale, point.invalid))

    def requires(self) -> list[dict[str, Any]]:
        return [
            {
                "address": at,
                "type": "uint16",
                "value": word,
                "about": "scale factor: the scales here were read from it",
            }
            for at, word in sorted(self._factors.items())
        ]


def _absent(point: Point, words: list[int]) -> bool:
    raw = int.from_bytes(b"".join(w.to_bytes(2, "big") for w in words), "big")
    return raw == 0x7FC00000 if point.invalid == "nan" else point.invalid not in (0, "") and raw == point.invalid


def register(signal: str, address: int, kind: str, unit: str, scale: Fraction, invalid: int | str = "") -> dict[str, Any]:
    """One register as a profile writes it."""
    entry: dict[str, Any] = {"signal": signal, "address": address, "type": kind, "unit": unit}
    if scale != 1:
        entry["scale"] = int(scale) if scale.denominator == 1 else float(scale)
    if invalid not in (0, ""):
        entry["invalid"] = invalid
    return entry


def _head(name: str, kind: str, who: Mapping[str, str], models: list[int]) -> dict[str, Any]:
    device = " ".join(part for part in (who.get("manufacturer"), who.get("model"), who.get("version")) if part) or "a device"
    listed = ", ".join(map(str, models))
    return {
        "profile": name,
        "kind": kind,
        "verified": "document",
        "source": f"read from {device} by discovery; SunSpec models {listed} (repository sunspec/models)",
        "transport": "modbus",
    }


def meter_profile(read: Read, name: str, export_positive: bool = False) -> dict[str, Any]:
    """The profile of the first meter model. Makers disagree about the sign: `export_positive` turns power and current."""
    _, models = discover(read)
    meter = next((m for m in models if m.id in (*METERS_INT, *METERS_FLOAT)), None)
    if meter is None:
        raise SunSpecError(f"no meter model (201 to 204, 211 to 214); it has {', '.join(str(m.id) for m in models)}")
    made = _Profile(read)
    made.add(meter, INT_METER if meter.id in METERS_INT else FLOAT_METER, -1 if export_positive else 1)
    if "power_w" not in {r["signal"] for r in made.registers}:
        raise SunSpecError(f"meter model {meter.id} shows no power")
    head = _head(name, "meter", identity(read, models), [1, meter.id])
    return head | {"registers": made.registers} | _requires(made)


def _requires(made: _Profile) -> dict[str, Any]:
    found = made.requires()
    return {"requires": found} if found else {}


def der_profile(read: Read, name: str, reversion_s: int = 10) -> dict[str, Any]:
    """The profile of a bidirectional charger: 701 (measurement), 702 (capacity), 703 (permit), 704 (setpoint with reversion
    timer), 713 (SOC), the EV port of 714, the heartbeat of 715. SunSpecError names what is missing."""
    _, models = discover(read)
    found = {m.id: m for m in models}
    missing = [str(wanted) for wanted in (701, 702, 704, 714) if wanted not in found]
    if missing:
        raise SunSpecError(f"model {', '.join(missing)} is missing: nothing to measure, limit, control or know a vehicle by")
    made = _Profile(read)
    made.add(found[701], DER_701)
    made.add(found[702], DER_702)
    if 713 in found:
        made.add(found[713], (*DER_713, CAPACITY_713))
    port = _ev_port(read, found[714])
    made.registers.append(
        {"signal": "state", "address": port + PORT_STATE, "type": "uint16", "codes": {"A": [0], "C": [1, 2], "F": [3]}}
    )
    limit = next((r for r in made.registers if r["signal"] == "max_discharge_w"), None)
    if limit is not None:
        made.registers.append({"signal": "bidirectional", "address": limit["address"], "type": "uint16"})
    used = sorted(m for m in found if m == 1 or m in (701, 702, 703, 704, 713, 714, 715))
    profile = _head(name, "evse", identity(read, models), used) | {"registers": made.registers}
    profile |= _control(made, found[704], reversion_s) | _heartbeat(found) | _requires(made)
    profile["requires"] = [*profile.get("requires", []), *_settings(found)]
    return profile


def _ev_port(read: Read, ports: Model) -> int:
    """Address of the first EV port of model 714."""
    count = min(read(ports.address + 4, 1)[0], (ports.length + 2 - PORT_FIRST) // PORT_LENGTH)
    for index in range(count):
        at = ports.address + PORT_FIRST + index * PORT_LENGTH
        if read(at + PORT_TYPE, 1)[0] == PORT_EV:
            return at
    raise SunSpecError(f"model 714 has {count} ports, none of type EV: nothing says whether a vehicle is there")


def _control(made: _Profile, model: Model, reversion_s: int) -> dict[str, Any]:
    scale = -made.factor(model.address + WSET_SF)
    at = model.address
    return {
        "setpoint": {
            "address": at + WSET,
            "type": "int32",
            "unit": "W",
            "scale": int(scale) if scale.denominator == 1 else float(scale),
            "start": {"address": at + WSET_ENABLE, "type": "uint16", "value": 1},
        },
        "write": {"min_interval_ms": 1000, "refresh_ms": reversion_s * 1000 // 4},
        "fallback": {
            "address": at + WSET_REVERT,
            "type": "int32",
            "unit": "W",
            "value": 0,
            "timeout": {"address": at + WSET_REVERT_S, "type": "uint32", "unit": "s", "value": reversion_s},
        },
    }


def _settings(found: Mapping[int, Model]) -> list[dict[str, Any]]:
    at = found[704].address
    settings = [
        {"address": at + WSET_MODE, "type": "uint16", "value": 1, "about": "704 WSetMod: the setpoint is in watts"},
        {
            "address": at + WSET_ENABLE_REVERT,
            "type": "uint16",
            "value": 1,
            "about": "704 WSetEnaRvrt: the reverted setpoint holds when nobody writes",
        },
    ]
    if 715 in found:
        remote = found[715].address + REMOTE_715
        settings.append({"address": remote, "type": "uint16", "value": 0, "about": "715 LocRemCtl: control is remote"})
    if 703 in found:
        permit = found[703].address + PERMIT_703
        settings.append({"address": permit, "type": "uint16", "value": 1, "about": "703 ES: it may enter service"})
    return settings


def _heartbeat(found: Mapping[int, Model]) -> dict[str, Any]:
    """A device whose model 715 has room for one is shown that its controller lives."""
    if 715 not in found or found[715].length + 2 < HEARTBEAT_715 + 2:
        return {}
    at = found[715].address + HEARTBEAT_715
    return {"heartbeat": {"address": at, "type": "uint32", "period_ms": HEARTBEAT_MS}}
