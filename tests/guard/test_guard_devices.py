"""The guard stops Modbus devices: real servers, and devices with bad manners, cost one another nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from core_site import free_port, wait_until
from modbus_peers import Device, Loop, Pymodbus
from pymodbus.client import ModbusTcpClient
from test_guard import guard_at

CHARGING = [320] + [0] * 99
"""What the gateway last wrote into register 0."""


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


def register(port: int) -> int:
    """Register 0, read by a client of its own."""
    with ModbusTcpClient("127.0.0.1", port=port) as client:
        value: int = client.read_holding_registers(0, count=1, device_id=1).registers[0]
        return value


@contextmanager
def gateway(guard: Path, *ports: int, boot_id: int = 7) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(Path(__file__).parent / "watched_devices.py"), str(guard), str(boot_id), *map(str, ports)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def test_a_real_server_is_stopped_when_the_gateway_dies(loop: Loop, tmp_path: Path) -> None:
    server = Pymodbus(loop, list(CHARGING), [0] * 100, [False] * 16, [False] * 16)
    with guard_at(tmp_path / "guard.sock"), gateway(tmp_path / "guard.sock", server.port) as process:
        assert register(server.port) == 320
        process.kill()
        wait_until(lambda: register(server.port) == 0, "the device was stopped")
    server.stop()


def test_a_device_is_told_nothing_while_the_gateway_lives_and_its_stop_again_and_again_after(
    loop: Loop, tmp_path: Path
) -> None:
    device = Device(loop, {0: 320})
    with guard_at(tmp_path / "guard.sock"):
        with gateway(tmp_path / "guard.sock", device.port) as process:
            wait_until(lambda: device.connections == 1, "the gateway is connected")
            process.kill()
            wait_until(lambda: device.registers[0] == 0, "the device was stopped")
            assert device.connections == 2
            device.registers[0] = 320  # somebody else lets it go
            wait_until(lambda: device.registers[0] == 0, "it is stopped again")
            assert device.connections == 2, "over the same connection"
        with gateway(tmp_path / "guard.sock", device.port, boot_id=8):
            count = len(device.writes())
            device.registers[0] = 320
            wait_until(lambda: device.open == 0, "nothing is under way")
            assert len(device.writes()) == count, "the next gateway has it"


@pytest.mark.parametrize("manner", ["silent", "garbage", "exception"])
def test_a_device_with_bad_manners_does_not_keep_the_others_from_their_stop(loop: Loop, tmp_path: Path, manner: str) -> None:
    bad, good, gone = Device(loop, {0: 320}), Device(loop, {0: 320}), free_port()
    bad.manner = manner
    with guard_at(tmp_path / "guard.sock") as guard, gateway(tmp_path / "guard.sock", gone, bad.port, good.port) as process:
        process.kill()
        wait_until(lambda: good.registers[0] == 0, "the good one was stopped")
        bad.manner = "good"
        bad.registers[0] = 320
        wait_until(lambda: bad.registers[0] == 0, "the bad one too, once it answers")
        guard.terminate()
        assert guard.stderr is not None
        told = guard.stderr.read()
    assert f"port {gone} unit 1: it does not take its stop yet: Connection refused" in told
    assert told.count(f"port {gone} unit 1") == 1, "told once"
    assert f"port {good.port} unit 1: it confirmed its stop" in told
