"""Progress on the screen, each step as a test in junit.xml, figures in summary.json."""

from __future__ import annotations

import json
import time
import traceback
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tools.deploytest.machine import DeployTestError


class Report:
    """Steps in the order in which they were done. A step that fails is told; what comes after it is its caller's choice."""

    def __init__(self, suite: str) -> None:
        self.suite = suite
        self.figures: dict[str, Any] = {}
        self._cases: list[ET.Element] = []
        self._began = time.monotonic()

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """One thing that must hold; whatever goes wrong is a DeployTestError to the caller."""
        print(f"deploy-test {self.suite}: {text}", flush=True)
        began = time.monotonic()
        case = ET.Element("testcase", classname=f"deploy-test.{self.suite}", name=text)
        try:
            yield
        except Exception as error:
            ET.SubElement(case, "failure", message=str(error)[:2000]).text = traceback.format_exc()
            print(f"deploy-test {self.suite}: FAILED: {error}", flush=True)
            raise DeployTestError(str(error)) from error
        finally:
            case.set("time", f"{time.monotonic() - began:.1f}")
            self._cases.append(case)

    def add_junit(self, path: Path) -> tuple[int, int]:
        """The tests of another run; passed and all. Those that failed are told with the first line of why."""
        cases = list(ET.parse(path).getroot().iter("testcase"))
        self._cases += cases
        failed = [(case, why) for case in cases for why in (*case.iter("failure"), *case.iter("error"))]
        for case, why in failed:
            first = why.get("message", "").partition("\n")[0]
            print(f"deploy-test {self.suite}: FAILED: {case.get('classname')} {case.get('name')}: {first}", flush=True)
        return len(cases) - len({id(case) for case, _ in failed}), len(cases)

    @property
    def failed(self) -> int:
        return sum(case.find("failure") is not None or case.find("error") is not None for case in self._cases)

    def junit(self) -> ET.Element:
        suite = ET.Element("testsuite", name=f"deploy-test.{self.suite}", time=f"{time.monotonic() - self._began:.1f}")
        suite.set("tests", str(len(self._cases)))
        suite.set("failures", str(self.failed))
        suite.extend(self._cases)
        return suite


def write(folder: Path, reports: list[Report]) -> None:
    """junit.xml of all; summary.json: figures of the first suite and the fleet at the top, each one's own below its name."""
    suites = ET.Element("testsuites")
    suites.extend(report.junit() for report in reports)
    ET.ElementTree(suites).write(folder / "junit.xml", encoding="utf-8", xml_declaration=True)
    summary: dict[str, Any] = dict(reports[-1].figures) | reports[0].figures
    summary["failed"] = sum(report.failed for report in reports)
    summary["suites"] = {report.suite: report.figures for report in reports}
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
