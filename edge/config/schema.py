"""`python -m edge.config.schema`: the JSON schema of config.yaml as one writes it (for editors and the inventory)."""

from __future__ import annotations

import json
import sys
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from edge.config.settings import Settings


class _AsWritten(GenerateJsonSchema):
    """Defaults as the file writes them (`10ms`), not as the inner integer."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        result = super().default_schema(schema)
        inner: Any = schema["schema"]
        write = inner.get("serialization", {}).get("function")
        if write is not None and "default" in result:
            result["default"] = write(schema["default"])
        return result


def schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of config.yaml."""
    made = Settings.model_json_schema(schema_generator=_AsWritten)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


if __name__ == "__main__":
    json.dump(schema(), sys.stdout, indent=2, ensure_ascii=False)
    print()
