"""How a machine without CAN in its kernel gets its bus; that the bus works is what hil/scenarios/test_00_bus.py shows."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from hil import vcan


def fake_guest(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A program in place of the guest kernel, and a module beside it, as far as run_in_uml looks."""
    kernel = folder / "linux.uml"
    kernel.write_text(f"#!/bin/sh\n{script}\n")
    kernel.chmod(0o755)
    module = folder / "modules/6.1/kernel/drivers/net/can/vcan.ko"
    module.parent.mkdir(parents=True)
    module.touch()
    monkeypatch.setattr(vcan, "UML_KERNEL", kernel)
    monkeypatch.setattr(vcan, "UML_MODULES", folder / "modules")


def test_the_guests_memory_goes_to_the_first_folder_that_can_hold_it(tmp_path: Path) -> None:
    assert vcan.memory_dir([tmp_path / "missing", tmp_path], size_mib=1) == tmp_path


def test_too_little_room_for_the_guests_memory_is_refused_with_the_size(tmp_path: Path) -> None:
    with pytest.raises(vcan.NoCanBusError, match="no folder with 1000000000 MiB free"):
        vcan.memory_dir([tmp_path], size_mib=1_000_000_000)


def test_a_machine_without_the_guest_kernel_is_told_which_package_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vcan, "UML_KERNEL", tmp_path / "linux.uml")
    with pytest.raises(vcan.NoCanBusError, match="Debian package user-mode-linux"):
        vcan.run_in_uml(["true"], limit_s=5, job=tmp_path)


def test_a_guest_that_stops_early_is_reported_with_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_guest(tmp_path, monkeypatch, "echo VFS: no root file system")
    with pytest.raises(vcan.NoCanBusError, match="VFS: no root file system"):
        vcan.run_in_uml(["true"], limit_s=5, job=tmp_path / "job")


def test_the_command_reaches_the_guest_word_for_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("V2G_NOTE", "it's 30 %")
    vcan.write_job(tmp_path, ["printf", "%s|", "$V2G_NOTE", "two words", "it's"], "a test")
    answer = subprocess.run(["sh", tmp_path / "job.sh"], capture_output=True, text=True, check=True)
    assert answer.stdout == "$V2G_NOTE|two words|it's|"
    assert f"cd {Path.cwd()}" in (tmp_path / "job.sh").read_text()
    assert """export V2G_NOTE='it'"'"'s 30 %'""" in (tmp_path / "job.sh").read_text()


def test_a_guest_that_hangs_is_ended_with_all_its_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_guest(tmp_path, monkeypatch, f"sleep 3600 & echo $! >{tmp_path}/child; wait")
    assert vcan.run_in_uml(["true"], limit_s=1, job=tmp_path / "job") == vcan.EXIT_TIMEOUT
    child = int((tmp_path / "child").read_text())
    assert not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text()


def test_only_what_the_command_prints_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = (
        f"echo boot; echo '=== guest: job starts'; echo result; echo 3 >{tmp_path}/job/exit_code; echo '=== guest: job ended'"
    )
    fake_guest(tmp_path, monkeypatch, f"{script}; echo power down")
    assert vcan.run_in_uml(["true"], limit_s=20, job=tmp_path / "job") == 3
    assert capsys.readouterr().out == "result\n"
    assert "power down" in (tmp_path / "job/console.log").read_text()
