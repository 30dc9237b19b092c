"""What `v2g-sim run` simulates: its own YAML file, the gateway's config.yaml, or a count of EVSEs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

HUB_PREFIX = "hub:"
"""A gateway's CAN channel `hub:PATH` means the AF_UNIX hub; any other channel is a SocketCAN interface."""

CAN_KINDS = ("can", "python-can")


class SettingsError(ValueError):
    """The simulation's settings don't fit; one clear line."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BusSettings(_Section):
    """A python-can bus; `start`: start a hub when nobody serves `channel`."""

    id: str = "can0"
    interface: Literal["v2ghub", "socketcan"] = "v2ghub"
    channel: str
    start: bool = True
    hub_options: tuple[str, ...] = ()


class VehicleSettings(_Section):
    """As v2g_sim.vehicle.VehicleSpec."""

    capacity_wh: float = Field(default=60_000, gt=0)
    soc_percent: float = Field(default=50, ge=0, le=100)
    max_charge_w: float = Field(default=22_000, ge=0)
    max_discharge_w: float = Field(default=22_000, ge=0)
    bidirectional: bool = True
    phases: int = Field(default=3, ge=1, le=3)
    digital: bool = True
    needs_ventilation: bool = False
    ready_after_s: float = Field(default=0.2, ge=0)
    own_min_soc_percent: float = Field(default=5, ge=0, le=100)
    state_of_health_percent: float = Field(default=97, gt=0, le=100)


class ModbusPlace(_Section):
    """Where a device listens; `rtu`: RTU frames over TCP, as a serial server passes them on."""

    host: str = "127.0.0.1"
    port: int = Field(default=502, ge=1, le=65535)
    unit: int = Field(default=1, ge=1, le=247)
    rtu: bool = False


class EvseSettings(_Section):
    """As v2g_sim.evse.EvseSpec, on a CAN bus as `node` or on `modbus`, with feeder and vehicle (None: nothing plugged in)."""

    id: str
    bus: str = "can0"
    node: int | None = Field(default=None, ge=1, le=255)
    modbus: ModbusPlace | None = None
    feeder: str = "main"
    rating_w: float = Field(default=22_000, gt=0)
    phase_map: tuple[Literal[1, 2, 3], ...] = (1, 2, 3)
    min_charge_w: float = Field(default=0, ge=0)
    min_discharge_w: float = Field(default=0, ge=0)
    ramp_w_s: float | None = Field(default=None, gt=0)
    ambient_c: float = 20
    vehicle: VehicleSettings | None = VehicleSettings()


class FeederSettings(_Section):
    """As v2g_sim.site.Feeder; `base_load_w` is a total or one value per phase."""

    id: str
    parent: str | None = None
    base_load_w: float | tuple[float, float, float] = 0
    profile: tuple[tuple[float, float], ...] = ()


class MeterSettings(ModbusPlace):
    """As v2g_sim.meters.MeterSpec, times in ms."""

    id: str
    feeder: str
    port: int = Field(default=5020, ge=1, le=65535)
    refresh_ms: float = Field(default=100, ge=10)
    delay_ms: float = Field(default=0, ge=0)


class GridSettings(_Section):
    frequency_hz: float = 50
    voltage_v: float | tuple[float, float, float] = 230


class PeriodSettings(_Section):
    """Sending periods of the EVSEs' frames, ms (contracts.md section 3)."""

    status_a: float = Field(default=20, ge=10, le=20)
    status_b: float = Field(default=50, ge=10)
    status_c: float = Field(default=200, ge=10)
    limits: float = Field(default=500, ge=10)


class SimSettings(_Section):
    """A whole simulated site. `step_ms`: period of the firmware's loop."""

    step_ms: float = Field(default=10, ge=1, le=50)
    buses: tuple[BusSettings, ...] = ()
    evses: tuple[EvseSettings, ...]
    feeders: tuple[FeederSettings, ...] = (FeederSettings(id="main"),)
    meters: tuple[MeterSettings, ...] = ()
    grid: GridSettings = GridSettings()
    periods: PeriodSettings = PeriodSettings()


