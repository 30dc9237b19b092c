"""While the gateway runs, commissioning stays away from its lines and from registers that it writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.config import load
from edge.gateway.commission import refuse_what_is_in_use
from edge.local.view import LocalError

CONFIG = """
site: {id: site-1}
feeders: [{id: main, rating_a: 400}]
buses: [{id: net, kind: modbus-tcp}, {id: rs485, kind: modbus-rtu, port: /dev/ttyRS485}]
evses:
  - {id: evse-1, bus: net, host: 10.0.0.8, profile: sim-evse, feeder: main, rating_w: 22000, reaction_time: 2s}
  - {id: evse-2, bus: rs485, unit: 2, profile: sim-evse, feeder: main, rating_w: 22000, reaction_time: 2s}
"""


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"place": "/dev/ttyRS485"}, "is bus rs485 of the running gateway"),
        ({"place": "10.0.0.8", "write": True}, "is EVSE evse-1: the running gateway writes its registers"),
        ({"place": "10.0.0.8:502", "unit": 1, "write": True}, "is EVSE evse-1"),
    ],
)
def test_what_the_gateway_uses_is_refused(tmp_path: Path, arguments, why):
    (tmp_path / "config.yaml").write_text(CONFIG)
    with pytest.raises(LocalError, match=why):
        refuse_what_is_in_use(load(tmp_path / "config.yaml"), arguments)


def test_reading_and_other_devices_are_not(tmp_path: Path):
    (tmp_path / "config.yaml").write_text(CONFIG)
    settings = load(tmp_path / "config.yaml")
    for arguments in ({"place": "10.0.0.8"}, {"place": "10.0.0.8", "unit": 2, "write": True}, {"place": "/dev/ttyUSB0"}):
        refuse_what_is_in_use(settings, arguments)
