"""`python native/exi/compiler CACHE`: fetches and checks the schemas, nothing else.
`python native/exi/compiler CACHE OUT`: also writes exi_tables.c and the package edge.iso15118.messages into OUT.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))  # the grammar model is shared with the product; nothing else of it is needed here

from native.exi.compiler import emit_c, emit_messages, schemas  # noqa: E402
from native.exi.compiler.automaton import Builder  # noqa: E402
from native.exi.compiler.xsd import SchemaSet  # noqa: E402


def compile_schemas(folder: Path, out: Path) -> None:
    locations = {schemas.XMLDSIG: folder / schemas.ROOTS["xmldsig"]}
    grammars = [Builder(key, SchemaSet(folder / file, locations)).schema() for key, file in schemas.ROOTS.items()]
    out.mkdir(parents=True, exist_ok=True)
    (out / "exi_tables.c").write_text(emit_c.emit(grammars))
    (out / "__init__.py").write_text(emit_messages.PACKAGE)
    for grammar in grammars:
        (out / f"{grammar.key}.grammar.json").write_text(json.dumps(grammar.to_json(), separators=(",", ":")))
        (out / f"{grammar.key}.py").write_text(emit_messages.emit(grammar))


def main(cache: str, out: str = "") -> None:
    try:
        folder = schemas.folder(Path(cache))
    except schemas.SchemasMissing as error:
        sys.exit(f"exi: {error}")
    if out:
        compile_schemas(folder, Path(out))


if __name__ == "__main__":
    main(*sys.argv[1:])
