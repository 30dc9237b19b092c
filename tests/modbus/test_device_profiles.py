"""Packaged profiles read and write devices as other people's programs do: each table here comes from another implementation.

A device is a pymodbus server whose registers hold what that other table says. Config, profile, packer and engine are the
gateway's own.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from modbus_peers import Loop, Pymodbus
from modbus_rig import Rig, eventually
from pymodbus.client import ModbusTcpClient

from edge.config import load
from edge.config.devices import load_devices
from edge.core.layout import Wiring, native_config
from edge.core.pack_modbus import pack_modbus
from edge.field.profile import PROFILES


def words(code: str, value: float) -> list[int]:
    """`code`: struct's letter; a `<` before it sends the low word first."""
    packed = struct.pack(f">{code.lstrip('<')}", value)
    whole = list(struct.unpack(f">{len(packed) // 2}H", packed))
    return whole[::-1] if code.startswith("<") else whole


def sequence(start: int, code: str, *values: float) -> dict[int, list[int]]:
    """Values of one type that follow one another."""
    step = len(words(code, 0))
    return {start + i * step: words(code, value) for i, value in enumerate(values)}


@dataclass(frozen=True)
class Device:
    taken_from: str
    """Whose table: not the source of the profile."""
    registers: Mapping[int, list[int]]
    meaning: Mapping[str, int]
    """In the core's units: W, mA, 0.1 V, mHz, Wh, 0.01 %."""
    table: str = "holding"
    unavailable: Mapping[int, list[int]] = field(default_factory=dict)
    """Registers with which a value is none, by address, and …"""
    lost: tuple[str, ...] = ()
    """… the signals that are lost by them."""
    state: str = ""
    """EVSE: what the device's state in `registers` means."""
    commands: tuple[tuple[int, Mapping[int, list[int]]], ...] = ()
    """EVSE: setpoints in W, one after another, and the registers that then hold."""


