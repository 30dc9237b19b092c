"""A whole simulated site: EVSEs on their buses, the feeder tree, the meters, and the commands that change them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import can

from v2g_sim.bank import EvseBank, FramePeriods, Scheduler
from v2g_sim.canhub import HubBus
from v2g_sim.evse import Evse, EvseSpec
from v2g_sim.meters import Meter, MeterSpec, refresh_forever
from v2g_sim.modbus_evse import ModbusEvse, ModbusEvses
from v2g_sim.modbus_server import ModbusDevice, ModbusServer
from v2g_sim.settings import BusSettings, EvseSettings, SimSettings
from v2g_sim.site import Feeder, Flow, Site, per_phase
from v2g_sim.vehicle import VehicleSpec


class CommandError(ValueError):
    """A control command that can't be carried out; one clear line."""


def open_bus(settings: BusSettings) -> can.BusABC:
    """The python-can bus that `settings` names."""
    if settings.interface == "v2ghub":
        return HubBus(settings.channel, start=settings.start, hub_options=settings.hub_options)
    return can.Bus(interface=settings.interface, channel=settings.channel)


def _make_evse(settings: EvseSettings) -> Evse:
    keys = ("id", "rating_w", "phase_map", "min_charge_w", "min_discharge_w", "ramp_w_s", "ambient_c")
    if settings.modbus is None and settings.node is None:
        raise ValueError(f"evse {settings.id}: needs a node on its CAN bus, or modbus")
    spec = EvseSpec(node=settings.node or 1, **{key: getattr(settings, key) for key in keys})
    return Evse(spec, None if settings.vehicle is None else VehicleSpec(**settings.vehicle.model_dump()))


