"""v2g-release: a gateway is switched only when no vehicle feeds back, and what isn't healthy is taken back, its config too."""

from __future__ import annotations

import argparse
import copy
import importlib.machinery
import importlib.util
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "deploy/ansible/roles/release/files/v2g-release"
OPTIONS = argparse.Namespace(gate=0.2, settle=0.4, drain=0.3, keep=3, uplink=True, no_start=False, plan=False)
HEALTHY: dict[str, Any] = {
    "boot": "one",
    "core": {"state": "run", "cycles": 0, "guard_required": True, "guard": "alive"},
    "buses": [{"id": "can0", "channel": "can0", "up": True, "detail": ""}],
    "uplink": {"state": "connected", "last_error": ""},
    "evses": [],
}


class Site:
    """A gateway that answers as it is told to, per release, and counts what is done to it."""

    def __init__(self, release: ModuleType, root: Path, config: Path) -> None:
        self.release = release
        self.root, self.config = root, config
        self.ill: set[str] = set()
        self.power_w: dict[str, int] = {}
        self.done: list[str] = []
        self.crashing = False
        self._cycles = self._restarts = 0

    @property
    def current(self) -> str:
        return (self.root / "current").readlink().name

    def status(self) -> dict[str, Any] | None:
        if self.current in self.ill:
            return None
        self._cycles += 1
        document = copy.deepcopy(HEALTHY)
        document["core"]["cycles"] = self._cycles
        document["evses"] = [
            {"id": evse, "setpoint": {"target_w": watts}, "values": {"power": {"value": watts}}}
            for evse, watts in self.power_w.items()
        ]
        return document

    def edgectl(self, *words: str, release: Path | None = None) -> subprocess.CompletedProcess[str]:
        self.done.append(" ".join(words[:2]))
        if words[0] == "lock":
            self.power_w[words[1]] = 0
        refused = words[:2] == ("config", "check") and "refused" in Path(words[2]).read_text()
        return subprocess.CompletedProcess(words, int(refused), "line 1: no such key" if refused else "", "")

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        self.done.append(" ".join(command[:2]))
        if "--property=NRestarts" in command and self.crashing and self.current in self.ill:
            self._restarts += 1
        answer = str(self._restarts) if "--property=NRestarts" in command else "active"
        return subprocess.CompletedProcess(command, 0, answer, "")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Release 1 runs, 2 lies beside it."""
    monkeypatch.setenv("V2G_RELEASE_ROOT", str(tmp_path))
    monkeypatch.setenv("V2G_RELEASE_CONFIG", str(tmp_path / "config.yaml"))
    loader = importlib.machinery.SourceFileLoader("v2g_release", str(PROGRAM))
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    specification = importlib.util.spec_from_loader("v2g_release", loader)
    assert specification is not None
    release = importlib.util.module_from_spec(specification)
    loader.exec_module(release)
    for version in ("1", "2"):
        (tmp_path / "releases" / version).mkdir(parents=True)
        (tmp_path / "releases" / version / "release.json").write_text("{}")
    (tmp_path / "current").symlink_to("releases/1")
    (tmp_path / "config.yaml").write_text("old")
    site = Site(release, tmp_path, tmp_path / "config.yaml")
    for name in ("status", "edgectl", "run"):
        monkeypatch.setattr(release, name, getattr(site, name))
    yield site


def test_a_healthy_release_stays_and_the_one_before_can_be_gone_back_to(site: Site) -> None:
    assert "healthy" in site.release.activate("2", OPTIONS)
    assert site.current == "2"
    assert (site.root / "previous").readlink().name == "1"
    assert "unchanged" in site.release.activate("2", OPTIONS)


def test_an_ill_release_is_taken_back_with_the_config_that_came_with_it(site: Site) -> None:
    site.ill = {"2"}
    site.config.with_name("config.yaml.next").write_text("new")
    with pytest.raises(site.release.Refused, match=r"2 is not healthy: it does not answer; rolled back: 1 runs again after"):
        site.release.activate("2", OPTIONS)
    assert site.current == "1"
    assert site.config.read_text() == "old"
    assert site.config.with_name("config.yaml.refused").read_text() == "new"


def test_a_release_that_keeps_crashing_is_not_waited_for(site: Site) -> None:
    site.ill, site.crashing = {"2"}, True
    with pytest.raises(site.release.Refused, match="it was restarted 5 times"):
        site.release.activate("2", argparse.Namespace(**vars(OPTIONS) | {"settle": 60}))


def test_two_ill_releases_are_told_apart_from_one(site: Site) -> None:
    site.ill = {"1", "2"}
    with pytest.raises(SystemExit) as left:
        site.release.activate("2", OPTIONS)
    assert left.value.code == 2


def test_a_config_that_the_release_refuses_changes_nothing(site: Site) -> None:
    site.config.with_name("config.yaml.next").write_text("refused")
    with pytest.raises(site.release.Refused, match="config refused: line 1: no such key"):
        site.release.activate("2", OPTIONS)
    assert site.current == "1"
    assert site.config.read_text() == "old"
    assert not any(done.startswith("systemctl stop") for done in site.done)


def test_a_vehicle_that_feeds_back_is_brought_to_0_w_first_and_released_afterwards(site: Site) -> None:
    site.power_w = {"evse-1": -7000, "evse-2": 4000}
    site.release.activate("2", OPTIONS)
    order = [done for done in site.done if done in ("lock evse-1", "systemctl stop", "unlock evse-1", "lock evse-2")]
    assert order == ["lock evse-1", "systemctl stop", "unlock evse-1"]


def test_a_vehicle_that_goes_on_feeding_back_ends_the_switch(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.power_w = {"evse-1": -7000}
    monkeypatch.setattr(site.release, "edgectl", lambda *words, **_: subprocess.CompletedProcess(words, 0, "", ""))
    with pytest.raises(site.release.Refused, match="evse-1 still discharges after 0 s: nothing was changed"):
        site.release.activate("2", OPTIONS)
    assert site.current == "1"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"core": HEALTHY["core"] | {"state": "safe"}}, "its cycle is in state safe"),
        ({"core": HEALTHY["core"] | {"guard": "lost"}}, "its guard is lost"),
        ({"buses": [{"id": "can0", "channel": "can0", "up": False, "detail": "bus-off"}]}, "bus can0 (can0) is down: bus-off"),
        ({"uplink": {"state": "offline", "last_error": "refused"}}, "its uplink is offline: refused"),
    ],
)
def test_each_lack_is_told_in_words(site: Site, change: dict[str, Any], said: str) -> None:
    assert site.release.ill(HEALTHY | change, None, True) == said


def test_a_cycle_that_stands_still_is_no_healthy_gateway(site: Site) -> None:
    assert site.release.ill(HEALTHY, HEALTHY, True) == "its cycle stands still"
    assert site.release.ill(HEALTHY, None, True) == ""


def test_old_releases_make_room_but_not_the_two_that_count(site: Site) -> None:
    for version in ("3", "4", "5"):
        (site.root / "releases" / version).mkdir()
    (site.root / "previous").symlink_to("releases/2")
    site.release.sweep(3)
    left = {path.name for path in (site.root / "releases").iterdir()}
    assert {"1", "2"} < left
    assert len(left) == 3
