"""Figures of whole programs on a simulated site: the gateway, and beside it the loop in pure Python, in turns."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import can
from v2g_sim.canhub import start_hub

from hil.program import Program, console_script
from hil.rig import HUB, Rig
from hil.site import site_document, write_yaml
from tools.rtbench.lateness import stress

EVSES = 8
COMMANDS = 60
STARTS = 5
WISHES_W = (3000, 6000)
CHANGES = {"cycle": {"period": "10ms"}, "ramp": {"normal_pct_s": 50}}


def spread_us(values_ns: Sequence[int]) -> dict[str, float]:
    ordered = sorted(values_ns)

    def at(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] / 1000, 1)

    return {"p50": at(0.5), "p99": at(0.99), "p99_9": at(0.999), "max": round(ordered[-1] / 1000, 1)}


class LoopRig(Rig):
    """The same site, with the loop in pure Python in the gateway's place."""

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(folder, **options)
        self.ready, self.figures_file = folder / "loop.ready", folder / "loop.json"
        files = [str(self.config_file), str(self.ready), str(self.figures_file)]
        self.gateway = Program(
            "python-loop", [sys.executable, "-m", "tools.rtbench.python_loop", *files], self.logs / "python-loop.log"
        )

    def _gateway_ready(self) -> bool:
        return self.ready.exists()


def command_to_frame_ms(rig: Rig) -> list[float]:
    """From signing a command to the first setpoint on the bus that moves towards it: broker, ledger, arbiter, cycle."""
    rig.dispatch_wishes(dict.fromkeys(rig.evses, 0), wait_s=0)  # else the others take what there is
    rig.oracle.wait(lambda: not any(rig.oracle.targets_w().values()), 30, "all EVSEs at 0 W")
    taken = []
    for number in range(COMMANDS):
        wish_w = WISHES_W[number % 2]
        before = rig.oracle.target_w("evse-1")
        since = time.time()
        rig.dispatch("evse-1", power_w=wish_w, wait_s=0)

        def moved(since: float = since, before: int = before, wish_w: int = wish_w) -> float | None:
            commands = rig.oracle.commands("evse-1", since)
            return next((c.time for c in commands if abs(c.target_w - wish_w) < abs(before - wish_w)), None)

        rig.oracle.wait(lambda: moved() is not None, 20, "the command on the bus")
        moment = moved()
        assert moment is not None
        taken.append((moment - since) * 1000)
        rig.oracle.wait_target("evse-1", wish_w, 20)
    return taken


def ms_p99(values_ms: Sequence[float]) -> float:
    return round(sorted(values_ms)[int(len(values_ms) * 0.99)], 2)


def _edge_window(folder: Path, seconds: float, loaded: bool) -> dict[str, Any]:
    with Rig(folder, evses=EVSES, channel=HUB, changes=CHANGES) as rig:
        taken = command_to_frame_ms(rig)
        with stress(loaded):
            time.sleep(seconds)
            rt = rig.local("/v1/rt")
        return {
            "lateness_us": {key: rt["lateness_us"][key] for key in ("p50", "p99", "p99_9", "max")},
            "cycle_us": {key: rt["compute_us"][key] for key in ("p50", "p99", "p99_9", "max")},
            "cycles": rt["cycles"],
            "missed": rt["missed"],
            "page_faults": rt["page_faults"],
            "command_to_frame_ms": taken,
        }


def _loop_window(folder: Path, seconds: float, loaded: bool) -> dict[str, Any]:
    loop_rig = LoopRig(folder, evses=EVSES, channel=HUB, changes=CHANGES)
    with loop_rig as rig:
        rig.oracle.wait(lambda: rig.oracle.command("evse-1") is not None, 20, "the loop sends")
        taken = command_to_frame_ms(rig)
        with stress(loaded):
            time.sleep(seconds)
            rig.gateway.stop()
        figures = json.loads(loop_rig.figures_file.read_text())
    return {
        "lateness_us": spread_us(figures["lateness_ns"]),
        "cycle_us": spread_us(figures["work_ns"]),
        "cycles": len(figures["lateness_ns"]),
        "missed": figures["missed"],
        "page_faults": figures["page_faults"],
        "rss_mib": figures["rss_mib"],
        "command_to_frame_ms": taken,
    }


def side_by_side(seconds: float) -> dict[str, dict[str, Any]]:
    """Gateway and loop in turns, idle and under the load of other processes."""
    result: dict[str, dict[str, Any]] = {"v2g_edge": {}, "python_loop": {}}
    for name, loaded in (("idle", False), ("loaded", True)):
        for program, window in (("v2g_edge", _edge_window), ("python_loop", _loop_window)):
            with tempfile.TemporaryDirectory(prefix="v2g-bench-") as folder:
                result[program][name] = window(Path(folder), seconds, loaded)
    return result


