"""Snapshots → the messages that the uplink publishes (contracts.md section 2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edge import __version__
from edge.config.derive import on_real_time_bus
from edge.core import EvseSnapshot, Snapshot
from edge.core.layout import NativeConfig
from edge.energy import Flexibility
from edge.field.canmap import EvseField, EvseFlag
from edge.gateway.identity import Identity
from edge.model import Reason
from edge.uplink import Clock
from edge.wire import Birth, Telemetry
from edge.wire.messages import BirthEvse, BirthFeeder, Capacity, Ratings, Setpoint, Share, Temperatures

STATES = ("A", "B", "C", "D", "E", "F", "transfer")
TOTAL = 3


def _state(evse: EvseSnapshot) -> str:
    state = evse.inputs.value(EvseField.STATE)
    return "unknown" if state is None else STATES[state]


def _capability(evse: EvseSnapshot) -> str:
    flags = evse.inputs.value(EvseField.FLAGS)
    if flags is None:
        return "unknown"
    return "bidirectional" if flags & EvseFlag.BIDIRECTIONAL else "charge_only"


def _capacity(evse: EvseSnapshot, spare: Flexibility | None) -> Capacity:
    """What the chain would have allowed: `up` towards discharge, `down` towards charge; Wh as far as neither floor, ceiling nor
    a departure's need is touched."""
    power_w = evse.inputs.value(EvseField.POWER) or 0
    return Capacity(
        up_w=max(0, power_w - evse.setpoint.band_min_w),
        down_w=max(0, evse.setpoint.band_max_w - power_w),
        up_wh=None if spare is None else spare.up_wh,
        down_wh=None if spare is None else spare.down_wh,
    )


class _Registers:
    """What an EVSE's own meter says besides the image: voltages and energies of those on Modbus."""

    def __init__(self, config: NativeConfig, evse_id: str, value: Callable[[int], int | None]) -> None:
        place = config.points.get(evse_id)
        self._cell = (lambda signal: None) if place is None else place.wiring.cell
        self._value = value

    def _of(self, signal: str) -> int | None:
        cell = self._cell(signal)
        return None if cell is None else self._value(cell)

    @property
    def voltages_dv(self) -> list[int] | None:
        found = [self._of(f"voltage_l{phase}_v") for phase in (1, 2, 3)]
        known = [voltage for voltage in found if voltage is not None]
        return known if len(known) == 3 else None

    @property
    def energies_wh(self) -> tuple[int | None, int | None]:
        """Import and export; both or none, so that an account never mixes registers with integrals."""
        found = self._of("energy_import_wh"), self._of("energy_export_wh")
        return (None, None) if None in found else found


def share_of(evse: EvseSnapshot, snapshot: Snapshot) -> Share | None:
    """What site control makes of it; None: nothing to say."""
    share, site, follows = evse.share, snapshot.site, evse.share.target_w is not None
    reason = share.why_charge if share.charge_w is not None else share.why_discharge
    bound = reason is not Reason.NONE
    if not follows and not bound:
        return None
    return Share(
        site_target_w=site.target_w if follows else None,
        site_power_w=site.measured_w if follows else None,
        target_w=share.target_w,
        max_w=share.charge_w,
        min_w=None if share.discharge_w is None else -share.discharge_w,
        reason=reason.name if bound else None,
    )


def telemetry(
    snapshot: Snapshot,
    config: NativeConfig,
    identity: Identity,
    clock: Clock,
    spare: Mapping[str, Flexibility],
    cell: Callable[[int], int | None],
) -> list[Telemetry]:
    """One message per EVSE. `spare`: what each vehicle can do for the grid, by EVSE. `cell`: what a cell holds."""
    sources = {e.id: e.soc_source for e in config.settings.evses}
    result = []
    for evse in snapshot.evses:
        value = evse.inputs.value
        currents = [value(field) for field in (EvseField.I_L1, EvseField.I_L2, EvseField.I_L3)]
        known = [current for current in currents if current is not None]
        age_ns = evse.inputs.age_ns(EvseField.POWER, snapshot.now_ns)
        registers = _Registers(config, evse.id, cell)
        result.append(
            Telemetry(
                site=config.settings.site.id,
                evse=evse.id,
                boot=identity.boot,
                ts=clock.unix_ms(),
                state=_state(evse),
                power_w=value(EvseField.POWER),
                setpoint=Setpoint(min_w=evse.setpoint.min_w, max_w=evse.setpoint.max_w, target_w=evse.setpoint.target_w),
                reason=evse.setpoint.reason.name,
                share=share_of(evse, snapshot),
                soc=value(EvseField.SOC),
                soc_source=None if value(EvseField.SOC) is None else sources[evse.id],
                temperature=Temperatures(
                    connector=value(EvseField.T_CONNECTOR),
                    cable=value(EvseField.T_CABLE),
                    charger=value(EvseField.T_CHARGER),
                    cell_max=value(EvseField.T_CELL_MAX),
                ),
                currents_ma=known if len(known) == 3 else None,
                voltages_dv=registers.voltages_dv,
                import_wh=registers.energies_wh[0],
                export_wh=registers.energies_wh[1],
                capacity=_capacity(evse, spare.get(evse.id)),
                age_ms=None if age_ns is None else max(0, age_ns) // 1_000_000,
            )
        )
    return result


def birth(snapshot: Snapshot, config: NativeConfig, identity: Identity, clock: Clock) -> Birth:
    """What the site is: published at every connection and after a reload."""
    limits = {e.id: e for e in config.evses}
    late = {e.id for e in config.settings.evses if not on_real_time_bus(config.settings, e)}
    parents = [None if f.parent < 0 else config.feeders[f.parent].id for f in config.feeders]
    return Birth(
        boot=identity.boot,
        ts=clock.unix_ms(),
        sw=__version__,
        config_hash=identity.config_hash,
        evses=[
            BirthEvse(
                id=evse.id,
                capability=_capability(evse),
                phases=limits[evse.id].phase_mask.bit_count(),
                ratings=Ratings(charge_w=limits[evse.id].rating_charge_w, discharge_w=limits[evse.id].rating_discharge_w),
                real_time=False if evse.id in late else None,
            )
            for evse in snapshot.evses
        ],
        feeders=[
            BirthFeeder(id=feeder.id, parent=parent, rating_w=feeder.import_w[TOTAL])
            for feeder, parent in zip(config.feeders, parents, strict=True)
        ],
        clock="trusted" if clock.trusted else "untrusted",
    )
