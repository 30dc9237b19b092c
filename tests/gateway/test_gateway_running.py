"""v2g-edge as a process: it controls the site, reloads, locks, and stops."""

from __future__ import annotations

import os

from core_site import CoreSite, wait_until
from gateway_process import GatewayProcess


def test_without_an_aggregator_the_site_charges_within_its_fuses(gateway: GatewayProcess):
    wait_until(lambda: gateway.power_w("evse-1") > 20000 and gateway.power_w("evse-2") > 20000, "both charge")
    status = gateway.ask("/v1/status")
    root = status["feeders"][0]
    assert root["power"]["value"] <= root["import_w"][3]
    assert status["core"]["state"] == "run"
    assert status["buses"][0]["transport"] == "hub"
    assert status["uplink"]["state"] == "off"
    assert gateway.ask("/v1/rt")["lateness_us"]["p50"] > 0


def test_where_real_time_is_refused_the_gateway_runs_and_says_so(core_site: CoreSite):
    gateway = GatewayProcess(core_site)
    gateway.start("prlimit", "--rtprio=0:0", *(("setpriv", "--bounding-set=-sys_nice") if os.geteuid() == 0 else ()))
    try:
        wait_until(lambda: gateway.power_w("evse-1") > 0, "it charges")
        assert not gateway.ask("/v1/status")["core"]["realtime"]
        assert "NOT_REALTIME" in [event["code"] for event in gateway.ask("/v1/events?since=0")["events"]]
    finally:
        gateway.close()


def test_a_lock_stops_an_evse_and_survives_a_restart(gateway: GatewayProcess):
    wait_until(lambda: gateway.power_w("evse-1") > 5000, "it charges")
    gateway.ask("/v1/locks", {"evse": "evse-1", "locked": True, "reason": "cable is being replaced"})
    wait_until(lambda: gateway.power_w("evse-1") == 0, "it stopped")
    assert gateway.evse("evse-1")["setpoint"]["reason"]["code"] == "LOCKOUT"
    assert gateway.stop() == 0
    gateway.start()
    wait_until(lambda: gateway.power_w("evse-2") > 5000, "the other one charges")
    evse = gateway.evse("evse-1")
    assert evse["locks"][0]["reason"] == "cable is being replaced"
    assert evse["setpoint"]["target_w"] == 0
    gateway.ask("/v1/locks", {"evse": "evse-1", "locked": False})
    wait_until(lambda: gateway.power_w("evse-1") > 5000, "it charges again")


def test_a_reload_raises_the_floor_without_dropping_the_session(gateway: GatewayProcess, core_site: CoreSite):
    wait_until(lambda: gateway.power_w("evse-1") > 20000, "it charges")
    core_site.config(floor=55)
    gateway.reload()
    wait_until(lambda: gateway.evse("evse-1")["soc_floor_percent"] == 55, "the new floor is in force")
    wait_until(lambda: gateway.power_w("evse-1") > 20000, "it goes on charging")
    assert [s["ended"] for s in gateway.ask("/v1/sessions")["sessions"]] == [None, None]


def test_an_invalid_file_is_refused_with_one_line_per_error_and_changes_nothing(gateway: GatewayProcess, core_site: CoreSite):
    before = gateway.ask("/v1/status")
    core_site.path.write_text(core_site.path.read_text().replace("rating_a: 63", "rating_a: 0, colour: red"))
    gateway.reload()
    wait_until(lambda: gateway.log.count("reload refused") == 2, "both errors are told")
    assert "colour" in gateway.log
    after = gateway.ask("/v1/status")
    assert (after["config_hash"], after["core"]["config_epoch"]) == (before["config_hash"], before["core"]["config_epoch"])


def test_a_change_that_needs_a_restart_is_refused_as_a_whole(gateway: GatewayProcess, core_site: CoreSite):
    core_site.path.write_text(core_site.path.read_text().replace("period: 10ms", "period: 20ms"))
    gateway.reload()
    wait_until(lambda: "cycle.period: 10ms → 20ms: needs a restart" in gateway.log, "the key is named")
    assert gateway.ask("/v1/status")["core"]["period_us"] == 10000


def test_an_emergency_stop_that_cannot_be_read_holds_every_evse_and_says_why(core_site: CoreSite):
    """No chip is there: what nobody can read counts as pressed."""
    text = core_site.path.read_text()
    stop = "inputs: [{id: stop, chip: /dev/gpiochip-none, line: 4, active: high, means: emergency-stop}]"
    core_site.path.write_text(text + stop + "\n")
    process = GatewayProcess(core_site)
    process.start()
    try:
        wait_until(lambda: "INPUT_LOST" in process.log, "the lost input is told")
        assert "input stop (/dev/gpiochip-none line 4) can't be read: No such file or directory" in process.log
        for evse in ("evse-1", "evse-2"):
            wait_until(lambda evse=evse: process.evse(evse)["setpoint"]["reason"]["code"] == "LOCKOUT", f"{evse} is locked")
            assert process.evse(evse)["setpoint"]["target_w"] == 0
        assert "input stop" in str(process.ask("/v1/evses/evse-1/explain"))
    finally:
        process.close()


def test_a_stopped_gateway_leaves_every_evse_at_0_and_says_so(gateway: GatewayProcess, core_site: CoreSite):
    wait_until(lambda: gateway.power_w("evse-1") > 20000, "it charges")
    assert gateway.stop() == 0
    assert "every EVSE is at 0 W and was told so" in gateway.log
    assert "Traceback" not in gateway.log
    assert all(abs(evse["power_w"]) < 100 for evse in core_site.tell(get="state")["evses"])
    assert not (core_site.folder / "local.sock").exists()


def test_the_gateway_comes_back_to_a_bus_that_was_gone(gateway: GatewayProcess, core_site: CoreSite):
    wait_until(lambda: gateway.power_w("evse-1") > 5000, "it charges")
    core_site.restart_hub()
    wait_until(lambda: "BUS_DOWN" in gateway.log, "the bus is down")
    wait_until(lambda: "BUS_UP" in gateway.log, "the bus is up again")
