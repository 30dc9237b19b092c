"""A SunSpec charger from discovery to discharge: found, written down as a profile, and led by the core like any other EVSE.

Its registers were packed by pysunspec2, from its own copy of the models.
"""

from __future__ import annotations

import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

from modbus_peers import Device, Loop
from modbus_rig import eventually
from ruamel.yaml import YAML

sys.path.insert(0, str(Path(__file__).parents[1] / "core"))
sys.path.insert(0, str(Path(__file__).parents[1] / "field"))
import sunspec_device
from running_core import running

from edge.core import EvseSnapshot
from edge.field import sunspec
from edge.field.canmap import EvseField, EvseFlag

CONFIG = """
site: {{id: site-1, grid: {{import_limit_w: 60000, export_limit_w: 50000}}}}
lab: true
ramp: {{normal_pct_s: 1000, after_failsafe_pct_s: 1000}}
feeders: [{{id: main, rating_a: 100, base_load_w: 5000}}, {{id: row-a, parent: main, rating_a: 63}}]
buses: [{{id: net, kind: modbus-tcp}}]
evses:
  - {{id: evse-1, bus: net, host: 127.0.0.1, port: {0}, profile: ./charger.yaml, feeder: row-a, rating_w: 11000, poll: 50ms,
     timeout: 2s, reaction_time: 12s, accept_unverified: true}}
  - {{id: evse-2, bus: net, host: 127.0.0.1, port: {1}, profile: ./charger.yaml, feeder: row-a, rating_w: 11000, poll: 50ms,
     timeout: 2s, reaction_time: 12s, accept_unverified: true}}
"""
BASE = 40000


class Charger(Device):
    """Takes the power that 704 says while 704 is enabled, and shows it in 701 (generation positive)."""

    def __init__(self, loop: Loop) -> None:
        super().__init__(loop, sunspec_device.memory(BASE, sunspec_device.charger()))
        _, models = sunspec.discover(lambda at, count: [self.registers[at + i] for i in range(count)])
        self.at = {model.id: model.address for model in models}

    def reply(self, request: bytes) -> bytes:
        answer = super().reply(request)
        set_at = self.at[704]
        power_w = self.number(set_at + 24) if self.registers[set_at + 22] == 1 else 0
        self.registers[self.at[701] + 10] = power_w & 0xFFFF
        return answer

    def number(self, address: int) -> int:
        """A 32-bit value."""
        value: int = struct.unpack(">i", struct.pack(">2H", self.registers[address], self.registers[address + 1]))[0]
        return value

    def beats(self) -> list[int]:
        """Every heartbeat written, oldest first."""
        at = self.at[715] + 5
        writes = [r for r in list(self.requests) if r[7] == 16 and struct.unpack(">H", r[8:10])[0] == at]
        return [struct.unpack(">I", r[13:17])[0] for r in writes]


class Site:
    """Two such chargers, and the profile that was made of one of them."""

    def __init__(self, folder: Path, chargers: list[Charger]) -> None:
        self.folder, self.path = folder, folder / "config.yaml"
        self.path.write_text(CONFIG.format(*(charger.port for charger in chargers)))
        registers = chargers[0].registers
        profile = sunspec.der_profile(lambda at, count: [registers[at + i] for i in range(count)], "charger")
        YAML(typ="safe").dump(profile, folder / "charger.yaml")


def test_a_sunspec_charger_is_found_discharged_and_shown_that_somebody_lives(loop: Loop, tmp_path: Path) -> None:
    chargers = [Charger(loop), Charger(loop)]
    first = chargers[0]
    controls = first.at[704]
    began_s = time.monotonic()
    with running(Site(tmp_path, chargers)) as run:

        def evse() -> EvseSnapshot:
            return run.snapshot().evse("evse-1")

        def reached(power_w: int) -> Callable[[], bool]:
            return lambda: evse().inputs.value(EvseField.POWER) == power_w

        eventually(lambda: evse().inputs.value(EvseField.SOC) == 5570)
        eventually(lambda: first.number(controls + 31) == 10 and first.number(controls + 26) == 0)
        run.wish(-5000)
        eventually(reached(-5000))
        assert first.number(controls + 24) == 5000, "positive is generation there"
        assert not (evse().inputs.value(EvseField.FLAGS) or 0) & EvseFlag.SILENCE_UNKNOWN
        run.wish(7000)
        eventually(reached(7000))
        eventually(lambda: len(first.beats()) > 3)
        beats = first.beats()
        assert beats == list(range(beats[0], beats[0] + len(beats))), "each one higher than the one before"
        assert len(beats) <= time.monotonic() - began_s + 1, "once a second, not once a poll"
