"""Sessions, minutes and quarters as a settlement clerk would check them."""

from __future__ import annotations

from typing import Any

from edge.uplink.recorder import Recorder
from edge.wire import Setpoint, Telemetry, Temperatures

START_MS = 1_764_000_000_000 - 1_764_000_000_000 % 900_000


class Evse:
    """An EVSE that is looked at once a second."""

    def __init__(self, recorder: Recorder | None = None, boot: str = "b") -> None:
        self.recorder = recorder or Recorder()
        self.boot = boot
        self.second = 0
        self.finished: list[tuple[str, int, dict[str, Any]]] = []

    def look(
        self, seconds: int = 1, *, state: str = "transfer", power_w: int | None = 0, reason: str = "NONE", **more: Any
    ) -> None:
        for _ in range(seconds):
            seen = Telemetry(
                site="s",
                evse="evse-1",
                boot=self.boot,
                ts=START_MS + self.second * 1000,
                state=state,
                power_w=power_w,
                setpoint=Setpoint(min_w=0, max_w=0, target_w=0),
                reason=reason,
                **more,
            )
            self.finished += self.recorder.observe(seen, self.second * 1_000_000_000)
            self.second += 1

    def records(self, kind: str) -> list[dict[str, Any]]:
        return [details for k, _, details in self.finished if k == kind]


def test_a_session_is_settled_when_the_vehicle_leaves() -> None:
    evse = Evse()
    evse.look(5, state="A")
    evse.look(3601, power_w=10_000, soc=5_000)
    evse.look(1801, power_w=-6_000, soc=5_500, reason="PLAN_LIMIT")
    evse.look(1, state="A")
    [session] = evse.records("session")
    assert abs(session["import_wh"] - 10_000) <= 5 and abs(session["export_wh"] - 3_000) <= 5
    assert (session["soc_start"], session["soc_end"]) == (5_000, 5_500)
    assert (session["peak_charge_w"], session["peak_discharge_w"]) == (10_000, 6_000)
    assert session["reasons_s"] == {"NONE": 3600, "PLAN_LIMIT": 1801}
    assert session["energy_source"] == "integrated" and session["unknown_s"] == 0


def test_the_devices_own_registers_go_before_integration() -> None:
    evse = Evse()
    evse.look(10, power_w=10_000, import_wh=70_000, export_wh=5)
    evse.look(10, power_w=10_000, import_wh=70_123, export_wh=5)
    evse.look(1, state="A", import_wh=70_123, export_wh=5)
    [session] = evse.records("session")
    assert (session["import_wh"], session["export_wh"], session["energy_source"]) == (123, 0, "register")


def test_time_without_a_power_value_is_unknown_and_no_energy_is_made_up() -> None:
    evse = Evse()
    evse.look(10, power_w=36_000)
    evse.look(60, power_w=None, reason="EVSE_LOST")
    evse.look(10, power_w=36_000)
    evse.look(1, state="A", power_w=36_000)
    [session] = evse.records("session")
    assert session["import_wh"] in (189, 190) and session["unknown_s"] == 61


def test_a_session_goes_on_after_a_restart_and_says_so() -> None:
    before = Evse()
    before.look(100, power_w=36_000, soc=4_000)
    recorder = Recorder()
    recorder.restore(before.recorder.state())
    after = Evse(recorder, boot="c")
    after.second = before.second + 30
    after.look(101, power_w=36_000, soc=4_200)
    after.look(1, state="A", power_w=0)
    [session] = after.records("session")
    assert session["start"] == START_MS and session["restarted"]
    assert abs(session["import_wh"] - 1_995) <= 5
    assert (session["soc_start"], session["soc_end"]) == (4_000, 4_200)


def test_an_unreadable_state_begins_anew() -> None:
    for state in (None, b"", b"garbage", b"[]", b'{"sessions": {"e": {"x": 1}}}'):
        recorder = Recorder()
        recorder.restore(state)
        assert recorder.open_sessions() == []


def test_each_minute_has_mean_smallest_and_largest() -> None:
    evse = Evse()
    evse.look(30, power_w=1_000, soc=5_000, temperature=Temperatures(connector=300))
    evse.look(30, power_w=3_000, soc=5_002, temperature=Temperatures(connector=310))
    evse.look(1, power_w=0)
    [minute] = evse.records("agg60")
    assert minute == {
        "evse": "evse-1", "n": 60, "p": [2000, 1000, 3000], "soc": [5001, 5000, 5002], "t_connector": [305, 300, 310],
    }  # fmt: skip


def test_the_energy_register_is_recorded_at_each_quarter_of_an_hour() -> None:
    evse = Evse()
    evse.look(1801, power_w=4_000)
    quarters = evse.records("energy15")
    assert [q["import_wh"] for q in quarters] == [1_000, 2_000]
    assert [ts for k, ts, _ in evse.finished if k == "energy15"] == [START_MS + 900_000, START_MS + 1_800_000]
