"""ansible-playbook as a person runs it, from an environment with the versions that requirements.txt names."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.deploytest.machine import DeployTestError, run

ROOT = Path(__file__).resolve().parents[2]
ANSIBLE = ROOT / "deploy/ansible"
RECAP = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)
FAILED = re.compile(r"^(?:fatal|failed): .*?\n    msg: '?(.*?)'?\n(?=\S|\n|    \w)", re.MULTILINE | re.DOTALL)


def environment(folder: Path) -> Path:
    """The folder of programs of a virtual environment with ansible-core; made once for each requirements.txt."""
    wanted = (ANSIBLE / "requirements.txt").read_bytes()
    stamp = folder / ".stamp"
    digest = hashlib.sha256(wanted).hexdigest()
    if not (stamp.exists() and stamp.read_text() == digest):
        shutil.rmtree(folder, ignore_errors=True)
        run("/usr/bin/python3", "-m", "venv", str(folder))
        install = [
            "install",
            "--quiet",
            "--no-input",
            "--disable-pip-version-check",
            "--only-binary",
            ":all:",
            "--require-hashes",
        ]
        run(str(folder / "bin/pip"), *install, "-r", str(ANSIBLE / "requirements.txt"))
        stamp.write_text(digest)
    return folder / "bin"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run of a playbook did to the gateway."""

    code: int
    tasks: int
    changed: int
    output: str
    seconds: float

    @property
    def messages(self) -> list[str]:
        """The one line of each task that failed."""
        found = FAILED.findall(self.output)
        return [" ".join(text.replace("''", "'").split()) for text in found]


@dataclass(frozen=True, slots=True)
class Playbooks:
    """Runs playbooks with an inventory; what they print is kept in `logs`."""

    programs: Path
    inventory: Path
    logs: Path

    def run(self, name: str, *options: str, host: str = "", **extra: Any) -> Outcome:
        """`extra`: variables of the command line. The counts are those of `host`, else of all hosts."""
        command = [str(self.programs / "ansible-playbook"), "-i", str(self.inventory), f"playbooks/{name}.yml", *options]
        if extra:
            command += ["-e", json.dumps(extra)]
        env = os.environ | {"ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1", "PATH": f"{self.programs}:{os.environ['PATH']}"}
        began = time.monotonic()
        done = subprocess.run(command, cwd=ANSIBLE, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        output = done.stdout + done.stderr
        number = len(list(self.logs.glob("*.log"))) + 1
        (self.logs / f"{number:02}-{name}.log").write_text(output)
        counts = [tuple(map(int, line[1:3])) for line in RECAP.findall(output) if host in ("", line[0])]
        tasks, changed = (sum(column) for column in zip(*counts, strict=True)) if counts else (0, 0)
        return Outcome(done.returncode, tasks, changed, output, round(time.monotonic() - began, 1))

    def must(self, name: str, *options: str, host: str = "", **extra: Any) -> Outcome:
        """DeployTestError with what failed, when it does."""
        outcome = self.run(name, *options, host=host, **extra)
        if outcome.code:
            raise DeployTestError(f"{name}.yml: {'; '.join(outcome.messages) or outcome.output[-1500:]}")
        return outcome
