"""The native tables and enums against their Python counterparts: one oracle reads what the other computes."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config import load
from edge.config.devices import load_devices
from edge.core import BusState, EventKind, Health, HistogramKind, MeterField, Mode
from edge.core._native import ffi, lib
from edge.core.faults import describe
from edge.core.histogram import bucket_high, bucket_low
from edge.core.kinds import Refusal
from edge.core.layout import NativeConfig, native_config
from edge.core.pack import pack_commit
from edge.core.pack_plan import pack_plan
from edge.core.snapshot import Ids
from edge.field.canmap import (
    CanNode,
    EvseField,
    EvseFlag,
    Option,
    SetpointSource,
    TxMessage,
    decode,
    encode,
    load_can_device,
)
from edge.field.e2e import crc_j1850
from edge.local.view import EVSE_FIELDS, METER_FIELDS
from edge.model import EvsePlan, FeederPlan, Plan, Reason

CONFIG = """
site: {id: site-1, grid: {import_limit_w: 60000, export_limit_w: 20000}}
lab: true
feeders:
  - {id: main, rating_a: 100, meter: grid, base_load_w: 6000}
  - {id: row-a, parent: main, rating_a: 63}
buses: [{id: can0, kind: can, channel: can0}, {id: net, kind: modbus-tcp}]
meters: [{id: grid, bus: net, host: 127.0.0.1, profile: sim-meter}]
evses:
  - {id: evse-1, bus: can0, dbc: evse-generic, node: 1, feeder: row-a, rating_w: 22000, phase_map: [2, 3, 1]}
  - {id: evse-2, bus: can0, dbc: evse-generic, node: 2, feeder: row-a, rating_w: 7400, phase_map: [3]}
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> NativeConfig:
    path: Path = tmp_path_factory.mktemp("config") / "config.yaml"
    path.write_text(CONFIG)
    settings = load(path, files=False)
    return native_config(settings, load_devices(settings, path.parent), bank=0)


@pytest.fixture(scope="module")
def commit(config: NativeConfig):
    native = ffi.new("struct v2g_commit *")
    pack_commit(native, config, [-1], None, 3, 77)
    return native


@pytest.mark.parametrize(
    ("python", "native", "prefix", "omitted"),
    [
        (Reason, "enum v2g_reason", "V2G_", {"REASON_COUNT"}),
        (EvseField, "enum v2g_field", "V2G_F_", {"V2G_FIELDS"}),
        (EvseFlag, "enum v2g_flag", "V2G_FLAG_", set()),
        (MeterField, "enum v2g_meter_field", "V2G_M_", {"V2G_METER_FIELDS"}),
        (Health, "enum v2g_health", "V2G_HEALTH_", set()),
        (Mode, "enum v2g_mode", "V2G_MODE_", set()),
        (BusState, "enum v2g_bus_state", "V2G_BUS_", set()),
        (EventKind, "enum v2g_event_kind", "V2G_EVENT_", {"KINDS"}),
        (HistogramKind, "enum v2g_histogram_kind", "V2G_HIST_", {"V2G_HISTOGRAMS"}),
        (Refusal, "enum v2g_refusal", "V2G_", set()),
        (SetpointSource, "enum v2g_can_source", "V2G_CAN_", {"SOURCES"}),
        (Option, "enum v2g_can_signal_option", "V2G_CAN_", set()),
    ],
)
def test_an_enum_is_the_native_one(python: type[IntEnum] | type[IntFlag], native: str, prefix: str, omitted: set[str]):
    names = {name.removeprefix(prefix): value for value, name in ffi.typeof(native).elements.items()}
    if python is Reason:
        names["NONE"] = names.pop("REASON_NONE")
    assert {member.name: member.value for member in python} == {n: v for n, v in names.items() if n not in omitted}


def test_the_local_api_shows_the_fields_in_the_native_order():
    assert [info.name for info in EVSE_FIELDS] == [field.name.lower() for field in EvseField]
    assert [info.name for info in METER_FIELDS] == [field.name.lower() for field in MeterField]


def generic() -> CanNode:
    return load_can_device("evse-generic").node(1, 230, 10_000_000)


@given(data=st.binary(min_size=0, max_size=8), index=st.integers(0, 3))
def test_the_native_decoder_reads_what_the_oracle_reads(commit, data: bytes, index: int):
    message = generic().rx[index]
    layout = next(r.layout for r in commit.can.rx[0 : commit.can.rxs] if r.id == message.can_id)
    values = ffi.new("struct v2g_can_values *")
    lib.v2g_can_decode(ffi.addressof(commit, "can"), layout, data.ljust(8, b"\0"), len(data), values)
    native = {
        field: values.value[field] if values.valid >> field & 1 else None for field in EvseField if values.present >> field & 1
    }
    assert native == decode(message, data)


