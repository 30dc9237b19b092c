"""`python -m edge.field.schema`: write the JSON schemas of device profiles and DBC maps into the package (a test compares)."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel

from edge.field.canmap import DeviceMap
from edge.field.profile import Profile

FOLDER = Path(__file__).parent / "schema"
MODELS: dict[str, type[BaseModel]] = {"profile.schema.json": Profile, "dbc-map.schema.json": DeviceMap}


def schema_text(name: str) -> str:
    """JSON schema (draft 2020-12) of a profile or a DBC map."""
    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", **MODELS[name].model_json_schema()}
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in MODELS:
        (FOLDER / name).write_text(schema_text(name))
