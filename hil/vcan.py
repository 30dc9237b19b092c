"""Run a command where a real vcan0 exists: `python -m hil.vcan [--limit SECONDS] [--job DIR] -- COMMAND…`.

Two ways, tried in this order:

1. native: this kernel has CAN and we may create the interface;
2. User-Mode Linux (Debian's package user-mode-linux): a Linux kernel that runs as an ordinary process, with the host's file
   tree as its root. One CPU, no real-time scheduling: good for behaviour on a real bus, not for latency.

The command sees V2G_CAN_TRANSPORT ("vcan native" or "vcan in User-Mode Linux"). Its exit code is ours.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hil.program import prefer

CHANNEL = "vcan0"
TRANSPORT_VARIABLE = "V2G_CAN_TRANSPORT"
UML_KERNEL = Path("/usr/bin/linux.uml")
UML_MODULES = Path("/usr/lib/uml/modules")
GUEST_INIT = Path(__file__).resolve().parent / "guest_init.sh"
GUEST_MEMORY_MIB = 768
"""Gateway, simulators, broker and pytest need about 300 MiB; only pages that the guest touches cost memory."""
GUEST_PRIORITY = 1
"""SCHED_FIFO on the host, where granted: the guest is a whole machine, a busy host must not stop it for tens of ms."""
EXIT_TIMEOUT = 124
"""Exit code when the time limit ended the command, as timeout(1) has it."""


class NoCanBusError(RuntimeError):
    """Neither way gives a vcan0 here; the text says why and what helps."""


@contextmanager
def native_vcan() -> Iterator[None]:
    """A vcan0 of this kernel while the context lasts; one that was there before is left alone.

    Raises NoCanBusError with the kernel's own answer.
    """
    if shutil.which("ip") is None:
        raise NoCanBusError("no program 'ip' (Debian package iproute2)")
    created = False
    if not Path(f"/sys/class/net/{CHANNEL}").exists():
        answer = subprocess.run(["ip", "link", "add", CHANNEL, "type", "vcan"], capture_output=True, text=True)
        if answer.returncode:
            raise NoCanBusError(f"ip link add {CHANNEL} type vcan: {answer.stderr.strip()}")
        created = True
    try:
        answer = subprocess.run(["ip", "link", "set", CHANNEL, "up"], capture_output=True, text=True)
        if answer.returncode:
            raise NoCanBusError(f"ip link set {CHANNEL} up: {answer.stderr.strip()}")
        yield
    finally:
        if created:
            subprocess.run(["ip", "link", "delete", CHANNEL], check=False)


def memory_dir(candidates: list[Path], size_mib: int) -> Path:
    """The first folder that can hold the guest's memory file: enough space, mapping of code allowed.

    /dev/shm comes first because it is memory; containers often give it 64 MiB only.
    """
    for folder in candidates:
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            continue
        stat = os.statvfs(folder)
        if stat.f_bavail * stat.f_frsize >= size_mib << 20 and not stat.f_flag & os.ST_NOEXEC:
            return folder
    tried = ", ".join(map(str, candidates))
    raise NoCanBusError(f"no folder with {size_mib} MiB free and without noexec for the guest's memory (tried {tried})")


def write_job(job: Path, command: list[str], transport: str) -> None:
    """Write job/job.sh, which the guest runs: our folder, our environment as far as it matters, the command."""
    passed = {key: value for key, value in os.environ.items() if key in {"CI", "LANG"} or key.startswith("V2G_")}
    passed[TRANSPORT_VARIABLE] = transport
    lines = [f"cd {shlex.quote(str(Path.cwd()))} || exit 1"]
    lines += [f"export {key}={shlex.quote(value)}" for key, value in sorted(passed.items())]
    lines.append(f"exec {shlex.join(command)}")
    (job / "job.sh").write_text("\n".join(lines) + "\n")
    (job / "exit_code").unlink(missing_ok=True)


def run_in_uml(command: list[str], limit_s: float, job: Path) -> int:
    """Boot a guest, run the command in it with its output on our stdout, return its exit code.

    The whole console goes to job/console.log. Raises NoCanBusError when the guest doesn't come as far as the command.
    """
    if not UML_KERNEL.exists():
        raise NoCanBusError(f"no {UML_KERNEL} (Debian package user-mode-linux)")
    if not list(UML_MODULES.glob("*/kernel/drivers/net/can/vcan.ko*")):
        raise NoCanBusError(f"no vcan module under {UML_MODULES} (Debian package user-mode-linux)")
    job = job.resolve()
    job.mkdir(parents=True, exist_ok=True)
    write_job(job, command, "vcan in User-Mode Linux")
    with tempfile.TemporaryDirectory(prefix="v2g-uml-") as uml_dir:
        # Consoles other than the first and all serial lines are off; nothing reads our stdin.
        kernel = [str(UML_KERNEL), f"mem={GUEST_MEMORY_MIB}M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "rw"]
        kernel += [
            f"init={GUEST_INIT}",
            f"V2G_JOB={job}",
            "con=null",
            "con0=null,fd:1",
            "ssl=null",
            "quiet",
            f"uml_dir={uml_dir}/",
        ]
        memory = memory_dir([Path("/dev/shm"), Path("/tmp"), job], GUEST_MEMORY_MIB + 16)
        guest = subprocess.Popen(
            kernel,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": os.environ["PATH"], "HOME": uml_dir, "TMPDIR": str(memory)},
            start_new_session=True,  # one process group that holds the guest kernel and all its processes
        )
        prefer(guest.pid, GUEST_PRIORITY)
        timed_out = threading.Event()

        def kill() -> None:
            timed_out.set()
            os.killpg(guest.pid, signal.SIGKILL)

        timer = threading.Timer(limit_s, kill)
        timer.start()
        try:
            relay(guest, job / "console.log")
            guest.wait()
        finally:
            timer.cancel()
            if guest.poll() is None:
                os.killpg(guest.pid, signal.SIGKILL)
                guest.wait()
    if timed_out.is_set():
        print(f"hil: the guest was ended after its time limit of {limit_s:.0f} s (console: {job}/console.log)", file=sys.stderr)
        return EXIT_TIMEOUT
    if not (job / "exit_code").exists():
        last = "\n".join((job / "console.log").read_text(errors="replace").splitlines()[-15:])
        raise NoCanBusError(
            f"the User-Mode Linux guest stopped before its command ended; last lines of {job}/console.log:\n{last}"
        )
    return int((job / "exit_code").read_text())


def relay(guest: subprocess.Popen[bytes], log_path: Path) -> None:
    """Copy the guest's console to the log, and what the command printed to our stdout."""
    assert guest.stdout is not None
    in_job = False
    with log_path.open("wb") as log:
        for line in guest.stdout:
            log.write(line)
            log.flush()
            if line.startswith(b"=== guest:"):
                in_job = b"starts" in line
            elif in_job:
                sys.stdout.write(line.replace(b"\r", b"").decode(errors="replace"))
                sys.stdout.flush()


