"""Whatever is in the file: the check answers with lines, never with a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.config.check import check

LINES = (Path(__file__).parents[2] / "examples" / "lab.yaml").read_text().splitlines()
TOKENS = st.sampled_from(
    ["null", "-1", "99999999999999999999", "''", "[]", "{}", "1.5", "no", "? a", "&a *a", "- x", "!!int x", "'", "\t", "#"]
)


def told(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    for problem in check(path, files=False):
        assert "\n" not in str(problem)
        assert str(problem).startswith(f"{path}:")


@given(st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes(tmp_path, content):
    told(tmp_path / "config.yaml", content)


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
def test_a_good_file_with_one_place_damaged(tmp_path, data):
    number = data.draw(st.integers(0, len(LINES) - 1))
    line = LINES[number]
    begin = data.draw(st.integers(0, len(line)))
    end = data.draw(st.integers(begin, min(len(line), begin + 12)))
    damaged = line[:begin] + data.draw(TOKENS | st.text(max_size=4)) + line[end:]
    text = "\n".join([*LINES[:number], damaged, *LINES[number + 1 :]])
    told(tmp_path / "config.yaml", text.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize(
    "content", [b"[" * 5000, b"{a: " * 2000, b"a: " + b"9" * 5000, b"? " * 3000], ids=["list", "map", "number", "key"]
)
def test_extremes(tmp_path, content):
    told(tmp_path / "config.yaml", content)
