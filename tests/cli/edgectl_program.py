"""edgectl as its user types it: a program of its own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def edgectl_on(path: Path, *arguments: str, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run edgectl against the socket at `path`, in a folder."""
    command = [sys.executable, "-c", "import sys; from edge.cli.main import main; sys.exit(main())", *arguments]
    settings = os.environ | {"V2G_SOCKET": str(path), "LC_ALL": "C.UTF-8", "TZ": "UTC"} | environment
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=settings, cwd=folder)
