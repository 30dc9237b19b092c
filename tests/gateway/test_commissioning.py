"""What a technician does with a running gateway: look at a bus, test an EVSE, probe a device; nothing goes past the chain."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from core_site import CoreSite, wait_until
from gateway_process import GatewayProcess
from modbus_site import ModbusSite
from v2g_sim.canhub import HubBus

from edge.field.profile import PROFILES
from tests.cli.edgectl_program import edgectl_on


def edgectl(gateway: GatewayProcess, *words: str) -> tuple[int, str]:
    done = edgectl_on(gateway.site.folder / "local.sock", *words)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def modbus_site() -> Iterator[ModbusSite]:
    with tempfile.TemporaryDirectory(prefix="v2g") as folder:
        site = ModbusSite(Path(folder))
        yield site
        site.close()


@pytest.fixture
def modbus_gateway(modbus_site: ModbusSite) -> Iterator[GatewayProcess]:
    process = GatewayProcess(modbus_site)
    process.start()
    yield process
    process.close()


def test_a_test_goes_through_the_chain_and_is_taken_back(gateway: GatewayProcess, core_site: CoreSite):
    wait_until(lambda: gateway.power_w("evse-1") > 5000, "it charges")
    code, out = edgectl(gateway, "test", "evse-1", "--power", "-4000", "--for", "5")
    assert code == 0, out
    assert "evse-1: asked -4000 W, told -4000 W, measured -4000 W" in out
    wait_until(lambda: gateway.power_w("evse-1") > 5000, "it charges again")
    core_site.control.set("evse-1", soc_percent=25)
    wait_until(lambda: gateway.evse("evse-1")["values"]["soc"]["value"] < 26, "the vehicle is below its floor")
    code, out = edgectl(gateway, "test", "evse-1", "--power", "-4000", "--for", "3")
    assert code == 2
    assert "told 0 W" in out
    assert "ERR_V2G_LIMIT_REACHED" in out
    assert edgectl(gateway, "test", "evse-9", "--power", "0", "--for", "1")[1].endswith("there are: evse-1, evse-2\n")


def test_while_a_test_runs_its_bound_is_named_and_a_lock_still_stops_the_evse(gateway: GatewayProcess):
    wait_until(lambda: gateway.power_w("evse-1") > 5000, "it charges")
    answers: list[tuple[int, str]] = []
    thread = threading.Thread(
        target=lambda: answers.append(edgectl(gateway, "test", "evse-1", "--power", "3000", "--for", "10"))
    )
    thread.start()
    wait_until(lambda: gateway.evse("evse-1")["setpoint"]["target_w"] == 3000, "it is told 3 kW")
    assert "technician test" in edgectl(gateway, "explain", "evse-1")[1]
    assert "another step of commissioning" in edgectl(gateway, "can", "dump", "can0")[1]
    gateway.ask("/v1/locks", {"evse": "evse-1", "locked": True, "reason": "smoke"})
    wait_until(lambda: gateway.power_w("evse-1") == 0, "it stopped")
    thread.join()
    assert answers[0][0] == 2
    assert "LOCKOUT" in answers[0][1]


def test_frames_are_dumped_with_their_owner_and_none_of_an_evse_is_sent(gateway: GatewayProcess, core_site: CoreSite):
    code, out = edgectl(gateway, "can", "dump", "--for", "1")
    assert code == 0, out
    assert " can0 301 [8] " in out
    assert out.count("evse-1 Cmd") > 20, "the gateway's own commands are on the bus, too"
    code, out = edgectl(gateway, "can", "send", "can0", "201#0000000000000000")
    assert code == 64
    assert "identifier 0x201 is evse-1 Cmd" in out
    listener = HubBus(str(core_site.hub_path), can_filters=[{"can_id": 0x7FF, "can_mask": 0x7FF, "extended": False}])
    assert edgectl(gateway, "can", "send", "can0", "7FF#0102") == (0, "can0 7FF#0102: sent\n")
    heard = listener.recv(5)
    listener.shutdown()
    assert heard is not None
    assert bytes(heard.data) == b"\x01\x02"
    assert "there are: can0" in edgectl(gateway, "can", "dump", "can7")[1]


def test_devices_of_the_config_are_probed_by_name(modbus_gateway: GatewayProcess, modbus_site: ModbusSite):
    """One on TCP over a connection of its own, one on the gateway's line through the engine that polls it."""
    wait_until(lambda: modbus_gateway.power_w("evse-1") > 0 and modbus_gateway.power_w("evse-2") > 0, "both charge")
    code, out = edgectl(modbus_gateway, "probe", "evse-1")
    assert code == 0, out
    assert "fallback: 0 W after 1 s without a write" in out
    code, out = edgectl(modbus_gateway, "probe", "evse-2")
    assert code == 0, out
    assert "requests at once: 1" in out
    assert "fallback: 0 W after 1 s without a write" in out
    code, out = edgectl(modbus_gateway, "probe", "grid")
    assert "registers change every" in out, out
    code, out = edgectl(modbus_gateway, "verify", "evse-1")
    assert code == 0, out
    assert "is EVSE evse-1" in edgectl(modbus_gateway, "verify", "evse-1", "--write")[1]
    assert (
        "carries the setpoint of sim-evse"
        in edgectl(modbus_gateway, "modbus", "write", "evse-1", "--address", "100", "--type", "int32", "--value", "9000")[1]
    )
    assert edgectl(modbus_gateway, "modbus", "write", "evse-1", "--address", "25", "--value", "7")[0] in (0, 64)


@pytest.mark.parametrize("evse", ["evse-1", "evse-2"])
def test_silence_is_tested_through_the_chain(modbus_gateway: GatewayProcess, modbus_site: ModbusSite, evse: str):
    wait_until(lambda: modbus_gateway.power_w(evse) > 0, "it charges")
    code, out = edgectl(modbus_gateway, "probe", evse, "--silence", "--power", "3000")
    assert code == 0, out
    assert f"{evse} falls back to 0 W by itself" in out
    assert "after 2.02 s of silence 0 W" in out
    wait_until(lambda: modbus_gateway.power_w(evse) > 3000, "it charges again, and more")


def test_an_evse_that_goes_on_in_silence_is_found(modbus_site: ModbusSite):
    """Its time-out is a minute, and nothing in its profile tells."""
    text = (PROFILES / "sim-evse.yaml").read_text().replace("profile: sim-evse", "profile: forgetful")
    (modbus_site.folder / "forgetful.yaml").write_text(text[: text.index("fallback:")])
    modbus_site.config(profile="./forgetful.yaml")
    gateway = GatewayProcess(modbus_site)
    gateway.start()
    try:
        wait_until(lambda: gateway.power_w("evse-1") > 0, "it charges")
        assert "name it with --seconds" in edgectl(gateway, "probe", "evse-1", "--silence")[1]
        code, out = edgectl(gateway, "probe", "evse-1", "--silence", "--power", "3000", "--seconds", "1")
        assert code == 2
        assert "after 2.02 s of silence 3000 W" in out
        assert "never set silence_tested" in out
    finally:
        gateway.close()


def test_silence_of_an_evse_that_takes_no_power_is_not_judged(gateway: GatewayProcess):
    code, out = edgectl(gateway, "probe", "evse-1", "--silence")
    assert code == 64
    assert "is not on Modbus" in out
    assert "no EVSE of the config" in edgectl(gateway, "probe", "grid", "--silence")[1]
