"""DBC tables read and write frames exactly as cantools does, in the core's units and sign."""

from __future__ import annotations

import re
import shutil
from enum import IntEnum, IntFlag
from pathlib import Path

import cantools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.field.canload import bus_load_permille, fd_frame_bits, frame_bits
from edge.field.canmap import (
    DBC_FOLDER,
    MS,
    CanMapError,
    EvseField,
    EvseFlag,
    Option,
    RxMessage,
    SetpointSource,
    decode,
    encode,
    load_can_device,
)
from edge.field.e2e import COUNTERS, crc_j1850

ROOT = Path(__file__).parents[2]
DATABASE = cantools.database.load_file(DBC_FOLDER / "evse-generic.dbc")
NODE = load_can_device("evse-generic").node(7, 230, 10 * MS)
COMMAND = NODE.tx[0]


def received(name: str) -> RxMessage:
    return next(m for m in NODE.rx if m.name == name)


# cantools' physical value of a signal → what the core must see; None: no value.
ORACLE = {
    "StatusA": {
        EvseField.STATE: ("state", lambda v: v if v <= 6 else None),
        EvseField.POWER: ("power_w", lambda v: v),
        EvseField.SOC: ("soc_percent", lambda v: round(v * 100) if v <= 100 else None),
        EvseField.T_CONNECTOR: ("connector_c", lambda v: v * 10 if v < 215 else None),
    },
    "StatusB": {
        EvseField.I_L1: ("current_l1_a", lambda v: round(v * 1000)),
        EvseField.I_L2: ("current_l2_a", lambda v: round(v * 1000)),
        EvseField.I_L3: ("current_l3_a", lambda v: round(v * 1000)),
        EvseField.P_L1: ("current_l1_a", lambda v: abs(round(v * 230))),
        EvseField.P_L2: ("current_l2_a", lambda v: abs(round(v * 230))),
        EvseField.P_L3: ("current_l3_a", lambda v: abs(round(v * 230))),
    },
    "StatusC": {
        EvseField.T_CABLE: ("cable_c", lambda v: v * 10 if v < 215 else None),
        EvseField.T_CHARGER: ("charger_c", lambda v: v * 10 if v < 215 else None),
        EvseField.T_CELL_MAX: ("cell_max_c", lambda v: v * 10 if v < 215 else None),
        EvseField.T_CELL_MIN: ("cell_min_c", lambda v: v * 10 if v < 215 else None),
        EvseField.CP_DUTY: ("pilot_duty_percent", lambda v: v if v <= 100 else None),
        EvseField.SOH: ("state_of_health_percent", lambda v: v if v <= 100 else None),
    },
    "Limits": {
        EvseField.MAX_CHARGE: ("max_charge_w", lambda v: v),
        EvseField.MAX_DISCHARGE: ("max_discharge_w", lambda v: v),
        EvseField.CAPACITY: ("capacity_wh", lambda v: v or None),
    },
}
FLAGS = {
    "fault": EvseFlag.FAULT,
    "bidirectional": EvseFlag.BIDIRECTIONAL,
    "contactor": EvseFlag.CONTACTOR,
    "ev_present": EvseFlag.EV_PRESENT,
    "following": EvseFlag.FOLLOWING,
    "e_stop": EvseFlag.E_STOP,
    "fail_safe_active": EvseFlag.FAILSAFE,
}


@given(st.sampled_from(sorted(ORACLE)), st.binary(min_size=8, max_size=8))
def test_any_frame_means_what_cantools_says(name, data):
    values = decode(received(name), data)
    physical = DATABASE.get_message_by_name(name).decode(data, decode_choices=False)
    for field, (signal, expected) in ORACLE[name].items():
        assert values[field] == expected(physical[signal]), (field, physical[signal])
    if name == "StatusA":
        assert values[EvseField.FLAGS] == sum(flag for signal, flag in FLAGS.items() if physical[signal])


@given(st.sampled_from(sorted(ORACLE)), st.binary(max_size=7))
def test_a_short_frame_brings_nothing(name, data):
    assert decode(received(name), data) == {}


POWERS = st.integers(-320_000, 320_000)


@given(POWERS, POWERS, POWERS, st.integers(0, 2), st.integers(0, 200))
def test_a_command_is_read_by_cantools_as_it_was_meant(target, most, least, mode, count):
    setpoint = dict(zip(SetpointSource, (target, most, least, mode), strict=True))
    data = encode(COMMAND, setpoint, count)
    physical = DATABASE.get_message_by_name("Cmd").decode(data, decode_choices=False)
    assert physical["target_w"] == int(target / 10) * 10
    assert physical["max_w"] == int(most / 10) * 10
    assert physical["min_w"] == int(least / 10) * 10
    assert physical["mode"] == mode
    assert physical["counter"] == count % COUNTERS
    assert physical["crc"] == crc_j1850(COMMAND.can_id, data)


