"""The documentation builds into a site that asks nobody else for anything."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOADED = re.compile(r"""<(?:script|img|link)[^>]*(?:src|href)=["'](https?:)?//""")


def test_the_site_builds_without_a_broken_link_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    pages = sorted(tmp_path.rglob("*.html"))
    assert {page.name for page in pages} >= {"index.html", "how-it-works.html", "troubleshooting.html", "config.html"}
    assert [page.name for page in pages if LOADED.search(page.read_text())] == []
    assert [style.name for style in tmp_path.rglob("*.css") if re.search(r"url\((https?:)?//", style.read_text())] == []


def test_every_page_has_its_place_in_the_menu() -> None:
    menu = re.search(r"^nav:\n((?:  .*\n)+)", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert menu
    assert set(re.findall(r"[\w-]+\.md", menu[1])) == {page.name for page in (ROOT / "docs").glob("*.md")}
