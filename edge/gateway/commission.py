"""Commissioning while the gateway runs: off the event loop, one step at a time, never where the cycle itself writes.

A device of the config is named by its id. What would give power (a test, a silence) goes through the chain as a constraint.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from edge.config import Settings
from edge.config.settings import CanBus, Evse, Meter, ModbusDevice, ModbusRtuBus
from edge.core import Core, CoreError
from edge.core.core import open_bus
from edge.core.layout import Wiring
from edge.field import canraw
from edge.field.canmap import CanNode
from edge.field.commission import PROBE_REFRESH_S, STEPS, CommissionError, is_serial, refuse_commanding, run
from edge.field.profile import Register, load_profile
from edge.gateway.planner import Planner
from edge.gateway.trial import silence, test
from edge.local.view import LocalError

Step = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
WATCH_S = 0.005


class Commissioning:
    """Every step, for the local API; one runs at a time."""

    def __init__(
        self,
        settings: Callable[[], Settings],
        base: Path,
        core: Core,
        planner: Planner,
        proven: Callable[[Meter | Evse, int], None],
    ) -> None:
        """`base`: the folder of config.yaml, to which profile files are relative. `proven` keeps what a probe found of a
        device: how many requests at once it bears."""
        self._proven = proven
        self._settings, self._base, self._core, self._planner = settings, base, core, planner
        self._busy = asyncio.Lock()
        own: dict[str, Step] = {
            "probe": self._probe,
            "test": self._test,
            "can-dump": self._can_dump,
            "can-send": self._can_send,
        }
        plain: dict[str, Step] = {name: partial(self._run, name) for name in STEPS}
        self.steps: dict[str, Step] = {name: partial(self._alone, step) for name, step in (plain | own).items()}

    async def _alone(self, step: Step, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        if self._busy.locked():
            raise LocalError("another step of commissioning is under way: wait for it")
        async with self._busy:
            try:
                return await step(arguments)
            except (CommissionError, CoreError) as error:
                raise LocalError(str(error)) from None
            except (KeyError, ValueError, TypeError) as error:
                raise LocalError(f"{error}: see edgectl --help") from None

    async def _run(self, name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        settings = self._settings()
        named = in_full(settings, self._base, arguments)
        found = await asyncio.to_thread(refuse_what_is_in_use, settings, self._base, name, named)
        if found and "profile" not in named:
            named = {**named, "profile": found[0].profile, "folder": str(self._base)}
        return await asyncio.to_thread(run, name, named)

    # ---- A device of the config ------------------------------------------------------------------------------------------

    async def _probe(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """As `edge.field.commission.probe`; a device on a line of the gateway is watched through its engine."""
        device = find_device(self._settings(), str(arguments.get("place", "")))
        if arguments.get("silence"):
            return await self._silence(device, arguments)
        wiring = None if device is None else _wiring(self._core, device.id)
        if wiring is not None and wiring.serial:
            return await self._watch(wiring)
        found = await self._run("probe", arguments)
        if device is not None:
            self._proven(device, int(found["window"]))
        return found

    async def _silence(self, device: Meter | Evse | None, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        if not isinstance(device, Evse):
            raise LocalError(
                f"{arguments.get('place')}: no EVSE of the config: put it there first, its setpoints need the chain"
            )
        power_w, seconds = arguments.get("power_w"), arguments.get("seconds")
        return await silence(
            self._core,
            self._planner,
            device.id,
            None if power_w is None else int(power_w),
            None if seconds is None else float(seconds),
        )

    async def _watch(self, wiring: Wiring) -> Mapping[str, Any]:
        """What the engine itself measures of a slave while it polls it."""
        engine = self._core.engine
        cells = [wiring.first_cell + i for i in range(len(wiring.profile.registers))]
        last = [engine.value(cell) for cell in cells]
        changed_s: list[float] = []
        loop = asyncio.get_running_loop()
        end_s = loop.time() + PROBE_REFRESH_S
        while loop.time() < end_s:
            await asyncio.sleep(WATCH_S)
            values = [engine.value(cell) for cell in cells]
            if values != last:
                changed_s.append(loop.time())
                last = values
        gaps_s = sorted(b - a for a, b in itertools.pairwise(changed_s))
        stats, fallback = engine.stats(wiring.stats), wiring.profile.fallback
        power, after_ms = (engine.value(cells[-1] + i) for i in (1, 2)) if fallback is not None else (None, None)
        return {
            "reply_ms": {
                "fastest": round(stats.reply_min_ns / 1e6, 2),
                "median": round(stats.reply_mean_ns / 1e6, 2),
                "slowest": round(stats.reply_max_ns / 1e6, 2),
                "reads": stats.replies,
            },
            "window": 1,
            "refresh_ms": round(gaps_s[len(gaps_s) // 2] * 1e3) if gaps_s else None,
            "changes": len(gaps_s),
            "fallback": None if power is None or after_ms is None else {"power_w": power, "after_ms": after_ms},
        }

    async def _test(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        evse_id = str(arguments["evse"])
        return await test(self._core, self._planner, evse_id, int(arguments["power_w"]), float(arguments["seconds"]))

    # ---- CAN ---------------------------------------------------------------------------------------------------------------

    def _can_bus(self, arguments: Mapping[str, Any]) -> CanBus:
        buses = [bus for bus in self._settings().buses if isinstance(bus, CanBus)]
        wanted = arguments.get("bus")
        found = [bus for bus in buses if wanted in (None, bus.id)]
        if len(found) != 1:
            known = ", ".join(bus.id for bus in buses) or "none"
            raise LocalError(f"CAN bus {wanted or 'to look at'}: there are: {known}: name one")
        if not found[0].real_time:
            raise LocalError(f"bus {found[0].id}: its adapter belongs to the bridge alone: see edgectl status for its counts")
        return found[0]

    def _nodes(self, bus: CanBus) -> dict[str, CanNode]:
        nodes = self._core.config.devices.can
        return {evse.id: nodes[evse.id] for evse in self._settings().evses if evse.bus == bus.id and evse.id in nodes}

    async def _can_dump(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Every frame on the bus for `seconds`, at most `count`, heard on a socket of its own."""
        bus = self._can_bus(arguments)
        seconds = min(max(float(arguments.get("seconds", 2.0)), 0.1), canraw.MAX_SECONDS)
        count = min(max(int(arguments.get("count", canraw.MAX_FRAMES)), 1), canraw.MAX_FRAMES)
        with socket.socket(fileno=open_bus(bus)) as raw:
            frames = await asyncio.to_thread(canraw.listen, raw, bus.id, seconds, count)
        return {"bus": bus.id, "frames": canraw.documents(frames, self._nodes(bus)), "complete": len(frames) < count}

    async def _can_send(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """One frame whose identifier belongs to no EVSE."""
        bus = self._can_bus(arguments)
        frame = canraw.frame_of(
            int(arguments["can_id"]), bool(arguments.get("extended")), bytes.fromhex(str(arguments["data"]))
        )
        canraw.refuse_owned(frame, self._nodes(bus))
        if len(frame.data) > 8 and not bus.fd:
            raise LocalError(f"bus {bus.id}: {len(frame.data)} bytes, and it is no CAN FD bus")
        with socket.socket(fileno=open_bus(bus)) as raw:
            await asyncio.to_thread(canraw.send, raw, bus.id, frame)
        return {"bus": bus.id, "id": f"{frame.can_id:X}", "data": frame.data.hex()}


def _wiring(core: Core, device_id: str) -> Wiring | None:
    meters = {place.meter.id: place.wiring for place in core.config.meters}
    points = {evse_id: place.wiring for evse_id, place in core.config.points.items()}
    return (meters | points).get(device_id)


def find_device(settings: Settings, name: str) -> Meter | Evse | None:
    """The meter or EVSE of this id."""
    devices: tuple[Meter | Evse, ...] = (*settings.meters, *settings.evses)
    return next((device for device in devices if device.id == name), None)


def in_full(settings: Settings, base: Path, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """A device's id as its place, unit and profile; anything else as it was."""
    device = find_device(settings, str(arguments.get("place", "")))
    if device is None:
        return arguments
    if device.profile is None:
        raise LocalError(f"{device.id} is on CAN: look at it with edgectl can dump {device.bus}")
    line = next((bus.port for bus in settings.buses if isinstance(bus, ModbusRtuBus) and bus.id == device.bus), None)
    place = line or f"{device.host}:{device.port}"
    return {"profile": device.profile, "folder": str(base), **arguments, "place": place, "unit": device.unit}


# ---- What is refused --------------------------------------------------------------------------------------------------------


def refuse_what_is_in_use(settings: Settings, base: Path, step: str, arguments: Mapping[str, Any]) -> list[Meter | Evse]:
    """A line has one master, a device that gets setpoints has one writer, and a register that carries one is written by the
    chain alone. LocalError says which, CommissionError what of a raw write. Returns who of the config is meant."""
    place = str(arguments.get("place", ""))
    line = next((b for b in settings.buses if isinstance(b, ModbusRtuBus) and _same_line(b.port, place)), None)
    if line is not None:
        raise LocalError(f"{place} is bus {line.id} of the running gateway: stop it first, or look at edgectl status")
    if is_serial(place):
        return []
    found = [device for device in _modbus_tcp(settings) if _same_host(device, place, int(arguments.get("unit", 1)))]
    if arguments.get("write"):
        for evse in found:
            if isinstance(evse, Evse):
                raise LocalError(f"{place} is EVSE {evse.id}: the running gateway writes its registers, nobody else")
    if step == "write":
        _refuse_raw_write(base, found, arguments)
    return found


def _refuse_raw_write(base: Path, found: list[Meter | Evse], arguments: Mapping[str, Any]) -> None:
    if not found and "profile" not in arguments:
        raise CommissionError(f"{arguments['place']}: not in the config: name its --profile, which says what carries setpoints")
    for device in found:
        assert device.profile is not None  # config check
        written = {key: arguments[key] for key in ("table", "address", "type", "words") if key in arguments}
        refuse_commanding(load_profile(device.profile, base), Register.model_validate(written))


def _modbus_tcp(settings: Settings) -> list[Meter | Evse]:
    devices: tuple[Meter | Evse, ...] = (*settings.meters, *settings.evses)
    return [device for device in devices if device.host is not None]


def _same_line(port: str, place: str) -> bool:
    """The same device node under another name (/dev/serial/by-id/…) is the same line."""
    if port == place or port.startswith("tcp:") or not place.startswith("/"):
        return port == place
    return Path(port).resolve() == Path(place).resolve()


def _same_host(device: ModbusDevice, place: str, unit: int) -> bool:
    """The same device, if under another name: 0 and 255 are what a device without units listens to as well."""
    host, _, port = place.partition(":")
    if device.port != int(port or 502) or (unit != device.unit and unit not in (0, 255) and device.unit not in (0, 255)):
        return False
    return device.host == host or bool(_addresses(str(device.host)) & _addresses(host))


def _addresses(host: str) -> frozenset[str]:
    try:
        return frozenset(str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))
    except OSError:
        return frozenset()
