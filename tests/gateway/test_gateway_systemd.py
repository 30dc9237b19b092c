"""The gateway under systemd: it says what it does, and feeds the watchdog only while the cycle's heart beats."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from core_site import CoreSite, wait_until
from gateway_process import GatewayProcess

from edge.gateway.notify import Watchdog


class Systemd:
    """The receiving end of sd_notify(3)."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        self._said: list[str] = []
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        monkeypatch.setenv("WATCHDOG_USEC", "300000")

    def said(self) -> list[str]:
        """Every line so far."""
        while True:
            try:
                self._said += self._socket.recv(4096).decode().splitlines()
            except BlockingIOError:
                return self._said


def test_the_gateway_tells_systemd_its_whole_life(core_site: CoreSite, monkeypatch: pytest.MonkeyPatch) -> None:
    systemd = Systemd(core_site.folder / "notify.sock", monkeypatch)
    gateway = GatewayProcess(core_site)
    gateway.start()
    try:
        wait_until(lambda: systemd.said().count("WATCHDOG=1") > 2, "the watchdog is fed")
        assert systemd.said()[0] == "READY=1"
        gateway.reload()
        wait_until(lambda: "RELOADING=1" in systemd.said() and systemd.said().count("READY=1") == 2, "it reloaded")
        assert any(line.startswith("MONOTONIC_USEC=") for line in systemd.said())
        wait_until(lambda: gateway.power_w("evse-1") > 20000, "it charges")
        assert gateway.stop() == 0
        assert systemd.said()[-3:] == [
            "STOPPING=1",
            "STATUS=bringing every EVSE to 0 W",
            "STATUS=stopped: every EVSE is at 0 W and was told so",
        ]
    finally:
        gateway.close()


def test_the_watchdog_is_fed_only_while_the_heart_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    systemd = Systemd(tmp_path / "notify.sock", monkeypatch)
    beat_ns = 10
    watchdog = Watchdog(lambda: beat_ns)
    assert watchdog.period_s == pytest.approx(0.1)
    assert watchdog.feed()
    assert not watchdog.feed(), "Python runs, the cycle doesn't"
    beat_ns = 20
    assert watchdog.feed()
    assert systemd.said() == ["WATCHDOG=1", "WATCHDOG=1"]


def test_a_watchdog_of_another_process_is_not_fed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "300000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert Watchdog(lambda: 1).period_s is None
