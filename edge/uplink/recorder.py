"""From telemetry to history: sessions (the settlement record), minute aggregates and 15-minute energy registers.

Looks at every EVSE about once a second. Energy comes from the device's registers where it has them, else it is integrated from
the measured power; a record says which. What is open survives a restart through `state` and `restore`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from edge.wire import Telemetry

GAP_S = 10.0
"""Looks further apart than this leave a gap: its energy is unknown and not made up."""

MINUTE_MS = 60_000
QUARTER_MS = 15 * MINUTE_MS
_W_MS_PER_WH = 3_600_000

Finished = tuple[str, int, dict[str, Any]]
"""(kind, ts in Unix ms, details) for the outbox."""


@dataclass(slots=True)
class _Energy:
    """Integrated since the first look, W·ms, both magnitudes."""

    import_wms: int = 0
    export_wms: int = 0
    last_ns: int | None = None
    last_power_w: int | None = None

    def add(self, power_w: int | None, now_ns: int) -> float:
        """Integrate up to now (trapezoid); returns the seconds that are unknown."""
        last_ns, last_power_w = self.last_ns, self.last_power_w
        self.last_ns, self.last_power_w = now_ns, power_w
        if last_ns is None:
            return 0.0
        passed_s = (now_ns - last_ns) / 1e9
        if power_w is None or last_power_w is None or passed_s > GAP_S:
            return passed_s
        mean_wms = (power_w + last_power_w) * (now_ns - last_ns) // 2_000_000
        if mean_wms >= 0:
            self.import_wms += mean_wms
        else:
            self.export_wms -= mean_wms
        return 0.0


@dataclass(slots=True)
class _Session:
    """One vehicle's stay. Energies are the counters at its start."""

    start_ms: int
    boot: str
    import_wh: int
    export_wh: int
    source: str
    soc_start: int | None
    soc_end: int | None
    end_ms: int
    peak_charge_w: int = 0
    peak_discharge_w: int = 0
    unknown_s: float = 0.0
    reasons_s: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class _Minute:
    """Mean, smallest and largest of the values of one minute."""

    start_ms: int
    values: dict[str, list[int]] = field(default_factory=dict)

    def add(self, name: str, value: int | None) -> None:
        if value is not None:
            self.values.setdefault(name, []).append(value)

    def details(self, evse_id: str) -> dict[str, Any]:
        shown = {name: [round(sum(v) / len(v)), min(v), max(v)] for name, v in self.values.items()}
        return {"evse": evse_id, "n": max(len(v) for v in self.values.values()), **shown}