DEVICES = {
    "eastron-sdm630-v2": Device(
        "spjakob/ha-modbus_devices sdm630_modbus_registers_main_branch.md; ilseh/Oppleo SDM360v2.py (function 4, float)",
        {
            **sequence(0, "f", 229.9, 230.5, 231.4),
            **sequence(6, "f", 1.5, 2.25, 3.0),
            **sequence(12, "f", -345.0, 500.0, 690.0),
            52: words("f", 845.0),
            70: words("f", 49.98),
            **sequence(72, "f", 1234.5, 67.25),
        },
        {
            "voltage_l1_v": 2299,
            "current_l2_a": 2250,
            "power_l1_w": -345,
            "power_w": 845,
            "frequency_hz": 49980,
            "energy_import_wh": 1_234_500,
            "energy_export_wh": 67_250,
        },
        table="input",
        unavailable={52: words("f", float("nan"))},
        lost=("power_w",),
    ),
    "carlogavazzi-em24-e1": Device(
        "victronenergy/dbus-modbus-client carlo_gavazzi.py (s32l, u16)",
        {
            **sequence(0x00, "<i", 2301, 2299, 2310),
            **sequence(0x0C, "<i", 1500, 2250, 3000),
            **sequence(0x12, "<i", -3450, 5000, 6900),
            0x28: words("<i", 8450),
            0x33: words("H", 500),
            0x34: words("<i", 12345),
            0x4E: words("<i", 678),
        },
        {
            "voltage_l3_v": 2310,
            "current_l1_a": 1500,
            "power_l1_w": -345,
            "power_w": 845,
            "frequency_hz": 50_000,
            "energy_import_wh": 1_234_500,
            "energy_export_wh": 67_800,
        },
        table="input",
    ),
    "abb-b23": Device(
        "openWB/core packages/modules/common/b23.py",
        {
            0x5000: words("Q", 123450),
            0x5004: words("Q", 6780),
            **sequence(0x5B00, "I", 2301, 2299, 2310),
            **sequence(0x5B0C, "I", 150, 225, 300),
            **sequence(0x5B14, "i", 84500, -34500, 50000, 69000),
            0x5B2C: words("H", 4998),
        },
        {
            "energy_import_wh": 1_234_500,
            "energy_export_wh": 67_800,
            "voltage_l1_v": 2301,
            "current_l3_a": 3000,
            "power_w": 845,
            "power_l1_w": -345,
            "frequency_hz": 49_980,
        },
        unavailable={0x5B18: words("i", 0x7FFFFFFF), 0x5B0E: words("I", 0xFFFFFFFF)},
        lost=("power_l2_w", "current_l2_a"),
    ),
    "schneider-iem3155": Device(
        "aggsoft.com iEM3100-iEM3200 register list; emstechlabs.com (manual's register 45100 is address 45099)",
        {
            **sequence(3000 - 1, "f", 1.5, 2.25, 3.0),
            **sequence(3028 - 1, "f", 230.0, 229.9, 231.0),
            **sequence(3054 - 1, "f", -0.345, 0.5, 0.69),
            3060 - 1: words("f", 0.845),
            3204 - 1: words("q", 1_234_567),
            3208 - 1: words("q", 67_890),
        },
        {
            "current_l1_a": 1500,
            "voltage_l1_v": 2300,
            "power_l1_w": -345,
            "power_w": 845,
            "energy_import_wh": 1_234_567,
            "energy_export_wh": 67_890,
        },
    ),
    "keba-p30": Device(
        "evcc-io/evcc charger/keba-modbus.go (uint32, big-endian; mA, mW)",
        {
            1000: words("I", 3),
            **{1008 + 2 * i: words("I", ma) for i, ma in enumerate((15_900, 16_000, 16_100))},
            1020: words("I", 11_040_000),
        },
        {"current_l1_a": 15_900, "current_l3_a": 16_100, "power_w": 11_040},
        state="transfer",
        commands=(
            (6_900, {5004: [10_000], 5014: [1]}),
            (0, {5004: [10_000], 5014: [0]}),
            (11_040, {5004: [16_000], 5014: [1]}),
        ),
    ),
    "alfen-ng9xx": Device(
        "evcc-io/evcc charger/alfen.go (float32, float64; the state is text)",
        {
            **sequence(306, "f", 230.0, 231.0, 232.0),
            **sequence(320, "f", 15.5, 16.0, 16.5),
            344: words("f", 11_000.0),
            374: words("d", 1_234_567.0),
            1201: list(struct.unpack(">5H", b"C2\0".ljust(10, b"\0"))),
        },
        {"voltage_l2_v": 2310, "current_l1_a": 15_500, "power_w": 11_000, "energy_import_wh": 1_234_567},
        unavailable={344: [0xFFFF, 0xFFFF]},
        lost=("power_w",),
        state="transfer",
        commands=((6_900, {1210: words("f", 10.0)}), (0, {1210: words("f", 0.0)})),
    ),
    "abb-terra-ac": Device(
        "star.ke.st library, ABB Terra AC wallbox (U32BE, 0-based); state byte: evcc-io/evcc charger/abb.go",
        {
            16396: [0, 4 << 8],
            **sequence(16400, "I", 15_900, 16_000, 16_100),
            **sequence(16406, "I", 2300, 2310, 2320),
            16412: words("I", 11_000),
        },
        {"current_l2_a": 16_000, "voltage_l3_v": 2320, "power_w": 11_000},
        state="transfer",
        commands=((6_900, {16640: words("I", 10_000)}), (0, {16640: words("I", 0)})),
    ),
    "evtec-bidipro-10": Device(
        "V2G-liberty/addon-v2g-liberty dev_tools/charger_emulator_evtec.py (connector 1; int32, float32, big-endian)",
        {
            38: words("i", 0),
            42: words("i", 60),
            100: words("i", 8),
            110: words("f", -5_000.0),
            112: words("i", 655),
            122: words("f", -9_000.0),
            130: words("f", 10_000.0),
            154: words("Q", 0),
            158: words("f", 58_000.0),
        },
        {
            "power_w": -5_000,
            "soc_percent": 6_550,
            "bidirectional": -9_000,
            "max_discharge_w": 9_000,
            "max_charge_w": 10_000,
            "fault": 0,
            "capacity_wh": 58_000,
        },
        unavailable={112: words("i", 0)},
        lost=("soc_percent",),
        state="transfer",
        commands=((7_000, {186: words("i", 7_000)}), (-7_000, {186: words("i", -7_000)}), (0, {186: words("i", 0)})),
    ),
    "wallbox-quasar-1": Device(
        "V2G-liberty/addon-v2g-liberty charger-mocks/quasar/register_map.py; another client's 0x101, 0x219, 0x21a",
        {0x020E: words("h", -3_000), 0x0219: [11], 0x021A: [66]},
        {"power_w": -3_000, "soc_percent": 6_600},
        unavailable={0x021A: [0]},
        lost=("soc_percent",),
        state="transfer",
        commands=((3_000, {260: [3_000], 0x101: [1]}), (-3_000, {260: words("h", -3_000), 0x101: [1]}), (0, {0x101: [2]})),
    ),
}


