"""The releases that are deployed: the one of this checkout, the same again under the next number, and one that never runs."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

from tools.deploytest.machine import run
from tools.release import pack
from tools.release.__main__ import VERSION, build_one
from tools.release.target import TARGETS, Target

NEXT, BROKEN = f"{VERSION}.next", f"{VERSION}.broken"
BROKEN_GATEWAY = """\
#!/usr/bin/python3 -IS
import sys

sys.exit("v2g-edge: this release was broken on purpose")
"""


def target_of(suite: str) -> Target:
    """The target of a Debian suite on this machine's architecture."""
    arch = run("dpkg", "--print-architecture").stdout.strip()
    return next(target for target in TARGETS if target.suite == suite and target.arch == arch)


def build(suite: str, work: Path, folder: Path, key: Path) -> Path:
    """All three with signed checksums in `folder`, as `make dist` leaves it. Returns the first."""
    target = target_of(suite)
    folder.mkdir(parents=True)
    first = Path(shutil.copy(build_one(target, work), folder))
    for version in (NEXT, BROKEN):
        _renamed(first, version, target, work / version, folder)
    run("openssl", "genpkey", "-algorithm", "ed25519", "-out", str(key))
    pack.sign(folder, key)
    return first


def unpack(archive: Path, folder: Path) -> None:
    """An archive's content, without its own folder."""
    folder.mkdir(parents=True)
    run("tar", "-C", str(folder), "--strip-components=1", "--no-same-owner", "-xzf", str(archive))


def _renamed(archive: Path, version: str, target: Target, stage: Path, folder: Path) -> None:
    unpack(archive, stage)
    about = json.loads((stage / "release.json").read_text())
    (stage / "release.json").write_text(json.dumps(about | {"version": version}) + "\n")
    if version == BROKEN:
        (stage / "bin/v2g-edge").write_text(BROKEN_GATEWAY)
    name = f"v2g-edge-{version}-{target.name}"
    with tarfile.open(archive) as packed:
        epoch_s = int(packed.getmembers()[0].mtime)
    pack.archive(stage, name, folder / f"{name}.tar.gz", epoch_s)
    shutil.rmtree(stage)
