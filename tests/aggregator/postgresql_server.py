"""A real PostgreSQL for tests: a cluster of its own in a temporary folder, reached over a UNIX socket only."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import psycopg


class PostgresServer:
    """Starts in about two seconds. PostgreSQL refuses to run as root, so root lends it the Debian user `postgres`."""

    def __init__(self) -> None:
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        assert programs, "no PostgreSQL on this machine; as root: apt-get install postgresql"
        self._bin = programs[-1]
        self._as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        self._folder = Path(tempfile.mkdtemp(prefix="v2gpg"))
        if self._as_user:
            shutil.chown(self._folder, "postgres")
        self._numbers = itertools.count(1)
        self._run("initdb", "-D", "data", "-A", "trust", "-U", "v2g", "--no-sync")
        options = f"-k {self._folder} -c listen_addresses= -c fsync=off"
        self._run("pg_ctl", "-D", "data", "-w", "-o", options, "-l", "log", "start")

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as_user, str(self._bin / program), *arguments]
        subprocess.run(command, cwd=self._folder, check=True, stdout=subprocess.DEVNULL)

    def new_database(self) -> str:
        """The URL of an empty database."""
        name = f"v2g{next(self._numbers)}"
        with psycopg.connect(f"host={self._folder} user=v2g dbname=postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
        return f"postgresql:///{name}?host={self._folder}&user=v2g"

    def stop(self) -> None:
        self._run("pg_ctl", "-D", "data", "-m", "immediate", "stop")
        shutil.rmtree(self._folder)
