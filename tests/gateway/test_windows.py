"""A window above 1 holds only as far as a probe proved it, at the address where it was proven."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "field"))
from core_site import CoreSite
from gateway_process import GatewayProcess
from register_server import RegisterServer

from edge.config import Settings, load
from edge.gateway.windows import Windows
from tests.cli.edgectl_program import edgectl_on

CONFIG = """
site: {id: site-1}
feeders: [{id: main, rating_a: 400, meter: grid}]
buses: [{id: net, kind: modbus-tcp}, {id: can0, kind: can, channel: can0}]
meters: [{id: grid, bus: net, host: 10.0.0.5, profile: sim-meter, window: 8}]
evses: [{id: evse-1, bus: can0, dbc: evse-generic, node: 1, feeder: main, rating_w: 22000}]
"""


def settings(folder: Path, text: str = CONFIG) -> Settings:
    (folder / "config.yaml").write_text(text)
    return load(folder / "config.yaml")


def test_an_unproven_window_is_one_request_and_is_told(tmp_path: Path):
    windows, wanted = Windows(tmp_path), settings(tmp_path)
    assert windows.granted(wanted).meters[0].window == 1
    assert windows.unproven(wanted)[0][0] == "grid"
    windows.keep(wanted.meters[0], 4)
    assert windows.granted(wanted).meters[0].window == 4
    assert "window: 8 in the config, 4 proven" in windows.unproven(wanted)[0][1]


def test_a_proof_survives_a_restart_and_belongs_to_its_address(tmp_path: Path):
    Windows(tmp_path).keep(settings(tmp_path).meters[0], 8)
    windows = Windows(tmp_path)
    assert windows.granted(settings(tmp_path)).meters[0].window == 8
    assert windows.unproven(settings(tmp_path)) == []
    assert windows.granted(settings(tmp_path, CONFIG.replace("10.0.0.5", "10.0.0.6"))).meters[0].window == 1


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"windows": {"a": "b"}}'])
def test_a_file_that_can_not_be_read_proves_nothing(tmp_path: Path, content: str):
    (tmp_path / "windows.json").write_text(content)
    assert Windows(tmp_path).granted(settings(tmp_path)).meters[0].window == 1


def test_a_probe_raises_the_window_with_the_next_reload(core_site: CoreSite):
    meter = RegisterServer(dict.fromkeys(range(27), 0), window=4)
    port = meter.place.rpartition(":")[2]
    text = core_site.path.read_text().replace(
        f"port: {core_site.port}, profile: sim-meter,", f"port: {port}, profile: sim-meter, window: 4,"
    )
    assert "window: 4" in text
    core_site.path.write_text(text)
    gateway = GatewayProcess(core_site)
    gateway.start()
    try:
        socket = core_site.folder / "local.sock"
        assert edgectl_on(socket, "events").stdout.count("WINDOW_UNPROVEN") == 1
        found = edgectl_on(socket, "probe", "grid")
        assert "requests at once: 4" in found.stdout
        assert edgectl_on(socket, "reload").returncode == 0
        assert edgectl_on(socket, "events").stdout.count("WINDOW_UNPROVEN") == 1, "proven, so it isn't told again"
    finally:
        gateway.close()
        meter.close()
