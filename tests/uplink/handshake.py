"""How long TLS 1.3 handshakes take, both sides with certificates; a process of its own because OPENSSL_CONF is read once.

Usage: python -m tests.uplink.handshake PKI NAME PORT COUNT; prints a JSON list, ms.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from pathlib import Path

from edge.uplink import UplinkSettings
from edge.uplink.mqtt import tls_context


def handshakes_ms(pki: Path, name: str, port: int, count: int) -> list[float]:
    settings = UplinkSettings("site-1", "localhost", pki / "ca.crt", pki / f"{name}.crt", pki / f"{name}.key", port=port)
    context = tls_context(settings)
    taken = []
    for _ in range(count):
        with socket.create_connection(("localhost", port)) as plain:
            began = time.perf_counter()
            with context.wrap_socket(plain, server_hostname="localhost"):
                taken.append((time.perf_counter() - began) * 1e3)
    return taken


if __name__ == "__main__":
    print(json.dumps(handshakes_ms(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
