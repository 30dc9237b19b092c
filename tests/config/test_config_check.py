"""A wrong config file gets one clear line per problem: file, line, key, value, limit, remedy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edge.config import ConfigError, load
from edge.config.check import check
from edge.config.settings import Settings
from edge.strict_yaml import read_tree, validate

SITE = """\
site: {id: site-1}
feeders:
  - {id: main, rating_a: 100, base_load_w: 10000}
  - {id: row-a, parent: main, rating_a: 63}
buses:
  - {id: can0, kind: can, channel: vcan0}
  - {id: net, kind: modbus-tcp}
evses:
  - {id: evse-1, bus: can0, dbc: evse-generic, node: 1, feeder: row-a, rating_w: 22000}
  - {id: evse-2, bus: can0, dbc: evse-generic, node: 2, feeder: row-a, rating_w: 22000}
"""


@pytest.fixture
def lines(tmp_path: Path):
    """The problems of a text, each as printed, without the file's name."""

    def of(text: str) -> list[str]:
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return [str(p).removeprefix(f"{path}:") for p in check(path)]

    return of


def test_a_good_site_has_no_problem(lines):
    assert lines(SITE) == []


def test_defaults_are_those_of_the_numbers_page(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(SITE)
    settings = load(path)
    assert settings.cycle.period_ns == 10_000_000
    assert settings.limits.min_soc_threshold == 3000
    assert settings.limits.absolute_min_soc == 2000
    assert settings.thermal.connector.derate_from_dc == 700
    assert settings.thermal.cell.stop_dc == 600
    assert settings.plan.lease_ns == 2_000_000_000
    assert settings.fallback.charge_w == 4200
    assert settings.guard.required
    assert not settings.lab


def test_every_error_is_told_not_only_the_first(lines):
    text = SITE.replace("id: site-1", "id: 'site 1'").replace("node: 2", "node: two").replace("rating_a: 63", "rating_a: 0")
    found = lines(text)
    assert [line.split(":")[0] for line in found] == ["1", "4", "10"]


def test_errors_of_both_kinds_are_told_together(lines):
    found = lines(SITE.replace("id: evse-2", "id: evse-1") + "cycle: {period: 5ms}\n")
    assert [line.split(": ")[1] for line in found] == ["evses[1].id", "cycle.period"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("site: {id: site-1}", "site: {id: site-1, grdi: {}}", "1: site.grdi: no such key here; did you mean grid?"),
        ("rating_a: 63", "rating_a: '63'", "4: feeders[1].rating_a: '63': must be a whole number; write it without quotes"),
        ("id: evse-2", "id: evse-1", "10: evses[1].id: 'evse-1': this id is taken on line 9; give each thing its own id"),
        (
            "feeder: row-a, rating_w: 22000}\n  - {id: evse-2",
            "feeder: row-x, rating_w: 22000}\n  - {id: evse-2",
            "9: evses[0].feeder: 'row-x': no feeder has this id; name one of: main, row-a",
        ),
        ("parent: main", "parent: row-a", "4: feeders[1].parent: 'row-a': never reaches the grid connection (row-a → row-a)"),
        ("node: 2", "node: 1", "10: evses[1]: can0 1: evse-1 has this address"),
        ("dbc: evse-generic, node: 2", "dbc: evse-generic", "10: evses[1].node: missing: a device on a can bus needs it"),
        ("channel: vcan0", "channel: 'vcan 0'", "6: buses[0].channel: 'vcan 0': is no interface's name"),
        ("kind: modbus-tcp", "kind: modbus", "7: buses[1]: 'modbus': must be 'can', 'python-can', 'modbus-tcp', 'modbus-rtu'"),
        ("parent: main, ", "", "4: feeders[1]: 'row-a': only one feeder has no parent, and main is it; name its `parent`"),
        (
            "base_load_w: 10000",
            "base_load_w: 80000",
            "3: feeders[0].base_load_w: 80000 W: the declared base load exceeds what the feeder may carry, 69000 W",
        ),
        (
            "rating_a: 63",
            "rating_a: 63, fallback_w: 60000",
            "4: feeders[1].fallback_w: 60000: more than 43470 W rating − 0 W base load = 43470 W; lower it",
        ),
        (
            "site: {id: site-1}",
            "site: {id: site-1, grid: {profile: g99}}",
            "1: site.grid.profile: 'g99': disabled: Engineering",
        ),
        (
            "site: {id: site-1}",
            "site: {id: site-1, grid: {profile: ieee1547-cat2}}",
            "1: site.grid.profile: 'ieee1547-cat2': its trip frequencies are for 60 Hz",
        ),
    ],
)
def test_a_wrong_value_names_line_key_limit_and_remedy(lines, old, new, expected):
    assert any(line.startswith(expected) for line in lines(SITE.replace(old, new, 1))), lines(SITE.replace(old, new, 1))


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ("cycle: {period: 60ms}", "11: cycle.period: '60ms': must be 10ms to 50ms; change the value"),
        ("cycle: {period: 10}", "11: cycle.period: 10: must be a whole number with its unit; write it like 10ms"),
        (
            "cycle: {period: 20ms}\nguard: {timeout: 30ms}",
            "12: guard.timeout: 30ms: shorter than 2 periods of 20ms; use at least 40ms",
        ),
        ("guard: {required: false}", "11: guard.required: false: without a guard no power flows on a site; remove it, or say"),
        ("guard: {required: no}", "11: guard.required: 'no': must be true or false; YAML 1.2 has no yes, no, on or off"),
        ("limits: {min_soc_threshold: 130}", "11: limits.min_soc_threshold: 130: must be 0 to 100 %"),
        ("limits: {min_soc_threshold: 30.005}", "11: limits.min_soc_threshold: 30.005: finer than 1/100 %; round it"),
        (
            "limits: {min_soc_threshold: 10}",
            "11: warning: limits.min_soc_threshold: 10: below absolute_min_soc, 20 %, which holds",
        ),
        ("thermal: {connector: {stop_c: 80}}", "11: thermal.connector.stop_c: 80: resume ≤ derate_from < derate_to ≤ stop"),
        ("lab: true\nlab: false", "12: lab: given twice: first on line 11; keep one of the two"),
        ("lab: &x true", "11: lab: &x: anchors and aliases are not used here; write the value out"),
        ("limits: {max_soc: 0100}", "11: limits.max_soc: 0100: not a plain decimal or 0x number"),
        ("limits: {max_soc: .nan}", "11: limits.max_soc: .nan: not a finite number"),
        ("lab: !!python/object:os.system true", "11: lab: "),
        ("evses: []", "11: evses: given twice: first on line 8"),
        (
            "local: {page: {bind: [127.0.0.1, 127.0.0.1]}}",
            "11: local.page.bind[1]: '127.0.0.1': port 8088 of this address is bound",
        ),
        ("meters: [{id: grid, bus: net, host: h, profile: sim-meter}]", "11: warning: meters[0]: 'grid': no feeder names it"),
        (
            "meters: [{id: grid, bus: can0, profile: sim-meter}]",
            "11: meters[0].bus: 'can0': no Modbus bus has this id; name one of: net",
        ),
        (
            "meters: [{id: grid, bus: net, profile: sim-meter}]",
            "11: meters[0].host: missing: a device on a modbus-tcp bus needs it",
        ),
        (
            "inputs: [{id: i, line: 4, active: high, means: limit}]",
            "11: inputs[0].means: 'limit': limits nothing; give max_charge_w or max_discharge_w",
        ),
        (
            "inputs: [{id: i, line: 4, active: high, means: limit, feeder: none, max_charge_w: 0}]",
            "11: inputs[0].feeder: 'none': no feeder has this id",
        ),
        (
            "inputs: [{id: i, line: 4, active: high, means: emergency-stop, max_charge_w: 0}]",
            "11: inputs[0].means: 'emergency-stop': stops every EVSE, whole",
        ),
        (
            "inputs:\n"
            "- {id: i, line: 4, active: high, means: emergency-stop}\n"
            "- {id: j, line: 4, active: low, means: emergency-stop}",
            "13: inputs[1].line: '4': /dev/gpiochip0: input i reads this line",
        ),
        ("plan: {lease: 1h}", "11: plan.lease: '1h': must be 500ms to 10s"),
        ("}", "11: not YAML: "),
        ("%YAML 1.1", "11: %YAML 1.1: YAML directives are not used here"),
    ],
)
def test_a_wrong_line_is_refused(lines, extra, expected):
    assert any(line.startswith(expected) for line in lines(SITE + extra + "\n")), lines(SITE + extra + "\n")