@given(st.integers(-4_000_000, 4_000_000))
def test_a_sent_power_is_never_further_from_zero_than_asked(target):
    setpoint = {SetpointSource.TARGET: target, SetpointSource.MAX: 0, SetpointSource.MIN: 0, SetpointSource.MODE: 2}
    sent = DATABASE.get_message_by_name("Cmd").decode(encode(COMMAND, setpoint, 0), decode_choices=False)["target_w"]
    assert abs(sent) <= abs(target)
    assert sent * target >= 0


@given(st.integers(-32_000, 32_000).map(lambda w: w * 10))
def test_charging_is_positive_in_and_out_whatever_the_device_says(power_w):
    for sign, factor in (("charging-positive", 1), ("discharging-positive", -1)):
        node = turned(sign).node(1, 230, 10 * MS)
        frame = DATABASE.get_message_by_name("StatusA").encode(
            {s.name: 0 for s in DATABASE.get_message_by_name("StatusA").signals} | {"power_w": factor * power_w}, strict=False
        )
        assert decode(node.rx[0], frame)[EvseField.POWER] == power_w
        setpoint = dict.fromkeys(SetpointSource, 0) | {SetpointSource.TARGET: power_w}
        sent = DATABASE.get_message_by_name("Cmd").decode(encode(node.tx[0], setpoint, 0), decode_choices=False)
        assert sent["target_w"] == factor * power_w


def turned(sign: str):
    device = load_can_device("evse-generic")
    return type(device)(device.name, device.map.model_copy(update={"sign": sign}), device.tree, device.database)


def test_the_crc_is_that_of_sae_j1850():
    # Check value of CRC-8/SAE-J1850 over "123456789" is 0x4B; the first two bytes take the place of the identifier.
    text = b"123456789"
    assert crc_j1850(text[1] << 8 | text[0], b"\x00" + text[2:]) == 0x4B


def test_every_node_has_its_own_identifiers():
    assert [hex(m.can_id) for m in (*NODE.tx, *NODE.rx)] == ["0x207", "0x307", "0x407", "0x507", "0x607"]


def test_nodes_share_one_shape_of_each_frame():
    device = load_can_device("evse-generic")
    first, second = device.node(1, 230, 10 * MS), device.node(2, 230, 10 * MS)
    assert all(a.signals is b.signals for a, b in zip(first.rx, second.rx, strict=True))


def test_the_longest_period_of_fields_is_known():
    assert NODE.period_ns(EvseField.POWER, EvseField.STATE) == 20 * MS
    assert NODE.period_ns(EvseField.POWER, EvseField.CAPACITY) == 500 * MS
    assert NODE.silence_timeout_ns == 100 * MS


def test_a_full_frame_takes_270_microseconds_at_500_kbit():
    assert frame_bits(8, extended=False) == 135
    assert frame_bits(8, extended=True) == 160


def test_a_bus_is_full_at_some_fourteen_generic_evses():
    assert bus_load_permille([NODE] * 14, 500_000) == 670
    assert bus_load_permille([NODE] * 15, 500_000) == 717


def enum_of_header(name: str, prefix: str) -> dict[str, int]:
    """Members of a C enum, counted as C does."""
    text = "".join(p.read_text() for p in sorted((ROOT / "native" / "include").glob("*.h")))
    body = re.search(rf"enum {name} \{{(.*?)\}};", text, re.DOTALL)
    assert body is not None
    members: dict[str, int] = {}
    following = 0
    for part in re.sub(r"/\*.*?\*/", "", body[1], flags=re.DOTALL).split(","):
        words = part.split("=")
        if not words[0].strip():
            continue
        following = int(words[1], 0) if len(words) > 1 else following
        members[words[0].strip().removeprefix(prefix)] = following
        following += 1
    return members


@pytest.mark.parametrize(
    ("ours", "name", "prefix"),
    [
        (EvseField, "v2g_field", "V2G_F_"),
        (EvseFlag, "v2g_flag", "V2G_FLAG_"),
        (SetpointSource, "v2g_can_source", "V2G_CAN_"),
        (Option, "v2g_can_signal_option", "V2G_CAN_"),
    ],
)
def test_fields_have_the_numbers_of_the_header(ours: type[IntEnum] | type[IntFlag], name: str, prefix: str):
    counts = ("V2G_FIELDS", "SOURCES")
    theirs = {key: value for key, value in enum_of_header(name, prefix).items() if key not in counts}
    assert {member.name: member.value for member in ours} == theirs


