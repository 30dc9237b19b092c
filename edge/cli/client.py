"""HTTP over the UNIX socket of the gateway, by hand: edgectl must start fast, and http.client loads TLS and e-mail.

That would be a third of what `edgectl status` takes."""

from __future__ import annotations

import json
import socket
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


def _exchange(path: str, timeout_s: float, method: str, target: str, body: bytes | None) -> tuple[int, bytes]:
    """One request on a connection of its own: its status and what came. ValueError: that is no HTTP."""
    head = [f"{method} {target} HTTP/1.0", "Host: localhost"]
    if body is not None:
        head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        connection.connect(path)
        connection.sendall("\r\n".join([*head, "", ""]).encode() + (body or b""))
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head_bytes, _, payload = answer.partition(b"\r\n\r\n")
    protocol, status, *_ = head_bytes.split(maxsplit=2)
    if not protocol.startswith(b"HTTP/"):
        raise ValueError(f"{protocol!r} is not HTTP")
    return int(status), payload


class Client:
    def __init__(self, path: str, timeout_s: float = TIMEOUT_S) -> None:
        self._path, self._timeout_s = path, timeout_s

    def get(self, path: str) -> Document:
        return self._ask("GET", path, None)

    def post(self, path: str, body: Document) -> Document:
        return self._ask("POST", path, json.dumps(body).encode())

    def _ask(self, method: str, path: str, body: bytes | None) -> Document:
        try:
            status, payload = _exchange(self._path, self._timeout_s, method, path, body)
            document: Document = json.loads(payload)
        except (OSError, ValueError) as error:
            raise Unreachable(_why(self._path, error)) from error
        if status >= 400:
            raise Refused(status, str(document.get("error", f"status {status}")))
        return document


def _why(path: str, error: Exception) -> str:
    if isinstance(error, PermissionError):
        return f"may not open {path}: join its group (`ls -l {path}`), or use sudo"
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return f"no gateway answers on {path}: `systemctl status v2g-edge`, `journalctl -u v2g-edge -n 50`"
    if isinstance(error, TimeoutError):
        return f"the gateway took longer than {TIMEOUT_S:.0f} s on {path}: `journalctl -u v2g-edge -n 50`"
    return f"no proper answer on {path}: {error}; is this the socket of v2g-edge?"
