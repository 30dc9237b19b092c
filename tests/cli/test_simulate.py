"""`edgectl simulate` as its user types it: the native core's answer to a made-up situation."""

import json
from pathlib import Path

import pytest

from tests.cli.edgectl_program import edgectl_on
from tests.cli.simulated_site import simulated_site


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return simulated_site(tmp_path)


def simulate(config: Path, *words: str) -> dict[str, object]:
    result = edgectl_on(config.parent / "none.sock", "simulate", "evse-1", "--config", str(config), "--json", *words)
    assert result.returncode == 0, result.stderr
    document: dict[str, object] = json.loads(result.stdout)
    return document


@pytest.mark.parametrize(
    ("assumed", "told_w", "binds"),
    [
        ("--target -7000", -7000, "NONE"),
        ("--target -7000 --soc 30", 0, "ERR_V2G_LIMIT_REACHED"),
        ("--target -7000 --unidirectional", 0, "ERR_BIDIRECTIONAL_UNSUPPORTED"),
        ("--target 22000 --connector 95", 0, "THERMAL_STOP"),
        ("--target -7000 --lost connector", 0, "THERMAL_SENSOR"),
        ("--target 22000 --lost link", 0, "EVSE_LOST"),
        ("--target 22000 --load grid=60000", 0, "SITE_LIMIT"),
        ("--target 22000 --state B", 0, "NOT_READY"),
        ("--target 22000 --e-stop", 0, "E_STOP"),
        ("--target 22000 --locked", 0, "LOCKOUT"),
        ("--target 22000 --no-guard", 0, "GUARD_LOST"),
        ("--target -7000 --no-realtime", 0, "NOT_REALTIME"),
    ],
)
def test_the_core_answers_what_would_bind(config: Path, assumed: str, told_w: int, binds: str) -> None:
    document = simulate(config, *assumed.split())
    assert document["setpoint"]["target_w"] == told_w  # type: ignore[index]
    assert document["reason"]["code"] == binds  # type: ignore[index]
    assert document["settled"] is True


def test_a_hot_connector_leaves_less_in_its_row_and_in_every_row_after(config: Path) -> None:
    rows = simulate(config, "--target", "22000", "--connector", "78")["rows"]
    left = [row["charge"]["limit_w"] for row in rows]  # type: ignore[attr-defined]
    assert left[1] == 22000
    assert 0 < left[2] < 22000
    assert left[3:] == [left[2]] * 5


def test_when_everybodys_limits_are_over_the_fallback_is_what_is_asked(config: Path) -> None:
    document = simulate(config, "--target", "22000", "--expired")
    assert document["setpoint"]["target_w"] == 4200  # type: ignore[index]


def test_the_answer_fits_a_terminal(config: Path) -> None:
    arguments = ("--config", str(config), "--target", "22000", "--connector", "78")
    result = edgectl_on(config.parent / "none.sock", "simulate", "evse-1", *arguments)
    lines = result.stdout.splitlines()
    assert "binds   thermal derating (THERMAL_DERATE)" in result.stdout
    assert max(len(line) for line in lines) <= 80
    assert len(lines) <= 24


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("evse-9", "--target", "0"), "evse-9: no such EVSE in"),
        (("evse-1", "--target", "0", "--load", "roof=3"), "roof: no such meter in"),
        (("evse-1", "--target", "0", "--load", "grid"), "write the meter's id, =, and whole W"),
    ],
)
def test_a_slip_is_named(config: Path, words: tuple[str, ...], said: str) -> None:
    result = edgectl_on(config.parent / "none.sock", "simulate", *words, "--config", str(config))
    assert result.returncode == 64
    assert said in result.stderr
