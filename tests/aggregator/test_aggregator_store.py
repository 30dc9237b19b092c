"""What the aggregator keeps, and that repeats and gaps do no harm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from aggregator.decode import as_json, decode
from aggregator.store import Store
from edge import wire
from edge.wire import WireError, topics
from tests.wire.wire_examples import EXAMPLES


@pytest.fixture(params=["sqlite", "postgresql"])
def url(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """Everything must hold on both databases."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/a.db"
    return request.getfixturevalue("postgresql").new_database()  # type: ignore[no-any-return]


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    store = Store(url)
    yield store
    store.close()


def history(*seqs: int, first: int = 1) -> wire.History:
    records = [wire.Record(seq=seq, ts=0, kind="event", text=f"event {seq}") for seq in seqs]  # type: ignore[call-arg]
    return wire.History(first=first, records=records)


def test_a_repeated_batch_is_stored_once_and_never_moves_the_watermark_back(store: Store) -> None:
    assert store.history("s", history(7, 8, 9, first=7)) == 9
    assert store.history("s", history(7, 8, first=7)) == 9
    assert [seq for seq, _, _ in store.records("s")] == [7, 8, 9]
    assert store.history_lost("s") == 0


def test_a_batch_that_does_not_begin_with_the_oldest_record_moves_no_watermark(store: Store) -> None:
    store.history("s", history(1, 2))
    assert store.history("s", history(5, 6, first=3)) == 2


def test_records_that_the_gateway_had_to_drop_are_counted_as_lost(store: Store) -> None:
    store.history("s", history(1, 2))
    assert store.history("s", history(10, 13, first=10)) == 13
    assert store.history_lost("s") == 9


def test_an_outbox_that_was_made_anew_is_no_loss_of_a_billion_records(store: Store) -> None:
    store.history("s", history(1, 2))
    assert store.history("s", history(1_764_000_000_000, first=1_764_000_000_000)) == 1_764_000_000_000
    assert store.history_lost("s") == 0


def test_the_watermark_survives_a_restart(store: Store, url: str) -> None:
    store.history("s", history(1, 2))
    again = Store(url)
    assert again.watermark("s") == 2
    again.close()


def test_sequence_numbers_rise_whatever_the_clock_does(store: Store) -> None:
    assert [store.next_seq("s", now_ms) for now_ms in (1000, 1000, 500, 3000)] == [1000, 1001, 1002, 3000]


def test_a_new_evse_is_not_authorized_unless_the_config_says_so(store: Store) -> None:
    birth = EXAMPLES["birth"]
    assert isinstance(birth, wire.Birth)
    store.birth("site-1", birth, authorize_new=False)
    device = store.device("evse-1")
    assert device is not None and not device.authorized and device.discharge_w == 10_000
    store.set_device("evse-1", authorized=True, priority_weight=2.0)
    store.birth("site-1", birth, authorize_new=False)
    device = store.device("evse-1")
    assert device is not None and device.authorized and device.priority_weight == 2.0


def test_another_site_cannot_take_over_an_evse(store: Store) -> None:
    birth = EXAMPLES["birth"]
    assert isinstance(birth, wire.Birth)
    store.birth("site-1", birth, authorize_new=True)
    store.birth("site-2", birth, authorize_new=True)
    device = store.device("evse-1")
    assert device is not None and device.site == "site-1"


def test_a_death_counts_only_for_the_life_it_belongs_to(store: Store) -> None:
    birth = EXAMPLES["birth"]
    assert isinstance(birth, wire.Birth)
    store.death("site-1", "an older boot")
    store.birth("site-1", birth, authorize_new=False)
    assert store.sites() == [("site-1", True)]
    store.death("site-1", birth.boot)
    assert store.sites() == [("site-1", False)]
    store.death("site-1", None)
    assert store.sites() == [("site-1", True)]


def test_every_topic_is_decoded_and_a_foreign_one_refused() -> None:
    assert decode(topics.telemetry("evse-1"), EXAMPLES["telemetry"].encode())[1] == EXAMPLES["telemetry"]
    for name in ("birth", "death", "command", "ack", "history", "watermark"):
        assert decode(f"v2g/site/site-1/{name}", EXAMPLES[name].encode()) == ("site-1", EXAMPLES[name])
    assert decode(topics.death("site-1"), b"") == ("site-1", None)
    for topic in ("v2g/fleet/telemetry/other", "v2g/site/site-1/other", "x"):
        with pytest.raises(WireError):
            decode(topic, EXAMPLES["telemetry"].encode())


def test_watch_shows_the_body_of_a_command_and_what_cannot_be_read() -> None:
    assert '"target": -5000' in as_json(topics.command("site-1"), EXAMPLES["command"].encode())
    assert '"error": "no msgpack' in as_json(topics.ack("site-1"), b"\xc1")


def test_a_database_of_an_older_version_gets_what_it_lacks_and_keeps_what_it_has(url: str) -> None:
    store = Store(url)
    store.set_device("evse-1", "site-1", authorized=True)
    with store._engine.begin() as connection:
        for column in ("departure", "departure_soc"):
            connection.execute(text(f"ALTER TABLE authorized_devices DROP COLUMN {column}"))
    store.close()
    again = Store(url)
    device = again.device("evse-1")
    again.close()
    assert device is not None and device.authorized and device.departure is None
