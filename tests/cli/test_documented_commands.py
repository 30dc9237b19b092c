"""Every edgectl command that the documents name can be typed as it stands there; every code that they name exists."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.local.server import LocalServer, LocalSettings
from edge.model import catalogue
from tests.cli.edgectl_program import ROOT, edgectl_on
from tests.cli.simulated_site import simulated_site
from tests.local.fake_gateway import FakeGateway
from tests.local.running import Running, running

GUIDE = (ROOT / "docs" / "troubleshooting.md").read_text()
API = (ROOT / "docs" / "local-api.md").read_text()
NOTICES = {"BUS_DOWN"}
"""Codes of notices: they have no entry in the catalogue, their text carries the remedy."""


def commands() -> list[str]:
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", GUIDE, re.S))
    return [line.split("#")[0].strip() for line in blocks.splitlines() if line.startswith("edgectl")]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Running]:
    with running(FakeGateway(), LocalSettings(tmp_path / "local.sock", bind=(), state_dir=tmp_path)) as api:
        yield api


@pytest.mark.parametrize("command", commands())
def test_a_command_of_the_guide_works_as_it_is_written(api: Running, tmp_path: Path, command: str) -> None:
    words = shlex.split(command)[1:]
    if words[0] == "bundle":
        words += ["-o", str(tmp_path / "bundle.tar.gz")]
    if words[0] == "simulate":
        words += ["--config", str(simulated_site(tmp_path))]
    result = edgectl_on(api.settings.socket, *words)
    assert result.returncode in (0, 1), result.stderr


def test_every_code_of_the_guide_is_in_the_catalogue() -> None:
    codes = set(re.findall(r"`([A-Z][A-Z0-9_]{3,})`", GUIDE)) - NOTICES
    assert {code for code in codes if catalogue.find(code) is None} - {"CODE"} == set()


@pytest.mark.parametrize(
    "row",
    [
        "ERR_V2G_LIMIT_REACHED",
        "ERR_SIG_TIMEOUT",
        "ERR_BIDIRECTIONAL_UNSUPPORTED",
        "Control Pilot voltage",
        "Certificate expired",
        "Jagged discharge line",
    ],
)
def test_the_guide_answers_a_row_of_the_field(row: str) -> None:
    assert row in GUIDE


def test_the_api_reference_lists_every_route() -> None:
    gateway = FakeGateway()
    server = LocalServer(gateway, gateway, LocalSettings())
    routes = {(route.method, route.path) for route in (*server._reading_routes(), *server._acting_routes())}
    listed = {(method, path.split("?")[0]) for method, path in re.findall(r"^\| `(GET|POST) ([^`]+)`", API, re.M)}
    assert listed == routes
