"""The inventory's schema knows every variable of every role, and no other."""

from __future__ import annotations

import json
import re
from pathlib import Path

ANSIBLE = Path(__file__).resolve().parents[2] / "deploy/ansible"
SCHEMA = json.loads((ANSIBLE / "schema.json").read_text())
DEFAULT = re.compile(r"^([a-z0-9_]+):", re.MULTILINE)


def variables() -> set[str]:
    return {name for file in ANSIBLE.glob("roles/*/defaults/main.yml") for name in DEFAULT.findall(file.read_text())}


def test_the_schema_accepts_the_variables_of_the_roles_and_no_misspelt_one() -> None:
    accepted, refused = SCHEMA["propertyNames"]["anyOf"]
    assert set(accepted["enum"]) == variables()
    assert all(re.match(refused["not"]["pattern"], name) for name in variables())


def test_what_the_schema_describes_is_a_variable() -> None:
    assert set(SCHEMA["properties"]) - {"ansible_host"} <= variables()
