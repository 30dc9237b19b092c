"""The inventory of the test: one gateway that is also broker and aggregator, and a second site that is offline."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from edge.uplink.pki import make_ca, make_client_cert, sign_request
from hil.scenarios.conftest import CHANGES
from hil.site import METERS, merged, site_document, write_yaml
from tools.deploytest.machine import ADDRESS, HOST_ADDRESS

ROOT = Path(__file__).resolve().parents[2]
HOST = "gate-1"
OTHER_HOST, OTHER_SITE = "gate-2", "site-2"
BROKER_PORT = 8883
MIRROR_PORT = 3142
VCAN = "vcan0"
HUB_CHANNEL = "hub:/run/v2g-sim/hub.sock"
"""systemd-nspawn shares this machine's kernel, which may have no CAN."""
PORTS = {name: 5020 + index for index, name in enumerate(METERS)} | {"broker": BROKER_PORT, "page": 8088}


def gateway_config(channel: str) -> dict[str, Any]:
    """config.yaml of the deployed site: the scenarios' site, but guarded.

    In User-Mode Linux it is a bench (`lab`): that kernel gives no real time, and a site without that doesn't discharge."""
    pki = Path("/etc/v2g-edge/pki")
    document = merged(site_document(Path("/var/lib/v2g-edge"), channel, 4, PORTS, pki), CHANGES)
    document["lab"] = channel == VCAN
    del document["local"]
    document["guard"] = {"required": True, "timeout": "1s"}
    document["cycle"] = {"period": "21ms"}
    document["uplink"] |= {"host": HOST, "command_keys": [{"kid": "dispatch-1", "key": str(pki / "dispatch-1.pub")}]}
    return document


def gateway(channel: str) -> dict[str, Any]:
    interfaces = [] if channel == HUB_CHANNEL else [{"name": channel, "virtual": True}]
    return {
        "ansible_host": ADDRESS,
        "wireguard_address": "10.66.0.11/32",
        "can_interfaces": interfaces,
        "base_evse_networks": ["192.168.10.0/24"],
        "v2g_edge_config": gateway_config(channel),
    }


def write_inventory(folder: Path, key: Path, channel: str = HUB_CHANNEL, **more: Any) -> Path:
    """hosts.yml and its group variables; `more` goes to the gateway."""
    other_config = gateway_config(channel) | {
        "site": {"id": OTHER_SITE},
        "evses": [{"id": "evse-99", "bus": "can0", "feeder": "main"}],
    }
    common = {
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(key),
        "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=5",
        "wireguard_hub_endpoint": f"{HOST_ADDRESS}:51820",
        "wireguard_hub_public_key": "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=",
        "wireguard_hub_networks": ["10.66.0.0/16"],
        "realtime_install_kernel": False,
        "base_inbound": [
            {"from": [f"{HOST_ADDRESS}/32"], "proto": "tcp", "ports": [22], "why": "operators"},
            {"from": [f"{HOST_ADDRESS}/32"], "proto": "tcp", "ports": [BROKER_PORT], "why": "gateways to the broker"},
        ],
        "base_outbound": [{"to": [f"{HOST_ADDRESS}/32"], "proto": "tcp", "ports": [MIRROR_PORT], "why": "packages"}],
        "base_broker_networks": [f"{ADDRESS}/32"],
        "base_mirror_networks": [f"{HOST_ADDRESS}/32"],
        "pki_command_keys": ["dispatch-1.pub"],
        "aggregator_settings": {"authorize_new": True},
        "aggregator_broker": HOST,
        "v2g_edge_gate_s": 5,
        "v2g_edge_settle_s": 60,
        "release_free_mib": 200,
    }
    hosts = {HOST: gateway(channel) | more, OTHER_HOST: {"ansible_host": "10.199.77.99", "v2g_edge_config": other_config}}
    groups = {"gateways": {"hosts": hosts}, "broker": {"hosts": {HOST: {}}}, "aggregator": {"hosts": {HOST: {}}}}
    folder.mkdir(parents=True, exist_ok=True)
    write_yaml(folder / "hosts.yml", {"all": {"vars": common, "children": groups}})
    return folder / "hosts.yml"


class Authority:
    """The certificate authority outside: it sees requests and gives certificates, never a gateway's key."""

    def __init__(self, exchange: Path) -> None:
        self._exchange = exchange
        self._ca = make_ca("deploy-test CA", "p256")
        self._ca.write(exchange.parent / "authority", "ca")
        for sub in ("certs", "requests", "commands"):
            (exchange / sub).mkdir(parents=True, exist_ok=True)
        (exchange / "ca.crt").write_bytes(_pem(self._ca.cert))

    def answer(self) -> list[str]:
        """Sign every request that lies there. Returns the names."""
        names = []
        for path in sorted((self._exchange / "requests").glob("*.csr")):
            request = x509.load_pem_x509_csr(path.read_bytes())
            hosts = [HOST, "localhost", ADDRESS] if path.stem == HOST else []
            certificate = sign_request(self._ca, request, hosts=hosts)
            (self._exchange / "certs" / f"{path.stem}.crt").write_bytes(_pem(certificate))
            names.append(path.stem)
        return names

    def client(self, name: str, folder: Path) -> None:
        """A gateway of ours somewhere else, to try what the broker lets it do."""
        make_client_cert(self._ca, name).write(folder, name)
        (folder / "ca.crt").write_bytes(_pem(self._ca.cert))


def _pem(cert: x509.Certificate) -> bytes:
    return cert.public_bytes(serialization.Encoding.PEM)


def operator_key(folder: Path) -> tuple[Path, str]:
    """An SSH key pair for this test: the path of the private half and the public half."""
    folder.mkdir(parents=True, exist_ok=True)
    key = folder / "operator"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    return key, key.with_suffix(".pub").read_text()