def run(command: list[str], limit_s: float, job: Path) -> int:
    """Run the command with a real vcan0, whichever way this machine gives one. Raises NoCanBusError when none does."""
    try:
        with native_vcan():
            print(f"hil: {CHANNEL} of this kernel ({platform.release()})", flush=True)
            env = os.environ | {TRANSPORT_VARIABLE: "vcan native"}
            return subprocess.run(command, stdin=subprocess.DEVNULL, env=env, timeout=limit_s).returncode
    except subprocess.TimeoutExpired:
        print(f"hil: the command was ended after its time limit of {limit_s:.0f} s", file=sys.stderr)
        return EXIT_TIMEOUT
    except NoCanBusError as native:
        print(f"hil: no native {CHANNEL} ({native}); booting User-Mode Linux", flush=True)
        try:
            return run_in_uml(command, limit_s, job)
        except NoCanBusError as uml:
            raise NoCanBusError(f"no CAN bus on this machine.\n  native: {native}\n  User-Mode Linux: {uml}") from None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m hil.vcan", description="Run a command where a real vcan0 exists.")
    parser.add_argument("--limit", type=float, default=1800, help="seconds after which the command is ended (default 1800)")
    parser.add_argument("--job", type=Path, default=Path("build/hil/uml"), help="folder for the guest's script and console log")
    parser.add_argument("command", nargs="+")
    args = parser.parse_args()
    # Ended from outside, we still clean up: the guest lives in a process group of its own.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        return run(args.command, args.limit, args.job)
    except NoCanBusError as error:
        print(f"hil: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