# ---- Bad files ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def edited(tmp_path):
    """Compile copies of the generic DBC and map with some text replaced; the problems, without the folder."""

    def of(*edits: tuple[str, str, str], node: int = 1) -> list[str]:
        for file in ("evse-generic.dbc", "evse-generic.map.yaml"):
            shutil.copy(DBC_FOLDER / file, tmp_path)
        for suffix, old, new in edits:
            path = tmp_path / f"evse-generic.{suffix}"
            text = path.read_text()
            assert old in text
            path.write_text(text.replace(old, new, 1))
        with pytest.raises(CanMapError) as refused:
            load_can_device(str(tmp_path / "evse-generic.dbc")).node(node, 230, 10 * MS)
        return [line.removeprefix(f"{tmp_path}/") for line in str(refused.value).splitlines()]

    return of


def test_an_unknown_signal_names_file_line_key_and_remedy(edited):
    (line,) = edited(("map.yaml", "power_w: power", "powr_w: power"))
    expected = "receive.StatusA.powr_w: no such signal in message StatusA of evse-generic.dbc; did you mean power_w?"
    assert line == f"evse-generic.map.yaml:10: {expected}"


def test_an_unknown_message_and_signal_are_both_told(edited):
    found = edited(("map.yaml", "StatusB:", "StatusX:"), ("map.yaml", "min_w: min", "mni_w: min"))
    assert ["no such message" in found[0], "no such signal" in found[1]] == [True, True]


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (("map.yaml", "power_w: power", "power_w: powr"), "must be 'state', 'power'"),
        (("map.yaml", "invalid: 0xFFFF", "invalid: 0x1FFFF"), "0x1ffff: more than 16 bits hold; correct `invalid`"),
        (("map.yaml", "state: state", "state: fault"), "4 bits: fault is one bit; map a signal of length 1"),
        (("map.yaml", "sign: charging-positive", "sign: positive"), "must be 'charging-positive' or 'discharging-positive'"),
        (("dbc", '"GenMsgCycleTime" BO_ 769 20', '"GenMsgCycleTime" BO_ 769 0'), "no period in evse-generic.dbc"),
        (("dbc", '[-327680|327670] "W" Gateway', '[-327680|327670] "VA" Gateway'), "unit 'VA': power is in W, kW; correct"),
        (("dbc", "target_w : 16|16@1- (10,0)", "target_w : 16|16@1- (10,5)"), "a setpoint with an offset has no safe 0"),
        (("dbc", "target_w : 16|16@1- (10,0)", "target_w : 16|16@1- (0.0000007,0)"), "can't be computed exactly with 32-bit"),
        (("dbc", "BO_ 769 StatusA: 8", "BO_ 769 StatusA 8"), "not a DBC file: "),
        (("dbc", "connector_c : 48|8@1+ (1,-40)", "connector_c : 48|8@1+ (1,-40.01)"), "its offset is no whole number"),
    ],
)
def test_what_can_not_be_compiled_exactly_is_refused(edited, edit, expected):
    assert any(expected in line for line in edited(edit)), edited(edit)


def test_a_node_number_beyond_the_identifiers_is_refused(edited):
    (line,) = edited(node=1000)
    assert "first_node: node 1000 would need identifier 0x8e8 for StatusC, beyond 0x7ff; use a smaller node number" in line


def test_an_unknown_name_lists_the_packaged_ones():
    with pytest.raises(CanMapError, match="no packaged DBC has this name; packaged ones: evse-generic; or give the path"):
        load_can_device("evse-generik")


def test_motorola_signals_are_read_as_cantools_reads_them(tmp_path):
    text = (DBC_FOLDER / "evse-generic.dbc").read_text()
    text = text.replace("power_w : 16|16@1-", "power_w : 23|16@0-").replace("target_w : 16|16@1-", "target_w : 23|16@0-")
    (tmp_path / "evse-generic.dbc").write_text(text)
    shutil.copy(DBC_FOLDER / "evse-generic.map.yaml", tmp_path)
    node = load_can_device(str(tmp_path / "evse-generic.dbc")).node(1, 230, 10 * MS)
    database = cantools.database.load_file(tmp_path / "evse-generic.dbc")
    for data in (b"\x12\x34\xff\x85\x56\x78\x9a\xbc", bytes(range(8))):
        power_w = database.get_message_by_name("StatusA").decode(data, decode_choices=False)["power_w"]
        assert decode(node.rx[0], data)[EvseField.POWER] == power_w
    sent = encode(node.tx[0], dict.fromkeys(SetpointSource, 0) | {SetpointSource.TARGET: -12340}, 3)
    assert database.get_message_by_name("Cmd").decode(sent, decode_choices=False)["target_w"] == -12340


