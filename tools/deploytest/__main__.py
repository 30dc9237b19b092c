"""`python -m tools.deploytest [SUITE…]` (make deploy-test): each Debian suite from a bare root to a controlled site."""

from __future__ import annotations

import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from tools.deploytest import bench, fleet, guest, machine, mirror, playbook, releases, site
from tools.deploytest.machine import DeployTestError
from tools.deploytest.playbook import Playbooks
from tools.deploytest.report import Report, write
from tools.deploytest.steps import Gateway, boot_image, deploy, fail_early, look_around, operate, prepare_image, switch

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build/deploy-test"
CACHE = ROOT / "build/deploy-test-cache"
"""Bare roots and Debian packages: kept from run to run."""


def fleet_of(programs: Path, report: Report) -> None:
    with suppress(DeployTestError):
        fleet.look_at(programs, BUILD / "fleet", report)


def try_suite(suite: str, programs: Path, report: Report) -> None:
    """All steps for one suite; the first that fails ends it."""
    work = BUILD / suite
    key, public = site.operator_key(work / "keys")
    root, dist = work / "root", work / "dist"
    with report.step("release archives and a bare root"), ThreadPoolExecutor(2) as pool:
        archive = pool.submit(releases.build, suite, work / "release", dist, work / "keys/release.key")
        machine.bare_root(suite, CACHE, root, work / "debootstrap.log")
        proxy = f"http://{machine.HOST_ADDRESS}:{site.MIRROR_PORT}"
        machine.settle_in(root, site.HOST, public, proxy)
        bench.install(root, archive.result())
    logs = work / "logs"
    logs.mkdir()
    inventory = site.write_inventory(work / "inventory", key, release_folder=str(dist))
    authority = site.Authority(inventory.parent / "pki")
    playbooks = Playbooks(programs, inventory, logs)
    gateway = Gateway(key, playbooks, authority, work)
    packages = mirror.mirror(machine.HOST_ADDRESS, site.MIRROR_PORT, CACHE / "debs")
    with machine.network(), packages, machine.booted(root, work / "console.log"):
        deploy(gateway, report)
        look_around(gateway, report)
        fail_early(gateway, report)
        switch(gateway, report)
        operate(gateway, report)
        if guest.available():
            prepare_image(gateway, report)
    if guest.available():
        boot_image(root, work, report)
    else:
        print(f"deploy-test {suite}: no user-mode-linux here: the image is not booted", flush=True)
    shutil.rmtree(root)


def main(suites: list[str]) -> int:
    if os.geteuid() != 0:
        raise SystemExit("deploy-test: needs root: it boots a machine (systemd-nspawn)")
    shutil.rmtree(BUILD, ignore_errors=True)
    BUILD.mkdir(parents=True)
    print("deploy-test: ansible-core and ansible-lint, as deploy/ansible/requirements.txt has them", flush=True)
    programs = playbook.environment(BUILD.with_name("deploy-test-ansible"))
    reports = [Report(suite) for suite in suites or ["bookworm"]] + [Report("fleet")]
    with ThreadPoolExecutor(1) as beside:  # a gateway keeps one core waiting most of the time
        background = beside.submit(fleet_of, programs, reports[-1])
        for report in reports[:-1]:
            with suppress(DeployTestError):  # told and counted by its step
                try_suite(report.suite, programs, report)
            write(BUILD, reports)
        background.result()
    write(BUILD, reports)
    failed = sum(report.failed for report in reports)
    print(f"deploy-test: {'failed' if failed else 'passed'}; {BUILD}/summary.json")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
