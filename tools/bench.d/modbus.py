"""CPU per Modbus/TCP poll of 20 registers, devices at 10 ms on one core, use of a serial line (build/bench/modbus.json).

One C process plays the devices on core 0; every arm polls them from core 1 (core 0 too when there is only one). The arms take
turns, round by round: the engine, a loop that only sends and receives, libmodbus with a thread per device, pymodbus on uvloop
and on asyncio's own loop. A ratio is the median of the rounds' ratios, so that what else the machine does strikes both sides.
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
ROUNDS = 5
SECONDS = 2
LINE_SECONDS = 4
ARMS = ("engine", "bare", "libmodbus", "pymodbus", "pymodbus_asyncio")


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
    if arm.startswith("pymodbus"):
        return figures_of([sys.executable, __file__, arm, port, cpu])
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


def pymodbus_arm(arm: str, port: str, cpu: str) -> None:
    import uvloop

    os.sched_setaffinity(0, {int(cpu)})
    run = uvloop.run if arm == "pymodbus" else asyncio.run
    polls, cpu_ns = run(poll_with_pymodbus(int(port)))
    print(json.dumps({"arm": arm, "devices": PYMODBUS_DEVICES, "polls": polls, "cpu_ns_per_poll": cpu_ns // polls}))


def line_use(*how: str) -> dict[str, Any]:
    """Three rounds at every rate in turns; of each rate the round in the middle."""
    rounds = [figures_of([LINE_PROGRAM, LINE_SECONDS, *how]) for _ in range(3)]
    return {baud: sorted((r[baud] for r in rounds), key=lambda one: one["use_of_limit"])[1] for baud in rounds[0]}


def ratio(runs: list[dict[str, Any]], arm: str, other: str) -> float:
    """The median over the rounds of one arm's cost ÷ the other's in the same round."""
    cost = {name: [r["cpu_ns_per_poll"] for r in runs if r["arm"] == name] for name in (arm, other)}
    middle = statistics.median(a / b for a, b in zip(cost[arm], cost[other], strict=True))
    return float(round(middle, 3))


def summary(runs: list[dict[str, Any]], many: list[dict[str, Any]]) -> dict[str, Any]:
    cost = {arm: statistics.median(r["cpu_ns_per_poll"] for r in runs if r["arm"] == arm) for arm in ARMS}
    at = {n: [r for r in many if r["devices"] == n] for n in MANY}
    return {
        "cpu_ns_per_poll": cost,
        "engine_over_bare": ratio(runs, "engine", "bare"),
        "libmodbus_over_engine": ratio(runs, "libmodbus", "engine"),
        "pymodbus_over_engine": ratio(runs, "pymodbus", "engine"),
        "pymodbus_asyncio_over_engine": ratio(runs, "pymodbus_asyncio", "engine"),
        "pymodbus_over_bare": ratio(runs, "pymodbus", "bare"),
        "late_percent": {n: round(100 * sum(r["late"] for r in at[n]) / sum(r["polls"] for r in at[n]), 4) for n in MANY},
        "core_load": {n: statistics.median(r["core_load"] for r in at[n]) for n in MANY},
        "line": {"pseudo_terminal": line_use(), "over_tcp": line_use("tcp")},
        "runs": runs + many,
    }


def main() -> None:
    if len(sys.argv) == 4:
        pymodbus_arm(*sys.argv[1:])
        return
    compile_program()
    with served() as port:
        runs = [run_arm(arm, port, DEVICES) for _ in range(ROUNDS) for arm in ARMS]
        many = [run_arm("engine", port, devices) for _ in range(ROUNDS) for devices in MANY]
    result = summary(runs, many)
    OUT.write_text(json.dumps(result, indent=2) + "\n")
    print("  CPU per poll: " + ", ".join(f"{arm} {ns / 1000:.1f} µs" for arm, ns in result["cpu_ns_per_poll"].items()))
    for name in ("engine_over_bare", "libmodbus_over_engine", "pymodbus_over_engine", "pymodbus_asyncio_over_engine"):
        print(f"  {name.replace('_over_', ' ÷ ')}: {result[name]:.2f}")
    for devices in MANY:
        print(
            f"  {devices} devices at 10 ms: {result['late_percent'][devices]} % late, load {result['core_load'][devices]:.2f}"
        )
    for name, line in result["line"].items():
        uses = ", ".join(f"{baud}: {figures['use_of_limit']:.3f}" for baud, figures in line.items())
        print(f"  use of a line's limit, {name.replace('_', ' ')}: {uses}")


if __name__ == "__main__":
    main()
