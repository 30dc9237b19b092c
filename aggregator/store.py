"""What the aggregator keeps: who may be dispatched, newest telemetry, every site's history, the fate of each command."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import BigInteger, Engine, ForeignKey, String, create_engine, event, func, inspect, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from edge.wire import Ack, Birth, CommandBody, History, Record, Telemetry

RENUMBERED = 1_000_000_000
"""A jump this large is no loss: the gateway's outbox was made anew and counts from its clock."""


class Base(DeclarativeBase):
    type_annotation_map = {int: BigInteger}  # noqa: RUF012 (SQLAlchemy's own form): times are ms, 32 bits are too few


class Site(Base):
    """A site and how far its history is stored."""

    __tablename__ = "sites"

    id: Mapped[str] = mapped_column(String(48), primary_key=True)
    boot: Mapped[str | None]
    """Of the last birth message."""
    dead_boot: Mapped[str | None]
    """Of the last death message, until the site clears it when it comes back."""
    watermark: Mapped[int] = mapped_column(default=0)
    """Highest history record up to which everything that the gateway still had is stored."""
    history_lost: Mapped[int] = mapped_column(default=0)
    """Records that the gateway dropped before they were fetched."""
    command_seq: Mapped[int] = mapped_column(default=0)
    """Sequence number of the last command."""

    @property
    def online(self) -> bool:
        """Birth and death are both retained and may come in any order: the boot tells whether the death is of this life."""
        return self.boot is not None and self.boot != self.dead_boot


class Device(Base):
    """One EVSE that announced itself or was entered by hand. Only an authorized one is dispatched."""

    __tablename__ = "authorized_devices"

    evse: Mapped[str] = mapped_column(String(48), primary_key=True)
    site: Mapped[str] = mapped_column(ForeignKey("sites.id"))
    authorized: Mapped[bool] = mapped_column(default=False)
    capability: Mapped[str] = mapped_column(default="unknown")
    charge_w: Mapped[int] = mapped_column(default=0)
    discharge_w: Mapped[int] = mapped_column(default=0)
    priority_weight: Mapped[float | None]
    min_soc_threshold: Mapped[float | None]
    departure: Mapped[int | None]
    """When the vehicle leaves, Unix ms."""
    departure_soc: Mapped[float | None]
    """What its driver wants by then, %."""


class LatestTelemetry(Base):
    """The newest telemetry of an EVSE, as received."""

    __tablename__ = "telemetry"

    evse: Mapped[str] = mapped_column(String(48), primary_key=True)
    ts: Mapped[int]
    message: Mapped[str]


