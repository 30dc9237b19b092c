"""The gateway that one would write first: python-can, pymodbus and paho on asyncio with uvloop, in one process, with the
same duties.

Usage: python -m tools.rtbench.python_loop CONFIG READY_FILE FIGURES_FILE

Every 10 ms: take the frames off the bus, check CRC, remember state, power, SOC and temperature of each EVSE; keep to
SOC floor, hot connector, age of the data, the feeder's meter and the aggregator's last command; ramp; send a setpoint
with CRC and counter to each EVSE. Written for speed where Python allows it (frames by struct, no per-frame parsing
library). On SIGTERM it writes what it measured.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import ssl
import struct
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import can
import paho.mqtt.client as paho
import uvloop
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from paho.mqtt.enums import CallbackAPIVersion
from pymodbus.client import AsyncModbusTcpClient
from ruamel.yaml import YAML
from v2g_sim.e2e import frame_crc
from v2g_sim.frames import CMD_BASE, STATUS_A_BASE, Mode

from edge import wire
from edge.wire import topics

PERIOD_S = 0.010
STATUS = struct.Struct("<BBhHBB")
COMMAND = struct.Struct("<BBhhh")
FLOOR_CENTIPERCENT, HOT_C, AGE_S, RAMP_W = 3000, 70, 0.3, 110
WARM_UP_CYCLES = 200


@dataclass(slots=True)
class Evse:
    node: int
    power_w: int = 0
    soc: int = 0
    connector_c: int = 0
    seen_s: float = 0.0
    wish_w: int = 0
    target_w: int = 0


class Loop:
    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config
        self._evses = {evse["node"]: Evse(evse["node"]) for evse in config["evses"]}
        self._by_id = {evse["id"]: self._evses[evse["node"]] for evse in config["evses"]}
        self._bus = can.Bus(interface="v2ghub", channel=config["buses"][0]["channel"].removeprefix("hub:"))
        self._limit_w = config["site"]["grid"]["import_limit_w"]
        self._grid_w, self._grid_s = 0.0, 0.0
        self._counter = 0
        self.lateness_ns: list[int] = []
        self.work_ns: list[int] = []
        self.missed = 0
        self.faults_before = 0
        self.stopping = asyncio.Event()

    def _drain(self, now_s: float) -> None:
        while (message := self._bus.recv(0)) is not None:
            data = message.data
            evse = self._evses.get(message.arbitration_id & 0xFF)
            if evse is None or message.arbitration_id & 0x700 != STATUS_A_BASE:
                continue
            if data[0] != frame_crc(message.arbitration_id, data):
                continue
            _, _, power, evse.soc, connector, _ = STATUS.unpack(data)
            evse.power_w, evse.connector_c, evse.seen_s = power * 10, connector - 40, now_s

    def _decide(self, evse: Evse, room_w: float, now_s: float) -> None:
        wish_w = evse.wish_w
        if now_s - evse.seen_s > AGE_S or evse.connector_c >= HOT_C or (wish_w < 0 and evse.soc <= FLOOR_CENTIPERCENT):
            wish_w = 0
        wish_w = min(wish_w, int(max(0.0, evse.power_w + room_w)))
        if abs(wish_w) > abs(evse.target_w):
            wish_w = min(max(wish_w, evse.target_w - RAMP_W), evse.target_w + RAMP_W)
        evse.target_w = wish_w

    def _send(self, evse: Evse) -> None:
        can_id = CMD_BASE + evse.node
        target = evse.target_w // 10
        data = bytearray(COMMAND.pack(0, Mode.BIDIRECTIONAL << 4 | self._counter, target, max(0, target), min(0, target)))
        data[0] = frame_crc(can_id, data)
        self._bus.send(can.Message(arbitration_id=can_id, data=data, is_extended_id=False))

    def _step(self) -> None:
        now_s = time.monotonic()
        self._drain(now_s)
        room_w = self._limit_w - self._grid_w if now_s - self._grid_s < 1.0 else 0.0
        for evse in self._evses.values():
            self._decide(evse, room_w / len(self._evses), now_s)
            self._send(evse)
        self._counter = (self._counter + 1) % 15

    async def cycle(self) -> None:
        point_s = time.monotonic() + PERIOD_S
        while not self.stopping.is_set():
            await asyncio.sleep(max(0.0, point_s - time.monotonic()))
            woken_ns = time.monotonic_ns()
            self._step()
            done_ns = time.monotonic_ns()
            self.lateness_ns.append(woken_ns - int(point_s * 1e9))
            self.work_ns.append(done_ns - woken_ns)
            if len(self.lateness_ns) == WARM_UP_CYCLES:
                self.faults_before = faults()
            point_s += PERIOD_S
            while point_s * 1e9 < done_ns:
                point_s += PERIOD_S
                self.missed += 1

    async def poll(self, meter: dict[str, Any]) -> None:
        client = AsyncModbusTcpClient(meter["host"], port=meter["port"])
        await client.connect()
        while not self.stopping.is_set():
            answer = await client.read_holding_registers(0, count=27, device_id=1)
            if not answer.isError() and meter["id"] == "grid":
                self._grid_w = struct.unpack(">f", struct.pack(">HH", *answer.registers[:2]))[0]
                self._grid_s = time.monotonic()
            await asyncio.sleep(0.1)
        client.close()

    def _obey(self, body: wire.CommandBody) -> None:
        for constraint in body.constraints:
            if constraint.scope.evse in self._by_id and constraint.target_w is not None:
                self._by_id[constraint.scope.evse].wish_w = constraint.target_w

    def connect(self, loop: asyncio.AbstractEventLoop) -> paho.Client:
        """TLS to the broker; a command is checked in paho's thread and obeyed on the loop."""
        own = self._config["uplink"]
        key = load_pem_public_key(Path(own["command_keys"][0]["key"]).read_bytes())
        context = ssl.create_default_context(cafile=own["ca"])
        context.load_cert_chain(own["cert"], own["key"])

        def arrived(client: object, userdata: object, message: paho.MQTTMessage) -> None:
            envelope = wire.Envelope.decode(bytes(message.payload))
            if wire.signature_is_good(envelope, key):  # type: ignore[arg-type]
                loop.call_soon_threadsafe(self._obey, wire.CommandBody.decode(envelope.body))

        client = paho.Client(CallbackAPIVersion.VERSION2, client_id="", protocol=paho.MQTTv5)
        client.tls_set_context(context)
        client.on_message = arrived
        client.connect(own["host"], own["port"])
        client.subscribe(topics.command(self._config["site"]["id"]), qos=1)
        client.loop_start()
        return client

    async def run(self, ready: Path) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stopping.set)
        client = self.connect(loop)
        polls = [asyncio.create_task(self.poll(meter)) for meter in self._config["meters"]]
        loop.call_soon(ready.touch)
        await self.cycle()
        client.loop_stop()
        for poll in polls:
            poll.cancel()


def faults() -> int:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_minflt + usage.ru_majflt


def main(config: str, ready: str, out: str) -> None:
    with Path(config).open() as file:
        loop = Loop(YAML(typ="safe").load(file))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(loop.run(Path(ready)))
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    figures = {
        "lateness_ns": loop.lateness_ns[WARM_UP_CYCLES:],
        "work_ns": loop.work_ns[WARM_UP_CYCLES:],
        "missed": loop.missed,
        "page_faults": faults() - loop.faults_before,
        "rss_mib": round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1),
    }
    Path(out).write_text(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
