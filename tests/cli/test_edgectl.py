"""edgectl as its user types it: a program of its own, against the local API of a fake gateway."""

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edge.cli.client import Client
from edge.local.server import LocalSettings
from edge.model import Reason
from tests.cli.edgectl_program import ROOT, edgectl_on
from tests.local.fake_gateway import FakeGateway, evse, setpoint, site
from tests.local.running import Running, running


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Running]:
    with running(FakeGateway(), LocalSettings(tmp_path / "local.sock", bind=(), state_dir=tmp_path)) as api:
        yield api


def edgectl(api: Running, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return edgectl_on(api.settings.socket, *arguments, **environment)


def test_status_fits_the_terminal_of_a_service_laptop(api: Running) -> None:
    result = edgectl(api, "status")
    lines = result.stdout.splitlines()
    assert len(lines) <= 24
    assert max(len(line) for line in lines) <= 80
    assert "\x1b" not in result.stdout, "no colour codes in a pipe"


def test_status_shows_for_each_evse_what_binds_and_what_comes_next(api: Running) -> None:
    text = edgectl(api, "status").stdout
    assert "SOC floor" in text
    assert "thermal derating" in text
    assert "evse-4: full power below 70.0 °C (connector temperature is 78.8 °C)" in text


def test_status_exits_as_the_site_is(api: Running) -> None:
    assert edgectl(api, "status").returncode == 1
    api.do(lambda: setattr(api.gateway, "snapshot", replace(site(), evses=site().evses[:3])))
    assert edgectl(api, "status").returncode == 0
    stopped = [evse("evse-1", "row-a", setpoint=setpoint(0, Reason.E_STOP))]
    api.do(lambda: setattr(api.gateway, "snapshot", replace(site(), evses=stopped)))
    assert edgectl(api, "status").returncode == 2


def test_status_says_loudly_that_this_is_a_bench(api: Running) -> None:
    core = replace(site().core, realtime=False, scheduling="other", guard="off")
    buses = [replace(site().buses[0], transport="hub")]
    api.do(lambda: setattr(api.gateway, "snapshot", replace(site(), lab=True, core=core, buses=buses)))
    text = edgectl(api, "status").stdout
    assert "! LAB: lab: true" in text
    assert "! NOT_REALTIME: not real-time: scheduling OTHER was granted" in text
    assert "! HUB: bus can0 is a hub on a socket, not a real CAN bus" in text


def test_json_is_the_document_of_the_api(api: Running) -> None:
    document = json.loads(edgectl(api, "status", "--json").stdout)
    assert document["schema"] == "v2g.status/1"
    assert [evse["id"] for evse in document["evses"]] == [f"evse-{n}" for n in range(1, 7)]


def test_explain_walks_the_chain_and_marks_what_binds(api: Running) -> None:
    text = edgectl(api, "explain", "evse-3").stdout
    assert "binds   SOC floor (ERR_V2G_LIMIT_REACHED)" in text
    assert "age     heard 5 ms ago" in text
    assert "next    discharge again at SOC 32.0 % (now 30.4 %)" in text
    row = next(line for line in text.splitlines() if line.startswith("2 state of charge"))
    assert row.split() == ["2", "state", "of", "charge", "22000", "W", "*0", "W", "ERR_V2G_LIMIT_REACHED"]
    assert max(len(line) for line in text.splitlines()) <= 80


def test_explain_of_a_code_needs_no_gateway(tmp_path: Path) -> None:
    result = edgectl_on(tmp_path / "none.sock", "explain", "err_sig_timeout")
    assert result.returncode == 0
    assert "ERR_SIG_TIMEOUT  signal time-out, DEGRADED" in result.stdout
    assert "remedy" in result.stdout


def test_an_evse_that_is_not_there_is_a_usage_error_that_names_those_that_are(api: Running) -> None:
    result = edgectl(api, "explain", "evse-77")
    assert result.returncode == 64
    assert "no EVSE 'evse-77' here; there are: evse-1" in result.stderr


def test_events_since_a_number(api: Running) -> None:
    lines = edgectl(api, "events", "--since", "4").stdout.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" " * 7)] == ["5", "6"]
    assert max(len(line) for line in lines) <= 80


def test_events_of_one_subject_and_only_faults_are_chosen_and_marked_without_colour(api: Running) -> None:
    told = edgectl(api, "events", "evse-4", "--faults").stdout
    assert "THERMAL_DERATE" in told and " ! evse-4" in told
    assert "evse-5" not in told
    assert edgectl(api, "events", "evse-1", "--faults").stdout == "nothing happened\n"


def test_a_time_ago_that_cannot_be_read_is_a_usage_error(api: Running) -> None:
    result = edgectl(api, "events", "--since", "yesterday")
    assert result.returncode == 64
    assert "90s, 10min, 2h, 3d" in result.stderr