@given(
    power_w=st.tuples(*[st.integers(-4_000_000, 4_000_000)] * 3),
    mode=st.sampled_from(Mode),
    counter=st.integers(0, 14),
)
def test_the_native_encoder_writes_what_the_oracle_writes(commit, power_w: tuple[int, int, int], mode: Mode, counter: int):
    message: TxMessage = generic().tx[0]
    setpoint = ffi.new("struct v2g_setpoint *")
    setpoint.target_w, setpoint.max_w, setpoint.min_w = power_w
    setpoint.mode = mode
    data = ffi.new("uint8_t[64]")
    tx = next(t for t in commit.can.tx[0 : commit.can.txs] if t.id == message.can_id)
    length = lib.v2g_can_encode(ffi.addressof(commit, "can"), ffi.addressof(tx), counter, setpoint, data)
    sources = dict(zip((SetpointSource.TARGET, SetpointSource.MAX, SetpointSource.MIN), power_w, strict=True))
    assert bytes(data[0:length]) == encode(message, sources | {SetpointSource.MODE: mode}, counter)


@given(can_id=st.integers(0, 0x1FFF_FFFF), data=st.binary(min_size=8, max_size=8))
def test_the_native_crc_is_the_oracles(can_id: int, data: bytes):
    assert lib.v2g_can_crc(can_id, data, len(data)) == crc_j1850(can_id, data)


@given(value=st.integers(0, 2**40 - 1))
def test_a_time_falls_into_the_bucket_whose_bounds_hold_it(value: int):
    histogram = ffi.new("struct v2g_histogram *")
    lib.v2g_histogram_add(histogram, value)
    (bucket,) = [i for i in range(lib.V2G_HISTOGRAM_BUCKETS) if histogram.bucket[i]]
    assert bucket_low(bucket) <= value <= bucket_high(bucket)
    assert bucket_high(bucket) - bucket_low(bucket) <= value // 32


def test_a_packed_config_passes_the_cores_checks(commit):
    assert lib.v2g_commit_check(commit, 0) == 0
    assert commit.config.evse[0].soc_floor == 3000
    assert commit.config.evse[1].phases == 0b100
    assert commit.config.option == lib.V2G_CONFIG_LAB


def test_evses_of_one_kind_share_layouts_and_phases_are_the_sites(commit):
    assert commit.can.layouts == 5
    first = {r.id: r for r in commit.can.rx[0 : commit.can.rxs]}
    assert list(first[0x401].phase) == [1, 2, 0]
    assert first[0x402].phase[0] == 2


def test_age_limits_are_three_periods_and_a_meters_refresh(commit, config: NativeConfig):
    node = config.devices.can["evse-1"]
    assert commit.config.evse[0].link_age_ns == 3 * (node.period_ns(EvseField.STATE) or 0)
    assert commit.config.feeder[0].meter_age_ns == 3 * 10_000_000 + 100_000_000


def test_a_plan_is_packed_by_id_and_what_it_leaves_out_is_at_0(config: NativeConfig):
    own = EvsePlan(-7000, 9000, 5000, 90, 0, 4200, 4200, locked=True, site_target=True, ramp_w_s=1000)
    plan = Plan(4, 2, 10, 90, {"evse-2": own}, {"main": FeederPlan(-20000, 50000, 90, -1000, 30000, target_w=12000)})
    message = ffi.new("struct v2g_plan_message *")
    pack_plan(message, config, plan, 3, 77)
    assert message.plan.evse[0].max_w == message.plan.evse[0].min_w == 0
    entry = message.plan.evse[1]
    assert (entry.min_w, entry.max_w, entry.after_max_w) == (-7000, 9000, 4200)
    assert entry.target_w == lib.V2G_POWER_MAX_W  # the lock is why it doesn't get it
    assert entry.flag == lib.V2G_PLAN_LOCKED | lib.V2G_PLAN_SITE_TARGET
    assert entry.ramp_q8 == 1000 * 256 // 100
    assert (message.plan.feeder[0].import_w, message.plan.feeder[0].export_w) == (50000, 20000)
    assert (message.site.present, message.site.target_w) == (1, 12000)


def test_every_native_fault_has_words_and_names_who():
    ids = Ids(("evse-1",), ("grid",), ("main",), ("can0",))
    for number in ffi.typeof("enum v2g_fault").elements:
        if number:
            text = describe(Refusal.REFUSED_CONFIG << 32 | number << 16, ids)
            assert "refused with" not in text
    assert describe(Refusal.REFUSED_CONFIG << 32 | lib.V2G_FAULT_FEEDER_FALLBACK << 16, ids).startswith(
        "feeder main: fallback_w"
    )
