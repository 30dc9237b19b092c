"""The compiled part of a release: extension modules for a target's Python, the static guard, the hub."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from tools.release.run import run
from tools.release.target import TARGETS, Target

ROOT = Path(__file__).resolve().parents[2]

CROSS_FILE = """\
[binaries]
c = '{machine}-linux-gnu-gcc'
ar = '{machine}-linux-gnu-ar'
strip = '{machine}-linux-gnu-strip'
[host_machine]
system = 'linux'
cpu_family = '{machine}'
cpu = '{machine}'
endian = 'little'
"""


def fetch_headers(folder: Path, targets: Sequence[Target] = TARGETS) -> None:
    """Python's headers for the targets, from Debian's own packages, into `folder`/<target>."""
    apt = _private_apt(folder / "apt")
    run([*apt, "update"])
    for target in targets:
        own = folder / target.name
        own.mkdir(exist_ok=True)
        run([*apt, "download", f"libpython{target.python}-dev:{target.arch}"], cwd=own)
        _unpack(own, own)


def fetch_python(folder: Path, target: Target, root: Path) -> None:
    """A target's Python with all it needs, unpacked, to try the release by emulation. After `fetch_headers`."""
    apt = _private_apt(folder / "apt")
    run([*apt, "-y", "--no-install-recommends", "--download-only", "install", f"python3:{target.arch}/{target.suite}"])
    root.mkdir()
    _unpack(folder / "apt/cache/archives", root)


def _unpack(packages: Path, root: Path) -> None:
    for package in sorted(packages.glob("*.deb")):
        run(["dpkg-deb", "-x", str(package), str(root)])
        package.unlink()


def _private_apt(state: Path) -> list[str]:
    """apt-get for all targets, with lists and sources of its own: the machine's apt stays as it is."""
    for sub in ("state/lists/partial", "cache/archives/partial"):
        (state / sub).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    signed = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    suites = dict.fromkeys(target.suite for target in TARGETS)
    (state / "sources.list").write_text("".join(f"deb {signed} {_mirror()} {suite} main\n" for suite in suites))
    options = {
        "Dir::State": state / "state",
        "Dir::State::status": state / "status",
        "Dir::Cache": state / "cache",
        "Dir::Etc::sourcelist": state / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "APT::Sandbox::User": "root",
        "APT::Default-Release": TARGETS[0].suite,
        "Acquire::Languages": "none",
    }
    architectures = dict.fromkeys(target.arch for target in TARGETS)
    return [
        "apt-get",
        "-qq",
        *(f"-o{k}={v}" for k, v in options.items()),
        *(f"-oAPT::Architectures::={a}" for a in architectures),
    ]


def _mirror() -> str:
    """Where this machine gets Debian from."""
    sites = run(["apt-get", "indextargets", "--format", "$(REPO_URI)"]).split()
    return next((site for site in sites if site.rstrip("/").endswith("/debian")), "http://deb.debian.org/debian/")


def build(target: Target, headers: Path, work: Path, stage: Path) -> None:
    """Compile in `work` and install our own files (bin, lib) into `stage`.

    Same sources and compiler give the same bytes: no debug information, which would name this machine's folders."""
    work.mkdir(parents=True)
    include = headers / target.name / "usr/include"
    details = work / "python.json"
    details.write_text(json.dumps(_build_details(target, include)))
    (work / "cross.ini").write_text(CROSS_FILE.format(machine=target.machine))
    tree = work / "tree"
    setup = ["meson", "setup", str(tree), "--prefix=/", "-Dpython.platlibdir=/lib", "-Dpython.purelibdir=/lib", "-Dbindir=bin"]
    setup += ["-Ddebug=false", "-Doptimization=2", f"-Dpython.build_config={details}", f"-Dc_args=-I{include}"]
    run([*setup, f"--cross-file={work / 'cross.ini'}"], cwd=ROOT)
    listed = json.loads(run(["meson", "introspect", "--targets", str(tree)], cwd=ROOT))
    wanted = [os.path.relpath(file, tree) for entry in listed if entry["installed"] for file in entry["filename"]]
    run(["ninja", "-C", str(tree), *wanted], cwd=ROOT)
    run(["meson", "install", "-C", str(tree), "--no-rebuild", "--strip", "--destdir", str(stage)], cwd=ROOT)


def _build_details(target: Target, include: Path) -> dict[str, object]:
    """PEP 739: what meson must know of a Python that can't be run here."""
    return {
        "schema_version": "1.0",
        "base_prefix": "/usr",
        "platform": f"linux-{target.machine}",
        "language": {"version": target.python},
        "implementation": {"name": "cpython"},
        "abi": {
            "flags": [],
            "extension_suffix": f".cpython-{target.python.replace('.', '')}-{target.machine}-linux-gnu.so",
            "stable_abi_suffix": ".abi3.so",
        },
        "libpython": {"link_extensions": False},
        "c_api": {"headers": str(include / f"python{target.python}")},
    }
