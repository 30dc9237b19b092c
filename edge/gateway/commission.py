"""Commissioning while the gateway runs: off the event loop, one step at a time, never where the cycle itself writes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from edge.config import Settings
from edge.config.settings import ModbusRtuBus
from edge.field.commission import STEPS, CommissionError, is_serial, run
from edge.local.view import LocalError

Step = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


def refuse_what_is_in_use(settings: Settings, arguments: Mapping[str, Any]) -> None:
    """A line has one master, and a device that gets setpoints has one writer. LocalError says which."""
    place = str(arguments.get("place", ""))
    line = next((b for b in settings.buses if isinstance(b, ModbusRtuBus) and b.port == place), None)
    if line is not None:
        raise LocalError(f"{place} is bus {line.id} of the running gateway: stop it first, or look at edgectl status")
    if not arguments.get("write") or is_serial(place):
        return
    host, _, port = place.partition(":")
    unit = int(arguments.get("unit", 1))
    for evse in settings.evses:
        if (evse.host, evse.port, evse.unit) == (host, int(port or 502), unit):
            raise LocalError(f"{place} unit {unit} is EVSE {evse.id}: the running gateway writes its registers, nobody else")


def steps(settings: Callable[[], Settings], busy: asyncio.Lock) -> dict[str, Step]:
    """Every step of commissioning, for the local API; `busy` lets one run at a time."""

    async def step(name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        refuse_what_is_in_use(settings(), arguments)
        if busy.locked():
            raise LocalError("another step of commissioning is under way: wait for it")
        async with busy:
            try:
                return await asyncio.to_thread(run, name, arguments)
            except CommissionError as error:
                raise LocalError(str(error)) from None

    return {name: partial(step, name) for name in STEPS}