def _validate(document: Any, name: str) -> SimSettings:
    try:
        return SimSettings.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"{name}: {place}: {first['msg']} (got {first['input']!r})") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; SettingsError when it can't be read or isn't one."""
    try:
        document = YAML(typ="safe").load(path)
    except (OSError, YAMLError) as error:
        raise SettingsError(f"{path}: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict):
        raise SettingsError(f"{path}: is no mapping")
    return document


def load(path: Path) -> SimSettings:
    """Settings from the simulator's own file."""
    return _validate(read_yaml(path), str(path))


def shortcut(evses: int, channel: str) -> SimSettings:
    """`evses` equal EVSEs on one feeder; `channel` as in a gateway's config."""
    return _validate(
        {"buses": [_bus("can0", channel)], "evses": [{"id": f"evse-{n}", "node": n} for n in range(1, evses + 1)]}, "--evses"
    )


def _channel(bus: dict[str, Any]) -> str:
    """A gateway that reaches the hub through python-can names its socket without the prefix."""
    return f"{HUB_PREFIX}{bus['channel']}" if bus.get("interface") == "v2ghub" else str(bus["channel"])


def _bus(bus_id: str, channel: str) -> dict[str, Any]:
    if channel.startswith(HUB_PREFIX):
        return {"id": bus_id, "interface": "v2ghub", "channel": channel.removeprefix(HUB_PREFIX)}
    return {"id": bus_id, "interface": "socketcan", "channel": channel}


def _picked(section: dict[str, Any], *keys: str) -> dict[str, Any]:
    """The keys that mean the same here and in the gateway's config."""
    return {key: section[key] for key in keys if key in section}


def _place(device: dict[str, Any], bus: dict[str, Any]) -> dict[str, Any] | None:
    """Where a Modbus device of a gateway's config listens; None: not where a simulator can (a CAN bus, a serial port)."""
    if bus.get("kind") == "modbus-tcp":
        return {"port": 502} | _picked(device, "host", "port", "unit")
    port = str(bus.get("port", ""))
    if bus.get("kind") != "modbus-rtu" or not port.startswith("tcp:"):
        return None
    _, host, number = port.split(":")
    return {"host": host, "port": int(number), "rtu": True} | _picked(device, "unit")


def _evse(evse: dict[str, Any], bus: dict[str, Any], vehicle: dict[str, Any] | None) -> dict[str, Any] | None:
    keys = ("id", "node", "feeder", "rating_w", "phase_map", "min_charge_w", "min_discharge_w")
    found = _picked(evse, *keys) | ({} if vehicle is None else {"vehicle": vehicle})
    if bus.get("kind") in CAN_KINDS:
        return found | {"bus": bus["id"]}
    place = _place(evse, bus)
    return None if place is None or evse.get("profile") != "sim-evse" else found | {"modbus": place}


def from_gateway(path: Path, channel: str | None = None, vehicle: dict[str, Any] | None = None) -> SimSettings:
    """The site that a gateway's config.yaml describes: its EVSEs on CAN, those on Modbus with the profile sim-evse, feeders and
    meters (contracts.md section 5).

    `channel` replaces the channel of every CAN bus; `vehicle` (VehicleSettings) is plugged in everywhere.
    """
    config = read_yaml(path)
    buses = {bus.get("id"): bus for bus in config.get("buses", ())}
    can_buses = [bus for bus in buses.values() if bus.get("kind") in CAN_KINDS]
    measured = {feeder["meter"]: feeder["id"] for feeder in config.get("feeders", ()) if "meter" in feeder}
    grid = config.get("site", {}).get("grid", {})
    evses = (_evse(evse, buses.get(evse.get("bus"), {}), vehicle) for evse in config.get("evses", ()))
    meters = [(meter, _place(meter, buses.get(meter.get("bus"), {}))) for meter in config.get("meters", ())]
    document: dict[str, list[dict[str, Any]] | dict[str, Any]] = {
        "buses": [_bus(bus["id"], channel or _channel(bus)) for bus in can_buses],
        "evses": [evse for evse in evses if evse is not None],
        "feeders": [_picked(feeder, "id", "parent", "base_load_w") for feeder in config.get("feeders", ())],
        "meters": [
            place | {"id": meter["id"], "feeder": measured[meter["id"]]}
            for meter, place in meters
            if place is not None and meter["id"] in measured
        ],
        "grid": {"frequency_hz": grid.get("nominal_hz", 50)},
    }
    return _validate(document, str(path))
