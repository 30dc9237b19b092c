"""`edgectl bundle`: one archive with what a support engineer asks for. Bounded and without secrets.

It holds the documents of the local API, the config as `edgectl config show --redacted` prints it, the end of the journal and of
the log files, and what the machine says about its buses. A part that can't be had is left out, and the archive says why.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from urllib.parse import quote

import click

from edge.cli.client import Client, Refused, Unreachable
from edge.cli.config import DEFAULT_FILE

MAX_PART_BYTES = 4 * 1024 * 1024
"""Of each part the end is kept: what happened last matters."""
COMMAND_TIMEOUT_S = 20
MAX_LOG_FILES = 5
SECRET = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----"
    rb"|(?i:password|passwd|token|secret)[\"']?\s*[=:]\s*(?:\"[^\"]*\"|'[^']*'|\S+)",
    re.S,
)
LOG_FOLDER = Path("/var/log/v2g-edge")
DOCUMENTS = ("status", "events", "rt", "doctor", "sessions")
COMMANDS = {
    "journal.txt": ("journalctl", "-u", "v2g-edge", "-n", "5000", "--no-pager", "-o", "short-iso-precise"),
    "links.txt": ("ip", "-details", "-statistics", "link", "show"),
    "clock.txt": ("timedatectl", "show-timesync", "--all"),
    "kernel.txt": ("uname", "-a"),
}
SHOW_CONFIG = "import sys; from edge.cli.main import main; sys.exit(main(['config', 'show', '--redacted', sys.argv[1]]))"


def _command(words: tuple[str, ...]) -> bytes:
    result = subprocess.run(words, capture_output=True, timeout=COMMAND_TIMEOUT_S, check=False)
    if result.returncode and not result.stdout:
        lines = result.stderr.decode(errors="replace").strip().splitlines()
        raise OSError(lines[-1] if lines else f"{words[0]} ended with {result.returncode}")
    return result.stdout + result.stderr


def _document(client: Client, path: str) -> bytes:
    return json.dumps(client.get(path), indent=1, ensure_ascii=False).encode()


def _end_of(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - MAX_PART_BYTES))
        return file.read()


def _parts(client: Client, config: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    for name in DOCUMENTS:
        yield f"{name}.json", partial(_document, client, f"/v1/{name}")
    try:
        evses = [evse["id"] for evse in client.get("/v1/status")["evses"]]
    except (Unreachable, Refused):
        evses = []
    for evse in evses:
        yield f"explain/{evse}.json", partial(_document, client, f"/v1/evses/{quote(evse, safe='')}/explain")
    for name, words in COMMANDS.items():
        yield name, partial(_command, words)
    yield "config.yaml", partial(_command, (sys.executable, "-c", SHOW_CONFIG, str(config)))
    logs = sorted(LOG_FOLDER.glob("*.jsonl*")) if LOG_FOLDER.is_dir() else []
    for log in logs[:MAX_LOG_FILES]:
        yield f"log/{log.name}", partial(_end_of, log)


def redact(text: bytes) -> bytes:
    """Text without private keys and without what follows password, token or secret."""
    return SECRET.sub(b"(redacted)", text)


def write_bundle(client: Client, config: Path, output: Path) -> list[str]:
    """Write the archive; returns what is missing from it and why."""
    missing: list[str] = []
    with tarfile.open(output, "w:gz") as archive:
        for name, read in _parts(client, config):
            click.echo(f"bundle: {name}", err=True)
            try:
                _add(archive, name, redact(read()))
            except (Unreachable, Refused, OSError, subprocess.SubprocessError) as error:
                missing.append(f"{name}: {error}")
        _add(archive, "missing.txt", "\n".join(missing).encode())
    output.chmod(0o600)
    return missing


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    data = data[-MAX_PART_BYTES:]
    entry = tarfile.TarInfo(f"v2g-bundle/{name}")
    entry.size, entry.mtime = len(data), int(time.time())
    archive.addfile(entry, io.BytesIO(data))


@click.command()
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="Default: v2g-bundle-TIME.tar.gz here.")
@click.option("--config", type=click.Path(dir_okay=False, path_type=Path), default=DEFAULT_FILE, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print path and what is missing as a document.")
@click.pass_obj
def bundle(client: Client, output: Path | None, config: Path, as_json: bool) -> int:
    """One archive for the support engineer: bounded, without secrets; its path is printed."""
    path = output or Path(time.strftime("v2g-bundle-%Y%m%d-%H%M%S.tar.gz"))
    missing = write_bundle(client, config, path)
    if as_json:
        click.echo(json.dumps({"schema": "v2g.bundle/1", "path": str(path), "missing": missing}, indent=1))
        return 0
    for line in missing:
        click.echo(f"bundle: without {line}", err=True)
    click.echo(path)
    return 0
