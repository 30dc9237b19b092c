"""The Modbus side of simulated devices: a pymodbus server (TCP, or RTU frames over TCP as a serial server passes them on)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pymodbus.constants import ExcCodes
from pymodbus.framer import FramerType
from pymodbus.server import ModbusTcpServer
from pymodbus.server.requesthandler import ServerRequestHandler
from pymodbus.simulator import DataType, SimData, SimDevice


class ServerError(ValueError):
    """A port that can't be had, or devices that can't share one."""


class ModbusDevice(Protocol):
    """A device with a block of holding registers from address 0."""

    @property
    def id(self) -> str: ...

    @property
    def unit(self) -> int: ...

    @property
    def register_count(self) -> int: ...

    @property
    def line_faults(self) -> Mapping[str, Mapping[str, Any]]:
        """silent, slow (`delay_s`), garbage: what happens to its answers."""

    def read(self) -> list[int]:
        """Every register as a client reads it now."""

    def write(self, address: int, values: Sequence[int]) -> bool:
        """Take a write; False: this address takes none."""


class _Handler(ServerRequestHandler):
    """One client connection; the faults act on the finished answer, so transaction ids stay right."""

    def send(self, data: bytes, addr: tuple[Any, ...] | None = None) -> None:
        unit = data[6] if self.server.is_tcp and len(data) > 6 else data[0]
        device: ModbusDevice | None = self.server.devices.get(unit)
        faults = device.line_faults if device else {}
        if "silent" in faults:
            return
        if "garbage" in faults:
            data = data[:7] + random.randbytes(len(data) - 7)
        if "slow" in faults:
            asyncio.get_running_loop().call_later(float(faults["slow"].get("delay_s", 1.0)), super().send, data, addr)
        else:
            super().send(data, addr)


class ModbusServer(ModbusTcpServer):
    """One TCP port with the devices on it, told apart by unit id. Make and start it inside the event loop."""

    def __init__(self, host: str, port: int, devices: Sequence[ModbusDevice], rtu: bool = False) -> None:
        """`rtu`: RTU frames instead of Modbus/TCP's."""
        self.devices = {device.unit: device for device in devices}
        self.is_tcp = not rtu
        self._place = f"{host}:{port}"
        if len(self.devices) < len(devices):
            raise ServerError(f"two devices on {host}:{port} have the same unit")
        framer = FramerType.RTU if rtu else FramerType.SOCKET
        super().__init__([_served(d) for d in devices], address=(host, port), framer=framer, ignore_missing_devices=True)

    def callback_new_connection(self) -> _Handler:
        return _Handler(self, self.trace_packet, self.trace_pdu, self.trace_connect)  # type: ignore[no-untyped-call]

    async def start(self) -> None:
        """Listen; ServerError when the port can't be had."""
        try:
            await self.serve_forever(background=True)
        except RuntimeError as error:
            names = ", ".join(device.id for device in self.devices.values())
            raise ServerError(f"{names}: can't listen on {self._place}; is the port in use?") from error


def _served(device: ModbusDevice) -> SimDevice:
    """pymodbus calls `action` before each request; the registers are filled then."""

    async def action(
        function: int, start: int, address: int, count: int, registers: list[int], values: Sequence[int] | None
    ) -> ExcCodes | None:
        if values is not None and not device.write(address, values):
            return ExcCodes.ILLEGAL_ADDRESS
        registers[: device.register_count] = device.read()
        return None

    block = SimData(0, count=device.register_count, values=0, datatype=DataType.UINT16)
    return SimDevice(device.unit, [block], action=action)
