"""The site that demo and scenarios control, as a gateway's config.yaml: two rows of EVSEs behind one grid connection.

grid connection  100 A, at most 60 kW in and 50 kW out, 10 kW of other load, meter `grid`
  row-a          63 A, meter `meter-a`, the first half of the EVSEs
  row-b          63 A, meter `meter-b`, the second half
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

RATING_W = 22_000
BASE_LOAD_W = 10_000
SITE_ID = "lab-1"
METERS = {"grid": "main", "meter-a": "row-a", "meter-b": "row-b"}
"""Meter to the feeder that it measures."""

POLLING = {"poll": "100ms", "timeout": "80ms"}
"""The simulated meters are a Python program on a machine that also does everything else: they get more than their 20 ms."""

Document = dict[str, Any]


def site_document(folder: Path, channel: str, evses: int, ports: Mapping[str, int], pki: Path) -> Document:
    """config.yaml as a mapping. `ports`: one TCP port for each of METERS, for `broker` and for `page`."""
    return {
        "lab": True,
        "site": {"id": SITE_ID, "grid": {"import_limit_w": 60_000, "export_limit_w": 50_000}},
        "guard": {"required": False},
        "modbus": {"backoff_min": "100ms", "backoff_max": "1s"},  # a meter that was faulty is asked again soon
        "feeders": [
            {"id": "main", "rating_a": 100, "meter": "grid", "base_load_w": BASE_LOAD_W},
            {"id": "row-a", "parent": "main", "rating_a": 63, "meter": "meter-a"},
            {"id": "row-b", "parent": "main", "rating_a": 63, "meter": "meter-b"},
        ],
        "buses": [{"id": "can0", "kind": "can", "channel": channel}, {"id": "net", "kind": "modbus-tcp"}],
        "meters": [
            {"id": meter, "bus": "net", "host": "127.0.0.1", "port": ports[meter], "profile": "sim-meter", **POLLING}
            for meter in METERS
        ],
        "evses": [_evse(number, "row-a" if number <= (evses + 1) // 2 else "row-b") for number in range(1, evses + 1)],
        "uplink": {
            "host": "localhost",
            "port": ports["broker"],
            "ca": str(pki / "ca.crt"),
            "cert": str(pki / f"{SITE_ID}.crt"),
            "key": str(pki / f"{SITE_ID}.key"),
            "command_keys": [{"kid": "dev", "key": str(pki / "dev.pub")}],
            "leave_jitter": "0s",  # one site is no fleet: it may leave remote control at once
            # … and its scenarios send it to and fro all day, which a governor of a fleet's site would spread out.
            "governor": {"free_pct": 100, "ramp_pct_s": 100, "start_spread": "0s", "direction_changes_per_h": 3600},
        },
        "local": {
            "socket": str(folder / "local.sock"),
            "state_dir": str(folder / "state"),
            "page": {"bind": ["127.0.0.1"], "port": ports["page"]},
        },
    }


def _evse(number: int, feeder: str) -> Document:
    place = {"id": f"evse-{number}", "bus": "can0", "dbc": "evse-generic", "node": number, "feeder": feeder}
    return place | {"rating_w": RATING_W, "cable_a": 32, "silence_tested": True}


def aggregator_document(folder: Path, broker_port: int, pki: Path) -> Document:
    """The aggregator's config.yaml as a mapping."""
    return {
        "broker": {
            "host": "localhost",
            "port": broker_port,
            "ca": str(pki / "ca.crt"),
            "cert": str(pki / "aggregator.crt"),
            "key": str(pki / "aggregator.key"),
        },
        "command_key": {"kid": "dev", "key": str(pki / "dev.key")},
        "database": f"sqlite:///{folder}/aggregator.db",
        "dispatch_log": str(folder / "dispatch.log"),
        "authorize_new": True,
    }


def merged(document: Document, changes: Mapping[str, Any]) -> Document:
    """A copy of `document` with `changes`: mappings key by key, anything else replaced."""
    result = dict(document)
    for key, value in changes.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return result


def write_yaml(path: Path, document: Document) -> None:
    """Replace `path` in one step: nobody ever reads half a file."""
    yaml = YAML(typ="safe")
    yaml.default_flow_style = False
    new = path.with_suffix(".new")
    with new.open("w") as file:
        yaml.dump(document, file)
    new.replace(path)
