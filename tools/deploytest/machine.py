"""The bare Debian root and how it runs: systemd-nspawn in a network namespace of its own, reached over SSH."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HOST_ADDRESS, ADDRESS = "10.199.77.1", "10.199.77.2"
STRANGER_ADDRESS = "10.199.77.3"
"""Also ours; no rule of the inventory names it."""
NAMESPACE, LINK = "v2g-deploy", "v2gdeploy0"
BARE = "systemd,systemd-sysv,dbus,udev,openssh-server,python3,ca-certificates,iproute2,kmod,procps"
"""What a minimal installation of Debian with remote login has."""
BOOT_LIMIT_S = 90


class DeployTestError(RuntimeError):
    """A step of the deploy test failed; one line."""


def run(
    *command: str, check: bool = True, timeout: float = 900, log: Path | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Output captured (and kept in `log`); DeployTestError with its end when it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, cwd=cwd)
    if log is not None:
        log.write_text(done.stdout + done.stderr)
    if check and done.returncode:
        raise DeployTestError(f"'{' '.join(command)}' failed: {(done.stdout + done.stderr)[-2000:]}")
    return done


def bare_root(suite: str, cache: Path, root: Path, log: Path) -> None:
    """A fresh copy of the bare root; debootstrap's result is kept in `cache`."""
    kept = cache / f"{suite}.tar"
    if not kept.exists():
        cache.mkdir(parents=True, exist_ok=True)
        part = cache / f"{suite}.part"
        shutil.rmtree(part, ignore_errors=True)
        run("debootstrap", "--variant=minbase", f"--include={BARE}", suite, str(part), "http://deb.debian.org/debian/", log=log)
        run("tar", "-C", str(part), "-cf", f"{kept}.part", ".")
        Path(f"{kept}.part").replace(kept)
        shutil.rmtree(part)
    root.mkdir(parents=True)
    run("tar", "-C", str(root), "--numeric-owner", "-xpf", str(kept))


def settle_in(root: Path, name: str, public_key: str, proxy: str) -> None:
    """What an installer asks for: a name, the operator's key, where packages come from."""
    (root / "etc/hostname").write_text(f"{name}\n")
    (root / "etc/hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {name}\n")
    (root / "etc/machine-id").write_text("")
    ssh = root / "root/.ssh"
    ssh.mkdir(mode=0o700, exist_ok=True)
    (ssh / "authorized_keys").write_text(public_key)
    (root / "etc/apt/apt.conf.d/01proxy").write_text(f'Acquire::http::Proxy "{proxy}";\n')


def ssh(key: Path, command: str, timeout: float = 120) -> str:
    """What a command prints on the gateway; DeployTestError when it fails."""
    options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "ConnectTimeout=5"]
    flags = [f"-o{option}" for option in options]
    return run("ssh", *flags, "-i", str(key), f"root@{ADDRESS}", command, timeout=timeout).stdout


@contextmanager
def network() -> Iterator[None]:
    """A namespace with one link to us: what is outside of it is outside of the gateway."""
    _remove_network()
    run("ip", "netns", "add", NAMESPACE)
    try:
        run("ip", "link", "add", LINK, "type", "veth", "peer", "name", "eth0", "netns", NAMESPACE)
        for address in (HOST_ADDRESS, STRANGER_ADDRESS):
            run("ip", "address", "add", f"{address}/24", "dev", LINK)
        run("ip", "link", "set", LINK, "up")
        inside = ("ip", "-n", NAMESPACE)
        run(*inside, "link", "set", "lo", "up")
        run(*inside, "address", "add", f"{ADDRESS}/24", "dev", "eth0")
        run(*inside, "link", "set", "eth0", "up")
        yield
    finally:
        _remove_network()


def _remove_network() -> None:
    run("ip", "link", "delete", LINK, check=False)
    run("ip", "netns", "delete", NAMESPACE, check=False)


@contextmanager
def booted(root: Path, console: Path) -> Iterator[None]:
    """systemd runs in the root while the context lasts; entered once it answers on SSH."""
    command = ["systemd-nspawn", "--quiet", "--directory", str(root), "--boot", "--register=no", "--keep-unit"]
    command += [f"--network-namespace-path=/run/netns/{NAMESPACE}", "--console=pipe", "--resolv-conf=off"]
    # Real-time scheduling, locked memory and a firewall of its own, as on a gateway.
    command += ["--rlimit=RTPRIO=99", "--rlimit=MEMLOCK=infinity", "--capability=CAP_SYS_NICE,CAP_IPC_LOCK,CAP_NET_ADMIN"]
    env = os.environ | {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
    with console.open("ab") as log:
        machine = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=env, start_new_session=True)
    try:
        _wait_for_ssh(machine, console)
        yield
    finally:
        machine.send_signal(signal.SIGTERM)  # nspawn asks systemd for an orderly power-off
        try:
            machine.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(machine.pid, signal.SIGKILL)
            machine.wait()


def _wait_for_ssh(machine: subprocess.Popen[bytes], console: Path) -> None:
    deadline = time.monotonic() + BOOT_LIMIT_S
    while time.monotonic() < deadline:
        if machine.poll() is not None:
            break
        try:
            with socket.create_connection((ADDRESS, 22), 1) as line:
                if line.recv(4) == b"SSH-":
                    return
        except OSError:
            time.sleep(0.2)
    raise DeployTestError(f"the root did not come up: {console.read_text(errors='replace')[-1500:]}")
