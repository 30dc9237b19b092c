"""The whole simulator as users run it: program, bus, control socket, meters."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import can
import cantools
import pytest
from v2g_sim import frames
from v2g_sim.canhub import HubBus, HubControl
from v2g_sim.control import Client, ControlError
from v2g_sim.settings import SettingsError, from_gateway, load, shortcut
from v2g_sim.simulation import Simulation

DBC = cantools.database.load_file(Path(__file__).resolve().parents[2] / "edge/field/dbc/evse-generic.dbc", strict=True)
SIM = [sys.executable, "-c", "from v2g_sim.main import main; main()"]

GATEWAY_CONFIG = """
site: {id: site-1, grid: {nominal_hz: 60, import_limit_w: 60000}}
feeders:
  - {id: main, rating_a: 100, meter: grid, base_load_w: 9000}
  - {id: row-a, parent: main, rating_a: 63}
buses: [{id: can0, kind: can, channel: "hub:/run/x.sock"}, {id: net, kind: modbus-tcp}]
meters: [{id: grid, bus: net, host: 127.0.0.1, port: 5020, profile: sim-meter}]
evses:
  - {id: left, bus: can0, node: 1, feeder: row-a, rating_w: 22000, cable_a: 32}
  - {id: right, bus: can0, node: 2, feeder: row-a, rating_w: 11000, phase_map: [2, 3, 1], min_charge_w: 1400}
  - {id: tcp, bus: net, host: 10.0.0.1, profile: some, feeder: row-a, rating_w: 22000}
"""


class Gateway:
    """Commands one EVSE and reads what the EVSEs say."""

    def __init__(self, bus: can.BusABC) -> None:
        self.bus = bus
        self.counter = 0
        self.last: dict[int, dict] = {}
        self.times: defaultdict[int, list[float]] = defaultdict(list)

    def run_until(self, condition: Callable[[], bool], target_w: float | None = None, node: int = 1) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline, self.last
            if target_w is not None:
                self.counter = (self.counter + 1) % 15
                data = frames.encode_cmd(node, self.counter, 2, target_w, 22000, -22000)
                self.bus.send(can.Message(arbitration_id=0x200 + node, data=data, is_extended_id=False))
            end = time.monotonic() + 0.01
            while (message := self.bus.recv(max(0, end - time.monotonic()))) is not None:
                self.times[message.arbitration_id].append(message.timestamp)
                base = message.arbitration_id & 0x700 | 1
                self.last[message.arbitration_id] = DBC.decode_message(base, message.data, decode_choices=False)

    def power_w(self, node: int = 1) -> float:
        return self.last.get(0x300 + node, {}).get("power_w", 0)


@contextmanager
def running(tmp_path: Path, *arguments: str) -> Iterator[tuple[Client, Gateway]]:
    control = tmp_path / "ctl.sock"
    process = subprocess.Popen([*SIM, "run", *arguments, "--control", str(control)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with Client(control) as client, HubBus(tmp_path / "hub.sock") as bus:
            yield client, Gateway(bus)
    finally:
        process.terminate()
        assert process.wait(30) == 0


def test_a_simulated_site_follows_commands_and_breaks_on_command(tmp_path):
    with running(tmp_path, "--evses", "3", "--channel", f"hub:{tmp_path}/hub.sock") as (client, gateway):
        gateway.run_until(lambda: gateway.power_w() == 7000, 7000)
        everything = {base + node for base in (0x300, 0x400, 0x500, 0x600) for node in (1, 2, 3)}
        gateway.run_until(lambda: set(gateway.last) == everything, 7000)
        client.fault(1, "hot_connector", offset_c=70)
        gateway.run_until(lambda: gateway.last[0x301]["connector_c"] == 90, 7000)
        client.fault("evse-2", "silent")
        client.clear(1)
        gateway.run_until(lambda: gateway.last[0x301]["connector_c"] == 20, 7000)
        gateway.times.clear()
        gateway.run_until(lambda: len(gateway.times[0x303]) > 10, 7000)
        assert 0x302 not in gateway.times
        gateway.run_until(lambda: gateway.last[0x301]["fail_safe_active"] == 1)
        client.plug(3, soc_percent=12, capacity_wh=1000, bidirectional=False)
        gateway.run_until(lambda: abs(gateway.last[0x303]["soc_percent"] - 12) < 0.1)
        state = client.state()
        assert [evse["id"] for evse in state["evses"]] == ["evse-1", "evse-2", "evse-3"]
        for bad in ({"evse": 9, "unplug": True}, {"evse": 1, "fault": "no"}, {"evse": 1, "plug": {"wheels": 3}}, {"x": 1}):
            with pytest.raises(ControlError):
                client.send(bad)


def test_frames_come_at_the_periods_of_the_contract_and_never_faster(tmp_path):
    with running(tmp_path, "--evses", "2", "--channel", f"hub:{tmp_path}/hub.sock") as (_, gateway):
        gateway.run_until(lambda: gateway.times[0x601][2:] != [])
        for can_id, period_s in ((0x301, 0.02), (0x401, 0.05), (0x501, 0.2), (0x601, 0.5)):
            times = gateway.times[can_id]
            # A fifth for a busy machine, which may also have given us the first of them a period late.
            assert times[-1] - times[0] > 0.8 * (len(times) - 2) * period_s


def test_a_gateways_config_describes_the_simulated_site(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(GATEWAY_CONFIG)
    settings = from_gateway(path, vehicle={"soc_percent": 80})
    assert [(evse.id, evse.node, evse.phase_map, evse.min_charge_w) for evse in settings.evses] == [
        ("left", 1, (1, 2, 3), 0),
        ("right", 2, (2, 3, 1), 1400),
    ]
    assert settings.evses[0].vehicle.soc_percent == 80
    assert [(meter.id, meter.feeder, meter.port) for meter in settings.meters] == [("grid", "main", 5020)]
    assert (settings.buses[0].interface, settings.buses[0].channel) == ("v2ghub", "/run/x.sock")
    assert settings.grid.frequency_hz == 60
    assert from_gateway(path, channel="vcan0").buses[0].interface == "socketcan"


def test_bad_settings_are_one_clear_line(tmp_path):
    path = tmp_path / "sim.yaml"
    path.write_text("buses: [{channel: x}]\nevses: [{id: a, node: 300}]\n")
    with pytest.raises(SettingsError, match=r"sim.yaml: evses.0.node: .* \(got 300\)"):
        load(path)
    path.write_text("[1, 2")
    with pytest.raises(SettingsError, match=r"sim.yaml"):
        load(path)
    assert len(shortcut(8, "vcan0").evses) == 8


def test_the_observer_program_judges_a_bus(tmp_path):
    config = tmp_path / "config.yaml"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        config.write_text(GATEWAY_CONFIG.replace("port: 5020", f"port: {probe.getsockname()[1]}"))
    channel = f"hub:{tmp_path}/hub.sock"
    with running(tmp_path, "--gateway-config", str(config), "--channel", channel) as (_, gateway):
        arguments = ["observe", "--gateway-config", str(config), "--channel", channel]
        observer = subprocess.Popen([*SIM, *arguments], stdout=subprocess.PIPE, text=True)
        with HubBus(tmp_path / "hub.sock") as intruder:  # the hub's member count tells when the observer is there
            control = HubControl(tmp_path / "hub.sock")
            gateway.run_until(lambda: len(control.command("stats")["members"]) >= 4, 5000)
            control.close()
            gateway.run_until(lambda: gateway.power_w() == 5000, 5000)
            for _ in range(3):
                data = frames.encode_cmd(1, 1, 2, 25000, 25000, 0)
                intruder.send(can.Message(arbitration_id=0x201, data=data, is_extended_id=False))
            gateway.run_until(lambda: gateway.power_w() == 6000, 6000)
        observer.send_signal(signal.SIGINT)
        output, _ = observer.communicate(timeout=30)
    summary = json.loads(output)
    assert observer.returncode == 1
    assert summary["beyond_limit_by_rule"]["rating"] == 3
    assert summary["evses"]["left"]["status_frames"] > 0


SIM_CONFIG = """
buses: [{id: can0, channel: /run/x.sock, hub_options: ["--bitrate", "500000"]}]
evses:
  - {id: left, node: 1, feeder: row-a, vehicle: {soc_percent: 80, phases: 1}}
  - {id: right, node: 2, feeder: row-a, phase_map: [2], rating_w: 7400, vehicle: null}
