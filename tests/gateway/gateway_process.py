"""A v2g-edge process for tests, asked over its local socket as edgectl does."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from core_site import CoreSite, wait_until


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(self._path))


def run_refused(config: Path) -> tuple[int, list[str]]:
    """Start v2g-edge with a config that it must refuse: its exit code and the lines it wrote."""
    command = [sys.executable, "-m", "edge.gateway.main", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stderr.splitlines()


class GatewayProcess:
    def __init__(self, site: CoreSite) -> None:
        self.site = site
        self._log = site.folder / "gateway.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *through: str) -> None:
        """`through`: a command that starts it, for instance with fewer rights."""
        command = [*through, sys.executable, "-m", "edge.gateway.main", "--config", str(self.site.path)]
        before = self.log.count("runs:") if self._log.exists() else 0
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stderr=log)
        wait_until(lambda: self.log.count("runs:") > before or self._process.poll() is not None, "the gateway runs")
        assert self._process.poll() is None, self.log

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        return self._log.read_text()

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """The JSON document behind a path of the local API; with `body` a POST."""
        connection = _UnixConnection(self.site.folder / "local.sock")
        connection.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body))
        answer = json.loads(connection.getresponse().read())
        connection.close()
        return answer

    def evse(self, evse_id: str) -> Any:
        return self.ask(f"/v1/evses/{evse_id}")["evse"]

    def power_w(self, evse_id: str) -> float:
        return self.evse(evse_id)["values"]["power"]["value"] or 0

    def reload(self) -> None:
        self._process.send_signal(signal.SIGHUP)

    def stop(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(30)

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
