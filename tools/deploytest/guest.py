"""The same root under User-Mode Linux: systemd boots, networkd makes vcan0, units start, scenarios run, then power-off."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hil.program import prefer
from hil.vcan import GUEST_MEMORY_MIB, UML_KERNEL, UML_MODULES, memory_dir
from tools.deploytest.machine import DeployTestError, run

ROOT = Path(__file__).resolve().parents[2]
TESTS = "opt/v2g-hil"
SCENARIOS = (
    "test_01_charging.py",
    "test_02_soc_floor.py",
    "test_05_evse_lost.py",
    "test_07_meter_lost.py",
    "test_10_expiry.py",
)
PYTEST = ("_pytest", "pytest", "pluggy", "iniconfig", "packaging", "pygments", "pytest_timeout.py")
"""What pytest needs, all of it plain Python; everything else is the deployed release's."""
LIMIT_S = 900

JOB = """\
#!/bin/sh
# The only thing in this root that the playbooks didn't put here: runs the scenarios after boot, then powers off.
cd /{tests} || exit 1
mkdir -p result
systemctl show --value --property=ActiveEnterTimestampMonotonic v2g-edge >result/running_us
for i in $(seq 60); do systemctl is-active --quiet v2g-edge v2g-guard && break; sleep 1; done
systemctl show --value --property=ActiveEnterTimestampMonotonic v2g-edge >result/running_us
systemctl is-active v2g-edge v2g-guard v2g-worker mosquitto nftables systemd-networkd >result/units
networkctl --no-pager status vcan0 >result/vcan0 2>&1
export V2G_HIL_DEPLOYED=1 V2G_CAN_TRANSPORT="vcan in User-Mode Linux" PYTHONPATH=/{tests}:/opt/v2g-edge/current/lib
export V2G_HUB=/opt/v2g-edge/current/bin/v2g-hub HOME=/root PYTHONDONTWRITEBYTECODE=1
/usr/bin/python3 -m pytest {scenarios} -c pytest.ini --rootdir=/{tests} --junitxml=result/junit.xml >result/pytest.log 2>&1
edgectl status >result/status.txt 2>&1
echo $? >result/status_code
edgectl --help >/dev/null; edgectl status --json >result/status.json
edgectl doctor >result/doctor.txt 2>&1
journalctl --no-pager -b -o short-monotonic >result/journal.txt
"""

UNIT = """\
[Unit]
Description=Scenarios of the deploy test
After=v2g-edge.service v2g-worker.service mosquitto.service multi-user.target

[Service]
Type=oneshot
ExecStart=/bin/sh /{tests}/job.sh
ExecStopPost=/bin/systemctl --no-block poweroff
"""


def provide(root: Path) -> None:
    """Scenarios, their oracle and pytest into the root, the guest kernel's modules, and the unit that runs it all."""
    tests = root / TESTS
    shutil.rmtree(tests, ignore_errors=True)
    shutil.copytree(ROOT / "hil", tests / "hil", ignore=shutil.ignore_patterns("__pycache__"))
    site = Path(sys.prefix) / f"lib/python3.{sys.version_info.minor}/site-packages"
    for name in PYTEST:
        source = site / name
        if source.is_dir():
            shutil.copytree(source, tests / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tests / name)
    (tests / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib -p pytest_timeout -p no:cacheprovider -vv\n")
    scenarios = " ".join(f"hil/scenarios/{name}" for name in SCENARIOS)
    (tests / "job.sh").write_text(JOB.format(tests=TESTS, scenarios=scenarios))
    (root / "etc/systemd/system/v2g-hil.service").write_text(UNIT.format(tests=TESTS))
    wants = root / "etc/systemd/system/multi-user.target.wants/v2g-hil.service"
    wants.symlink_to("/etc/systemd/system/v2g-hil.service")
    (modules,) = UML_MODULES.iterdir()
    shutil.copytree(modules, root / "lib/modules" / modules.name, symlinks=True, dirs_exist_ok=True)
    run("depmod", "--basedir", str(root), modules.name)
    (root / "etc/fstab").write_text("")


def boot(root: Path, console: Path) -> dict[str, Any]:
    """Boot it, wait until it is off, return what the job found. DeployTestError when it didn't come so far."""
    provide(root)
    result = root / TESTS / "result"
    with tempfile.TemporaryDirectory(prefix="v2g-uml-") as uml_dir, console.open("wb") as log:
        kernel = [str(UML_KERNEL), f"mem={GUEST_MEMORY_MIB}M", "root=/dev/root", "rootfstype=hostfs", f"rootflags={root}", "rw"]
        kernel += ["init=/lib/systemd/systemd", "con=null", "con0=null,fd:1", "ssl=null", "quiet", f"uml_dir={uml_dir}/"]
        memory = memory_dir([Path("/dev/shm"), Path("/tmp")], GUEST_MEMORY_MIB + 16)
        env = {"PATH": os.environ["PATH"], "HOME": uml_dir, "TMPDIR": str(memory)}
        guest = subprocess.Popen(kernel, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, start_new_session=True)
        prefer(guest.pid, 1)
        try:
            guest.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(guest.pid, signal.SIGKILL)
            guest.wait()
    if not (result / "status_code").exists():
        raise DeployTestError(f"the guest ended before its job: {console.read_text(errors='replace')[-1500:]}")
    running_us = int((result / "running_us").read_text())
    units = (result / "units").read_text().split()
    return {
        "boot_to_first_cycle_s": round(running_us / 1e6, 1),
        "units_active": units.count("active"),
        "units": units,
        "status_exit_code": int((result / "status_code").read_text()),
        "status_level": json.loads((result / "status.json").read_text())["level"],
    }
