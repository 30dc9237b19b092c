"""A TPM 2.0 for tests: swtpm behind tpm2-abrmd on a D-Bus of its own, and OpenSSL's tpm2 provider on top (docs/uplink.md)."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from aggregator.devbroker import free_port

OPENSSL_CONF = """
openssl_conf = init
[init]
providers = providers
alg_section = algorithms
[providers]
default = default_section
tpm2 = tpm2_section
[default_section]
activate = 1
[tpm2_section]
identity = tpm2
activate = 1
[algorithms]
default_properties = ?provider=tpm2,tpm2.digest!=yes,tpm2.cipher!=yes
"""


def free_port_pair() -> int:
    """A free port whose successor is free too: TPM programs expect the control channel there."""
    while True:
        port = free_port()
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port + 1))
            return port


class Tpm:
    """`environment` is what a process needs to use it; `stop` and `start` keep what is stored in it."""

    def __init__(self, directory: Path) -> None:
        self._state = directory / "tpm"
        self._state.mkdir(parents=True)
        self._port = free_port_pair()
        conf = directory / "openssl.cnf"
        conf.write_text(OPENSSL_CONF)
        self._bus = subprocess.Popen(
            ["dbus-daemon", "--session", "--nofork", "--print-address=1", f"--address=unix:path={self._state}/bus"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._bus.stdout is not None
        self._bus_environment = {**os.environ, "DBUS_SESSION_BUS_ADDRESS": self._bus.stdout.readline().strip()}
        self.environment = {
            **self._bus_environment,
            "TPM2OPENSSL_TCTI": "tabrmd:bus_type=session",
            "OPENSSL_CONF": str(conf),
        }
        self._parts: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        swtpm = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self._state}", "--flags", "not-need-init,startup-clear"]
        swtpm += ["--ctrl", f"type=tcp,port={self._port + 1}", "--server", f"type=tcp,port={self._port}"]
        self._parts = [subprocess.Popen(swtpm)]
        self._wait_for_port(self._port + 1)
        broker = ["tpm2-abrmd", "--session", f"--tcti=swtpm:host=127.0.0.1,port={self._port}"]
        if os.geteuid() == 0:
            broker.append("--allow-root")
        self._parts.append(subprocess.Popen(broker, env=self._bus_environment, stderr=subprocess.DEVNULL))

    @staticmethod
    def _wait_for_port(port: int) -> None:
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
            time.sleep(0.02)
        raise AssertionError("swtpm doesn't listen")

    def stop(self) -> None:
        """The TPM is gone, as when its bus fails."""
        for part in reversed(self._parts):
            part.kill()
            part.wait()
        self._parts = []

    def close(self) -> None:
        self.stop()
        self._bus.kill()
        self._bus.wait()

    def openssl(self, *arguments: str) -> None:
        """Run openssl with the TPM; waits for a resource manager that has just been started."""
        deadline = time.monotonic() + 20
        while True:
            done = subprocess.run(["openssl", *arguments], env=self.environment, capture_output=True)
            if done.returncode == 0:
                return
            assert time.monotonic() < deadline, done.stderr.decode()
            time.sleep(0.2)

    def wait_until_ready(self) -> None:
        self.openssl("rand", "-provider", "tpm2", "-provider", "default", "4")

    def make_identity(self, pki: Path, name: str) -> None:
        """A key that lives in the TPM and its certificate: `name`.key and `name`.crt beside the authority's files."""
        key, request = str(pki / f"{name}.key"), str(pki / f"{name}.csr")
        tpm = ["-provider", "tpm2", "-provider", "default", "-propquery", "?provider=tpm2"]
        self.openssl("genpkey", *tpm, "-algorithm", "EC", "-pkeyopt", "group:P-256", "-out", key)
        self.openssl("req", "-new", *tpm, "-key", key, "-subj", f"/CN={name}", "-out", request)
        sign = ["openssl", "x509", "-req", "-in", request, "-CA", str(pki / "ca.crt"), "-CAkey", str(pki / "ca.key")]
        subprocess.run([*sign, "-days", "30", "-out", str(pki / f"{name}.crt")], check=True, capture_output=True)


@contextlib.contextmanager
def running_tpm(directory: Path) -> Iterator[Tpm]:
    tpm = Tpm(directory)
    try:
        tpm.start()
        yield tpm
    finally:
        tpm.close()