class HistoryRecord(Base):
    """A record of a gateway's outbox; `details` is a JSON object that depends on `kind`."""

    __tablename__ = "history"

    site: Mapped[str] = mapped_column(String(48), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    ts: Mapped[int]
    kind: Mapped[str]
    details: Mapped[str]


class Command(Base):
    """A dispatched command and its way; stamps are Unix ms."""

    __tablename__ = "commands"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    site: Mapped[str] = mapped_column(String(48))
    seq: Mapped[int]
    issued: Mapped[int]
    outcome: Mapped[str | None]
    code: Mapped[str | None]
    received: Mapped[int | None]
    adopted: Mapped[int | None]
    on_bus: Mapped[int | None]
    confirmed: Mapped[int | None]
    acked: Mapped[int | None]
    """When the last ack came in here."""


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else str(value)


class Store:
    """The aggregator's database: SQLite by default, PostgreSQL by URL. Each method is one transaction."""

    def __init__(self, url: str) -> None:
        """`postgresql://…` uses psycopg (`pip install v2g-edge[postgresql]`)."""
        self._engine: Engine = create_engine(re.sub("^postgresql:", "postgresql+psycopg:", url))
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine, "connect", _prepare_sqlite)
        Base.metadata.create_all(self._engine)
        self._add_columns()

    def _add_columns(self) -> None:
        """A database of an older version lacks what came later: all of it may be empty."""
        for table in Base.metadata.sorted_tables:
            there = {column["name"] for column in inspect(self._engine).get_columns(table.name)}
            for column in table.columns:
                if column.name not in there:
                    kind = column.type.compile(self._engine.dialect)
                    with self._engine.begin() as connection:
                        connection.execute(text(f"ALTER TABLE {table.name} ADD COLUMN {column.name} {kind}"))

    def close(self) -> None:
        self._engine.dispose()

    def _insert(self, table: type[Base]) -> Any:
        dialect = postgresql if self._engine.dialect.name == "postgresql" else sqlite
        return dialect.insert(table)

    def _site(self, session: Session, site_id: str) -> Site:
        session.execute(self._insert(Site).values(id=site_id).on_conflict_do_nothing())
        return session.execute(select(Site).where(Site.id == site_id).with_for_update()).scalar_one()

    def birth(self, site_id: str, birth: Birth, *, authorize_new: bool) -> None:
        """A site came up: enter its new EVSEs, renew what is known of the others."""
        with Session(self._engine) as session, session.begin():
            site = self._site(session, site_id)
            site.boot = birth.boot
            for evse in birth.evses:
                device = session.get(Device, evse.id)
                if device is None:
                    device = Device(evse=evse.id, site=site_id, authorized=authorize_new)
                    session.add(device)
                elif device.site != site_id:
                    continue  # another site's EVSE: a person must move it
                device.capability = evse.capability
                device.charge_w, device.discharge_w = evse.ratings.charge_w, evse.ratings.discharge_w

    def death(self, site_id: str, boot: str | None) -> None:
        """The broker lost the site, or it said goodbye; None: it is back and cleared its death."""
        with Session(self._engine) as session, session.begin():
            self._site(session, site_id).dead_boot = boot

    def telemetry(self, messages: Iterable[Telemetry]) -> None:
        """Keep the newest message of each EVSE."""
        rows = [
            {"evse": t.evse, "ts": t.ts, "message": json.dumps(t.model_dump(by_alias=True, exclude_none=True))}
            for t in messages
        ]
        if not rows:
            return
        with Session(self._engine) as session, session.begin():
            statement = self._insert(LatestTelemetry).values(rows)
            update = {"ts": statement.excluded.ts, "message": statement.excluded.message}
            session.execute(statement.on_conflict_do_update(index_elements=["evse"], set_=update))

    def history(self, site_id: str, history: History) -> int:
        """Store a batch, each record once; returns the site's watermark, durable when this returns."""
        with Session(self._engine) as session, session.begin():
            site = self._site(session, site_id)
            rows = [_row(site_id, record) for record in history.records]
            if rows:
                session.execute(self._insert(HistoryRecord).on_conflict_do_nothing(), rows)
            if history.records and history.records[0].seq == history.first:
                _advance(site, [record.seq for record in history.records])
            return site.watermark

    def watermark(self, site_id: str) -> int:
        with Session(self._engine) as session:
            site = session.get(Site, site_id)
            return site.watermark if site else 0

    def next_seq(self, site_id: str, now_ms: int) -> int:
        """A sequence number above every earlier one of this site, also when the database was lost: it follows the clock."""
        with Session(self._engine) as session, session.begin():
            site = self._site(session, site_id)
            site.command_seq = max(site.command_seq + 1, now_ms)
            return site.command_seq

    def command(self, body: CommandBody) -> None:
        """Remember a command that is about to be sent."""
        with Session(self._engine) as session, session.begin():
            session.add(Command(id=body.id, site=body.site, seq=body.seq, issued=body.issued))

    def ack(self, ack: Ack) -> None:
        """Enter a command's outcome and the stamps of its way; an ack for an unknown command is ignored."""
        with Session(self._engine) as session, session.begin():
            command = session.get(Command, ack.id)
            if command is not None:
                command.outcome, command.code = ack.outcome, ack.code
                command.acked = time.time_ns() // 1_000_000
                for stamp in ("received", "adopted", "on_bus", "confirmed"):
                    setattr(command, stamp, getattr(ack.stamps, stamp) or getattr(command, stamp))

    def devices(self) -> Sequence[Device]:
        with Session(self._engine, expire_on_commit=False) as session:
            return session.scalars(select(Device).order_by(Device.site, Device.evse)).all()

    def device(self, evse_id: str) -> Device | None:
        with Session(self._engine, expire_on_commit=False) as session:
            return session.get(Device, evse_id)

    def set_device(self, evse_id: str, site_id: str | None = None, **values: Any) -> Device:
        """Change a device, or enter it when `site_id` is given. Raises KeyError when it is unknown."""
        with Session(self._engine, expire_on_commit=False) as session, session.begin():
            device = session.get(Device, evse_id)
            if device is None:
                if site_id is None:
                    raise KeyError(evse_id)
                self._site(session, site_id)
                device = Device(evse=evse_id, site=site_id)
                session.add(device)
            elif site_id is not None:
                self._site(session, site_id)
                device.site = site_id
            for name, value in values.items():
                setattr(device, name, value)
            session.flush()
            session.refresh(device)
            return device

    def latest(self) -> dict[str, dict[str, Any]]:
        """The newest telemetry of each EVSE, as on the wire."""
        with Session(self._engine) as session:
            return {row.evse: json.loads(row.message) for row in session.scalars(select(LatestTelemetry))}

    def records(self, site_id: str) -> list[tuple[int, str, dict[str, Any]]]:
        """The stored history of a site: (seq, kind, details), oldest first."""
        with Session(self._engine) as session:
            rows = session.scalars(select(HistoryRecord).where(HistoryRecord.site == site_id).order_by(HistoryRecord.seq))
            return [(row.seq, row.kind, json.loads(row.details)) for row in rows]

    def history_lost(self, site_id: str) -> int:
        with Session(self._engine) as session:
            site = session.get(Site, site_id)
            return site.history_lost if site else 0

    def sites(self) -> list[tuple[str, bool]]:
        """Every site and whether it is online."""
        with Session(self._engine) as session:
            return [(site.id, site.online) for site in session.scalars(select(Site).order_by(Site.id))]

    def latencies_ms(self) -> list[tuple[str, str | None, int | None, int | None, int | None]]:
        """The trip-latency table, newest first: (id, outcome, issued→received, received→on_bus, issued→confirmed)."""
        with Session(self._engine) as session:
            rows = session.scalars(select(Command).order_by(Command.issued.desc()).limit(1000))
            return [
                (
                    row.id,
                    row.outcome,
                    None if row.received is None else row.received - row.issued,
                    None if row.on_bus is None or row.received is None else row.on_bus - row.received,
                    None if row.confirmed is None else row.confirmed - row.issued,
                )
                for row in rows
            ]

    def count(self, table: type[Base]) -> int:
        with Session(self._engine) as session:
            return session.scalar(select(func.count()).select_from(table)) or 0


def _advance(site: Site, seqs: Sequence[int]) -> None:
    """Move the watermark over a batch that begins with the oldest record that the gateway still has."""
    new = [seq for seq in seqs if seq > site.watermark]
    if not new:
        return
    if site.watermark and new[0] - site.watermark < RENUMBERED:  # before the first batch nothing is known to be missing
        site.history_lost += new[-1] - site.watermark - len(new)
    site.watermark = new[-1]


def _row(site_id: str, record: Record) -> dict[str, Any]:
    details = json.dumps(record.details(), default=_plain)
    return {"site": site_id, "seq": record.seq, "ts": record.ts, "kind": record.kind, "details": details}


def _prepare_sqlite(connection: Any, record: object) -> None:
    # `run` and `dispatch` share the file, so it keeps the rollback journal: WAL with two writers can corrupt before 3.51.3.
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA busy_timeout = 10000")
