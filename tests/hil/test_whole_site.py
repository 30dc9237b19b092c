"""Broker, simulator, gateway and aggregator together, as real programs on a hub."""

from __future__ import annotations

from pathlib import Path

from edge.model import Outcome
from hil.rig import Rig

CHANGES = {"ramp": {"normal_pct_s": 100, "after_failsafe_pct_s": 100}}


def test_a_signed_command_reaches_the_vehicle_and_its_way_is_told_back(tmp_path: Path) -> None:
    """Stopping the gateway leaves every EVSE at 0 W, told so by a command and not by silence."""
    with Rig(tmp_path, evses=2, changes=CHANGES) as rig:
        ack = rig.dispatch("evse-1", power_w=5_000, wait_s=20)
        assert ack is not None
        assert ack.outcome is Outcome.APPLIED
        stamps = ack.stamps
        assert None not in (stamps.issued, stamps.received, stamps.adopted, stamps.on_bus)
        rig.oracle.wait_target("evse-1", 5_000, 30)
        rig.oracle.wait(lambda: abs(rig.oracle.power_w("evse-1") - 5_000) <= 100, 30, "evse-1 charges with 5 kW")
        status = rig.status()
        assert status["lab"] is True
        assert status["uplink"]["tls_version"] == "TLSv1.3"
        assert rig.oracle.summary()["beyond_limit_by_rule"] == {}
        rig.gateway.stop()
        last = rig.oracle.command("evse-1")
        assert last is not None
        assert (last.target_w, last.min_w, last.max_w) == (0, 0, 0)
