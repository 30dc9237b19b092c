"""A profile reaches every function of the engine: 1 to 4 to read, 5, 6, 16 and 23 to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.config import load
from edge.config.devices import load_devices
from edge.core._native import ffi
from edge.core.layout import native_config
from edge.core.pack_modbus import pack_modbus

CONFIG = """
site: {id: site-1}
feeders: [{id: main, rating_a: 400}]
buses: [{id: net, kind: modbus-tcp}]
evses:
  - {id: evse-1, bus: net, host: 127.0.0.1, profile: ./box.yaml, feeder: main, rating_w: 11000, cable_a: 16, reaction_time: 2s,
     window: 4}
"""
PROFILE = """
profile: box
kind: evse
verified: simulator
source: "a test"
transport: modbus
refresh_ms: 0
registers:
  - {signal: state, address: 0, table: input, type: uint16, codes: {A: [1], C: [2]}}
  - {signal: power_w, address: 1, table: holding, type: int16, unit: W}
  - {signal: fault, address: 2, table: discrete, type: bit}
  - {signal: e_stop, address: 3, table: coil, type: bit}
"""


def packed(folder: Path, setpoint: str):
    (folder / "box.yaml").write_text(PROFILE + setpoint)
    (folder / "config.yaml").write_text(CONFIG)
    settings = load(folder / "config.yaml")
    config = native_config(settings, load_devices(settings, folder), bank=0)
    native = ffi.new("struct v2g_modbus_config *")
    pack_modbus(native, config, config.lines[0])
    return native


def test_reads_of_all_four_tables(tmp_path):
    native = packed(tmp_path, "setpoint: {address: 9, type: uint16, unit: W}\n")
    assert sorted(native.registers[i].table for i in range(native.register_count)) == [1, 2, 3, 4]
    assert native.devices[0].window == 4


@pytest.mark.parametrize(
    ("setpoint", "functions"),
    [
        ("{address: 9, type: uint16, unit: W}", (6, 6, 0)),
        ("{address: 9, type: int32, unit: W}", (16, 16, 0)),
        ("{address: 9, type: uint16, unit: W, function: 16}", (16, 6, 0)),
        ("{address: 9, type: uint16, unit: W, function: 23}", (23, 6, 0)),
        (
            "{address: 9, type: uint16, unit: W, stop: {table: coil, address: 1, type: bit, value: 0},"
            " start: {table: coil, address: 1, type: bit, value: 1}}",
            (6, 5, 5),
        ),
    ],
)
def test_writes_by_every_function(tmp_path, setpoint, functions):
    write = packed(tmp_path, f"setpoint: {setpoint}\n").writes[0]
    assert (write.function, write.stop.function, write.start.function) == functions


def test_a_current_setpoint_is_the_power_over_all_phases_and_never_more(tmp_path):
    text = (
        "setpoint: {address: 9, type: uint16, unit: A, min: 6, never_write: [0], stop: {address: 8, type: uint16, value: 2}}\n"
    )
    write = packed(tmp_path, text).writes[0]
    amperes = [power_w * write.divisor // write.multiplier for power_w in (4139, 4140, 11000)]
    assert amperes == [5, 6, 15], "of three phases at 230 V, towards 0"
    assert write.maximum == 11000
    assert [write.never[i] for i in range(write.never_count)] == [0]
