"""Run a command under Debian's PREEMPT_RT kernel: `python -m hil.rtkernel [--limit SECONDS] -- COMMAND…`.

The kernel's package is only unpacked; QEMU boots it without virtualisation (`-accel tcg`) from a small initramfs and
sees the host's file tree over 9p, so the checkout and its .venv are used as they are. It is a real real-time kernel on
an emulated machine: it shows that the real-time path is taken and what it does, nothing about time.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

from hil.vcan import EXIT_TIMEOUT, relay, write_job

BUILD = Path("build/hil-rt")
META_PACKAGE = "linux-image-rt-amd64"
MODULES = ("virtio_pci", "9pnet_virtio", "9p", "can-raw", "can-dev", "vcan")
BUSYBOX = Path("/bin/busybox")
MEMORY_MIB = 1536
TRANSPORT = "vcan on PREEMPT_RT in QEMU"


class NoKernelError(RuntimeError):
    """The kernel can't be had or booted; the text says why and what helps."""


def _run(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd)
    if done.returncode:
        raise NoKernelError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def unpacked_kernel() -> tuple[Path, Path]:
    """(vmlinuz, folder with lib/modules) of the newest kernel of META_PACKAGE, downloaded once."""
    root = BUILD / "kernel"
    images = sorted(root.glob("boot/vmlinuz-*"))
    if not images:
        depends = _run("apt-cache", "depends", META_PACKAGE)
        names = [line.split()[-1] for line in depends.splitlines() if "Depends: linux-image" in line]
        if not names:
            raise NoKernelError(f"apt knows no {META_PACKAGE}: run apt-get update")
        root.mkdir(parents=True, exist_ok=True)
        _run("apt-get", "-q", "download", names[0], cwd=root)
        _run("dpkg-deb", "-x", str(next(root.glob("*.deb"))), str(root))
        images = sorted(root.glob("boot/vmlinuz-*"))
    return images[-1], root


def make_initramfs(image: Path, root: Path) -> Path:
    """busybox, the modules in the order in which they load, and rt_init.sh."""
    version = image.name.removeprefix("vmlinuz-")
    _run("depmod", "-b", str(root), version)
    tree = BUILD / "initramfs"
    shutil.rmtree(tree, ignore_errors=True)
    for folder in ("bin", "dev", "host", "lib", "proc"):
        (tree / folder).mkdir(parents=True)
    shutil.copy(BUSYBOX, tree / "bin/busybox")
    (tree / "bin/sh").symlink_to("busybox")
    shutil.copy(Path(__file__).with_name("rt_init.sh"), tree / "init")
    order: list[str] = []
    for module in MODULES:
        for line in _run("modprobe", "-d", str(root), "-S", version, "--show-depends", module).splitlines():
            if line.startswith("insmod") and (path := line.split()[1]) not in order:
                order.append(path)
    for path in order:
        shutil.copy(path, tree / "lib")
    (tree / "modules").write_text("".join(f"/lib/{Path(path).name}\n" for path in order))
    packed = BUILD / "initramfs.cpio"
    with packed.open("wb") as file:
        names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
        subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], input=names.encode(), stdout=file, cwd=tree, check=True)
    return packed


def run(command: list[str], limit_s: float) -> int:
    """Boot, run the command with its output on our stdout, return its exit code. Raises NoKernelError."""
    job = (BUILD / "job").resolve()
    job.mkdir(parents=True, exist_ok=True)
    write_job(job, command, TRANSPORT)
    image, root = unpacked_kernel()
    machine = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-smp", "2", "-m", str(MEMORY_MIB), "-cpu", "max"]
    machine += ["-nographic", "-no-reboot", "-nodefaults", "-serial", "stdio", "-net", "none"]
    machine += ["-kernel", str(image), "-initrd", str(make_initramfs(image, root))]
    machine += ["-virtfs", "local,path=/,mount_tag=host,security_model=none,multidevs=remap"]
    machine += ["-append", f"console=ttyS0 quiet panic=-1 V2G_JOB={job}"]
    guest = subprocess.Popen(machine, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    timer = threading.Timer(limit_s, guest.kill)
    timer.start()
    try:
        relay(guest, BUILD / "console.log")
        guest.wait()
    finally:
        timed_out = not timer.is_alive()
        timer.cancel()
        guest.kill()
        guest.wait()
    if (job / "exit_code").exists():
        return int((job / "exit_code").read_text())
    last = "\n".join((BUILD / "console.log").read_text(errors="replace").splitlines()[-15:])
    if timed_out:
        print(f"hil-rt: the guest was ended after {limit_s:.0f} s; its last lines:\n{last}", file=sys.stderr)
        return EXIT_TIMEOUT
    raise NoKernelError(f"the guest stopped before its command ended; last lines of {BUILD}/console.log:\n{last}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m hil.rtkernel", description="Run a command under a PREEMPT_RT kernel.")
    parser.add_argument("--limit", type=float, default=1200, help="seconds after which the guest is ended (default 1200)")
    parser.add_argument("command", nargs="+")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        return run(args.command, args.limit)
    except NoKernelError as error:
        print(f"hil-rt: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
