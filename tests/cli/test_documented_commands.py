"""Every command of the documents is run as it stands there; where it names a device or a folder, with a simulated one.

What needs a device on a serial line, a vehicle or a CAN interface is only read as edgectl would read it; `tests/field` runs it.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest

from edge.cli.main import cli
from edge.local.server import LocalServer, LocalSettings
from edge.model import catalogue
from tests.cli.edgectl_program import ROOT, edgectl_on
from tests.cli.simulated_site import simulated_site
from tests.core.core_site import CoreSite, free_port, wait_until
from tests.frame.ci_gates import gates
from tests.local.fake_gateway import FakeGateway
from tests.local.running import Running, running

DOCS = sorted((ROOT / "docs").glob("*.md"))
GUIDE = (ROOT / "docs" / "troubleshooting.md").read_text()
API = (ROOT / "docs" / "local-api.md").read_text()
PROGRAMS = ("edgectl", "v2g-sim", "python", "make")
DEVICE = ("modbus", "probe", "verify", "sunspec", "test", "can")
"""Commands of edgectl that speak to a device."""
MAKE_ELSEWHERE = {"make bench", "make chaos", "make opender", "make hil-rt", "make exi-oracle", "make docs"}
"""Targets that CI doesn't run with every change; each is run by a test, by the nightly, or by the one who needs it."""


def lines_of(text: str) -> Iterator[str]:
    """Lines of sh blocks and of indented ones; comments and explanations behind them are left out."""
    for block in re.findall(r"```(?:sh)?\n(.*?)```", text, re.S):
        yield from block.splitlines()
    yield from (line[4:] for line in text.splitlines() if line.startswith("    "))


def commands(program: str) -> list[str]:
    found = {re.split(r"\s+#|\s{3,}", line)[0].strip() for page in DOCS for line in lines_of(page.read_text())}
    inline = {command for page in DOCS for command in re.findall(r"`(make [a-z-]+)`", page.read_text())}
    return sorted(line for line in found | inline if line.split(" ")[0] == program)


def edgectl_commands(device: bool) -> list[str]:
    return [line for line in commands("edgectl") if (line.split()[1] in DEVICE) == device]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Running]:
    with running(FakeGateway(), LocalSettings(tmp_path / "local.sock", bind=(), state_dir=tmp_path)) as api:
        yield api


def prepare(folder: Path) -> None:
    """The files that the commands name."""
    sys.path.insert(0, str(ROOT / "tests" / "exi"))
    exi = import_module("test_exi_cli")
    (folder / "session.pcapng").write_bytes(exi.pcapng(exi.session()))
    code = "803004000000000000000000120000"
    for name, form in (("message.xml", "xml"), ("message.json", "json")):
        made = edgectl_on(folder / "none.sock", "exi", "decode", "--schema", "v20_dc", "--format", form, code)
        (folder / name).write_text(made.stdout)


def test_the_documents_have_commands_of_every_kind() -> None:
    assert {line.split()[1] for line in edgectl_commands(device=False)} >= {"status", "explain", "doctor", "bundle", "simulate"}
    assert {line.split()[1] for line in edgectl_commands(device=True)} >= {"modbus", "verify"}
    assert commands("v2g-sim") and commands("python")


@pytest.mark.parametrize("command", edgectl_commands(device=False))
def test_a_command_works_as_it_is_written(api: Running, tmp_path: Path, command: str) -> None:
    words = shlex.split(command)[1:]
    if words[0] == "exi":
        prepare(tmp_path)
    config = str(simulated_site(tmp_path))
    if words[0] == "simulate":
        words += ["--config", config]
    words = [config if word == "FILE" else word for word in words]
    result = edgectl_on(api.settings.socket, *words, folder=tmp_path)
    assert result.returncode in (0, 1), result.stderr


