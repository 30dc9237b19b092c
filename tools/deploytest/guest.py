"""The same root as a disk under User-Mode Linux: systemd boots, networkd makes vcan0, units start, scenarios run."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hil.program import prefer
from hil.vcan import GUEST_MEMORY_MIB, GUEST_PRIORITY, UML_KERNEL, UML_MODULES, memory_dir
from tools.deploytest.machine import DeployTestError, run

ROOT = Path(__file__).resolve().parents[2]
SCENARIOS = (
    "test_01_charging.py",
    "test_02_soc_floor.py",
    "test_05_evse_lost.py",
    "test_07_meter_lost.py",
    "test_10_expiry.py",
    "deployed_release.py",
)
"""The last one is for a deployed site alone; `make hil` doesn't collect it."""
PYTEST = ("pytest", "pluggy", "iniconfig", "packaging", "pygments", "pytest-timeout", "pytest-rerunfailures")
"""All of it plain Python; everything else that the scenarios import is the deployed release's."""
UNITS = ("v2g-edge", "v2g-guard", "v2g-worker", "mosquitto", "systemd-networkd")
"""Not nftables: this kernel has no tables of family inet. The port scan has seen the firewall before."""
IMAGE_SIZE = "3G"
"""Sparse: it takes what the root takes."""
LIMIT_S = 1200

JOB = """\
#!/bin/sh
# Runs the scenarios after boot; started by a unit that, with the drop-in beside it, is all that no playbook put into this root.
cd /mnt || exit 1
mkdir -p result
/usr/bin/python3 clock.py
for i in $(seq 90); do systemctl is-active --quiet v2g-edge v2g-guard v2g-worker && break; sleep 1; done
systemctl show --value --property=ActiveEnterTimestampMonotonic v2g-edge >result/running_us
systemctl is-active {units} >result/units
networkctl --no-pager status vcan0 >result/vcan0.txt 2>&1
export V2G_HIL_DEPLOYED=1 V2G_CAN_TRANSPORT="vcan in User-Mode Linux" PYTHONPATH=/mnt:/opt/v2g-edge/aggregator/lib
export V2G_HUB=/opt/v2g-edge/current/bin/v2g-hub HOME=/root PYTHONDONTWRITEBYTECODE=1
# One CPU for all: the judge must not take from the gateway what it judges. (Its thread that listens to the bus is real-time.)
nice -n 15 /usr/bin/python3 -m pytest {scenarios} -c pytest.ini --rootdir=/mnt --junitxml=result/junit.xml {again} \\
    >result/pytest.log 2>&1
edgectl doctor >result/doctor.txt 2>&1
journalctl --no-pager -b -o short-monotonic >result/journal.txt
touch result/done
"""

UNIT = """\
[Unit]
Description=Scenarios of the deploy test
After=v2g-edge.service v2g-worker.service mosquitto.service multi-user.target

[Service]
Type=oneshot
ExecStartPre=/bin/mount -t hostfs none /mnt -o {folder}
ExecStart=/bin/sh /mnt/job.sh
ExecStopPost=/bin/systemctl --no-block poweroff
"""

GUARD = """\
# User-Mode Linux has a /dev/watchdog, but nobody behind it.
[Service]
ExecStart=
ExecStart=/usr/bin/v2g-guard --socket /run/v2g-edge/guard.sock
"""

CLOCK = """\
# There is no network here, so no time server: this says to the kernel what systemd-timesyncd says once it has the time.
import ctypes

MODE_STATUS, ERROR = 0x0010, 5  # adjtimex(2): set the status word; the answer for a clock that nobody keeps
timex = (ctypes.c_char * 256)()
ctypes.c_uint.from_buffer(timex).value = MODE_STATUS
assert ctypes.CDLL(None).adjtimex(timex) != ERROR
"""


def give_one_cpu(pid: int) -> None:
    """One CPU of this machine, the last, for a guest and before all ordinary work: a guest has one CPU, too.

    Each system call in the guest goes from one process of it to another and back. On one CPU that takes 14 µs; across two of
    which one sleeps, 55 to 64 µs (getppid by Python, virtual AMD EPYC, kernel 6.18, quiet): too slow for a whole site.
    The price: on a busy machine the kernel may keep a twentieth of that CPU for others. `make hil`, which judges more finely,
    doesn't do this.
    """
    os.sched_setaffinity(pid, {max(os.sched_getaffinity(pid))})
    prefer(pid, GUEST_PRIORITY)


