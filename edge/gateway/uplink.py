"""Settings → a running uplink: keys, ledger, outbox, connection. Made anew when its part of the config changes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path

from edge.config import Settings
from edge.config.settings import Uplink as UplinkSection
from edge.core import Core
from edge.energy import Flexibility
from edge.gateway.identity import Identity
from edge.gateway.messages import birth, telemetry
from edge.uplink import (
    Clock,
    CommandHandler,
    CommandSink,
    LostLedger,
    SqliteLedger,
    Storage,
    Uplink,
    UplinkError,
    UplinkSettings,
    load_command_keys,
)
from edge.uplink.outbox import Outbox

SECOND = 1_000_000_000
MS = 1_000_000


def _open_outbox(path: Path, own: UplinkSection, clock: Clock, lost: list[str]) -> Outbox | None:
    """None, and why in `lost`: the disk can't be used."""
    try:
        outbox = Outbox(path, clock.unix_ms(), own.outbox_keep_ns // MS, own.outbox_max_mib * 1024 * 1024)
    except UplinkError as error:
        lost.append(str(error))
        return None
    clock.not_before_ms = outbox.trusted_ms()
    clock.check()
    return outbox


class UplinkService:
    """One uplink with what it needs; `start` and `stop` on the event loop. UplinkError at construction is a start-up error."""

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        state_dir: Path,
        sink: CommandSink,
        core: Core,
        identity: Callable[[], Identity],
        spare: Callable[[], Mapping[str, Flexibility]],
    ) -> None:
        """`folder`: the config file's, for relative paths."""
        own = settings.uplink
        if own is None:
            raise UplinkError("uplink: not in the config: add the section, or run without it")
        require_sync = not settings.lab if own.require_sync is None else own.require_sync
        clock = Clock(step_limit_ns=own.clock_step_ns, require_sync=require_sync)
        keys = load_command_keys({key.kid: folder / key.key for key in own.command_keys})
        # A disk that is full or read-only at the start is no reason to leave the site without its uplink: no command is obeyed,
        # no history is kept, both are alarms.
        lost: list[str] = []
        self._ledger: SqliteLedger | LostLedger
        try:
            self._ledger = SqliteLedger(state_dir / "commands.sqlite", replay_window_ms=own.replay_window_ns // MS)
        except UplinkError as error:
            lost.append(str(error))
            self._ledger = LostLedger(str(error))
        self._storage = Storage()
        self._ledger_storage = Storage()  # of its own: a command never waits behind a batch of history
        try:
            self._outbox = _open_outbox(state_dir / "outbox.sqlite", own, clock, lost)
            handler = CommandHandler(
                settings.site.id,
                keys,
                self._ledger,
                sink,
                clock,
                window_ms=own.command_window_ns // MS,
                valid_for_ms=own.valid_for_ns // MS,
                run_blocking=self._ledger_storage.run,
            )
            connection = UplinkSettings(
                site_id=settings.site.id,
                host=own.host,
                ca=folder / own.ca,
                cert=folder / own.cert,
                key=folder / own.key,
                port=own.port,
                keep_alive_s=own.keep_alive_ns // SECOND,
                session_expiry_s=own.session_expiry_ns // SECOND,
                telemetry_active_s=own.telemetry_active_ns / SECOND,
                telemetry_idle_s=own.telemetry_idle_ns / SECOND,
                max_round_trip_ms=own.max_round_trip_ns / MS,
                server_name=own.server_name,
                pins=own.pins,
                budget_mb_per_day=own.budget_mb_per_day,
            )
            self.uplink = Uplink(
                connection,
                handler,
                identity().boot,
                lambda: birth(core.snapshot(), core.config, identity(), clock),
                lambda: telemetry(core.snapshot(), core.config, identity(), clock, spare(), core.engine.value),
                clock,
                self._storage,
                self._outbox,
                lost,
            )
            self._handler = handler
        except BaseException:
            self._ledger_storage.close()
            self._storage.close()
            self._ledger.close()
            raise
        self._task: asyncio.Task[None] | None = None

    def start(self) -> asyncio.Task[None]:
        self._task = asyncio.create_task(self.uplink.run(), name="uplink")
        return self._task

    def reload_files(self, folder: Path, own: UplinkSection) -> None:
        """Take rotated or revoked command keys and renewed certificates; the connection goes on. Raises UplinkError and
        changes nothing."""
        self._handler.keys = load_command_keys({key.kid: folder / key.key for key in own.command_keys})
        self.uplink.reload_certificates()

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._outbox is not None:
            await self._storage.run(self._outbox.close)
        self._storage.close()
        self._ledger_storage.close()
        self._ledger.close()