def test_rt_shows_the_percentiles_and_a_histogram(api: Running) -> None:
    text = edgectl(api, "rt").stdout
    assert "real-time: FIFO, CPU 1, period 10000 µs" in text
    assert "p50 16, p99 64, p99.9 128, max 403" in text
    assert "█" in text


def test_sessions_show_energy_and_soc(api: Running) -> None:
    assert "14.2kWh" in edgectl(api, "sessions").stdout


def test_doctor_gives_a_remedy_for_what_it_finds(api: Running) -> None:
    core = replace(site().core, guard="lost")
    api.do(lambda: setattr(api.gateway, "snapshot", replace(site(), core=core)))
    result = edgectl(api, "doctor")
    assert result.returncode == 2
    assert "BAD   guard: v2g-guard is gone" in result.stdout
    assert "→ systemctl restart v2g-edge" in result.stdout


def test_doctor_checks_the_machine_when_the_gateway_is_down(tmp_path: Path) -> None:
    result = edgectl_on(tmp_path / "none.sock", "doctor")
    assert result.returncode == 3
    assert "BAD   gateway: no gateway answers on" in result.stdout
    assert "kernel: " in result.stdout and "disk: " in result.stdout


def test_an_evse_is_locked_with_a_reason_and_unlocked(api: Running) -> None:
    assert "is locked by" in edgectl(api, "lock", "evse-1", "--reason", "new cable").stdout
    assert "new cable" in edgectl(api, "status", "--json").stdout
    assert edgectl(api, "unlock", "evse-1").returncode == 0


def test_a_lock_of_somebody_else_stays(api: Running) -> None:
    result = edgectl(api, "unlock", "evse-6")
    assert result.returncode == 2
    assert "only anna can unlock it" in result.stderr


def test_a_refused_reload_is_a_fault_and_says_why(api: Running) -> None:
    api.gateway.reload_error = "config.yaml line 12: evses[0].rating_w: -5 is below 0"
    result = edgectl(api, "reload")
    assert (result.returncode, "line 12" in result.stderr) == (2, True)


def test_no_gateway_is_told_with_the_next_step(tmp_path: Path) -> None:
    result = edgectl_on(tmp_path / "none.sock", "status")
    assert result.returncode == 3
    assert result.stderr.count("\n") == 1
    assert "systemctl status v2g-edge" in result.stderr


def test_a_mistyped_command_is_a_usage_error(api: Running) -> None:
    assert edgectl(api, "statsu").returncode == 64
    assert edgectl(api, "lock", "evse-1").returncode == 64, "a lock needs a reason"