SITE = """\
lab: true
site: {{id: s}}
feeders: [{{id: main, rating_a: 100, base_load_w: 1000{meter}}}]
buses: [{{id: net, kind: modbus-tcp}}, {{id: can0, kind: can, channel: can0}}]
"""
METER = """\
meters: [{{id: m, bus: net, host: 127.0.0.1, port: {port}, profile: {name}, poll: 20ms, timeout: 2s}}]
evses: [{{id: e, bus: can0, dbc: evse-generic, node: 1, feeder: main, rating_w: 11040}}]
"""
EVSE = """\
evses:
  - {{id: e, bus: net, host: 127.0.0.1, port: {port}, profile: {name}, poll: 20ms, timeout: 2s, feeder: main, rating_w: 11040,
     accept_unverified: true, reaction_time: 5s}}
"""

Connect = Callable[[str, Mapping[int, list[int]]], tuple[Wiring, ModbusTcpClient]]


@pytest.fixture
def connect(rig: Rig, loop: Loop, tmp_path: Path) -> Iterator[Connect]:
    """Serves a device's registers and lets the engine at them as the config says; a client of its own sees what is written."""
    ends: list[Callable[[], object]] = []

    def of(name: str, registers: Mapping[int, list[int]]) -> tuple[Wiring, ModbusTcpClient]:
        written = (at for _, expected in DEVICES[name].commands for at in expected)
        image = [0] * (max(*registers, *written) + 16)
        for address, content in registers.items():
            image[address : address + len(content)] = content
        tables = (image, [0]) if DEVICES[name].table == "holding" else ([0], image)
        server = Pymodbus(loop, *tables, [False] * 16, [False] * 16)
        client = ModbusTcpClient("127.0.0.1", port=server.port)
        assert client.connect()
        ends.extend((client.close, server.stop))
        config = tmp_path / "config.yaml"
        kind = EVSE if DEVICES[name].state else METER
        meter = "" if DEVICES[name].state else ", meter: m"
        config.write_text(SITE.format(meter=meter) + kind.format(port=server.port, name=name))
        settings = load(config)
        native = native_config(settings, load_devices(settings, tmp_path), bank=0)
        pack_modbus(rig.config, native, native.lines[0])
        return (native.points["e"] if DEVICES[name].state else native.meters[0]).wiring, client

    yield of
    for end in ends:
        end()


def cell(wiring: Wiring, signal: str) -> int:
    found = wiring.cell(signal)
    assert found is not None
    return found


@pytest.mark.parametrize("name", DEVICES)
def test_a_device_means_through_its_profile_what_others_read(rig: Rig, connect: Connect, name: str) -> None:
    device = DEVICES[name]
    wiring, _ = connect(name, device.registers)
    rig.start()
    wanted = (*device.meaning, *(("state",) if device.state else ()))
    eventually(lambda: all(rig.read(cell(wiring, signal)).count for signal in wanted))
    assert {signal: rig.read(cell(wiring, signal)).value for signal in device.meaning} == device.meaning
    if device.state:
        state = wiring.profile.signal("state")
        assert state is not None
        assert rig.read(cell(wiring, "state")).value in state.codes[device.state]
    assert rig.stats(0).exceptions == 0


@pytest.mark.parametrize("name", [name for name, device in DEVICES.items() if device.unavailable])
def test_what_the_device_does_not_know_is_no_value(rig: Rig, connect: Connect, name: str) -> None:
    device = DEVICES[name]
    wiring, _ = connect(name, {**device.registers, **device.unavailable})
    rig.start()
    eventually(lambda: rig.stats(0).polls > 1)
    assert all(rig.read(cell(wiring, signal)).count == 0 for signal in device.lost)


@pytest.mark.parametrize("name", [name for name, device in DEVICES.items() if device.commands])
def test_a_setpoint_lands_where_and_as_others_write_it(rig: Rig, connect: Connect, name: str) -> None:
    device = DEVICES[name]
    wiring, client = connect(name, device.registers)
    rig.config.writes[rig.config.write_count - 1].min_interval_ns = 0
    rig.start()
    eventually(lambda: rig.state(0) == "up")

    def holds(expected: Mapping[int, list[int]]) -> bool:
        return all(client.read_holding_registers(at, count=len(each)).registers == each for at, each in expected.items())

    for power_w, expected in device.commands:
        rig.ask(wiring.first_write, power_w)
        eventually(lambda expected=expected: holds(expected))


def test_a_device_that_answers_one_value_a_request_is_asked_so(rig: Rig, connect: Connect) -> None:
    connect("keba-p30", DEVICES["keba-p30"].registers)
    assert rig.config.devices[0].max_words == 2


def test_every_packaged_device_profile_has_such_a_counterpart() -> None:
    own = {"sim-meter", "sim-evse"}  # what firmware-sim itself serves
    assert {path.stem for path in PROFILES.glob("*.yaml")} - own == set(DEVICES)