def test_fallbacks_above_the_feeder_are_refused_with_the_figures(lines):
    text = SITE.replace("rating_w: 22000", "rating_w: 22000, fallback_charge_w: 22000")
    found = lines(text)
    figures = "44000 W of EVSEs + 0 W of child feeders = 44000 W: more than 43470 W rating − 0 W base load = 43470 W"
    assert any(line.startswith(f"4: feeders[1]: Σ fallbacks {figures}; lower fallback_w") for line in found), found


def test_one_overloaded_phase_is_refused(lines):
    text = SITE.replace("rating_w: 22000", "rating_w: 11000, phase_map: [1], fallback_charge_w: 9000")
    assert any("Σ EVSE fallbacks on L1 18000 W: more than 14490 W of the fuse" in line for line in lines(text)), lines(text)


def test_a_site_larger_than_the_cores_tables_is_refused(lines):
    row = "  - {{id: e{n}, bus: can0, dbc: evse-generic, node: {n}, feeder: row-a, rating_w: {w}}}\n"
    text = SITE + "".join(row.format(n=n, w=7000 + n) for n in range(3, 40)) + "cycle: {period: 50ms}\n"
    expected = "8: evses: 38 different ratings × 2 temperature curves = 76 tables: at most 64; give equal EVSEs equal ratings"
    assert any(line.startswith(expected) for line in lines(text)), lines(text)
    buses = "".join(f"  - {{id: c{n}, kind: can, channel: vcan{n}}}\n" for n in range(1, 17))
    assert any(
        "23: buses[17]: 17 CAN buses: at most 16" in line for line in lines(SITE.replace("evses:\n", f"{buses}evses:\n"))
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ":1: site: missing: this key is required; add it"),
        ("- 1\n", ":1: a list of 1: must be sections of `key: value`; start from the example file"),
        ("a: 1\n---\nb: 2\n", ":2: not YAML: "),
        ("\x00", ":1: not YAML: "),
    ],
)
def test_anything_that_is_no_config_is_refused_in_one_line(tmp_path, text, expected):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load(path)
    assert expected in str(refused.value)


