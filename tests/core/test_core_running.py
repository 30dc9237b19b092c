"""The running core against simulated EVSEs and a simulated meter: a hub for a bus, real Modbus/TCP."""

from __future__ import annotations

import pytest
from core_site import CoreSite, wait_until
from running_core import Running, running

from edge.config import load
from edge.config.devices import load_devices
from edge.core import Core, CoreError, EventKind, HistogramKind, MeterField
from edge.model import Reason


def test_a_vehicle_charges_and_discharges_until_its_floor(core_site: CoreSite):
    with running(core_site) as run:
        run.wish(11000)
        wait_until(lambda: run.power_w() > 10500, "evse-1 charges")
        run.wish(-11000)
        wait_until(lambda: run.power_w() < -10500, "evse-1 discharges")
        core_site.tell(evse="evse-1", set={"soc_percent": 30})
        wait_until(lambda: run.power_w() == 0, "the discharge stopped")
        # A busy machine may delay the simulator's frames for so long that the EVSE counts as lost for a moment.
        wait_until(lambda: run.setpoint().reason_min is Reason.ERR_V2G_LIMIT_REACHED, "because of the floor")
        assert run.setpoint().min_w == 0
        wait_until(lambda: run.core.explain("evse-1").rows[1].reason_discharge is Reason.ERR_V2G_LIMIT_REACHED, "explained")
        told: set[int] = set()

        def floor_was_told() -> bool:
            told.update(e.values[1] for e in run.core.events() if e.kind is EventKind.REASON and e.index == 0)
            return Reason.ERR_V2G_LIMIT_REACHED in told

        wait_until(floor_was_told, "an event says why")


def test_the_meter_shows_base_load_and_evses(core_site: CoreSite):
    with running(core_site) as run:
        core_site.tell(feeder="main", base_load_w=6000)
        run.wish(9000)
        run.wish(0, "evse-2")

        def measured_w() -> int:
            return run.snapshot().meters[0].inputs.value(MeterField.P_TOTAL) or 0

        wait_until(lambda: 14500 < measured_w() < 15500, "6 kW of base load + 9 kW")
        stats = run.core.engine.stats(0)
        assert stats.up
        assert stats.replies > 0
        assert run.core.histogram(HistogramKind.METER_AGE).count > 0


def test_a_reload_moves_evses_without_dropping_a_session(core_site: CoreSite):
    with running(core_site) as run:
        run.wish(11000)
        wait_until(lambda: run.power_w() > 10500, "evse-1 charges")
        core_site.config(floor=45, ids=("evse-2", "evse-1"), nodes=(2, 1))
        before = run.snapshot()
        run.reload()
        after = run.snapshot()
        assert after.config_epoch == before.config_epoch + 1
        assert [e.id for e in after.evses] == ["evse-2", "evse-1"]
        wait_until(lambda: run.power_w() > 10500, "evse-1 goes on charging")
        told = [e for e in run.core.events() if e.kind is EventKind.REASON and e.time_ns >= after.now_ns]
        assert Reason.INIT not in {e.values[1] for e in told}  # nobody began anew
        run.wish(-11000)
        core_site.tell(evse="evse-1", set={"soc_percent": 45})
        wait_until(lambda: run.setpoint().reason_min is Reason.ERR_V2G_LIMIT_REACHED, "the new floor holds")


def test_a_refused_reload_changes_nothing(core_site: CoreSite):
    with running(core_site) as run:
        settings = load(core_site.path)
        broken = settings.model_copy(update={"evses": (settings.evses[0], settings.evses[0])})
        epoch = run.snapshot().config_epoch
        with pytest.raises(CoreError, match=r"EVSE evse-1: its id is used twice: give every EVSE its own id"):
            run.core.commit_config(broken, load_devices(settings, core_site.folder))
        assert run.snapshot().config_epoch == epoch


def test_a_bus_that_is_not_there_is_named_with_a_remedy(core_site: CoreSite):
    settings = load(core_site.path)
    core_site.hub.terminate()
    core_site.hub.wait(5)
    core_site.hub_path.unlink(missing_ok=True)
    core = Core(boot_id=1)
    with pytest.raises(CoreError, match=r"bus can0: channel hub:.*: No such file or directory: start the hub first"):
        core.start(settings, load_devices(settings, core_site.folder))
    core.close()


def test_a_stopped_core_has_brought_every_evse_to_0(core_site: CoreSite):
    run = Running(core_site)
    run.wish(11000)
    wait_until(lambda: run.power_w() > 10500, "evse-1 charges")
    run._stop.set()
    run._thread.join()
    assert run.core.stop()
    assert not run.core.running
    assert run.core.rt_report == run.report  # the page is still served until the process ends
    state = core_site.tell(get="state")
    assert all(abs(evse["power_w"]) < 100 for evse in state["evses"])
    run.core.close()


def test_the_report_says_what_was_granted(core_site: CoreSite):
    with running(core_site) as run:
        assert run.report.fifo == (run.report.fifo_error == "")
        assert run.report.stack_bytes > 0
        wait_until(lambda: run.core.heartbeat_ns > 0, "frames were sent")
        assert run.core.histogram(HistogramKind.LATENESS).percentile(50) >= 0
