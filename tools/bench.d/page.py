#!/usr/bin/env python3
"""Fifty open pages at once, and how long `edgectl status` takes: build/bench/page.json.

A page is what costs the gateway: its stream, a status twice a second, and what it asks for now and then; the browser that draws
it is left out. The cycle's lateness under the pages is read against the windows without them before and after, in one run
(A B A B A): the null interval is what those windows differ among themselves.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

sys.path[:0] = ["tests/core", "tests/gateway"]

from tests.gateway.attacked import Lateness, Site, running_site  # noqa: E402

OUT = Path("build/bench/page.json")
CLIENTS = 50
WINDOW_S = 10.0
STATUS_RUNS = 30
STATUS_MS = 150
"""Target of issue G."""


class Page:
    """One stream that is read to its end."""

    def __init__(self, port: int) -> None:
        self.bytes = 0
        self._socket = socket.create_connection(("127.0.0.1", port), 10)
        self._socket.sendall(f"GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while part := self._socket.recv(65536):
            self.bytes += len(part)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()


ASKED_EVERY_S = {"/v1/rt": 5.0, "/v1/doctor": 20.0, "/v1/sessions": 20.0}
"""By each page: edge/local/page/app.js."""


class Asking:
    """What all pages together ask for beside their streams, evenly spread."""

    def __init__(self, port: int) -> None:
        self.answers: dict[int, int] = {}
        self._port = port
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=item) for item in ASKED_EVERY_S.items()]
        for thread in self._threads:
            thread.start()

    def _ask(self, path: str, every_s: float) -> None:
        while not self._end.wait(every_s / CLIENTS):
            connection = HTTPConnection("127.0.0.1", self._port, timeout=10)
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            connection.close()
            self.answers[answer.status] = self.answers.get(answer.status, 0) + 1

    def close(self) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()
        assert self.answers.keys() == {200}, f"refused: {self.answers}"


@contextmanager
def pages(port: int) -> Iterator[list[Page]]:
    opened = []
    for _ in range(CLIENTS):
        opened.append(Page(port))
        time.sleep(0.05)  # people don't open fifty pages in the same instant; the rate limit is for those who do
    asking = Asking(port)
    try:
        yield opened
    finally:
        asking.close()
        for page in opened:
            page.close()


def rss_mib(pid: int) -> float:
    pages_resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages_resident * os.sysconf("SC_PAGESIZE") / 2**20, 1)


def window(site: Site) -> dict[str, float]:
    before = site.lateness()
    time.sleep(WINDOW_S)
    late: Lateness = site.lateness() - before
    return {"p50": late.percentile_us(0.5), "p99": late.percentile_us(0.99), "cycles": sum(late.counts.values())}


def under_pages(site: Site, port: int, pid: int) -> dict[str, float]:
    with pages(port) as opened:
        figures = window(site) | {"rss_mib": rss_mib(pid)}
    return figures | {"kib_per_page_s": round(sum(page.bytes for page in opened) / len(opened) / WINDOW_S / 1024, 1)}


def status_ms(folder: Path) -> dict[str, float]:
    """The program as a technician starts it, to its last line; byte code is compiled, as in a release."""
    packages = [sysconfig.get_path("purelib"), "edge"]
    subprocess.run([sys.executable, "-m", "compileall", "-q", "-j", "0", *packages], check=False, stdout=subprocess.DEVNULL)
    environment = os.environ | {"V2G_SOCKET": str(folder / "local.sock")}
    taken = []
    for _ in range(STATUS_RUNS):
        began = time.perf_counter()
        subprocess.run([Path(sys.executable).with_name("edgectl"), "status"], env=environment, check=False, capture_output=True)
        taken.append((time.perf_counter() - began) * 1000)
    return {"p50": round(statistics.median(taken), 1), "max": round(max(taken), 1), "target": STATUS_MS}


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="v2g") as name, running_site(Path(name)) as site:
        pid, port = site.gateway.pid, site.gateway.site.page_port
        quiet, loaded, rss = [window(site)], [], [rss_mib(pid)]
        for _ in range(2):
            loaded.append(under_pages(site, port, pid))
            quiet.append(window(site))
            rss.append(rss_mib(pid))
        status = status_ms(Path(name))
    calm = [w["p99"] for w in quiet]
    summary = {
        "status_ms_p50": status["p50"],
        "page_clients": CLIENTS,
        "page_lateness_p99_ratio": round(statistics.mean(w["p99"] for w in loaded) / statistics.mean(calm), 2),
        "page_lateness_null_interval": [round(min(calm) / max(calm), 2), round(max(calm) / min(calm), 2)],
        "page_rss_mib_growth": round(rss[-1] - rss[0], 1),
    }
    figures = {
        "summary": summary,
        "quiet_us": quiet,
        "pages_us": loaded,
        "rss_mib_after_each": rss,
        "edgectl_status_ms": status,
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
