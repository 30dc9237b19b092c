"""What a badly behaved Python half does, all at once, inside the process that holds the cycle."""

from __future__ import annotations

import ctypes
import gc
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

GIL_HELD_US = 20_000
GIBIBYTE = 1 << 30
PAUSE_S = 0.05
"""Between two misdeeds, so that whoever runs the benchmark gets a word in."""


def _hold_gil(over: threading.Event) -> None:
    """A call that keeps the interpreter's lock: nobody else in Python moves meanwhile."""
    library = ctypes.PyDLL(None)
    while not over.is_set():
        library.usleep(ctypes.c_uint(GIL_HELD_US))
        sum(range(100_000))
        over.wait(PAUSE_S)


def _allocate(over: threading.Event) -> None:
    """1 GiB, touched and given back, and rubbish in circles for the collector."""
    while not over.is_set():
        block = bytearray(GIBIBYTE)
        del block
        circles = [[] for _ in range(100_000)]  # type: list[list[object]]
        for circle in circles:
            circle.append(circle)
        del circles
        gc.collect()
        over.wait(PAUSE_S)


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    """A whole TLS handshake in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server, server_hostname="localhost"),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    done = 0
    while done < len(ends):
        done = 0
        for end in ends:
            try:
                end.do_handshake()
                done += 1
            except ssl.SSLWantReadError:
                continue


def _talk_tls(over: threading.Event, pki: Path) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pki / "broker.crt", pki / "broker.key")
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(pki / "ca.crt")
    while not over.is_set():
        _handshake(server, client)
        over.wait(PAUSE_S)


@contextmanager
def hogs(pki: Path) -> Iterator[None]:
    """All of them until the context ends. `pki`: a development PKI."""
    over = threading.Event()
    works = (lambda: _hold_gil(over), lambda: _allocate(over), lambda: _talk_tls(over, pki))
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()
