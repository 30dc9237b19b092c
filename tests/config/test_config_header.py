"""The sizes that the config knows are those of the core's headers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge.config import crosscheck, derive
from edge.config.schema import schema
from edge.field import canmap

HEADERS = "".join(p.read_text() for p in sorted((Path(__file__).parents[2] / "native" / "include").glob("*.h")))
LISTS = {key: part.get("maxItems") for key, part in schema()["properties"].items()}


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("V2G_MAX_EVSES", LISTS["evses"]),
        ("V2G_MAX_FEEDERS", LISTS["feeders"]),
        ("V2G_MAX_METERS", LISTS["meters"]),
        ("V2G_MAX_DEPTH", crosscheck.MAX_DEPTH),
        ("V2G_MAX_BUSES", crosscheck.MAX_CAN_BUSES),
        ("V2G_MAX_DERATES", crosscheck.MAX_DERATE_TABLES),
        ("V2G_DERATE_STEPS", derive.DERATE_STEPS),
        ("V2G_POWER_MAX_W", derive.MAX_POWER_W),
        ("V2G_POWER_MAX_W", canmap.POWER_MAX_W),
        ("V2G_CAN_MAX_BITS", canmap.MAX_BITS),
        ("V2G_CAN_MAX_SHIFT", canmap.MAX_SHIFT),
    ],
)
def test_a_size_is_that_of_the_header(name: str, ours: int):
    found = re.search(rf"\b{name} = (\d+)", HEADERS)
    assert found is not None
    assert ours == int(found[1])