@pytest.mark.parametrize("command", edgectl_commands(device=True))
def test_a_command_to_a_device_is_understood(command: str) -> None:
    words = shlex.split(command)[1:]
    group: click.Command = cli
    context = click.Context(cli)
    while isinstance(group, click.Group):
        name = words.pop(0)
        found = group.get_command(context, name)
        assert found is not None, f"no command {name}"
        context, group = click.Context(found, parent=context, info_name=name), found
    group.make_context(context.info_name, words, parent=context.parent)


@pytest.mark.parametrize("command", commands("make"))
def test_a_target_exists_and_is_run(command: str) -> None:
    dry_run = subprocess.run(["make", "-n", *command.split()[1:2]], cwd=ROOT, capture_output=True, text=True)
    assert dry_run.returncode == 0, dry_run.stderr
    assert command.split()[1] in gates() or command in MAKE_ELSEWHERE


def test_the_key_commands_make_what_they_say(tmp_path: Path) -> None:
    """DIR is an empty folder, CA_DIR the one where the first command made an authority."""
    folders = {"dev": {"DIR": "all"}, "request": {"DIR": "new"}, "sign": {"CA_DIR": "all", "DIR": "new"}}
    listed = {line.split()[3]: line for line in commands("python") if "edge.uplink.pki" in line}
    assert listed.keys() == folders.keys()
    for step, places in folders.items():
        line = re.sub("^python", sys.executable, listed[step])
        for name, place in places.items():
            line = re.sub(rf"(?<!_)\b{name}\b", str(tmp_path / place), line)
        done = subprocess.run(["sh", "-c", line], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "all" / "ca.crt").exists()
    assert {file.name for file in (tmp_path / "new").glob("*.crt")} >= {"a.crt", "b.crt"}


@pytest.mark.parametrize("command", [line for line in commands("python") if "edge.uplink.pki" not in line])
def test_a_module_of_the_documents_does_what_it_says(tmp_path: Path, command: str) -> None:
    config = str(simulated_site(tmp_path))
    words = [{"python": sys.executable, "FILE": config}.get(word, word) for word in command.split()]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_simulators_commands_do_what_they_say(tmp_path: Path) -> None:
    """One site that runs already is told and watched; each way of running another is started until it is ready."""
    site = CoreSite(tmp_path)
    try:
        for line in commands("v2g-sim"):
            words = shlex.split(line)[1:]
            words = [{"/tmp/sim.sock": str(tmp_path / "sim.sock"), "config.yaml": str(site.path)}.get(w, w) for w in words]
            words = ["1" if before == "--seconds" else word for before, word in zip(["", *words], words, strict=False)]
            if words[0] == "run":
                started(tmp_path, words, site)
            else:
                done = subprocess.run([sys.executable, *SIM, *words], capture_output=True, text=True, timeout=60)
                assert done.returncode in (0, 1), f"{line}: {done.stderr}"
    finally:
        site.close()


SIM = ("-c", "import sys; from v2g_sim.main import main; sys.exit(main())")


def started(folder: Path, words: list[str], site: CoreSite) -> None:
    (folder / "site.yaml").write_text("evses: [{id: evse-1, node: 1}]\n")
    own = {
        "vcan0": f"hub:{site.hub_path}",
        str(folder / "sim.sock"): str(folder / "other.sock"),
        str(site.path): str(folder / "other.yaml"),
    }
    (folder / "other.yaml").write_text(site.path.read_text().replace(f"port: {site.port}", f"port: {free_port()}"))
    ready = folder / "ready"
    ready.unlink(missing_ok=True)
    command = [sys.executable, *SIM, *(own.get(word, word) for word in words), "--ready-file", str(ready)]
    process = subprocess.Popen(command, cwd=folder)
    try:
        wait_until(lambda: process.poll() is not None or ready.exists(), f"{words} is ready", 60)
        assert ready.exists(), f"{words} ended with {process.returncode}"
    finally:
        process.terminate()
        process.wait(30)


def test_every_code_of_the_guide_is_in_the_catalogue() -> None:
    codes = set(re.findall(r"`([A-Z][A-Z0-9_]{3,})`", GUIDE))
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
