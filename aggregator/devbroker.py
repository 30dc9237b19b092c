"""A mosquitto for the desk: TLS 1.3 only, mutual, with the access list of contracts.md section 2.

The demo, the tests and the hardware-in-the-loop scenarios use it; a fleet's broker is configured from its inventory.
"""

from __future__ import annotations

import contextlib
import getpass
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from edge.wire import topics


class BrokerError(RuntimeError):
    """The development broker can't run; the message says why and what to do."""


def access_list(sites: Mapping[str, Sequence[str]], aggregator: str = "aggregator") -> str:
    """mosquitto's ACL file: a gateway writes only its own site's topics and one telemetry topic per own EVSE."""
    lines = []
    for site, evses in sites.items():
        lines += [f"user {site}"]
        lines += [f"topic write {topic(site)}" for topic in (topics.birth, topics.death, topics.ack, topics.history)]
        lines += [f"topic read {topic(site)}" for topic in (topics.command, topics.watermark)]
        lines += [f"topic write {topics.telemetry(evse)}" for evse in evses]
        lines += [""]
    lines += [f"user {aggregator}", "topic read v2g/#"]
    lines += [f"topic write {topic('+')}" for topic in (topics.command, topics.watermark)]
    return "\n".join(lines) + "\n"


def free_port() -> int:
    """A TCP port on the loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class DevBroker:
    """One mosquitto on the loopback with the certificates that `edge.uplink.pki` wrote into `pki`.

    `sites`: site id (the common name of its certificate) to its EVSE ids. The same object can be stopped and started again.
    """

    def __init__(self, directory: Path, pki: Path, sites: Mapping[str, Sequence[str]], port: int | None = None) -> None:
        self.port = port or free_port()
        self.log = directory / "mosquitto.log"
        self._conf = directory / "mosquitto.conf"
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)
        acl = directory / "acl"
        acl.write_text(access_list(sites))
        acl.chmod(0o600)
        self._conf.write_text(
            "\n".join(
                [
                    f"listener {self.port} 127.0.0.1",
                    f"cafile {(pki / 'ca.crt').resolve()}",
                    f"certfile {(pki / 'broker.crt').resolve()}",
                    f"keyfile {(pki / 'broker.key').resolve()}",
                    "tls_version tlsv1.3",
                    "require_certificate true",
                    "use_identity_as_username true",
                    "allow_anonymous false",
                    f"acl_file {acl.resolve()}",
                    f"user {getpass.getuser()}",  # as root it would become `mosquitto`, which can't read the keys
                    "set_tcp_nodelay true",  # else small messages wait up to 40 ms for an acknowledgement
                    "persistence true",
                    f"persistence_location {directory.resolve()}/",
                    "max_queued_messages 1000",
                    f"log_dest file {self.log.resolve()}",
                ]
            )
            + "\n"
        )

    def start(self) -> None:
        """Run it and wait until it listens. Raises BrokerError."""
        program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
        if program is None:
            raise BrokerError("no mosquitto on this machine; as root: apt-get install mosquitto")
        self._process = subprocess.Popen([program, "-c", str(self._conf)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                tail = self.log.read_text()[-500:] if self.log.exists() else "no log"
                raise BrokerError(f"mosquitto ended with {self._process.returncode}: {tail}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.02)
        self.stop()
        raise BrokerError(f"mosquitto doesn't listen on port {self.port} after 15 s; see {self.log}")

    def stop(self) -> None:
        """End it; nothing happens when it isn't running."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    @contextlib.contextmanager
    def running(self) -> Iterator[DevBroker]:
        """Run it for the time of a `with` block."""
        self.start()
        try:
            yield self
        finally:
            self.stop()
