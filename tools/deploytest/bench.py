"""The site's hardware while the root runs under systemd-nspawn: v2g-sim with a hub in the place of the CAN bus, as a unit.

It is no part of what is deployed and doesn't start elsewhere; under User-Mode Linux the scenarios bring their own.
"""

from __future__ import annotations

from pathlib import Path

from hil.site import write_yaml
from tools.deploytest.releases import unpack
from tools.deploytest.site import HUB_CHANNEL, gateway_config

FOLDER = "opt/v2g-bench"
UNIT = """\
[Unit]
Description=The site's hardware, simulated
ConditionVirtualization=container

[Service]
Environment=V2G_HUB=/{folder}/bin/v2g-hub
ExecStart=/{folder}/bin/v2g-sim run --gateway-config /{folder}/config.yaml --control /run/v2g-sim/control.sock
RuntimeDirectory=v2g-sim
UMask=0000
CPUSchedulingPolicy=fifo
CPUSchedulingPriority=10

[Install]
WantedBy=multi-user.target
"""


def install(root: Path, archive: Path) -> None:
    """Before the root boots."""
    unpack(archive, root / FOLDER)
    write_yaml(root / FOLDER / "config.yaml", gateway_config(HUB_CHANNEL))
    unit = root / "etc/systemd/system/v2g-bench.service"
    unit.write_text(UNIT.format(folder=FOLDER))
    wanted = root / "etc/systemd/system/multi-user.target.wants"
    wanted.mkdir(parents=True, exist_ok=True)
    (wanted / unit.name).symlink_to("/etc/systemd/system/v2g-bench.service")
