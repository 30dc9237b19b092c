"""From a staged folder to a signed archive: launchers, fixed stamps and owners, checksums, signature."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

from tools.release.run import run

LAUNCHER = """\
#!/usr/bin/python3 -IS
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
from {module} import {function}

sys.exit({function}())
"""
"""-I and -S: neither the caller's environment nor packages of the machine change what runs."""


def write_launchers(folder: Path, scripts: Mapping[str, str]) -> None:
    folder.mkdir(exist_ok=True)
    for name, entry in scripts.items():
        module, function = entry.split(":")
        (folder / name).write_text(LAUNCHER.format(module=module, function=function))
        (folder / name).chmod(0o755)


def archive(stage: Path, name: str, output: Path, epoch_s: int) -> None:
    """`stage` as `name`/ in a .tar.gz whose bytes depend on the content only."""

    def settled(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = "root"
        entry.mtime = epoch_s
        entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
        return entry

    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as tar:
        tar.add(stage, name, recursive=False, filter=settled)
        for path in sorted(stage.rglob("*")):
            tar.add(path, f"{name}/{path.relative_to(stage)}", recursive=False, filter=settled)
    with output.open("wb") as file, gzip.GzipFile("", "wb", 6, file, epoch_s) as packed:
        packed.write(raw.getbuffer())


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sign(folder: Path, key: Path | None) -> str:
    """SHA256SUMS of all files of `folder`, and its Ed25519 signature SHA256SUMS.sig. Returns whose key it is.

    Without a key one is made for this build: its public half lies beside the archives and says nothing about who built them.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file())
    (folder / "SHA256SUMS").write_text("".join(f"{sha256(path)}  {path.name}\n" for path in files))
    made = key is None
    if key is None:
        key = folder.parent / "build/dist/signing.key"
        run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(key)])
    run(["openssl", "pkey", "-in", str(key), "-pubout", "-out", str(folder / "release.pub")])
    sums = folder / "SHA256SUMS"
    run(["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", str(key), "-in", str(sums), "-out", f"{sums}.sig"])
    return "a key made for this build" if made else str(key)