class Recorder:
    """Keeps what is open for each EVSE and gives out what is finished."""

    def __init__(self) -> None:
        self._energy: dict[str, _Energy] = {}
        self._sessions: dict[str, _Session] = {}
        self._minutes: dict[str, _Minute] = {}
        self._quarters: dict[str, int] = {}

    def observe(self, seen: Telemetry, now_ns: int) -> list[Finished]:
        """One look at an EVSE at `now_ns` (CLOCK_MONOTONIC); returns the records that it finished."""
        energy = self._energy.setdefault(seen.evse, _Energy())
        passed_s = 0.0 if energy.last_ns is None else (now_ns - energy.last_ns) / 1e9
        unknown_s = energy.add(seen.power_w, now_ns)
        return [*self._minute(seen), *self._quarter(seen), *self._session(seen, passed_s, unknown_s)]

    def _registers(self, seen: Telemetry) -> tuple[int, int, str]:
        """Cumulative import and export, Wh, and where they come from."""
        if seen.import_wh is not None and seen.export_wh is not None:
            return seen.import_wh, seen.export_wh, "register"
        energy = self._energy[seen.evse]
        return energy.import_wms // _W_MS_PER_WH, energy.export_wms // _W_MS_PER_WH, "integrated"

    def _minute(self, seen: Telemetry) -> list[Finished]:
        start_ms = seen.ts - seen.ts % MINUTE_MS
        minute = self._minutes.get(seen.evse)
        finished: list[Finished] = []
        if minute is not None and minute.start_ms != start_ms and minute.values:
            finished.append(("agg60", minute.start_ms, minute.details(seen.evse)))
        if minute is None or minute.start_ms != start_ms:
            minute = self._minutes[seen.evse] = _Minute(start_ms)
        minute.add("p", seen.power_w)
        minute.add("soc", seen.soc)
        minute.add("t_connector", seen.temperature.connector)
        minute.add("t_cell_max", seen.temperature.cell_max)
        return finished

    def _quarter(self, seen: Telemetry) -> list[Finished]:
        quarter = seen.ts // QUARTER_MS
        before = self._quarters.get(seen.evse)
        self._quarters[seen.evse] = quarter
        if before is None or before == quarter:
            return []
        import_wh, export_wh, source = self._registers(seen)
        details = {"evse": seen.evse, "import_wh": import_wh, "export_wh": export_wh, "source": source}
        return [("energy15", quarter * QUARTER_MS, details)]

    def _session(self, seen: Telemetry, passed_s: float, unknown_s: float) -> list[Finished]:
        session = self._sessions.get(seen.evse)
        if seen.state == "A":
            if session is None:
                return []
            del self._sessions[seen.evse]
            return [("session", session.end_ms, self._settle(seen, session))]
        if session is None:
            import_wh, export_wh, source = self._registers(seen)
            session = _Session(seen.ts, seen.boot, import_wh, export_wh, source, seen.soc, seen.soc, seen.ts)
            self._sessions[seen.evse] = session
            passed_s = unknown_s = 0.0
        session.end_ms = seen.ts
        session.soc_start = seen.soc if session.soc_start is None else session.soc_start
        session.soc_end = seen.soc if seen.soc is not None else session.soc_end
        session.peak_charge_w = max(session.peak_charge_w, seen.power_w or 0)
        session.peak_discharge_w = max(session.peak_discharge_w, -(seen.power_w or 0))
        session.unknown_s += unknown_s
        session.reasons_s[seen.reason] = session.reasons_s.get(seen.reason, 0.0) + passed_s
        return []

    def _settle(self, seen: Telemetry, session: _Session) -> dict[str, Any]:
        import_wh, export_wh, source = self._registers(seen)
        return {
            "evse": seen.evse,
            "start": session.start_ms,
            "end": session.end_ms,
            "import_wh": import_wh - session.import_wh if source == session.source else None,
            "export_wh": export_wh - session.export_wh if source == session.source else None,
            "energy_source": source if source == session.source else "changed",
            "soc_start": session.soc_start,
            "soc_end": session.soc_end,
            "peak_charge_w": session.peak_charge_w,
            "peak_discharge_w": session.peak_discharge_w,
            "unknown_s": round(session.unknown_s),
            "restarted": session.boot != seen.boot,
            "reasons_s": {name: round(seconds) for name, seconds in session.reasons_s.items() if round(seconds) > 0},
        }

    def open_sessions(self) -> list[dict[str, Any]]:
        """What is running now, for the local API."""
        return [{"evse": evse_id, **asdict(session)} for evse_id, session in self._sessions.items()]

    def state(self) -> bytes:
        """Everything that must survive a restart."""
        energy = {evse_id: [e.import_wms, e.export_wms] for evse_id, e in self._energy.items()}
        sessions = {evse_id: asdict(session) for evse_id, session in self._sessions.items()}
        return json.dumps({"energy": energy, "sessions": sessions, "quarters": self._quarters}).encode()

    def restore(self, state: bytes | None) -> None:
        """Go on where `state` was taken; the time between is a gap. Something unreadable begins anew."""
        try:
            saved: Mapping[str, Any] = json.loads(state or b"{}")
            energy = {k: _Energy(int(v[0]), int(v[1])) for k, v in saved.get("energy", {}).items()}
            sessions = {k: _Session(**v) for k, v in saved.get("sessions", {}).items()}
            quarters = {str(k): int(v) for k, v in saved.get("quarters", {}).items()}
        except (ValueError, TypeError, KeyError, IndexError, AttributeError):
            return
        self._energy, self._sessions, self._quarters = energy, sessions, quarters
