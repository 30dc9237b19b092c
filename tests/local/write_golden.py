"""`python -m tests.local.write_golden` writes the JSON schemas and golden documents anew. Look at the difference."""

import json

from pydantic import TypeAdapter

from tests.local.test_documents import GOLDEN, SCHEMAS, all_documents

if __name__ == "__main__":
    for folder in (GOLDEN, SCHEMAS):
        folder.mkdir(exist_ok=True)
    for name, (shape, document) in all_documents().items():
        (SCHEMAS / f"{name}.json").write_text(json.dumps(TypeAdapter(shape).json_schema(), indent=1, ensure_ascii=False) + "\n")
        (GOLDEN / f"{name}.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
