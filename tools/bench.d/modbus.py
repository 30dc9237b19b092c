"""CPU per Modbus/TCP poll of 20 registers, devices at 10 ms on one core, use of a serial line (build/bench/modbus.json).

One C process plays the devices on core 0; every arm polls them from core 1 (core 0 too when there is only one). The arms take
turns: the engine, a loop that only sends and receives, libmodbus with a thread per device, pymodbus on uvloop.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAM = Path("build/bench/bench_modbus")
LINE_PROGRAM = Path("build/native/native/bench/bench_rtu")
OUT = Path("build/bench/modbus.json")
PERIOD_MS = 10
DEVICES = 100  # of the arms that are compared
PYMODBUS_DEVICES = 20  # more would not fit one core
MANY = (500, 1000)
ROUNDS = 3
SECONDS = 3
ARMS = ("engine", "bare", "libmodbus", "pymodbus")


def compile_program() -> None:
    """Only this benchmark needs libmodbus, so it is no part of the build."""
    flags = ["-std=c11", "-O2", "-D_GNU_SOURCE", "-DBENCH_LIBMODBUS", "-Wall", "-Wextra", "-Werror", "-Inative/include"]
    found = subprocess.run(["pkg-config", "--cflags", "--libs", "libmodbus"], check=True, capture_output=True, text=True)
    files = ["native/bench/bench_modbus.c", "build/native/native/libv2g_core.a"]
    PROGRAM.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["gcc", *flags, "-o", PROGRAM, *files, "-lpthread", *found.stdout.split()], check=True)


@contextmanager
def served() -> Iterator[str]:
    """The port of a running load generator."""
    process = subprocess.Popen([PROGRAM, "serve", "0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdin is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait()


def figures_of(command: list[Any]) -> dict[str, Any]:
    done = subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def run_arm(arm: str, port: str, devices: int) -> dict[str, Any]:
    cpu = 1 if (os.cpu_count() or 1) > 1 else 0
    if arm == "pymodbus":
        return figures_of([sys.executable, __file__, port, cpu])
    return figures_of([PROGRAM, arm, port, cpu, devices, PERIOD_MS, SECONDS])


async def poll_one(client: Any, begin: float) -> int:
    loop = asyncio.get_running_loop()
    polls = 0
    while (due := begin + polls * PERIOD_MS / 1000) < begin + SECONDS:
        await asyncio.sleep(max(0.0, due - loop.time()))
        answer = await client.read_holding_registers(0, count=20, device_id=1)
        assert len(client.convert_from_registers(answer.registers, client.DATATYPE.FLOAT32)) == 10
        polls += 1
    return polls


async def poll_with_pymodbus(port: int) -> tuple[int, int]:
    """(polls, CPU ns) of asyncio clients that each read 20 registers, ten floats, every period."""
    from pymodbus.client import AsyncModbusTcpClient

    clients = [AsyncModbusTcpClient("127.0.0.1", port=port) for _ in range(PYMODBUS_DEVICES)]
    for client in clients:
        await client.connect()
    begin, cpu = asyncio.get_running_loop().time(), time.process_time_ns()
    counts = await asyncio.gather(*(poll_one(client, begin) for client in clients))
    cpu = time.process_time_ns() - cpu
    for client in clients:
        client.close()
    return sum(counts), cpu


def pymodbus_arm(port: str, cpu: str) -> None:
    import uvloop

    os.sched_setaffinity(0, {int(cpu)})
    polls, cpu_ns = uvloop.run(poll_with_pymodbus(int(port)))
    print(json.dumps({"arm": "pymodbus", "devices": PYMODBUS_DEVICES, "polls": polls, "cpu_ns_per_poll": cpu_ns // polls}))


def summary(runs: list[dict[str, Any]], many: list[dict[str, Any]]) -> dict[str, Any]:
    cost = {arm: statistics.median(r["cpu_ns_per_poll"] for r in runs if r["arm"] == arm) for arm in ARMS}
    at = {n: [r for r in many if r["devices"] == n] for n in MANY}
    return {
        "cpu_ns_per_poll": cost,
        "engine_over_bare": round(cost["engine"] / cost["bare"], 3),
        "libmodbus_over_engine": round(cost["libmodbus"] / cost["engine"], 2),
        "pymodbus_over_engine": round(cost["pymodbus"] / cost["engine"], 2),
        "late_percent": {n: round(100 * sum(r["late"] for r in at[n]) / sum(r["polls"] for r in at[n]), 4) for n in MANY},
        "core_load": {n: statistics.median(r["core_load"] for r in at[n]) for n in MANY},
        "line": figures_of([LINE_PROGRAM, SECONDS]),
        "runs": runs + many,
    }


def main() -> None:
    if len(sys.argv) == 3:
        pymodbus_arm(*sys.argv[1:])
        return
    compile_program()
    with served() as port:
        runs = [run_arm(arm, port, DEVICES) for _ in range(ROUNDS) for arm in ARMS]
        many = [run_arm("engine", port, devices) for devices in MANY for _ in range(ROUNDS)]
    result = summary(runs, many)
    OUT.write_text(json.dumps(result, indent=2) + "\n")
    print("  CPU per poll: " + ", ".join(f"{arm} {ns / 1000:.1f} µs" for arm, ns in result["cpu_ns_per_poll"].items()))
    for devices in MANY:
        print(
            f"  {devices} devices at 10 ms: {result['late_percent'][devices]} % late, load {result['core_load'][devices]:.2f}"
        )
    for baud, line in result["line"].items():
        print(f"  line at {baud} baud: {line['use_of_limit']:.3f} of its limit")


if __name__ == "__main__":
    main()
