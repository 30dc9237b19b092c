"""A core whose plan a thread renews, as the gateway does; tests wish and look."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from edge.arbiter import Arbiter
from edge.config import load
from edge.config.devices import load_devices
from edge.core import Core, Setpoint, Snapshot
from edge.core.core import KeptLatches
from edge.field.canmap import EvseField
from edge.model import Constraint, EvseModel, FeederModel, Plan, Scope, ScopeKind, SiteModel, Source


class SiteFiles(Protocol):
    """What a core needs of a site: the config's file and its folder."""

    folder: Path
    path: Path


def site_model(ids: tuple[str, ...] = ("evse-1", "evse-2")) -> SiteModel:
    evses = tuple(EvseModel(evse_id, "row-a", -22000, 22000) for evse_id in ids)
    feeders = (FeederModel("main", None, -50000, 60000), FeederModel("row-a", "main", -43470, 43470))
    return SiteModel("site-1", evses, feeders)


class Running:
    def __init__(self, site: SiteFiles, kept: KeptLatches | None = None, model: SiteModel | None = None) -> None:
        self.site = site
        self.arbiter = Arbiter(model or site_model())
        self.core = Core(boot_id=1)
        settings = load(site.path)
        self.report = self.core.start(settings, load_devices(settings, site.folder), self.plan(), kept)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._renew)
        self._thread.start()

    def plan(self) -> Plan:
        return self.arbiter.renew(time.monotonic_ns())

    def _renew(self) -> None:
        while not self._stop.wait(0.1):
            with self._lock:
                self.core.submit_plan(self.plan())

    def wish(self, power_w: int, evse_id: str = "evse-1") -> None:
        scope = Scope(ScopeKind.EVSE, evse_id)
        with self._lock:
            self.arbiter.put([Constraint(Source.OPERATOR, scope, target_w=power_w, min_w=-22000, max_w=22000)])
            self.core.submit_plan(self.plan())

    def reload(self) -> None:
        settings = load(self.site.path)
        with self._lock:
            self.core.commit_config(settings, load_devices(settings, self.site.folder), self.plan())

    def snapshot(self) -> Snapshot:
        return self.core.snapshot()

    def setpoint(self, evse_id: str = "evse-1") -> Setpoint:
        return self.snapshot().evse(evse_id).setpoint

    def power_w(self, evse_id: str = "evse-1") -> int:
        return self.snapshot().evse(evse_id).inputs.value(EvseField.POWER) or 0

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.core.stop()
        self.core.close()


@contextmanager
def running(site: SiteFiles, kept: KeptLatches | None = None, model: SiteModel | None = None) -> Iterator[Running]:
    run = Running(site, kept, model)
    try:
        yield run
    finally:
        run.close()
