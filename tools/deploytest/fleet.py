"""What needs no gateway: lint, and a generated fleet whose every config, firewall and broker right is looked at."""

from __future__ import annotations

import contextlib
import io
import shutil
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from edge.config.check import main as check_config
from hil.site import write_yaml
from tools.deploytest.machine import DeployTestError, run
from tools.deploytest.playbook import ANSIBLE, Playbooks
from tools.deploytest.releases import target_of
from tools.deploytest.report import Report
from tools.release.__main__ import VERSION

HOSTS = 300
STAGED_HOSTS = 20
"""Enough for the stages 1, 10 %, all: one, two, seventeen."""
BAD = "gate-0012"
"""In the second stage."""


def look_at(programs: Path, work: Path, report: Report) -> None:
    """All of it; figures and steps go to `report`."""
    (work / "logs").mkdir(parents=True)
    with report.step("ansible-lint, profile production, finds nothing"):
        path = f"{programs}:/usr/bin:/bin:/usr/sbin:/sbin"
        run("env", f"PATH={path}", str(programs / "ansible-lint"), "--offline", "--nocolor", cwd=ANSIBLE)
    with report.step(f"a dry run over {HOSTS} generated gateways: every config, firewall and broker right is sound"):
        _dry_run(programs, work, report)
    with report.step("what may not stand in an inventory is named: key, place, reason"):
        _bad_inventories(programs, work / "bad")
    with report.step("a gateway that fails in the second stage keeps the third from being touched"):
        _stages(programs, work / "stages")


def _fleet(programs: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(str(programs / "python"), str(ANSIBLE / "fleet.py"), *arguments, check=False)


def _dry_run(programs: Path, work: Path, report: Report) -> None:
    fleet = work / "fleet"
    _fleet(programs, "generate", str(HOSTS), str(fleet))
    began = time.monotonic()
    Playbooks(programs, fleet / "hosts.yml", work / "logs").must("dry-run")
    report.figures |= {"fleet_hosts": HOSTS, "fleet_dry_run_s": round(time.monotonic() - began, 1)}
    folders = sorted(folder for folder in (fleet / "dry-run").iterdir() if folder.name != "broker")
    if len(folders) != HOSTS:
        raise DeployTestError(f"{len(folders)} gateways were rendered")
    for folder in folders:
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            refused = check_config(["--no-files", str(folder / "config.yaml")])
        if refused:
            raise DeployTestError(f"{folder.name}: {said.getvalue()}")
        run("nft", "--check", "--file", str(folder / "nftables.conf"))
    _rights((fleet / "dry-run/broker/v2g.acl").read_text())


def _rights(access_list: str) -> None:
    """Each gateway is a user of its own, and no topic of one is written by another."""
    blocks = [block.splitlines() for block in access_list.split("user ")[1:]]
    writes = Counter(line for block in blocks if block[0] != "aggregator" for line in block if line.startswith("topic write"))
    shared = [line for line, times in writes.items() if times > 1]
    if len(blocks) != HOSTS + 1 or shared:
        raise DeployTestError(f"{len(blocks)} users in the access list; written by more than one: {shared}")


def _inventory(programs: Path, folder: Path, count: int) -> dict[str, Any]:
    _fleet(programs, "generate", str(count), str(folder))
    document: dict[str, Any] = YAML(typ="safe").load(folder / "hosts.yml")
    return document


def _bad_inventories(programs: Path, folder: Path) -> None:
    mistakes = {
        "base_inbuond": ({"base_inbuond": []}, "base_inbuond"),
        "bit rate": ({"can_interfaces": [{"name": "can0", "bitrate": 500}]}, "can_interfaces.0"),
        "network": ({"base_evse_networks": ["10.0.0.0/8 accept"]}, "base_evse_networks.0"),
        "no site": ({"v2g_edge_config": {"buses": [], "feeders": [], "evses": []}}, "'site' is a required property"),
        "tunnel": ({"wireguard_address": "10.66.0.10/32"}, "tunnel address 10.66.0.10/32 may exist only once"),
    }
    for name, (change, expected) in mistakes.items():
        document = _inventory(programs, folder, 3)
        document["all"]["children"]["gateways"]["hosts"]["gate-0011"] |= change
        write_yaml(folder / "hosts.yml", document)
        said = _fleet(programs, "check", str(folder / "hosts.yml"))
        if said.returncode != 1 or "gate-0011" not in said.stdout or expected not in said.stdout:
            raise DeployTestError(f"{name}: exit code {said.returncode}, it said: {said.stdout}{said.stderr}")


def _stages(programs: Path, folder: Path) -> None:
    """Only what deploy.yml does before it changes anything, on this machine in the place of every gateway."""
    document = _inventory(programs, folder, STAGED_HOSTS)
    hosts = document["all"]["children"]["gateways"]["hosts"]
    for host in hosts.values():
        host["can_interfaces"] = [{"name": "can0", "virtual": True}]
    hosts[BAD]["can_interfaces"] = []
    write_yaml(folder / "hosts.yml", document)
    suite = next(line.split("=")[1] for line in Path("/etc/os-release").read_text().splitlines() if "VERSION_CODENAME" in line)
    (folder / f"v2g-edge-{VERSION}-{target_of(suite).name}.tar.gz").touch()
    shutil.rmtree(folder / "logs", ignore_errors=True)
    (folder / "logs").mkdir()
    local: dict[str, Any] = {"ansible_connection": "local", "ansible_become": False, "release_folder": str(folder)}
    outcome = Playbooks(programs, folder / "hosts.yml", folder / "logs").run("deploy", "--tags=always", "--check", **local)
    untouched = sorted(hosts)[3:]
    checked = outcome.output.partition("PLAY [Install and switch]")[2].partition("PLAY RECAP")[0]
    met = [name for name in untouched if name in checked]
    if outcome.code == 0 or not outcome.messages or "has no can0" not in outcome.messages[0] or met:
        raise DeployTestError(f"exit code {outcome.code}, it said {outcome.messages}; of the third stage it met {met}")
