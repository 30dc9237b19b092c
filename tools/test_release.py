"""Release archives as a gateway gets them: unpacked somewhere, run by Debian's Python, for arm64 by emulation (`make dist`)."""

from __future__ import annotations

import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from tools.release.locked import runtime_names
from tools.release.target import TARGETS, Target

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
ARM_PYTHON = ROOT / "build/dist/release/python-arm64"
ARM = TARGETS[1]
DEBIAN_PYTHON = "/usr/bin/python3"
SELF_TEST = "import sys; sys.path.insert(0, 'lib'); import edge.core._native, edge.iso15118.exi._exi, uvloop, cryptography, can"


def run(*command: str, cwd: Path = DIST) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module", params=TARGETS, ids=lambda target: target.name)
def target(request: pytest.FixtureRequest) -> Target:
    chosen: Target = request.param
    return chosen


@pytest.fixture(scope="module")
def release(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked folder of a target's archive."""
    folder = tmp_path_factory.mktemp(target.name)
    (packed,) = DIST.glob(f"v2g-edge-*-{target.name}.tar.gz")
    with tarfile.open(packed) as archive:
        archive.extractall(folder, filter="data")
    return folder / packed.name.removesuffix(".tar.gz")


def test_the_checksums_are_signed_and_hold() -> None:
    verify = ["-verify", "-pubin", "-inkey", "release.pub", "-rawin", "-in", "SHA256SUMS", "-sigfile", "SHA256SUMS.sig"]
    assert "Verified Successfully" in run("openssl", "pkeyutl", *verify)
    run("sha256sum", "--check", "--strict", "SHA256SUMS")
    assert {line.split()[1] for line in (DIST / "SHA256SUMS").read_text().splitlines()} >= {
        path.name for path in DIST.iterdir() if path.suffix in {".gz", ".whl", ".json"}
    }


def test_the_bill_of_materials_names_each_dependency_with_version_licence_and_hash(release: Path) -> None:
    components = json.loads((release / "sbom.cdx.json").read_text())["components"]
    assert {component["name"] for component in components} == runtime_names()
    assert all(component["version"] and component["licenses"] and component["hashes"] for component in components)


def test_python_can_stays_a_package_of_its_own_that_can_be_replaced(release: Path) -> None:
    assert (release / "lib/can/__init__.py").exists()
    assert "LGPL" in (release / "NOTICE").read_text()


def test_every_program_is_there(release: Path) -> None:
    assert {path.name for path in (release / "bin").iterdir()} == {
        *("edgectl", "v2g-aggregator", "v2g-edge", "v2g-guard", "v2g-hub", "v2g-sim")
    }


def test_the_guard_needs_no_library(release: Path) -> None:
    assert "NEEDED" not in run("readelf", "--dynamic", str(release / "bin/v2g-guard"))


def test_machine_code_is_for_the_target_alone(release: Path, target: Target) -> None:
    word = {"amd64": "X86-64", "arm64": "AArch64"}[target.arch]
    files = [*release.glob("bin/v2g-[gh]*"), *release.rglob("*.so"), *release.rglob("*.so.*")]
    headers = run("readelf", "--file-header", *map(str, files))
    machines = [line for line in headers.splitlines() if "Machine:" in line]
    assert len(machines) == len(files)
    assert all(word in line for line in machines)


def test_the_guard_of_arm64_starts_by_emulation(release: Path, target: Target) -> None:
    if target.arch == "arm64":
        done = subprocess.run(
            ["qemu-aarch64", str(release / "bin/v2g-guard"), "--help"], capture_output=True, text=True, timeout=60
        )
        assert "usage: v2g-guard" in done.stdout + done.stderr


def test_modules_and_config_check_run_on_this_machines_python(release: Path, target: Target) -> None:
    if target.arch == "amd64" and f"Python {target.python}." in run(DEBIAN_PYTHON, "--version"):
        try_on([DEBIAN_PYTHON], release)


@pytest.mark.parametrize("target", [ARM], indirect=True, ids=[ARM.name])
def test_modules_and_config_check_run_on_an_arm64_python_by_emulation(release: Path, target: Target) -> None:
    try_on(["qemu-aarch64", "-L", str(ARM_PYTHON), f"{ARM_PYTHON}/usr/bin/python{target.python}"], release)


def try_on(python: list[str], release: Path) -> None:
    run(*python, "-IS", "-c", SELF_TEST, cwd=release)
    run(*python, "-IS", "bin/edgectl", "config", "check", "--no-files", str(ROOT / "examples/lab.yaml"), cwd=release)
