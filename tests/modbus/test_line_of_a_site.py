"""A site whose meter and EVSE share a serial port: from config.yaml to values and setpoints on a paced line."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from modbus_line import Line
from modbus_rig import eventually

from edge.config import load
from edge.config.devices import load_devices
from edge.core import Core, MeterField
from edge.field.canmap import EvseField

CONFIG = """
site: {{id: site-1}}
lab: true
feeders: [{{id: main, rating_a: 100, meter: grid}}]
buses: [{{id: rs485, kind: modbus-rtu, port: {port}, baud: 115200, rs485: try}}]
meters: [{{id: grid, bus: rs485, unit: 9, profile: sim-meter, poll: 200ms, timeout: 2s}}]
evses:
  - {{id: evse-1, bus: rs485, unit: 2, profile: sim-evse, feeder: main, rating_w: 22000, poll: 200ms, timeout: 2s,
     reaction_time: 3s}}
"""


@pytest.fixture
def fast_line(tmp_path: Path) -> Iterator[Line]:
    line = Line(tmp_path / "ttyRS485", baud=115200)
    yield line
    line.close()


def test_meter_and_evse_on_one_line(fast_line: Line, tmp_path: Path) -> None:
    words = struct.unpack(">27H", struct.pack(">11f2IH", *[4321.0, *[0.0] * 10], 0, 0, 7))
    meter = fast_line.add(9, dict(enumerate(words)))
    evse = fast_line.add(2, {0: 1, 110: 6000, 111: 60_000})
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(port=fast_line.path))
    settings = load(path)
    core = Core(boot_id=1)
    core.start(settings, load_devices(settings, tmp_path))
    try:
        eventually(lambda: core.snapshot().meters[0].inputs.value(MeterField.P_TOTAL) == 4321)
        eventually(lambda: core.snapshot().evse("evse-1").inputs.value(EvseField.STATE) == 1)
        eventually(lambda: (evse.registers[110], evse.registers[111]) == (0, 1000))  # the fallback was written
        eventually(lambda: any(request[1:4] == bytes([6, 0, 102]) for request in evse.requests))  # and the stop
        (figures,) = core.engine.figures
        assert (figures.bus, figures.baud, figures.devices) == ("rs485", 115200, 2)
        assert fast_line.too_soon == 0, "3.5 characters of silence before every request"
        assert len(meter.requests) > 0
    finally:
        core.stop()
        core.close()
