#!/usr/bin/env python3
"""Looks at a whole inventory before anything is contacted.

    python fleet.py check INVENTORY              every gateway against schema.json, and what may exist only once in a fleet
    python fleet.py generate COUNT FOLDER        an inventory of COUNT gateways, to try playbooks with
    python fleet.py write FOLDER                 what playbooks/dry-run.yml rendered (on stdin), as files

Runs in the environment of requirements.txt. Exit codes: 0 fine, 1 something is wrong (one line each), 64 usage.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
Host = dict[str, Any]


def gateways(inventory: Path) -> dict[str, Host]:
    """Each gateway with all its variables, as Ansible merges them. SystemExit with Ansible's words when it can't."""
    program = Path(sys.executable).with_name("ansible-inventory")
    done = subprocess.run([str(program), "-i", str(inventory), "--list"], capture_output=True, text=True, cwd=HERE)
    if done.returncode:
        raise SystemExit(f"fleet: {done.stderr.strip()}")
    listed = json.loads(done.stdout)
    variables: dict[str, Host] = listed["_meta"]["hostvars"]
    return {name: variables.get(name, {}) for name in listed.get("gateways", {}).get("hosts", [])}


def problems(fleet: dict[str, Host]) -> Iterator[str]:
    """One line for each thing that is wrong."""
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(json.loads((HERE / "schema.json").read_text()))
    for name, host in sorted(fleet.items()):
        for error in validator.iter_errors(host):
            yield f"{name}: {'.'.join(map(str, error.absolute_path)) or 'its variables'}: {error.message}"
    yield from _twice(fleet)


def _twice(fleet: dict[str, Host]) -> Iterator[str]:
    """The broker's access list and the tunnels tell gateways apart by these."""
    owners: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, host in sorted(fleet.items()):
        config = host.get("v2g_edge_config") or {}
        keys = [("site id", (config.get("site") or {}).get("id"))]
        keys += [("EVSE", evse.get("id")) for evse in config.get("evses") or []]
        keys += [("tunnel address", host.get("wireguard_address")), ("address", host.get("ansible_host"))]
        for kind, value in keys:
            if value:
                owners[kind, str(value)].append(name)
    for (kind, value), names in owners.items():
        if len(names) > 1:
            yield f"{', '.join(names)}: {kind} {value} may exist only once"


def gateway(number: int) -> Host:
    """One gateway of a generated fleet: its sites have one to eight EVSEs in one or two rows."""
    site, subnet = f"site-{number:04}", f"10.{100 + number // 256}.{number % 256}"
    rows = ["row-a", "row-b"] if number % 3 == 0 else ["row-a"]
    evses = [
        {"id": f"{site}-{node}", "bus": "can0", "dbc": "evse-generic", "node": node, "feeder": rows[node % len(rows)]}
        | {"rating_w": 22000, "cable_a": 32}
        for node in range(1, 2 + number % 8)
    ]
    config = {
        "site": {"id": site, "grid": {"import_limit_w": 60000, "export_limit_w": 50000}},
        "cycle": {"period": "10ms"},
        "feeders": [{"id": "main", "rating_a": 100, "meter": "grid", "base_load_w": 10000}]
        + [{"id": row, "parent": "main", "rating_a": 63} for row in rows],
        "buses": [{"id": "can0", "kind": "can", "channel": "can0"}, {"id": "net", "kind": "modbus-tcp"}],
        "meters": [{"id": "grid", "bus": "net", "host": f"{subnet}.5", "profile": "sim-meter"}],
        "evses": evses,
    }
    return {
        "ansible_host": f"10.66.{number // 256}.{number % 256}",
        "wireguard_address": f"10.66.{number // 256}.{number % 256}/32",
        "can_interfaces": [{"name": "can0", "bitrate": 500000}],
        "base_evse_networks": [f"{subnet}.0/24"],
        "v2g_edge_config": config,
    }


def generate(count: int, folder: Path) -> None:
    """hosts.yml of `count` gateways in `folder`, with the example's group variables."""
    hosts = {f"gate-{number:04}": gateway(number) for number in range(10, 10 + count)}
    groups = {"gateways": {"hosts": hosts}, "broker": {"hosts": {"broker.example.org": {"ansible_host": "10.66.0.2"}}}}
    (folder / "group_vars").mkdir(parents=True, exist_ok=True)
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": groups}}, sort_keys=False))
    shared = (HERE / "inventory/example/group_vars/gateways.yml").read_text()
    (folder / "group_vars/gateways.yml").write_text(shared)


def write(files: dict[str, dict[str, str]], folder: Path) -> None:
    """A folder for each host, anew: who is no longer in the inventory leaves nothing behind."""
    shutil.rmtree(folder, ignore_errors=True)
    for host, own in files.items():
        (folder / host).mkdir(parents=True)
        for name, text in own.items():
            (folder / host / name).write_text(text)


def main(arguments: list[str]) -> int:
    match arguments:
        case ["check", inventory]:
            fleet = gateways(Path(inventory).resolve())
            found = list(problems(fleet))
            print("\n".join(found) if found else f"fleet: {len(fleet)} gateways are well described")
            return 1 if found else 0
        case ["generate", count, folder]:
            generate(int(count), Path(folder))
            return 0
        case ["write", folder]:
            write(json.load(sys.stdin), Path(folder))
            return 0
    print(__doc__, file=sys.stderr)
    return 64


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