feeders: [{id: main, base_load_w: [1000, 2000, 3000]}, {id: row-a, parent: main, profile: [[0, 600], [60, 900]]}]
meters: [{id: grid, feeder: main, port: 5020, refresh_ms: 500, delay_ms: 50}]
grid: {frequency_hz: 60, voltage_v: 120}
periods: {status_a: 10}
"""


def test_the_simulators_own_file_sets_everything_and_commands_change_it(tmp_path):
    path = tmp_path / "sim.yaml"
    path.write_text(SIM_CONFIG)
    simulation = Simulation(load(path))
    flow = simulation.flow("main")
    assert (flow.frequency_hz, flow.voltages_v) == (60, (120, 120, 120))
    assert flow.power_w == pytest.approx(6600, abs=10)
    simulation.command({"feeder": "row-a", "base_load_w": [0, 0, 5000]})
    simulation.command({"grid": {"frequency_hz": 59.5, "voltage_v": [110, 120, 130]}})
    simulation.command({"evse": 1, "set": {"soc_percent": 31, "connector_c": 88}})
    simulation.command({"meter": "grid", "fault": "slow", "delay_s": 2})
    flow = simulation.flow("main")
    assert (flow.powers_w, flow.frequency_hz, flow.voltages_v[0]) == ((1000, 2000, 8000), 59.5, 110)
    state = simulation.command({"get": "state"})
    assert [(evse["soc_percent"], evse["connector_c"]) for evse in state["evses"]] == [(31, 88), (None, 20)]
    assert state["meters"][0]["faults"] == {"slow": {"delay_s": 2}}
    simulation.command({"meter": "grid", "clear": "all"})
    simulation.command({"evse": "right", "plug": {"phases": 1}})
    assert simulation.evses["right"].vehicle is not None


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        ({"evse": 9, "unplug": True}, "no EVSE 9; there are left, right"),
        ({"evse": 1}, "an EVSE command is"),
        ({"evse": 2, "set": {"soc_percent": 5}}, "set takes .*connector_c"),
        ({"evse": 1, "plug": {"soc_percent": 200}}, "0 to 100"),
        ({"feeder": "x", "base_load_w": 1}, "no feeder 'x'"),
        ({"feeder": "main", "profile": [[5, 1]]}, "rising times"),
        ({"grid": {"hz": 50}}, "frequency_hz"),
        ({"meter": "grid", "fault": "melted"}, "known: frozen"),
        ({"get": "weather"}, "state"),
        ({}, "a command names"),
    ],
)
def test_a_command_that_does_not_fit_is_refused_with_the_remedy(tmp_path, request_, text):
    path = tmp_path / "sim.yaml"
    path.write_text(SIM_CONFIG)
    with pytest.raises(ValueError, match=text):
        Simulation(load(path)).command(request_)
