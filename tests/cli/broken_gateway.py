"""Gateways with something wrong with them rather than with their site: each starts v2g-edge for real and breaks one thing.

`without_synchronised_clock` alone stands in for something: a machine whose clock is synchronised can't be asked to lose that.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aggregator.devbroker import DevBroker, free_port
from edge.uplink import Outbox
from edge.uplink.pki import Identity, make_client_cert, make_development_pki
from tests.core.core_site import CoreSite, wait_until

UPLINK = """
uplink:
  host: localhost
  port: {port}
  ca: {pki}/ca.crt
  cert: {pki}/site-1.crt
  key: {pki}/site-1.key
  command_keys: [{{kid: dev, key: {pki}/dev.pub}}]
"""
GATEWAY = (sys.executable, "-m", "edge.gateway.main", "--config")
GUARD = Path(__file__).resolve().parents[2] / "build/native/native/guard/v2g-guard"
SMALL_DISK_KIB = 2048
WRONG_CLOCK_MS = 3_600_000
"""The gateway has seen a time this far ahead of what its clock shows."""
UNSYNCHRONISED = str(Path(__file__).parent / "unsynchronised_gateway.py")


@contextmanager
def running(site: CoreSite, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """v2g-edge, or what starts it, until the block ends."""
    process = subprocess.Popen([*(command or GATEWAY), str(site.path)])
    try:
        wait_until(lambda: process.poll() is not None or (site.folder / "local.sock").exists(), "the gateway answers", 60)
        assert process.poll() is None, f"the gateway ended with {process.returncode}"
        yield process
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def connected(site: CoreSite) -> Iterator[Path]:
    """A broker and keys for it, named in the config; the folder of the keys."""
    pki = site.folder / "pki"
    make_development_pki(pki, ["site-1"])
    broker = DevBroker(site.folder / "broker", pki, {"site-1": ["evse-1", "evse-2"]}, free_port())
    change(site, "", UPLINK.format(port=broker.port, pki=pki))
    with broker.running():
        yield pki


def change(site: CoreSite, old: str, new: str) -> None:
    """Replace `old` in the config; an empty one appends."""
    text = site.path.read_text()
    assert old in text
    site.path.write_text(text.replace(old, new) if old else text + new)


@contextmanager
def with_expired_certificate(site: CoreSite) -> Iterator[None]:
    with connected(site) as pki:
        make_client_cert(Identity.read(pki, "ca"), "site-1", days=-1 / 48).write(pki, "site-1")
        with running(site):
            yield


@contextmanager
def with_wrong_clock(site: CoreSite) -> Iterator[None]:
    state = site.folder / "state"
    state.mkdir()
    with connected(site):
        now_ms = time.time_ns() // 1_000_000
        outbox = Outbox(state / "outbox.sqlite", now_ms)
        outbox.flush(now_ms, {"trusted_ms": str(now_ms + WRONG_CLOCK_MS).encode()})
        outbox.close()
        with running(site, sys.executable, UNSYNCHRONISED, "--config"):
            yield


@contextmanager
def without_fifo(site: CoreSite) -> Iterator[None]:
    """As on a site, not on a bench: with a guard."""
    socket = site.folder / "guard.sock"
    change(site, "lab: true", f"guard: {{socket: {socket}, timeout: 2s}}")
    guard = subprocess.Popen([GUARD, "--socket", str(socket)], stderr=subprocess.DEVNULL)
    drop = ("setpriv", "--bounding-set=-sys_nice") if os.geteuid() == 0 else ()
    try:
        wait_until(socket.exists, "the guard listens")
        with running(site, "prlimit", "--rtprio=0:0", *drop, *GATEWAY):
            yield
    finally:
        guard.terminate()
        guard.wait(10)


@contextmanager
def with_full_disk(site: CoreSite) -> Iterator[None]:
    """Its state lies on a small file system of its own, in a mount namespace that ends with it."""
    state = site.folder / "state"
    state.mkdir()
    script = f'mount -t tmpfs -o size={SMALL_DISK_KIB}k tmpfs "{state}" && exec "$@"'
    alone = ("unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",)))
    with connected(site), running(site, *alone, "sh", "-c", script, "sh", *GATEWAY) as process:
        with Path(f"/proc/{process.pid}/root{state}/filler").open("wb", buffering=0) as filler:
            try:
                while filler.write(bytes(4096)):
                    pass
            except OSError:
                pass
        yield


@contextmanager
def with_wrong_profile(site: CoreSite) -> Iterator[None]:
    change(site, "profile: sim-meter", "profile: eastron-sdm630-v2")
    with running(site):
        yield


@contextmanager
def with_unplugged_bus(site: CoreSite) -> Iterator[None]:
    with running(site):
        site.hub.terminate()
        site.hub.wait(10)
        yield