def test_config_check_needs_no_gateway_and_names_the_line(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("site: {id: site-1}\nsurprise: 1\n")
    result = edgectl_on(tmp_path / "none.sock", "config", "check", str(file))
    assert result.returncode == 2
    assert "surprise" in result.stdout


CONFIG = (ROOT / "examples" / "config.yaml").read_text()


def test_config_diff_says_what_applying_a_change_takes(tmp_path: Path) -> None:
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(CONFIG)
    new.write_text(CONFIG.replace("min_soc_threshold: 30", "min_soc_threshold: 35"))
    result = edgectl_on(tmp_path / "none.sock", "config", "diff", str(new), str(old))
    assert result.stdout == "limits.min_soc_threshold: 30 → 35 (live)\n"


def test_config_show_fills_in_defaults_and_hides_where_the_key_lies(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text((ROOT / "examples" / "config.yaml").read_text())
    text = edgectl_on(tmp_path / "none.sock", "config", "show", "--redacted", str(file)).stdout
    assert "key: (set)" in text
    assert "min_soc_threshold" in text


def test_exi_is_mounted_here(tmp_path: Path) -> None:
    assert "decode" in edgectl_on(tmp_path / "none.sock", "exi", "--help").stdout


def test_history_draws_charging_above_and_discharging_below_the_zero_line() -> None:
    from edge.cli.show import history_lines

    document = {
        "evse": "evse-1",
        "ts": 1_760_000_000_000,
        "period_ms": 1000,
        "power_w": [4000] * 69 + [-4000] * 69,
        "target_w": [4000] * 138,
        "soc_percent": [50.0] * 138,
        "connector_c": [None] * 100 + [30.0] * 38,
        "cable_c": [],
        "charger_c": [],
        "cell_max_c": [],
        "reasons": [{"first": 0, "code": "NONE"}, {"first": 100, "code": "E_STOP"}, {"first": 130, "code": "RAMP"}],
    }
    lines = history_lines(document)
    above, zero = lines[1], next(index for index, line in enumerate(lines) if line.startswith("       0 ┼"))
    assert above.count("█") == 34 and above.index("█") == 10
    below = lines[zero + 1]
    assert below.count("█") == 34 and below.index("█") == 45
    assert "  SOC       50.0 → 50.0 %     50.0 to 50.0" in lines
    assert lines[-1].endswith("E_STOP for 30.0s")
    assert max(len(line) for line in lines) <= 80
    assert len(lines) <= 24


def test_history_of_a_gateway_that_has_just_started(api: Running) -> None:
    assert "evse-1" in edgectl(api, "history", "evse-1").stdout


def test_a_bundle_holds_every_document_and_says_what_is_missing(api: Running, tmp_path: Path) -> None:
    output = tmp_path / "bundle.tar.gz"
    result = edgectl(api, "bundle", "-o", str(output), PATH="/nonexistent")
    assert result.stdout == f"{output}\n"
    with tarfile.open(output) as archive:
        names = {name.removeprefix("v2g-bundle/") for name in archive.getnames()}
        missing = archive.extractfile("v2g-bundle/missing.txt")
        assert missing is not None and b"journal.txt" in missing.read()
    assert {"status.json", "events.json", "rt.json", "doctor.json", "explain/evse-3.json"} <= names


def test_a_bundle_holds_no_secret() -> None:
    from edge.cli.bundle import redact

    key = b"-----BEGIN PRIVATE KEY-----\nMC4CAQ\n-----END PRIVATE KEY-----"
    assert redact(b"a " + key + b" b password: hunter2\n") == b"a (redacted) b (redacted)\n"
    assert redact(b'{"token": "AB CD", "level": "ok"}') == b'{"(redacted), "level": "ok"}'


def test_a_bundle_holds_the_end_of_the_log_and_the_config_without_where_keys_lie(
    api: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge.cli import bundle

    logs = tmp_path / "log"
    logs.mkdir()
    (logs / "v2g-edge.jsonl").write_text('{"text": "old"}\n' * 400_000 + '{"text": "newest"}\n')
    monkeypatch.setattr(bundle, "LOG_FOLDER", logs)
    output = tmp_path / "bundle.tar.gz"
    missing = bundle.write_bundle(Client(str(api.settings.socket)), ROOT / "examples" / "config.yaml", output)
    assert not any(line.startswith(("log/", "config.yaml")) for line in missing)
    with tarfile.open(output) as archive:
        parts = {name: archive.extractfile(f"v2g-bundle/{name}") for name in ("log/v2g-edge.jsonl", "config.yaml")}
        log, config = (part.read() for part in parts.values() if part is not None)
    assert log.endswith(b'{"text": "newest"}\n')
    assert len(log) <= bundle.MAX_PART_BYTES
    assert b"key: (set)" in config


def test_the_development_pki_is_made_from_here(tmp_path: Path) -> None:
    result = edgectl_on(tmp_path / "none.sock", "pki", "dev", str(tmp_path / "pki"))
    assert result.returncode == 0
    assert (tmp_path / "pki").is_dir()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_the_shells(api: Running, shell: str) -> None:
    assert "_EDGECTL_COMPLETE" in edgectl(api, "completion", shell).stdout


def test_completion_offers_the_evses_of_this_site(api: Running) -> None:
    words = edgectl(api, _EDGECTL_COMPLETE="bash_complete", COMP_WORDS="edgectl explain evse-", COMP_CWORD="2").stdout
    assert "plain,evse-1" in words.splitlines()


def test_status_imports_nothing_heavy(api: Running) -> None:
    """Start time is imports; what they cost depends on the machine, which of them happen doesn't."""
    code = "import sys; from edge.cli.main import main; main(['status', '--json']); print(*sys.modules, file=sys.stderr)"
    settings = os.environ | {"V2G_SOCKET": str(api.settings.socket)}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True, env=settings, cwd=ROOT
    )
    loaded = set(result.stderr.split())
    ours = {"edge.local", "edge.config", "edge.core", "edge.model", "edge.cli.commission", "edge.cli.bundle"}
    theirs = {"aiohttp", "pydantic", "rich", "cantools", "cffi", "typing_extensions", "asyncio", "ssl", "http.client", "email"}
    assert loaded & (ours | theirs) == set()


def test_a_large_site_shows_first_what_wants_a_look() -> None:
    from edge.cli.show import status_lines
    from edge.local.builders import status_doc

    many = [evse(f"evse-{n}", "row-a") for n in range(40)]
    many[33] = evse("evse-33", "row-a", setpoint=setpoint(0, Reason.EVSE_LOST))
    lines = status_lines(json.loads(json.dumps(status_doc(replace(site(), evses=many)))), height=23)
    assert len(lines) <= 23
    assert any("evse-33" in line and "EVSE lost" in line for line in lines)
    assert any("more with less to say" in line for line in lines)
