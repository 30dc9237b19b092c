"""The simulator's control socket: JSON lines on AF_UNIX, one command and one answer a line.

    {"evse": 1, "fault": "hot_connector", "offset_c": 70}      faults and parameters: v2g_sim.faults.PARAMETERS
    {"evse": "evse-1", "clear": "hot_connector"}               or "all"
    {"evse": 1, "unplug": true}
    {"evse": 1, "plug": {"soc_percent": 40, "capacity_wh": 1000, "bidirectional": false}}   v2g_sim.vehicle.VehicleSpec
    {"evse": "all", "set": {"soc_percent": 31, "connector_c": 60}}
    {"evse": 4, "set": {"dead_time_s": 2, "lag_s": 0.3}}       power follows later and slower
    {"feeder": "main", "base_load_w": 20000}                   total, or one value a phase; {"profile": [[0, 5000], [60, 9000]]}
    {"grid": {"frequency_hz": 49.8, "voltage_v": 230}}
    {"meter": "grid", "fault": "silent"}                       v2g_sim.meters.FAULTS; "clear" as above
    {"get": "state"}

Answers: {"ok": true, …} or {"ok": false, "error": "…"}.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

Handler = Callable[[dict[str, Any]], dict[str, Any]]


class ControlError(RuntimeError):
    """The simulator refused a command, or can't be reached."""


def answer(handler: Handler, line: bytes) -> bytes:
    """The answer line to one command line."""
    try:
        request = json.loads(line)
        if not isinstance(request, dict):
            raise ValueError("a command is a JSON object")
        reply: dict[str, Any] = {"ok": True} | handler(request)
    except (ValueError, TypeError) as error:
        reply = {"ok": False, "error": str(error)}
    return json.dumps(reply).encode() + b"\n"


async def serve(path: Path, handler: Handler) -> asyncio.Server:
    """Listen at `path`, where no file may be, and answer each line with `handler`."""

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(answer(handler, line))
            await writer.drain()
        writer.close()

    return await asyncio.start_unix_server(client, path)


class Client:
    """Talks to a running simulator; every method raises ControlError when it refuses."""

    def __init__(self, path: str | Path, timeout_s: float = 5.0) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise ControlError(f"no simulator at {path}: {error.strerror}") from None
        self._lines = self._socket.makefile("rb")

    def send(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to one command."""
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        line = self._lines.readline()
        if not line:
            raise ControlError("the simulator has ended")
        reply: dict[str, Any] = json.loads(line)
        if not reply["ok"]:
            raise ControlError(reply["error"])
        return reply

    def fault(self, evse: str | int, name: str, **parameters: Any) -> None:
        self.send({"evse": evse, "fault": name} | parameters)

    def clear(self, evse: str | int, name: str = "all") -> None:
        self.send({"evse": evse, "clear": name})

    def plug(self, evse: str | int, **vehicle: Any) -> None:
        self.send({"evse": evse, "plug": vehicle})

    def unplug(self, evse: str | int) -> None:
        self.send({"evse": evse, "unplug": True})

    def set(self, evse: str | int, **values: float) -> None:
        self.send({"evse": evse, "set": values})

    def base_load(self, feeder: str, base_load_w: float | list[float]) -> None:
        self.send({"feeder": feeder, "base_load_w": base_load_w})

    def grid(self, **values: float | list[float]) -> None:
        self.send({"grid": values})

    def meter_fault(self, meter: str, name: str, **parameters: Any) -> None:
        self.send({"meter": meter, "fault": name} | parameters)

    def meter_clear(self, meter: str, name: str = "all") -> None:
        self.send({"meter": meter, "clear": name})

    def state(self) -> dict[str, Any]:
        return self.send({"get": "state"})

    def close(self) -> None:
        self._lines.close()
        self._socket.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
