"""Make the checkout importable in .venv and write the console programs that pyproject.toml names.

The checkout is used in place (a .pth file), so an edited file takes effect at once; the wheel that users install is built
by `make dist` from the same tree.
"""

from __future__ import annotations

import sys
import sysconfig
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    site = Path(sysconfig.get_path("purelib"))
    (site / "v2g_checkout.pth").write_text(f"{ROOT}\n{ROOT / 'firmware-sim'}\n")
    scripts = Path(sysconfig.get_path("scripts"))
    for name, target in project["scripts"].items():
        module, function = target.split(":")
        script = scripts / name
        script.write_text(f"#!{sys.executable}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n")
        script.chmod(0o755)
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = project.get("entry-points", {})
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in items.items()) for group, items in groups.items()]
    (info / "entry_points.txt").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
