"""Whatever a profile, a DBC or its map holds: the loader answers with lines that name the file, never with a traceback."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.field.canmap import DBC_FOLDER, CanMapError, load_can_device
from edge.field.profile import PROFILES, ProfileError, load_profile

PROFILE = (PROFILES / "sim-evse.yaml").read_bytes()
DBC = (DBC_FOLDER / "evse-generic.dbc").read_bytes()
MAP = (DBC_FOLDER / "evse-generic.map.yaml").read_bytes()
TOKENS = st.sampled_from(
    [b"null", b"-1", b"9" * 20, b"[]", b"{}", b"1.5", b"SG_ ", b"BO_ ", b"\xff", b"&a", b"]", b"65535", b"0"]
)
EXAMPLES = int(os.environ.get("LOADER_EXAMPLES", "60"))
"""`make fuzz` asks for more."""
ANY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=EXAMPLES, deadline=None)


def damaged(data: st.DataObject, good: bytes) -> bytes:
    """A good file with one place cut out and something else put there."""
    begin = data.draw(st.integers(0, len(good)))
    end = data.draw(st.integers(begin, min(len(good), begin + 24)))
    return good[:begin] + data.draw(TOKENS | st.binary(max_size=6)) + good[end:]


def profile_told(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        load_profile(str(path))
    except ProfileError as refused:
        assert all(line.startswith(f"{path}:") for line in str(refused).splitlines()), str(refused)


def can_told(folder: Path, dbc: bytes, device_map: bytes) -> None:
    (folder / "device.dbc").write_bytes(dbc)
    (folder / "device.map.yaml").write_bytes(device_map)
    try:
        load_can_device(f"{folder}/device.dbc").node(1, 230, 10_000_000)
    except CanMapError as refused:
        assert all(str(folder) in line for line in str(refused).splitlines()), str(refused)


@given(st.data())
@ANY
def test_a_damaged_profile(tmp_path, data):
    profile_told(tmp_path / "sim-evse.yaml", damaged(data, PROFILE))


@given(st.binary(max_size=200))
@ANY
def test_a_profile_of_any_bytes(tmp_path, content):
    profile_told(tmp_path / "sim-evse.yaml", content)


@given(st.data())
@ANY
def test_a_damaged_dbc(tmp_path, data):
    can_told(tmp_path, damaged(data, DBC), MAP)


@given(st.data())
@ANY
def test_a_damaged_map(tmp_path, data):
    can_told(tmp_path, DBC, damaged(data, MAP))


@pytest.mark.parametrize(
    ("was", "then", "told"),
    [
        (b" StatusA: 8", b" StatusA: 8000000000000", b"bytes of a message: at most 1785"),
        (b"|8@1+", b"| 99999999999999999999 @1+", b"start or length of a signal in bits: at most 14280"),
    ],
)
def test_one_digit_too_many_is_told_at_once(tmp_path, was, then, told):
    """cantools would lay out every bit of it."""
    file = tmp_path / "device.dbc"
    assert was in DBC
    file.write_bytes(DBC.replace(was, then, 1))
    with pytest.raises(CanMapError, match=told.decode()):
        load_can_device(str(file))


def test_a_range_of_multiplexer_values_without_end_is_told_at_once(tmp_path):
    file = tmp_path / "device.dbc"
    file.write_bytes(DBC + b"SG_MUL_VAL_ 257 signal multiplexor 0-99999999999;\n")
    with pytest.raises(CanMapError, match="multiplexer value: at most 65535"):
        load_can_device(str(file))


@pytest.mark.parametrize(
    ("number", "told"),
    [("(0,0)", "a scale of 0 leaves nothing"), ("(1e999,0)", "no number that can"), ("(10,1e999)", "no number")],
)
@pytest.mark.parametrize("signal", ["target_w", "power_w"])
def test_a_scale_that_is_no_number_is_told(tmp_path, signal, number, told):
    """Of a value that is received, and of one that is sent."""
    text = re.sub(rf"(SG_ {signal} : [^(]*)\([^)]*\)", rf"\g<1>{number}", DBC.decode())
    assert number in text
    (tmp_path / "device.dbc").write_text(text)
    (tmp_path / "device.map.yaml").write_bytes(MAP)
    with pytest.raises(CanMapError, match=told):
        load_can_device(f"{tmp_path}/device.dbc").node(1, 230, 10_000_000)


EXTREMES = {"empty": b"", "zeros": b"\0" * 100, "words": b"BO_ " * 500, "open": b'VERSION "' + b"a" * 5000}


@pytest.mark.parametrize("content", EXTREMES.values(), ids=EXTREMES)
def test_extremes_of_a_dbc(tmp_path, content):
    can_told(tmp_path, content, MAP)
