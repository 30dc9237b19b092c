"""The aggregator installs and runs without the gateway's C extension: only edge.model and edge.wire, in a fresh environment."""

from __future__ import annotations

import subprocess
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
NEEDED = ("aggregator", "edge/model", "edge/wire", "edge/__init__.py")


def test_the_aggregator_runs_in_a_fresh_environment_without_the_c_extension(tmp_path: Path) -> None:
    """The environment holds our Python files that it needs and nothing compiled; the libraries come from this one."""
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    site = tmp_path / "ours"
    for needed in NEEDED:
        found = [ROOT / needed] if needed.endswith(".py") else sorted((ROOT / needed).rglob("*.py"))
        for source in found:
            target = site / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    libraries = sysconfig.get_paths()["purelib"]
    program = (
        f"import sys; sys.path += [{str(site)!r}, {libraries!r}]\n"
        "from aggregator.main import main\n"
        "import edge\n"
        f"assert edge.__file__.startswith({str(site)!r}), edge.__file__\n"
        "ours = [name for name in sys.modules if name.startswith('edge.')]\n"
        "assert all(name.startswith(('edge.model', 'edge.wire')) for name in ours), ours\n"
        "main(['--help'])\n"
    )
    done = subprocess.run([python, "-I", "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "dispatch" in done.stdout
