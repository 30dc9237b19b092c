"""Write the C source of `edge.core._native` from the public headers: they are the one description of every layout.

Usage: cdef.py CC OUTPUT HEADER (the header includes the others)
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cffi import FFI


def declarations(cc: list[str], header: Path) -> str:
    """The header and those it includes as cffi can parse them: preprocessed, atomic words as the plain words they occupy."""
    command = [*cc, "-E", "-P", "-DV2G_CDEF", str(header)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main(cc: str, output: str, header: str) -> None:
    ffi = FFI()
    ffi.cdef(declarations(cc.split(), Path(header)))
    ffi.set_source("edge.core._native", f'#include "{Path(header).name}"')
    ffi.emit_c_code(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