def available() -> bool:
    """Whether Debian's package user-mode-linux is installed (not every architecture has it)."""
    return UML_KERNEL.exists()


def write_job(folder: Path) -> None:
    """Scenarios, their oracle and pytest into `folder`, which the guest mounts."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "hil", folder / "hil", ignore=shutil.ignore_patterns("__pycache__"))
    for name in PYTEST:
        for file in importlib.metadata.files(name) or ():
            if ".." in file.parts or file.suffix == ".pyc":  # console programs, compiled files
                continue
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(file.locate()), folder / file)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib -p no:cacheprovider -vv\ntimeout = 300\n")
    scenarios = " ".join(f"hil/scenarios/{name}" for name in SCENARIOS)
    again = "--reruns 1" if os.environ.get("CI") else ""  # as hil/run does
    (folder / "job.sh").write_text(JOB.format(scenarios=scenarios, units=" ".join(UNITS), again=again))
    (folder / "clock.py").write_text(CLOCK)


def write_image(root: Path, folder: Path, image: Path) -> None:
    """The root with the unit that starts the job and this kernel's modules, as a disk."""
    system = root / "etc/systemd/system"
    (system / "v2g-hil.service").write_text(UNIT.format(folder=folder))
    wanted = system / "multi-user.target.wants/v2g-hil.service"
    wanted.unlink(missing_ok=True)
    wanted.symlink_to("/etc/systemd/system/v2g-hil.service")
    (system / "v2g-guard.service.d").mkdir(exist_ok=True)
    (system / "v2g-guard.service.d/uml.conf").write_text(GUARD)
    (modules,) = UML_MODULES.iterdir()
    shutil.copytree(modules, root / "lib/modules" / modules.name, symlinks=True, dirs_exist_ok=True)
    run("depmod", "--basedir", str(root), modules.name)
    (root / "etc/fstab").write_text("")
    image.unlink(missing_ok=True)
    run("mke2fs", "-q", "-t", "ext4", "-d", str(root), str(image), IMAGE_SIZE)


def boot(root: Path, work: Path) -> dict[str, Any]:
    """Boot it, wait until it is off, return what the job found. DeployTestError when it didn't come so far."""
    folder, image, console = work / "guest", work / "root.ext4", work / "guest-console.log"
    write_job(folder)
    write_image(root, folder, image)
    with tempfile.TemporaryDirectory(prefix="v2g-uml-") as uml_dir, console.open("wb") as log:
        kernel = [str(UML_KERNEL), f"mem={GUEST_MEMORY_MIB}M", f"ubd0={image}", "root=/dev/ubda", "rw"]
        kernel += ["init=/lib/systemd/systemd", "con=null", "con0=null,fd:1", "ssl=null", "quiet", f"uml_dir={uml_dir}/"]
        memory = memory_dir([Path("/dev/shm"), Path("/tmp")], GUEST_MEMORY_MIB + 16)
        env = {"PATH": os.environ["PATH"], "HOME": uml_dir, "TMPDIR": str(memory)}
        guest = subprocess.Popen(kernel, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, start_new_session=True)
        give_one_cpu(guest.pid)
        try:
            guest.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            raise DeployTestError(f"the guest was ended after {LIMIT_S} s; see {folder}/result") from None
        finally:
            if guest.poll() is None:
                os.killpg(guest.pid, signal.SIGKILL)
                guest.wait()
    image.unlink()
    result = folder / "result"
    if not (result / "done").exists():
        raise DeployTestError(f"the guest ended before its job: {console.read_text(errors='replace')[-1500:]}")
    units = dict(zip(UNITS, (result / "units").read_text().split(), strict=True))
    status = json.loads((result / "status.json").read_text()) if (result / "status.json").exists() else {}
    return {
        "boot_to_first_cycle_s": round(int((result / "running_us").read_text()) / 1e6, 1),
        "units": units,
        "vcan0": (result / "vcan0.txt").read_text(),
        "status": status,
        "junit": result / "junit.xml",
    }
