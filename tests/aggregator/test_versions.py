"""An older gateway at a newer aggregator, a newer gateway at an older one, and commands both ways: from golden files."""

from __future__ import annotations

from pathlib import Path

import pytest

from aggregator.decode import decode
from aggregator.store import Store
from edge import wire
from edge.model import Outcome
from edge.uplink import Clock, CommandHandler, MemoryLedger, Reception
from edge.wire import topics
from tests.uplink.conftest import Gateway
from tests.wire.other_versions import FOLDER, files, read
from tests.wire.wire_examples import TEST_KEY

ISSUED_MS = 1_764_000_000_001
SIDES = ("older", "newer")


def test_the_golden_files_are_those_that_were_written_down() -> None:
    assert {path: (FOLDER / path).read_bytes() for path in files()} == files()


@pytest.mark.parametrize("side", SIDES)
def test_an_aggregator_takes_in_what_an_older_or_newer_gateway_reports(side: str, tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/a.db")
    birth = decode(topics.birth("site-1"), read(side, "birth"))[1]
    assert isinstance(birth, wire.Birth)
    store.birth("site-1", birth, authorize_new=True)
    history = decode(topics.history("site-1"), read(side, "history"))[1]
    assert isinstance(history, wire.History)
    assert store.history("site-1", history) == history.records[-1].seq  # kinds that it doesn't know are kept as well
    evse_id = birth.evses[0].id
    telemetry = decode(topics.telemetry(evse_id), read(side, "telemetry"))[1]
    assert isinstance(telemetry, wire.Telemetry)
    store.telemetry([telemetry])
    assert isinstance(decode(topics.ack("site-1"), read(side, "ack"))[1], wire.Ack)
    assert store.device(evse_id) is not None and evse_id in store.latest()
    store.close()


async def answer(side: str, name: str) -> tuple[wire.Ack, Gateway]:
    clock = Clock(wall_ns=lambda: ISSUED_MS * 1_000_000, synchronised=lambda: True)
    gateway = Gateway(clock)
    handler = CommandHandler("site-1", {"test": TEST_KEY.public_key()}, MemoryLedger(), gateway, clock)
    reception = Reception(read(side, name), False, clock.monotonic_ns(), ISSUED_MS)
    return await anext(handler.handle(reception)), gateway


@pytest.mark.parametrize("side", SIDES)
async def test_a_gateway_obeys_what_an_older_or_newer_aggregator_commands(side: str) -> None:
    ack, gateway = await answer(side, "command")
    assert ack.outcome is Outcome.APPLIED
    assert gateway.arbiter.renew(0).evses["evse-1"].target_w == -5000
    assert wire.Watermark.decode(read(side, "watermark")).seq > 0


async def test_a_gateway_refuses_a_quantity_of_a_newer_aggregator_by_name_and_does_nothing() -> None:
    ack, gateway = await answer("newer", "command_quantity")
    assert (ack.outcome, ack.code) == (Outcome.UNSUPPORTED, "quantity")
    assert gateway.applied == []
