"""What `make deploy-test` does to the booted root, in its order. Each step is a sentence that must hold."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hil.site import SITE_ID
from tools.deploytest import checks, guest, site
from tools.deploytest.machine import HOST_ADDRESS, STRANGER_ADDRESS, DeployTestError, ssh
from tools.deploytest.playbook import Outcome, Playbooks
from tools.deploytest.releases import BROKEN, NEXT
from tools.deploytest.report import Report
from tools.deploytest.site import HOST, OTHER_HOST, Authority
from tools.release.__main__ import VERSION

UNITS = ("v2g-edge", "v2g-guard", "v2g-worker", "mosquitto", "nftables")
CONFINED = ("v2g-edge", "v2g-guard", "v2g-worker")
SECURITY_LIMIT = 2.0
UNLISTED_PORT = 9999
SITE_PLAYBOOKS = ("enrol", "broker", "deploy")


@dataclass(frozen=True, slots=True)
class Gateway:
    """The root while it runs, and what an operator has."""

    key: Path
    playbooks: Playbooks
    authority: Authority
    work: Path

    def ssh(self, command: str) -> str:
        return ssh(self.key, command)


def must(holds: bool, text: object) -> None:
    """DeployTestError with `text` unless it holds."""
    if not holds:
        raise DeployTestError(str(text))


def deploy(gateway: Gateway, report: Report) -> None:
    """From bare to controlled, and the same again without a change."""
    with report.step("enrolment: requests come out, keys stay"):
        gateway.playbooks.run("enrol")  # ends with an error: the other gateway is offline
        names = gateway.authority.answer()
        must(set(names) == {SITE_ID, HOST, "aggregator"}, f"requests of {names}")
    first = []
    with report.step("broker and aggregator by their playbook"):
        first.append(gateway.playbooks.must("broker", host=HOST))
    with report.step("the gateway by deploy.yml; the one that is offline is named for the next run"):
        first.append(gateway.playbooks.must("deploy", host=HOST))
        offline = gateway.playbooks.inventory.with_name("offline.txt").read_text().split()
        must(offline == [OTHER_HOST], f"offline.txt names {offline}")
    report.figures["tasks"] = sum(outcome.tasks for outcome in first)
    report.figures["deploy_s"] = round(sum(outcome.seconds for outcome in first), 1)
    with report.step("a second run of all playbooks changes nothing"):
        again = [gateway.playbooks.run(name, host=HOST) for name in SITE_PLAYBOOKS]
        report.figures["changed_second_run"] = sum(outcome.changed for outcome in again)
        must(report.figures["changed_second_run"] == 0, _changed(again))
    with report.step("a dry run (--check --diff) of a changed threshold shows that line and changes nothing"):
        _dry_run(gateway)


def _changed(outcomes: list[Outcome]) -> str:
    tasks = [text for outcome in outcomes for text in re.split(r"\n(?=TASK|RUNNING)", outcome.output) if "\nchanged:" in text]
    return "changed: " + "; ".join(text.splitlines()[0] for text in tasks)


def _dry_run(gateway: Gateway) -> None:
    before = gateway.ssh("sha256sum /etc/v2g-edge/config.yaml; ls /etc/v2g-edge")
    threshold = {"limits": {"min_soc_threshold": 45}}
    outcome = gateway.playbooks.must("configure", "--check", "--diff", f"--limit={HOST}", v2g_edge_config_fleet=threshold)
    must("+  min_soc_threshold: 45" in outcome.output, "the diff does not show the threshold")
    after = gateway.ssh("rm -f /etc/v2g-edge/config.yaml.next; sha256sum /etc/v2g-edge/config.yaml; ls /etc/v2g-edge")
    must(before == after, f"a dry run changed something: {before} {after}")


def look_around(gateway: Gateway, report: Report) -> None:
    """What an outsider and an auditor find."""
    with report.step("units run, and are confined"):
        states = dict(zip(UNITS, gateway.ssh(f"systemctl is-active {' '.join(UNITS)}; true").split(), strict=True))
        report.figures["units_active"] = sum(state == "active" for state in states.values())
        must(set(states.values()) == {"active"}, states)
        report.figures["security_scores"] = scores = checks.security_scores(gateway.key, CONFINED)
        must(max(scores.values()) <= SECURITY_LIMIT, scores)
    with report.step("all TCP ports from outside: those of the inventory, and none for a stranger"):
        gateway.ssh(
            f"systemd-run --unit=planted --collect python3 -m http.server {UNLISTED_PORT};"
            f"for i in $(seq 50); do ss -tln | grep -q {UNLISTED_PORT} && exit; sleep 0.2; done; exit 1"
        )
        report.figures["open_ports"] = ports = sorted(checks.open_ports(HOST_ADDRESS))
        must(ports == [22, site.BROKER_PORT], f"open: {ports}")
        strange = checks.open_ports(STRANGER_ADDRESS)
        must(not strange, f"open to an address that the inventory doesn't name: {strange}")
        gateway.ssh("systemctl stop nftables && nft flush ruleset")
        seen = checks.open_ports(STRANGER_ADDRESS, range(UNLISTED_PORT, UNLISTED_PORT + 1))
        gateway.ssh("systemctl start nftables; systemctl stop planted")
        must(seen == {UNLISTED_PORT}, "the scan doesn't see an open port even without the firewall")
    with report.step("a gateway writes its own telemetry topic and no other site's"):
        client = gateway.work / "client"
        gateway.authority.client(SITE_ID, client)
        own = checks.publish_reason(client, SITE_ID, "v2g/fleet/telemetry/evse-1")
        others = checks.publish_reason(client, SITE_ID, "v2g/fleet/telemetry/evse-99")
        must(own in (0, checks.NO_SUBSCRIBER), f"its own topic: reason {own:#x}")
        must(others == checks.NOT_AUTHORISED, f"another site's topic: reason {others:#x}")


def fail_early(gateway: Gateway, report: Report) -> None:
    """Each lack ends the play with one line, and what ran before runs on, untouched."""
    config = site.gateway_config("can0")
    certificate = f"/etc/v2g-edge/pki/{SITE_ID}.crt"
    cases: list[tuple[str, str, str, str, dict[str, Any]]] = [
        ("a missing certificate", f"mv {certificate} /root/", f"mv /root/{SITE_ID}.crt {certificate}", "no certificate", {}),
        (
            "a wrong bit rate",
            "true",
            "true",
            "wants 500000 bit/s",
            {"v2g_edge_config": config, "can_interfaces": [{"name": "can0", "bitrate": 250000}]},
        ),
        (
            "a missing CAN interface",
            "true",
            "true",
            "there is no CAN interface can0",
            {"v2g_edge_config": config, "can_interfaces": [{"name": "can0", "bitrate": 500000}]},
        ),
        ("a full disk", FILL_DISK, EMPTY_DISK, "MiB free at", {"release_version": NEXT}),
    ]
    for name, before, after, expected, variables in cases:
        with report.step(f"{name}: the play ends early with one line, the old release runs on"):
            ran = checks.running(gateway.key)
            gateway.ssh(before)
            outcome = gateway.playbooks.run("deploy", host=HOST, **variables)
            gateway.ssh(after)
            lines = [line for line in outcome.messages if "10.199" not in line]
            must(outcome.code != 0 and len(lines) == 1 and expected in lines[0], f"it said {lines}, exit code {outcome.code}")
            print(f"    {lines[0]}", flush=True)
            now = checks.running(gateway.key)
            must(now == ran, f"before {ran}, now {now}")


FILL_DISK = f"""set -e
mkdir -p /run/small && mount -t tmpfs -o size=64M none /run/small && mkdir /run/small/{VERSION}
mount --bind /opt/v2g-edge/releases/{VERSION} /run/small/{VERSION}
mount --rbind /run/small /opt/v2g-edge/releases
dd if=/dev/zero of=/run/small/filled bs=1M 2>/dev/null || true"""
"""A disk of its own for the releases, filled to its end; the running release is on it."""
EMPTY_DISK = "umount -R /opt/v2g-edge/releases && umount -R /run/small"


def switch(gateway: Gateway, report: Report) -> None:
    """A broken release rolls itself back, a good one stays, and rollback.yml takes it back."""
    with report.step("a broken release is taken back by itself"):
        outcome = gateway.playbooks.run("deploy", "--tags=release", host=HOST, release_version=BROKEN)
        lines = [line for line in outcome.messages if "rolled back" in line]
        must(outcome.code != 0 and len(lines) == 1, f"it said {outcome.messages}")
        print(f"    {lines[0]}", flush=True)
        found = re.search(r"runs again after ([0-9.]+) s", lines[0])
        must(found is not None, lines)
        report.figures["rollback_s"] = float(found[1]) if found else None
        must(checks.running(gateway.key)[0] == f"releases/{VERSION}", "the old release does not run")
    with report.step("a good release is taken and stays"):
        gateway.playbooks.must("deploy", "--tags=release", host=HOST, release_version=NEXT)
        must(checks.running(gateway.key)[0] == f"releases/{NEXT}", "the new release does not run")
    with report.step("rollback.yml goes back to the release before"):
        gateway.playbooks.must("rollback", f"--limit={HOST}")
        must(checks.running(gateway.key)[0] == f"releases/{VERSION}", "the release before does not run")


def operate(gateway: Gateway, report: Report) -> None:
    """What an operator does from day to day."""
    only = f"--limit={HOST}"
    with report.step("configure.yml changes a threshold without a restart"):
        boot = checks.running(gateway.key)[1]
        outcome = gateway.playbooks.must("configure", only, v2g_edge_config_fleet={"limits": {"min_soc_threshold": 40}})
        must("without a restart" in outcome.output, outcome.output[-500:])
        must(checks.running(gateway.key)[1] == boot, "it was restarted")
        gateway.playbooks.must("configure", only)
    with report.step("rotate-keys.yml: a new key, its request, the answer, taken without a restart"):
        key = f"sha256sum /etc/v2g-edge/pki/{SITE_ID}.key"
        old = gateway.ssh(key)
        gateway.playbooks.must("rotate-keys", only)
        must(gateway.ssh(key) == old, "the old key is gone before the new certificate is there")
        gateway.authority.answer()
        gateway.playbooks.must("rotate-keys", only)
        must(gateway.ssh(key) != old, "the old key is still there")
        must(checks.running(gateway.key)[1] == boot, "it was restarted")
    with report.step("collect-bundles.yml and verify-rt.yml bring their files"):
        gateway.playbooks.must("collect-bundles", only)
        gateway.playbooks.must("verify-rt", only, verify_rt_seconds=5)
        inventory = gateway.playbooks.inventory.parent
        must((inventory / f"bundles/{HOST}.tar.gz").stat().st_size > 0, "no bundle")
        table = (inventory / "verify-rt.md").read_text()
        must(f"| {HOST} | no |" in table or f"| {HOST} | yes |" in table, table)


def prepare_image(gateway: Gateway, report: Report) -> None:
    """The same playbook once more, for a machine that has vcan0: put in place, started by its own boot."""
    with report.step("the same root gets vcan0 and its config, for its own boot"):
        site.write_inventory(
            gateway.playbooks.inventory.parent,
            gateway.key,
            site.VCAN,
            release_folder=str(gateway.work / "dist"),
            v2g_edge_start=False,
        )
        gateway.playbooks.must("deploy", host=HOST)


def boot_image(root: Path, work: Path, report: Report) -> None:
    """The root as a disk, booted by a kernel with CAN."""
    with report.step("the root boots as a disk image: networkd makes vcan0, units start, scenarios run"):
        began = time.monotonic()
        found = guest.boot(root, work)
        report.figures["guest_s"] = round(time.monotonic() - began, 1)
        report.figures["boot_to_first_cycle_s"] = found["boot_to_first_cycle_s"]
        report.figures["hil_passed"], report.figures["hil_total"] = report.add_junit(found["junit"])
        report.figures["guest_units_active"] = sum(state == "active" for state in found["units"].values())
        must(set(found["units"].values()) == {"active"}, found["units"])
        must("(configured)" in found["vcan0"] and "Kind: vcan" in found["vcan0"], found["vcan0"])
        must(report.figures["hil_passed"] == report.figures["hil_total"] > 0, "a scenario failed")
        report.figures["edgectl_status"] = found["status"]["level"]
        must(found["status"]["core"]["guard"] == "alive", json.dumps(found["status"]["core"]))
