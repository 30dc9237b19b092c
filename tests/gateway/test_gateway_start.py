"""What stands in the way of a start is told in one line with file or device, value and remedy; exit code 2."""

from __future__ import annotations

import socket
from pathlib import Path

from core_site import wait_until
from gateway_process import GatewayProcess, run_refused

from edge.uplink.pki import make_development_pki

CONFIG = """
site: {{id: site-1}}
lab: true
feeders: [{{id: main, rating_a: 63}}]
buses: [{{id: can0, kind: can, channel: "{channel}"}}]
evses: [{{id: evse-1, bus: can0, dbc: evse-generic, node: 1, feeder: main, rating_w: 22000}}]
local: {{socket: {folder}/local.sock, state_dir: {folder}/state, page: {{port: {port}}}}}
{more}
"""


def write(folder: Path, channel: str = "nocan0", port: int = 1, more: str = "") -> Path:
    path = folder / "config.yaml"
    path.write_text(CONFIG.format(folder=folder, channel=channel, port=port, more=more))
    return path


def test_a_missing_file_is_named(tmp_path: Path):
    code, lines = run_refused(tmp_path / "none.yaml")
    assert code == 2
    assert len(lines) == 1
    assert "none.yaml" in lines[0]


def test_a_missing_can_interface_is_named_with_a_remedy(tmp_path: Path):
    code, lines = run_refused(write(tmp_path))
    assert code == 2
    assert lines == [line for line in lines if line.startswith("v2g-edge: bus can0: channel nocan0: ")]


def test_a_port_in_use_is_named_with_a_remedy(core_site):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", core_site.page_port))
        taken.listen()
        code, lines = run_refused(core_site.path)
    assert code == 2
    told = [line for line in lines if line.startswith("v2g-edge: ")]
    assert len(told) == 1
    assert f"port {core_site.page_port}" in told[0]
    assert "already in use" in told[0]


def test_an_unreadable_certificate_is_named(tmp_path: Path):
    uplink = "uplink: {host: broker, ca: missing-ca.pem, cert: c.pem, key: k.pem}"
    code, lines = run_refused(write(tmp_path, more=uplink))
    assert code == 2
    assert any("uplink.ca" in line and "missing-ca.pem" in line for line in lines)


def test_a_state_directory_that_cant_be_written_is_named(core_site):
    (core_site.folder / "state").write_text("a file where a folder should be")
    code, lines = run_refused(core_site.path)
    assert code == 2
    assert any("state_dir" in line for line in lines)


def test_a_gateway_whose_uplink_cannot_store_anything_controls_its_site_and_says_so(core_site):
    make_development_pki(core_site.folder / "pki", ["site-1"])
    uplink = "uplink: {host: localhost, port: 1, ca: pki/ca.crt, cert: pki/site-1.crt, key: pki/site-1.key}\n"
    core_site.path.write_text(core_site.path.read_text() + uplink)
    for name in ("commands.sqlite", "outbox.sqlite"):
        (core_site.folder / "state" / name).mkdir(parents=True)  # no file can be opened there
    gateway = GatewayProcess(core_site)
    gateway.start()
    try:
        wait_until(lambda: gateway.power_w("evse-1") > 5000, "the site charges", 60)
        notices = gateway.ask("/v1/status")["notices"]
        texts = [notice["text"] for notice in notices if notice["code"] == "STORAGE"]
        assert len(texts) == 2 and "command ledger" in texts[0] and "outbox" in texts[1]
    finally:
        gateway.close()
