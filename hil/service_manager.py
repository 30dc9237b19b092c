"""As much of systemd as a guard needs: a notify socket with a descriptor store, and starts that hand the descriptors back."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType

HAND_BACK = """
import os, sys
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Between fork and the program: the descriptors belong to this very process id (sd_listen_fds(3))."""


class ServiceManager:
    """`start` runs the guard as a unit would; `store` is what it asked to have kept, by name."""

    def __init__(self, folder: Path, program: Path, *arguments: str) -> None:
        self._path = folder / "notify.sock"
        self._log = folder / "service.log"
        self._command = [str(program), *arguments]
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self._path))
        self._socket.settimeout(0.05)
        self._over = threading.Event()
        self._reads = threading.Event()
        self._reads.set()
        self._thread = threading.Thread(target=self._serve)
        self.store: dict[str, int] = {}
        self.said: list[str] = []
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ServiceManager:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
        self._over.set()
        self._thread.join()
        self._socket.close()
        for fd in self.store.values():
            os.close(fd)

    def _serve(self) -> None:
        while not self._over.is_set():
            if not self._reads.wait(0.05):
                continue
            try:
                text, fds, _, _ = socket.recv_fds(self._socket, 4096, 4)
            except TimeoutError:
                continue
            self._take(dict(line.split("=", 1) for line in text.decode().splitlines()), fds)

    def _take(self, message: dict[str, str], fds: list[int]) -> None:
        name = message.get("FDNAME", "")
        if "FDSTOREREMOVE" in message and name in self.store:
            os.close(self.store.pop(name))
        elif "FDSTORE" in message:
            assert message["FDPOLL"] == "0", "else systemd drops a pidfd just when it is needed"
            self.store[name] = fds[0]
        self.said += [f"{key}={value}" for key, value in message.items()]

    def start(self) -> None:
        kept = list(self.store.items())
        base = 3
        environment = os.environ | {"NOTIFY_SOCKET": str(self._path), "WATCHDOG_USEC": "5000000"}
        if kept:
            environment |= {"LISTEN_FDS": str(len(kept)), "LISTEN_FDNAMES": ":".join(name for name, _ in kept)}

        def place() -> None:
            # Aside first: a target number may be one of the sources.
            aside = [os.dup(fd) for _, fd in kept]
            high = [os.dup2(fd, 200 + i) for i, fd in enumerate(aside)]
            for i, fd in enumerate(high):
                os.dup2(fd, base + i)

        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", HAND_BACK, *self._command],
                env=environment,
                preexec_fn=place,
                close_fds=False,
                stderr=log,
            )

    def listen(self, reads: bool) -> None:
        """False: nothing is read, as during a daemon-reload, until True; what is told meanwhile fills the socket."""
        self._reads.set() if reads else self._reads.clear()

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> str:
        """SIGTERM; what the program wrote in all its lives."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)
        return self.told()

    def told(self) -> str:
        """What the program wrote so far, in all its lives."""
        return self._log.read_text()

    def keep_log(self, path: Path) -> None:
        """Copy what the program wrote so far."""
        shutil.copy(self._log, path)
