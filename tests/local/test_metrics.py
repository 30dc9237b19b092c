"""Dashboard and alerts speak PromQL about metrics that the gateway really has; the document lists them all."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import promql_parser
import pytest
from prometheus_client.core import Metric
from ruamel.yaml import YAML

from edge.local.metrics import GatewayCollector
from edge.model import Outcome, Reason
from tests.local.fake_gateway import FakeGateway

ROOT = Path(__file__).parent.parent.parent
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "v2g-gateway.json").read_text())
ALERTS = YAML(typ="safe").load((ROOT / "deploy" / "grafana" / "alerts.yaml").read_text())
FOREIGN = {"up"}
"""Metrics that Prometheus makes itself."""


def families() -> list[Metric]:
    return list(GatewayCollector(FakeGateway()).collect())


def sample_names() -> dict[str, set[str]]:
    """Labels by the name of a sample."""
    names: dict[str, set[str]] = {}
    for family in families():
        for sample in family.samples:
            names.setdefault(sample.name, set()).update(sample.labels)
    return names


def expressions() -> Iterator[tuple[str, str]]:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$__rate_interval", "5m")
    for group in ALERTS["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_an_expression_is_promql_about_metrics_and_labels_that_exist(where: str, expression: str) -> None:
    promql_parser.parse(expression)
    known = sample_names()
    without_text = re.sub(r'"[^"]*"', '""', expression)
    for name in re.findall(r"\bv2g_\w+", without_text):
        assert name in known, where
    for name, selector in re.findall(r"\b(v2g_\w+|up)\{([^}]*)\}", without_text):
        wanted = set(re.findall(r"(\w+)\s*[=!]", selector)) - {"instance", "job"}
        assert name in FOREIGN or wanted <= known[name], where


def test_reasons_and_outcomes_in_alerts_are_real_ones() -> None:
    for _, expression in expressions():
        for reason in re.findall(r'reason="(\w+)"', expression):
            assert reason in Reason.__members__
        for outcomes in re.findall(r'outcome=~"([^"]+)"', expression):
            assert set(outcomes.split("|")) <= {outcome.value for outcome in Outcome}


def test_every_alert_says_how_bad_it_is_what_it_means_and_what_to_do() -> None:
    for group in ALERTS["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in ("warning", "critical")
            assert set(rule["annotations"]) == {"summary", "action"}


def test_panels_of_the_dashboard_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_the_document_lists_every_metric_with_its_labels() -> None:
    suffix = {"counter": "_total", "info": "_info"}
    listed = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]+) \|", (ROOT / "docs" / "metrics.md").read_text(), re.M)
    real = [
        (
            family.name + suffix.get(family.type, ""),
            family.type,
            ", ".join(sorted({label for sample in family.samples for label in sample.labels} - {"le"})) or "–",
        )
        for family in families()
    ]
    assert listed == real


def test_what_is_not_known_is_left_out_and_never_shown_as_zero() -> None:
    gateway = FakeGateway()
    gateway.change_evse("evse-1", readings={})
    power = next(family for family in GatewayCollector(gateway).collect() if family.name == "v2g_evse_power_watts")
    assert "evse-1" not in {sample.labels["evse"] for sample in power.samples}
