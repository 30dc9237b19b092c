"""EVSEs on Modbus, over TCP and on a line, get their setpoints through the same chain as those on CAN."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from core_site import wait_until
from modbus_site import ModbusSite
from running_core import Running, running

from edge.field.canmap import EvseField, EvseFlag
from edge.field.profile import PROFILES
from edge.model import Reason

BOTH = ("evse-1", "evse-2")


@pytest.fixture
def site() -> Iterator[ModbusSite]:
    with tempfile.TemporaryDirectory(prefix="v2g") as folder:
        site = ModbusSite(Path(folder))
        yield site
        site.close()


def value(run: Running, evse_id: str, signal: str) -> int | None:
    """What the EVSE's own register says, in the core's unit."""
    cell = run.core.config.points[evse_id].wiring.cell(signal)
    return None if cell is None else run.core.engine.value(cell)


def flags(run: Running, evse_id: str) -> int:
    return run.snapshot().evse(evse_id).inputs.value(EvseField.FLAGS) or 0


def test_evses_on_modbus_charge_discharge_and_stop(site: ModbusSite):
    with running(site) as run:
        for evse_id in BOTH:
            run.wish(7000, evse_id)
        for evse_id in BOTH:
            wait_until(lambda e=evse_id: site.evse(e)["power_w"] == 7000, f"{evse_id} charges")
            wait_until(lambda e=evse_id: run.power_w(e) == 7000, "and says so")
        for evse_id in BOTH:
            run.wish(-6000, evse_id)
        for evse_id in BOTH:
            wait_until(lambda e=evse_id: site.evse(e)["power_w"] == -6000, f"{evse_id} discharges")
        site.control.set("evse-1", soc_percent=30)
        wait_until(lambda: site.evse("evse-1")["power_w"] == 0, "the vehicle at its floor is not discharged")
        wait_until(lambda: run.setpoint().reason_min is Reason.ERR_V2G_LIMIT_REACHED, "because of the floor")
        assert site.evse("evse-2")["power_w"] == -6000
        run.wish(0, "evse-2")
        wait_until(lambda: site.evse("evse-2")["power_w"] == 0, "evse-2 stops")
        assert run.core.engine.figures[0].devices == 2
        for evse_id in BOTH:
            assert value(run, evse_id, "voltage_l1_v") == 2300
            assert value(run, evse_id, "energy_export_wh") is not None


def test_the_fallback_is_written_read_back_and_holds_when_the_gateway_is_gone(site: ModbusSite):
    with running(site) as run:
        run.wish(-5000)
        wait_until(lambda: site.evse("evse-1")["power_w"] == -5000, "it may discharge once its fallback is known")
        assert not flags(run, "evse-1") & EvseFlag.SILENCE_UNKNOWN
        run.core.engine.stop()  # nobody writes any more
        wait_until(lambda: site.evse("evse-1")["fail_safe"] and site.evse("evse-1")["power_w"] == 0, "its own fallback: 0 W")


def test_an_evse_whose_fallback_is_not_known_may_charge_but_not_discharge_and_is_booked_at_its_rating(site: ModbusSite):
    text = (PROFILES / "sim-evse.yaml").read_text().replace("profile: sim-evse", "profile: forgetful")
    text = text.replace("value: 1000}", "}")  # the time-out stays at 60 s, and nothing is written
    (site.folder / "forgetful.yaml").write_text(text)
    site.config(profile="./forgetful.yaml")
    with running(site) as run:
        run.wish(6000)
        wait_until(lambda: site.evse("evse-1")["power_w"] == 6000, "it charges")
        assert flags(run, "evse-1") & EvseFlag.SILENCE_UNKNOWN
        run.wish(-6000)
        wait_until(lambda: site.evse("evse-1")["power_w"] == 0, "it doesn't discharge")
        assert run.setpoint().min_w == 0
        site.control.fault("evse-1", "silent")
        wait_until(lambda: run.setpoint().reason is Reason.EVSE_LOST, "lost")
        run.wish(22000, "evse-2")
        # 22 kW may be on one phase of its row, where 14.5 kW fit: nothing is left for evse-2.
        wait_until(lambda: run.setpoint("evse-2").reason is Reason.PHASE_LIMIT, "evse-1 is booked at its rating")
        wait_until(lambda: site.evse("evse-2")["power_w"] == 0, "evse-2 waits")


def test_an_evse_that_dies_is_lost_falls_back_and_comes_back(site: ModbusSite):
    with running(site) as run:
        for evse_id in BOTH:
            run.wish(7000, evse_id)
        wait_until(lambda: all(site.evse(e)["power_w"] == 7000 for e in BOTH), "both charge")
        for evse_id in BOTH:
            site.control.fault(evse_id, "silent")
        for evse_id in BOTH:
            wait_until(lambda e=evse_id: run.setpoint(e).reason is Reason.EVSE_LOST, f"{evse_id} is lost")
            assert not flags(run, evse_id) & EvseFlag.SILENCE_UNKNOWN  # what was read back holds for the time of silence
        wait_until(lambda: all(site.evse(e)["power_w"] == 0 for e in BOTH), "both fall back by themselves")
        for evse_id in BOTH:
            site.control.clear(evse_id)
        wait_until(lambda: all(site.evse(e)["power_w"] == 7000 for e in BOTH), "both charge again")


def test_a_reload_of_other_keys_leaves_the_connections_alone(site: ModbusSite):
    with running(site) as run:
        run.wish(7000)
        wait_until(lambda: site.evse("evse-1")["power_w"] == 7000, "it charges")
        place = run.core.config.points["evse-1"]
        connects = run.core.engine.stats(place.wiring.stats).connects
        site.path.write_text(site.path.read_text().replace("min_soc_threshold: 30", "min_soc_threshold: 35"))
        run.reload()
        assert run.snapshot().config_epoch == 2
        assert run.core.engine.stats(place.wiring.stats).connects == connects
        wait_until(lambda: site.evse("evse-1")["power_w"] == 7000, "it goes on charging")


def test_a_frozen_meter_is_found_though_it_answers_and_a_steady_one_is_left_alone(site: ModbusSite):
    with running(site) as run:
        run.wish(0)
        run.wish(0, "evse-2")
        wait_until(lambda: not run.snapshot().feeders[0].lost, "the meter is there")
        reads = run.core.engine.stats(run.core.config.meters[0].wiring.stats).replies
        stats = run.core.config.meters[0].wiring.stats
        wait_until(lambda: run.core.engine.stats(stats).replies > reads + 10, "ten reads of a load that doesn't change")
        assert not run.snapshot().feeders[0].lost
        site.control.meter_fault("grid", "frozen")
        wait_until(lambda: run.snapshot().feeders[0].lost, "it answers, but counts no samples")
        assert run.core.engine.stats(stats).up
        site.control.meter_clear("grid")
        wait_until(lambda: not run.snapshot().feeders[0].lost, "it is back")
