"""HTTP over the UNIX socket of the gateway, with the standard library only: edgectl must start fast."""

from __future__ import annotations

import json
import socket
from http.client import HTTPConnection, HTTPException
from typing import Any

DEFAULT_SOCKET = "/run/v2g-edge/local.sock"
TIMEOUT_S = 5.0

Document = dict[str, Any]


class Unreachable(Exception):
    """No gateway answers on the socket. The message names the socket and the remedy."""


class Refused(Exception):
    """The gateway answered that it will not. `status` is the HTTP status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class _UnixConnection(HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path, self._timeout_s = path, timeout_s

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._timeout_s)
        self.sock.connect(self._path)


class Client:
    def __init__(self, path: str, timeout_s: float = TIMEOUT_S) -> None:
        self._path, self._timeout_s = path, timeout_s

    def get(self, path: str) -> Document:
        return self._ask("GET", path, None)

    def post(self, path: str, body: Document) -> Document:
        return self._ask("POST", path, json.dumps(body).encode())

    def _ask(self, method: str, path: str, body: bytes | None) -> Document:
        connection = _UnixConnection(self._path, self._timeout_s)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
            response = connection.getresponse()
            document: Document = json.loads(response.read())
        except (OSError, HTTPException, ValueError) as error:
            raise Unreachable(_why(self._path, error)) from error
        finally:
            connection.close()
        if response.status >= 400:
            raise Refused(response.status, str(document.get("error", response.reason)))
        return document


def _why(path: str, error: Exception) -> str:
    if isinstance(error, PermissionError):
        return f"may not open {path}: join its group (`ls -l {path}`), or use sudo"
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return f"no gateway answers on {path}: `systemctl status v2g-edge`, `journalctl -u v2g-edge -n 50`"
    if isinstance(error, TimeoutError):
        return f"the gateway took longer than {TIMEOUT_S:.0f} s on {path}: `journalctl -u v2g-edge -n 50`"
    return f"no proper answer on {path}: {error}; is this the socket of v2g-edge?"