def test_a_missing_file_is_one_clear_line(tmp_path):
    (problem,) = check(tmp_path / "none.yaml")
    assert str(problem).endswith(
        "none.yaml:0: can't be read: No such file or directory; give the path of a readable UTF-8 YAML file"
    )


def test_words_and_times_of_day_stay_text(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("a: no\nb: 12:30\nc: on\nd: 2026-01-01\ne: 0x10\nf: -3\ng: 1.5\nh: null\n")
    tree, problems = read_tree(path)
    assert problems == []
    assert tree.data == {"a": "no", "b": "12:30", "c": "on", "d": "2026-01-01", "e": 16, "f": -3, "g": 1.5, "h": None}


def test_settings_can_not_be_changed(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(SITE)
    with pytest.raises(ValueError, match="frozen"):
        load(path).limits.min_soc_threshold = 0  # type: ignore[misc]


def test_settings_written_out_read_back_the_same(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(SITE)
    settings = load(path)
    tree, _ = read_tree(path)
    written = settings.model_dump(mode="json", by_alias=True)

    def tuples(data):
        if isinstance(data, dict):
            return {k: tuples(v) for k, v in data.items()}
        return tuple(tuples(item) for item in data) if isinstance(data, list) else data

    again, problems = validate(Settings, type(tree)(tree.file, tuples(written), {}))
    assert problems == []
    assert again == settings


@pytest.mark.parametrize(("text", "code"), [(SITE, 0), (SITE + "lab: maybe\n", 2)])
def test_the_exit_code_tells_the_verdict(tmp_path, text, code):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    run = subprocess.run([sys.executable, "-m", "edge.config.check", path], capture_output=True, text=True, check=False)
    assert run.returncode == code
    assert run.stderr.startswith(f"{path}: {'ok' if code == 0 else 'refused: 1 error'}")


def test_wrong_usage_is_64():
    run = subprocess.run([sys.executable, "-m", "edge.config.check"], capture_output=True, text=True, check=False)
    assert run.returncode == 64


PYTHON_CAN = SITE.replace("kind: can, channel: vcan0", "kind: python-can, interface: slcan, channel: /dev/ttyACM0")


def test_a_bus_through_python_can_is_told_not_to_be_real_time(lines):
    (line,) = lines(PYTHON_CAN)
    assert "buses[0].kind: 'python-can': is not real-time: its EVSEs charge, but don't discharge; use an adapter" in line
    assert lines(f"lab: true\n{PYTHON_CAN}") == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("channel: vcan0", "channel: /dev/ttyACM0", "buses[0].channel: '/dev/ttyACM0': is no interface's name; such as can0"),
        ("channel: vcan0", "channel: can0, interface: slcan", "buses[0].interface: 'slcan': belongs to python-can"),
        ("kind: can", "kind: python-can", "buses[0].interface: missing: a python-can bus needs it"),
    ],
)
def test_each_kind_of_can_bus_has_what_it_needs_and_nothing_else(lines, old, new, expected):
    assert any(expected in line for line in lines(SITE.replace(old, new))), lines(SITE.replace(old, new))
