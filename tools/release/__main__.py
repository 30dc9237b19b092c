"""`python -m tools.release`: builds each archive twice, compares the two byte by byte, signs them all (part of `make dist`)."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tools.release import locked, native, pack, sbom
from tools.release.run import run
from tools.release.target import TARGETS, Target

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "build/dist/release"
DIST = ROOT / "dist"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VERSION = PROJECT["version"]


def source_epoch_s() -> int:
    """The time that files of a release carry: $SOURCE_DATE_EPOCH, else that of the last commit."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    return int(run(["git", "log", "-1", "--format=%ct"], cwd=ROOT))


def assemble(target: Target, headers: Path, wheels: list[Path], work: Path, epoch_s: int) -> Path:
    """One archive, from the sources and the wheels, in `work`."""
    stage = work / "stage"
    native.build(target, headers, work / "native", stage)
    locked.install(target, wheels, stage / "lib")
    shutil.rmtree(stage / "lib/bin", ignore_errors=True)  # console programs of dependencies: not ours to offer
    for cache in list(stage.rglob("__pycache__")):  # stamped with the time of this build; the gateway compiles its own
        shutil.rmtree(cache)
    _write_dist_info(stage / "lib")
    pack.write_launchers(stage / "bin", PROJECT["scripts"])
    shutil.copytree(ROOT / "deploy/systemd", stage / "systemd")
    for name in ("LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, stage)
    stamp = datetime.datetime.fromtimestamp(epoch_s, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    (stage / "sbom.cdx.json").write_text(json.dumps(sbom.document(target, VERSION, stamp, wheels), indent=1) + "\n")
    release = {
        "version": VERSION,
        "debian": target.debian,
        "architecture": target.arch,
        "python": target.python,
        "built": stamp,
    }
    (stage / "release.json").write_text(json.dumps(release) + "\n")
    name = f"v2g-edge-{VERSION}-{target.name}"
    packed = work / f"{name}.tar.gz"
    pack.archive(stage, name, packed, epoch_s)
    return packed


def _write_dist_info(lib: Path) -> None:
    """What importlib.metadata must find: the version, and the python-can plug-in of the simulator."""
    info = lib / f"v2g_edge-{VERSION}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PROJECT['name']}\nVersion: {VERSION}\n")
    groups = PROJECT["entry-points"].items()
    (info / "entry_points.txt").write_text(
        "\n".join(f"[{g}]\n" + "".join(f"{k} = {v}\n" for k, v in e.items()) for g, e in groups)
    )


def build_twice(target: Target, headers: Path, wheels: list[Path], epoch_s: int) -> Path:
    """The archive, in dist/; SystemExit when two builds differ."""
    first, second = (assemble(target, headers, wheels, WORK / number / target.name, epoch_s) for number in ("a", "b"))
    if first.read_bytes() != second.read_bytes():
        raise SystemExit(f"dist: two builds differ: compare {first.parent / 'stage'} with {second.parent / 'stage'} (diff -r)")
    shutil.rmtree(second.parent)
    return Path(shutil.copy(first, DIST))


def build_one(target: Target, work: Path) -> Path:
    """One target's archive, built once in `work`, for who tries it at once: neither compared nor signed."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    lock = work / "runtime.lock"
    locked.write_runtime_lock(lock)
    native.fetch_headers(work / "headers", [target])
    return assemble(target, work / "headers", locked.download(target, lock, work / "wheels"), work, source_epoch_s())


def main() -> None:
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    lock, epoch_s = WORK / "runtime.lock", source_epoch_s()
    names = locked.write_runtime_lock(lock)
    print(f"dist: headers of {len(TARGETS)} Pythons, wheels of {len(names)} locked dependencies for each")
    native.fetch_headers(WORK / "headers")
    native.fetch_python(WORK / "headers", TARGETS[1], WORK / "python-arm64")
    with ThreadPoolExecutor(2) as pool:
        wheels = list(pool.map(lambda target: locked.download(target, lock, WORK / "wheels" / target.name), TARGETS))
    for target, own in zip(TARGETS, wheels, strict=True):
        packed = build_twice(target, WORK / "headers", own, epoch_s)
        shutil.copy(WORK / "a" / target.name / "stage/sbom.cdx.json", DIST / f"v2g-edge-{VERSION}-{target.name}.cdx.json")
        print(f"dist: {packed.name} ({packed.stat().st_size / 1e6:.1f} MB), twice the same bytes")
    key = os.environ.get("V2G_SIGNING_KEY")
    print(f"dist: signed with {pack.sign(DIST, Path(key) if key else None)}")


if __name__ == "__main__":
    main()
