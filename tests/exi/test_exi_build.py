"""The compiler and what it makes: facts of the schemas, a clear error without them, and what the tables cost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge.iso15118.exi import SchemaSet, _exi
from edge.iso15118.grammar import load
from native.exi.compiler import schemas

# (global elements, elements declared anywhere) of each schema set: they fix the width of the first event code.
ROOTS = {
    "sap": (2, 9),
    "v20_common": (54, 281),
    "v20_ac": (42, 154),
    "v20_dc": (48, 149),
    "v2": (80, 243),
    "din": (81, 245),
    "xmldsig": (24, 45),
}


@pytest.mark.parametrize("key", ROOTS)
def test_the_grammars_know_every_element_of_the_schemas(key: str) -> None:
    assert (len(load(key).documents), len(load(key).fragments)) == ROOTS[key]


def test_schema_sets_and_tables_have_the_same_order() -> None:
    assert [schema.key for schema in SchemaSet] == list(_exi.SCHEMAS)


def test_only_emaid_needs_the_relaxed_fragment_grammar() -> None:
    """It is declared with two types in ISO 15118-2; every other name has one, or one in each namespace."""
    relaxed = {
        (key, schema.types[p.target].name)
        for key in ROOTS
        for schema in [load(key)]
        for p in schema.fragments
        if p.kind == "element" and schema.types[p.target].name == schema.names[p.name][0]
    }
    assert ("v2", "eMAID") in relaxed


def test_no_schema_package_is_one_clear_line(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, str(root / "native/exi/compiler"), str(tmp_path / "cache"), str(tmp_path / "out")]
    environment = {**os.environ, schemas.WHEEL_VARIABLE: str(tmp_path / "missing.whl")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and schemas.PACKAGE in done.stderr and schemas.WHEEL_VARIABLE in done.stderr


def test_a_changed_package_or_schema_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other.whl"
    other.write_bytes(b"PK")
    monkeypatch.setenv(schemas.WHEEL_VARIABLE, str(other))
    with pytest.raises(schemas.SchemasMissing, match="has sha256"):
        schemas.folder(tmp_path)
    for name in schemas.SHA256:
        target = tmp_path / "schemas" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("<schema/>")
    with pytest.raises(schemas.SchemasMissing, match="has sha256"):
        schemas.folder(tmp_path)


def test_the_tables_are_small(tmp_path: Path) -> None:
    """300 kB at most: the whole extension module without debug information, tables, code and symbols, stays below that."""
    stripped = tmp_path / "stripped.so"
    subprocess.run(["strip", "-o", str(stripped), _exi.__file__], check=True)
    assert stripped.stat().st_size < 300_000
