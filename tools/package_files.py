"""List the files of Python packages for the wheel: `package_files.py BASE PACKAGE…` prints paths relative to BASE, one a line.

meson has no wildcard and wants each file by name; compiled modules, caches and generated files stay out.
"""

from __future__ import annotations

import sys
from pathlib import Path

GENERATED = "edge/iso15118/messages"  # installed by the target that makes it


def package_files(base: Path, package: str) -> list[str]:
    files = (path for path in (base / package).rglob("*") if path.is_file())
    return sorted(
        path.relative_to(base).as_posix()
        for path in files
        if path.suffix != ".so" and "__pycache__" not in path.parts and path.parent != base / GENERATED
    )


if __name__ == "__main__":
    for package in sys.argv[2:]:
        print("\n".join(package_files(Path(sys.argv[1]), package)))
