"""Count the tests in the junit files of a folder: `junit_summary.py build/test` writes build/test/summary.json as well.

Given several folders (as .ci/run does), it prints only the line over all of them. Exit code 1 when anything failed.
"""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(slots=True)
class Count:
    """Tests over one or more junit files; `seconds` is the sum of the suites' own times."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0

    def add_file(self, path: Path) -> None:
        root = ET.parse(path).getroot()
        self.seconds = round(self.seconds + sum(float(suite.get("time") or 0) for suite in root.iter("testsuite")), 3)
        for case in root.iter("testcase"):
            if case.find("failure") is not None or case.find("error") is not None:
                self.failed += 1
            elif case.find("skipped") is not None:
                self.skipped += 1
            else:
                self.passed += 1


def main(folders: list[str]) -> int:
    count = Count()
    for folder in folders:
        for path in sorted(Path(folder).glob("*.xml")):
            count.add_file(path)
    if len(folders) == 1 and Path(folders[0]).is_dir():
        (Path(folders[0]) / "summary.json").write_text(json.dumps(asdict(count), indent=2) + "\n")
    print(f"{count.passed} passed, {count.failed} failed" + (f", {count.skipped} skipped" if count.skipped else ""))
    return 1 if count.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