def _without_devices(folder: Path, evses: int, nodes_per_bus: int) -> tuple[Path, list[subprocess.Popen[bytes]], list[Path]]:
    """A config with hubs for buses, no simulator: every EVSE is lost."""
    ports = {"grid": 9, "meter-a": 10, "meter-b": 11, "broker": 9, "page": 0}  # nobody answers there
    document = site_document(folder, "", evses, ports, folder)
    hubs, paths = [], []
    document["buses"] = [{"id": "net", "kind": "modbus-tcp"}]
    for first in range(0, evses, nodes_per_bus):
        path = folder / f"hub-{first}.sock"
        hub, member = start_hub(str(path))
        member.close()
        hubs.append(hub)
        paths.append(path)
        document["buses"].append({"id": f"can{len(hubs)}", "kind": "can", "channel": f"hub:{path}"})
        for evse in document["evses"][first : first + nodes_per_bus]:
            evse["bus"] = f"can{len(hubs)}"
    for feeder in document["feeders"]:  # room for the fallbacks of all of them
        feeder["rating_a"] = 3000
    del document["uplink"]
    del document["local"]["page"]["port"]
    document["local"]["page"]["bind"] = []
    config = folder / "config.yaml"
    write_yaml(config, document)
    return config, hubs, paths


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
        process.wait(30)


def _start(config: Path, log: Path) -> subprocess.Popen[bytes]:
    """As installed: byte code is kept."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    with log.open("ab") as file:
        return subprocess.Popen([console_script("v2g-edge"), "--config", str(config)], stderr=file, env=environment)


def start_to_first_cycle_ms() -> dict[str, Any]:
    """From starting the program to its first frame on the bus (the first cycle sends), caches warm."""
    taken = []
    with tempfile.TemporaryDirectory(prefix="v2g-bench-") as name:
        folder = Path(name)
        config, hubs, paths = _without_devices(folder, EVSES, EVSES)
        with can.Bus(interface="v2ghub", channel=str(paths[0])) as bus:
            for _ in range(STARTS + 1):  # the first one fills the caches
                while bus.recv(0.3) is not None:  # what the one before left on the bus
                    pass
                begun = time.time()
                process = _start(config, folder / "log")
                first = bus.recv(30)
                if first is None:
                    raise RuntimeError(f"v2g-edge sent nothing:\n{(folder / 'log').read_text()}")
                taken.append((first.timestamp - begun) * 1000)
                _end([process])
        _end(hubs)
    # Other work on the machine only ever adds.
    return {"ms": [round(value) for value in taken[1:]], "least": round(min(taken[1:]))}


def rss_mib(evses: int) -> float:
    """Resident memory of v2g-edge after it has run for a few seconds."""
    with tempfile.TemporaryDirectory(prefix="v2g-bench-") as name:
        folder = Path(name)
        config, hubs, paths = _without_devices(folder, evses, 8)
        with can.Bus(interface="v2ghub", channel=str(paths[0])) as bus:
            process = _start(config, folder / "log")
            if bus.recv(30) is None:
                raise RuntimeError(f"v2g-edge sent nothing:\n{(folder / 'log').read_text()}")
            time.sleep(5)
            status = Path(f"/proc/{process.pid}/status").read_text()
            _end([process])
        _end(hubs)
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return round(int(line.split()[1]) / 1024, 1)


def _drained_s(bus: can.BusABC, frames: int) -> float:
    """How long it takes to read this many frames that wait; they all arrived."""
    begun = time.perf_counter()
    read = 0
    while bus.recv(0) is not None:
        read += 1
    taken = time.perf_counter() - begun
    if read != frames:
        raise RuntimeError(f"{read} of {frames} frames arrived: the machine is too busy for this figure")
    return taken


def python_can_1000_frames_ms() -> float:
    """What python-can takes to read 800 frames that wait and to send 200, as 200 EVSEs need it. Read in four parts: a socket's
    default buffer holds 278 frames."""
    with tempfile.TemporaryDirectory(prefix="v2g-bench-") as name:
        path = Path(name) / "hub.sock"
        hub, member = start_hub(str(path))
        member.close()
        taken = []
        with can.Bus(interface="v2ghub", channel=str(path)) as bus, can.Bus(interface="v2ghub", channel=str(path)) as far:
            frames = [can.Message(arbitration_id=0x300 + i, data=bytes(8), is_extended_id=False) for i in range(200)]
            for _ in range(10):
                total_s = 0.0
                for _ in range(4):
                    for frame in frames:
                        far.send(frame)
                    time.sleep(0.1)
                    total_s += _drained_s(bus, len(frames))
                begun = time.perf_counter()
                for frame in frames:
                    bus.send(frame)
                taken.append((total_s + time.perf_counter() - begun) * 1000)
                time.sleep(0.1)
                _drained_s(far, len(frames))
        _end([hub])
    return round(statistics.median(taken), 2)


def summary(figures: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """One program's windows with the names of the whole summary."""
    commands = [ms for window in figures.values() for ms in window["command_to_frame_ms"]]
    return {
        "lateness_us": {name: window["lateness_us"] for name, window in figures.items()},
        f"cycle_us_{EVSES}_evses": {name: window["cycle_us"] for name, window in figures.items()},
        "cycles": {name: window["cycles"] for name, window in figures.items()},
        "missed": {name: window["missed"] for name, window in figures.items()},
        "page_faults_in_cycle": sum(window["page_faults"] for window in figures.values()),
        "command_to_frame_ms_p50": round(statistics.median(commands), 2),
        "command_to_frame_ms_p99": ms_p99(commands),
    }