class Simulation:
    """Builds everything from the settings; `run` until cancelled, `command` at any time from the event loop's thread."""

    def __init__(self, settings: SimSettings) -> None:
        self._settings = settings
        self._start_s = time.monotonic()
        self._lock = threading.Lock()
        self.evses = {each.id: _make_evse(each) for each in settings.evses}
        feeders = {each.id: Feeder(each.id, each.parent, per_phase(each.base_load_w)) for each in settings.feeders}
        for each in settings.feeders:
            feeders[each.id].set_profile(each.profile)
        voltage_v = settings.grid.voltage_v
        voltages_v = (voltage_v,) * 3 if isinstance(voltage_v, int | float) else voltage_v
        self.site = Site(feeders, {each.id: each.feeder for each in settings.evses}, voltages_v, settings.grid.frequency_hz)
        self._modbus: dict[str, ModbusEvse] = {
            each.id: ModbusEvse(self.evses[each.id], each.modbus.unit, self._lock)
            for each in settings.evses
            if each.modbus is not None
        }
        self.meters: dict[str, Meter] = {}
        for meter in settings.meters:
            if meter.feeder not in feeders:
                raise ValueError(f"meter {meter.id}: no feeder {meter.feeder!r}")
            times_s = (meter.refresh_ms / 1000, meter.delay_ms / 1000)
            place = (meter.host, meter.port, meter.unit, meter.rtu)
            self.meters[meter.id] = Meter(MeterSpec(meter.id, meter.feeder, *place, *times_s))
        self._set_voltage(self.site.voltages_v)

    # ---- running ----

    async def run(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Open buses and ports, start the firmware's thread, then keep the meters current until cancelled."""
        banks: list[EvseBank | ModbusEvses] = [ModbusEvses(list(self._modbus.values()))]
        servers: list[ModbusServer] = []
        try:
            for bus in self._settings.buses:
                banks.append(self._bank(bus))
            for (host, port, rtu), devices in self._ports().items():
                server = ModbusServer(host, port, devices, rtu)
                servers.append(server)
                await server.start()
            await self._work(banks, on_ready)
        finally:
            for server in servers:
                await server.shutdown()  # type: ignore[no-untyped-call]
            for bank in banks:
                bank.shutdown()

    async def _work(self, banks: Sequence[EvseBank | ModbusEvses], on_ready: Callable[[], None]) -> None:
        """The firmware's thread and the meters' task; when one fails, its error is raised here."""
        scheduler = Scheduler(banks, self._settings.step_ms / 1000, self._lock)
        stepping = asyncio.create_task(asyncio.to_thread(scheduler.run))
        metering = asyncio.create_task(refresh_forever(list(self.meters.values()), self.flow, time.monotonic))
        on_ready()
        try:
            await asyncio.wait((stepping, metering), return_when=asyncio.FIRST_COMPLETED)
        finally:
            scheduler.stop()
            metering.cancel()
            stepped, metered = await asyncio.gather(stepping, metering, return_exceptions=True)
        for result in (stepped, metered):
            if isinstance(result, Exception):
                raise result

    def _bank(self, bus: BusSettings) -> EvseBank:
        periods = FramePeriods(**{name: ms / 1000 for name, ms in self._settings.periods.model_dump().items()})
        members = [self.evses[each.id] for each in self._settings.evses if each.bus == bus.id and each.modbus is None]
        return EvseBank(open_bus(bus), members, periods)

    def _ports(self) -> dict[tuple[str, int, bool], list[ModbusDevice]]:
        ports: dict[tuple[str, int, bool], list[ModbusDevice]] = {}
        for meter in self.meters.values():
            ports.setdefault((meter.spec.host, meter.spec.port, meter.spec.rtu), []).append(meter)
        for each in self._settings.evses:
            if each.modbus is not None:
                place = (each.modbus.host, each.modbus.port, each.modbus.rtu)
                ports.setdefault(place, []).append(self._modbus[each.id])
        return ports

    def flow(self, feeder_id: str) -> Flow:
        """What flows through a feeder now."""
        with self._lock:
            powers_w = {name: evse.site_powers_w for name, evse in self.evses.items()}
        return self.site.flow(feeder_id, powers_w, time.monotonic() - self._start_s)

    # ---- commands ----

    def command(self, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out one command of the control socket (v2g_sim.control); ValueError when it doesn't fit."""
        request = dict(request)
        for key, handler in (
            ("get", self._get),
            ("evse", self._evse_command),
            ("feeder", self._feeder_command),
            ("grid", self._grid_command),
            ("meter", self._meter_command),
        ):
            if key in request:
                subject = request.pop(key)
                with self._lock:
                    return handler(subject, request)
        raise CommandError(f"a command names get, evse, feeder, grid or meter; this one {sorted(request)}")

    def _get(self, what: Any, request: dict[str, Any]) -> dict[str, Any]:
        if what != "state" or request:
            raise CommandError('only {"get": "state"} can be asked')
        return {
            "evses": [evse.as_json() for evse in self.evses.values()],
            "meters": [meter.as_json() for meter in self.meters.values()],
            "grid": {"frequency_hz": self.site.frequency_hz, "voltages_v": self.site.voltages_v},
            "time_s": round(time.monotonic() - self._start_s, 3),
        }

    def _chosen(self, who: Any) -> list[Evse]:
        """An EVSE by id, by node number (of every bus), or "all"."""
        chosen = [evse for evse in self.evses.values() if who in ("all", evse.spec.id, evse.spec.node)]
        if not chosen:
            raise CommandError(f"no EVSE {who!r}; there are {', '.join(self.evses)}")
        return chosen

    def _evse_command(self, who: Any, request: dict[str, Any]) -> dict[str, Any]:
        for evse in self._chosen(who):
            rest = dict(request)
            if "fault" in rest:
                evse.set_fault(rest.pop("fault"), **rest)
            elif "clear" in rest:
                evse.clear_fault(rest["clear"])
            elif "unplug" in rest:
                evse.unplug()
            elif "plug" in rest:
                evse.plug(_vehicle(rest["plug"]))
            elif "set" in rest:
                _set_values(evse, rest["set"])
            else:
                raise CommandError("an EVSE command is fault, clear, unplug, plug or set")
        return {}

    def _feeder_command(self, feeder_id: Any, request: dict[str, Any]) -> dict[str, Any]:
        feeder = self.site.feeders.get(feeder_id)
        if feeder is None:
            raise CommandError(f"no feeder {feeder_id!r}; there are {', '.join(self.site.feeders)}")
        if request.keys() == {"base_load_w"}:
            feeder.base_load_w, feeder.profile = per_phase(request["base_load_w"]), ()
        elif request.keys() == {"profile"}:
            feeder.set_profile([(float(second), float(power_w)) for second, power_w in request["profile"]])
        else:
            raise CommandError("a feeder command is base_load_w or profile")
        return {}

    def _grid_command(self, values: Any, request: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(values, dict) or not values or values.keys() - {"frequency_hz", "voltage_v"} or request:
            raise CommandError("a grid command holds frequency_hz, voltage_v or both")
        if "frequency_hz" in values:
            self.site.frequency_hz = float(values["frequency_hz"])
        if "voltage_v" in values:
            voltage_v = values["voltage_v"]
            self._set_voltage(per_phase([voltage_v] * 3 if isinstance(voltage_v, int | float) else voltage_v))
        return {}

    def _set_voltage(self, voltages_v: tuple[float, float, float]) -> None:
        self.site.voltages_v = voltages_v
        for evse in self.evses.values():
            evse.voltage_v = max(1.0, voltages_v[evse.spec.phase_map[0] - 1])

    def _meter_command(self, meter_id: Any, request: dict[str, Any]) -> dict[str, Any]:
        meter = self.meters.get(meter_id)
        if meter is None:
            raise CommandError(f"no meter {meter_id!r}; there are {', '.join(self.meters)}")
        if "fault" in request:
            meter.set_fault(request.pop("fault"), **request)
        elif "clear" in request:
            meter.clear_fault(request["clear"])
        else:
            raise CommandError("a meter command is fault or clear")
        return {}


def _vehicle(fields: Any) -> VehicleSpec:
    try:
        return VehicleSpec(**fields)
    except TypeError as error:
        raise CommandError(f"plug takes a mapping of vehicle fields: {error}") from None


def _set_values(evse: Evse, values: Any) -> None:
    """`soc_percent` (a jump), `connector_c`, `cable_c`, `charger_c`, `cell_c` (the true values, °C), `dead_time_s`, `lag_s`."""
    setters: dict[str, Callable[[float], None]] = {
        "dead_time_s": lambda value: setattr(evse, "dead_time_s", max(0.0, value)),
        "lag_s": lambda value: setattr(evse, "lag_s", max(0.0, value)),
        "connector_c": lambda value: setattr(evse.connector, "temperature_c", value),
        "cable_c": lambda value: setattr(evse.cable, "temperature_c", value),
        "charger_c": lambda value: setattr(evse.charger, "temperature_c", value),
    }
    vehicle = evse.vehicle
    if vehicle is not None:
        setters["soc_percent"] = lambda value: setattr(vehicle, "soc_percent", min(100.0, max(0.0, value)))
        setters["cell_c"] = lambda value: setattr(vehicle.cells, "temperature_c", value)
    if not isinstance(values, dict) or values.keys() - setters.keys():
        raise CommandError(f"EVSE {evse.spec.id}: set takes {', '.join(setters)}")
    for key, value in values.items():
        setters[key](float(value))


async def run_until(simulation: Simulation, stop: asyncio.Event, on_ready: Callable[[], None]) -> None:
    """Run until `stop` is set; an error of the simulation ends it too."""
    running = asyncio.create_task(simulation.run(on_ready))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not running.done():
        running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