# ---- CAN FD, multiplexed messages, E2E profiles: a made-up charger ---------------------------------------------------------

PAGED_DBC = """\
VERSION ""
BU_: Gateway Charger
BO_ 1537 Status: 64 Charger
 SG_ page M : 16|8@1+ (1,0) [0|255] "" Gateway
 SG_ power_w m1 : 31|24@0- (1,0) [-8388608|8388607] "W" Gateway
 SG_ soc m2 : 24|16@1+ (0.01,0) [0|100] "%" Gateway
 SG_ state : 496|8@1+ (1,0) [0|255] "" Gateway
BO_ 1538 Setpoint: 12 Gateway
 SG_ target_kw : 80|16@1- (0.1,0) [-3276|3276] "kW" Charger
BA_DEF_ BO_ "GenMsgCycleTime" INT 0 65535;
BA_DEF_DEF_ "GenMsgCycleTime" 0;
BA_ "GenMsgCycleTime" BO_ 1537 20;
"""
PAGED_MAP = """\
sign: charging-positive
protection: autosar-p01
data_id_mode: nibble
data_ids: {Status: 0x0A10, Setpoint: 0x0A20}
receive: {Status: {power_w: power, soc: soc, state: state}}
transmit: {Setpoint: {target_kw: target}}
"""


@pytest.fixture
def charger(tmp_path):
    def of(old: str = "", new: str = ""):
        (tmp_path / "charger.dbc").write_text(PAGED_DBC.replace(old, new) if old in PAGED_DBC else PAGED_DBC)
        (tmp_path / "charger.map.yaml").write_text(PAGED_MAP.replace(old, new) if old in PAGED_MAP else PAGED_MAP)
        return load_can_device(str(tmp_path / "charger.dbc"))

    return of


@given(data=st.binary(min_size=64, max_size=64), page=st.sampled_from((1, 2, 7)))
def test_the_pages_of_a_long_frame_are_read_as_cantools_reads_them(tmp_path_factory, data: bytes, page: int):
    folder = tmp_path_factory.getbasetemp()
    (folder / "paged.dbc").write_text(PAGED_DBC)
    (folder / "paged.map.yaml").write_text(PAGED_MAP)
    node = load_can_device(str(folder / "paged.dbc")).node(1, 230, 10 * MS)
    data = data[:2] + bytes((page,)) + data[3:]
    values = decode(node.rx[0], data)
    assert EvseField.STATE in values
    if page == 7:
        assert set(values) == {EvseField.STATE}
        return
    physical = cantools.database.load_string(PAGED_DBC, "dbc").get_message_by_name("Status").decode(data)
    name, field, factor = (("power_w", EvseField.POWER, 1), ("soc", EvseField.SOC, 100))[page - 1]
    value = round(physical[name] * factor)
    limit = 4_000_000 if page == 1 else 10_000
    assert values[field] == (value if abs(value) <= limit else None)


def test_a_page_comes_as_often_as_its_turn(charger):
    node = charger().node(1, 230, 10 * MS)
    assert node.period_ns(EvseField.STATE) == 20 * MS
    assert node.period_ns(EvseField.POWER) == 40 * MS
    assert node.rx[0].deadline_ns == 11 * 20 * MS
    assert node.fd_messages == {"Status", "Setpoint"}


def test_every_node_has_its_own_data_identifier(charger):
    device = charger()
    assert [m.proof.data_id for n in (1, 3) for m in (*device.node(n, 230, MS).rx, *device.node(n, 230, MS).tx)] == [
        0x0A10,
        0x0A20,
        0x0A12,
        0x0A22,
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("target_kw : 80|16@1-", "target_kw M : 80|16@1-", "it only says which page"),
        ("Status: 0x0A10, ", "", "receive.Status: autosar-p01 needs its data identifier; add the message to `data_ids`"),
        ("autosar-p01", "autosar-p02", "autosar-p02 needs 16 data identifiers"),
        ("Setpoint: 12", "Setpoint: 13", "no CAN frame has 13 bytes; use one of 1, 2, 3"),
        ("page M : 16|8@1+", "page M : 16|8@1-", "one unsigned multiplexor of up to 16 bits is compiled"),
    ],
)
def test_what_no_controller_sends_is_refused(charger, old: str, new: str, expected: str):
    with pytest.raises(CanMapError) as refused:
        charger(old, new).node(1, 230, 10 * MS)
    assert expected in str(refused.value)


def test_a_long_frame_takes_the_time_that_can_fd_takes():
    nominal, data = fd_frame_bits(64, extended=False)
    assert nominal / 500_000 + data / 2_000_000 < 0.0005  # numbers.md part 3: about 0.4 ms
    assert nominal / 500_000 + data / 2_000_000 > 0.0003
