"""A command is obeyed once, in time, for this site, from a known key; anything else is refused with its outcome."""

from __future__ import annotations

import time
from pathlib import Path

import msgpack
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge import wire
from edge.model import Constraint, Outcome, Scope, ScopeKind, Source
from edge.uplink import Clock, CommandHandler, CommandLedger, Reception, SqliteLedger, UplinkError
from edge.wire import CommandConstraint, CommandScope

EVSE_1 = CommandScope(evse="evse-1")


def reception(payload: bytes, *, retained: bool = False, late_ms: int = 0) -> Reception:
    return Reception(payload, retained, time.monotonic_ns(), int(time.time() * 1000) + late_ms)


async def acks(handler: CommandHandler, payload: bytes, **how: bool | int) -> list[wire.Ack]:
    return [ack async for ack in handler.handle(reception(payload, **how))]  # type: ignore[arg-type]


async def refusal(handler: CommandHandler, payload: bytes, **how: bool | int) -> tuple[Outcome, str | None]:
    [ack] = await acks(handler, payload, **how)
    return ack.outcome, ack.code


async def test_a_good_command_is_applied_and_its_stamps_come_in(handler, orders, gateway) -> None:
    body = orders.body()
    first, on_bus, confirmed = await acks(handler, orders.signed(body))
    assert first.outcome is Outcome.APPLIED and first.stamps.adopted is None
    assert on_bus.stamps.on_bus is not None and on_bus.stamps.confirmed is None
    assert confirmed.stamps.confirmed is not None and confirmed.stamps.issued == body.issued
    assert [(e.id, e.target_w) for e in confirmed.evses] == [("evse-1", -5000)]
    assert len(gateway.applied) == 1


async def test_its_lease_runs_on_the_monotonic_clock_from_reception(handler, orders, gateway) -> None:
    said = CommandConstraint(scope=EVSE_1, quantity="p_w", target_w=1, valid_for_ms=7_000)
    message = reception(orders.signed(orders.body(constraints=[said])))
    async for _ in handler.handle(message):
        pass
    assert gateway.applied[0][0].until_ns == message.monotonic_ns + 7_000_000_000


async def test_a_command_that_names_no_hold_gets_the_configured_one(orders, gateway, clock, ledger) -> None:
    handler = CommandHandler("site-1", {"dev": orders.key.public_key()}, ledger, gateway, clock, valid_for_ms=5_000)
    body = orders.body(constraints=[CommandConstraint(scope=EVSE_1, quantity="p_w", target_w=1)])
    now_ns = clock.monotonic_ns()
    await anext(handler.handle(Reception(orders.signed(body), False, now_ns, clock.unix_ms())))
    assert gateway.applied[0][0].until_ns == now_ns + 5_000_000_000


async def test_a_repeat_gets_the_same_ack_and_nothing_else_happens(handler, orders, gateway) -> None:
    payload = orders.signed(orders.body())
    *_, last = await acks(handler, payload)
    assert await acks(handler, payload) == [last]
    assert len(gateway.applied) == 1
    assert handler.outcomes[Outcome.DUPLICATE] == 1


async def test_a_wish_beyond_the_rating_is_clipped_and_the_ack_says_to_what(handler, orders) -> None:
    said = CommandConstraint(scope=EVSE_1, quantity="p_w", target_w=-99_000)
    *_, last = await acks(handler, orders.signed(orders.body(constraints=[said])))
    assert (last.outcome, last.evses[0].target_w) == (Outcome.CLIPPED, -10_000)


async def test_a_wish_that_the_technician_outranks_is_clipped(handler, orders, gateway) -> None:
    gateway.arbiter.put([Constraint(Source.TECHNICIAN, Scope(ScopeKind.EVSE, "evse-1"), target_w=0)])
    *_, last = await acks(handler, orders.signed(orders.body()))
    assert last.outcome is Outcome.CLIPPED


async def test_an_older_command_after_a_newer_one_is_replayed(handler, orders, gateway) -> None:
    older, newer = orders.body(), orders.body()
    await acks(handler, orders.signed(newer))
    assert await refusal(handler, orders.signed(older)) == (Outcome.REPLAYED, "seq")
    assert len(gateway.applied) == 1


async def test_an_id_that_was_used_for_another_command_is_refused(handler, orders) -> None:
    body = orders.body()
    await acks(handler, orders.signed(body))
    assert await refusal(handler, orders.signed(orders.body(id=body.id))) == (Outcome.REPLAYED, "id_reused")


async def test_a_command_that_came_too_late_is_expired(handler, orders, gateway) -> None:
    assert await refusal(handler, orders.signed(orders.body()), late_ms=2_100) == (Outcome.EXPIRED, "accept_until")
    generous = orders.body(accept_until=int(time.time() * 1000) + 3_600_000)
    assert await refusal(handler, orders.signed(generous), late_ms=2_100) == (Outcome.EXPIRED, "accept_until")
    assert await refusal(handler, orders.signed(orders.body()), late_ms=-60_000) == (Outcome.EXPIRED, "issued_ahead")
    assert gateway.applied == []


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ({"site": "site-2"}, (Outcome.WRONG_SITE, "site")),
        (
            {"constraints": [CommandConstraint(scope=CommandScope(evse="evse-9"), quantity="p_w", max_w=0)]},
            (Outcome.UNSUPPORTED, "unknown_scope"),
        ),
        ({"constraints": [CommandConstraint(scope=EVSE_1, quantity="q_var", max_w=0)]}, (Outcome.UNSUPPORTED, "quantity")),
        ({"constraints": [CommandConstraint(scope=EVSE_1, quantity="permit")]}, (Outcome.UNSUPPORTED, "quantity")),
        (
            {"constraints": [CommandConstraint(scope=EVSE_1, quantity="p_w", max_w=-1)]},
            (Outcome.UNSUPPORTED, "bounds_without_zero"),
        ),
    ],
)
async def test_what_this_site_cannot_do_is_refused_whole(handler, orders, gateway, other, expected) -> None:
    assert await refusal(handler, orders.signed(orders.body(**other))) == expected
    assert gateway.applied == []


async def test_a_forged_unknown_or_unsigned_command_is_refused(handler, orders, gateway) -> None:
    foreign = Ed25519PrivateKey.generate()
    assert await refusal(handler, orders.signed(orders.body(), key=foreign)) == (Outcome.BAD_SIGNATURE, "signature")
    assert await refusal(handler, orders.signed(orders.body(), kid="other")) == (Outcome.UNKNOWN_KEY, "kid")
    assert await refusal(handler, orders.body().encode()) == (Outcome.UNSUPPORTED, "version")
    assert gateway.applied == []


async def test_a_revoked_key_is_no_longer_obeyed_and_a_rotated_one_is(handler, orders) -> None:
    new = Ed25519PrivateKey.generate()
    handler.keys = {"new": new.public_key()}
    assert await refusal(handler, orders.signed(orders.body())) == (Outcome.UNKNOWN_KEY, "kid")
    assert (await acks(handler, orders.signed(orders.body(), "new", new)))[0].outcome is Outcome.APPLIED


async def test_a_retained_command_is_refused_even_with_a_good_signature(handler, orders, gateway) -> None:
    assert await refusal(handler, orders.signed(orders.body()), retained=True) == (Outcome.UNSUPPORTED, "retained")
    assert gateway.applied == []


async def test_an_unreadable_command_is_malformed_and_a_newer_version_unsupported(handler, orders) -> None:
    assert await refusal(handler, b"hello") == (Outcome.MALFORMED, "msgpack")
    assert await refusal(handler, b"\x00" * 20_000) == (Outcome.MALFORMED, "size")
    assert await refusal(handler, msgpack.packb({"v": 2})) == (Outcome.UNSUPPORTED, "version")
    junk = wire.Envelope(kid="dev", body=b"\xc0", sig=orders.key.sign(b"v2g-cmd-v1\0\xc0"))
    assert await refusal(handler, junk.encode()) == (Outcome.MALFORMED, "msgpack")


async def test_no_command_is_obeyed_while_the_wall_clock_is_not_trusted(orders, gateway, ledger) -> None:
    clock = Clock(require_sync=True, synchronised=lambda: False)
    handler = CommandHandler("site-1", {"dev": orders.key.public_key()}, ledger, gateway, clock)
    assert await refusal(handler, orders.signed(orders.body())) == (Outcome.CLOCK_UNTRUSTED, "clock")
    assert gateway.applied == []


@given(st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
async def test_no_bytes_disturb_the_handler(handler, gateway, data) -> None:
    assert (await acks(handler, data))[0].outcome in (Outcome.MALFORMED, Outcome.UNSUPPORTED)
    assert gateway.applied == []


async def test_a_repeat_after_a_restart_gets_the_same_ack_and_an_old_seq_stays_refused(
    tmp_path: Path, orders, gateway, clock
) -> None:
    def gateway_process() -> tuple[CommandHandler, SqliteLedger]:
        ledger = SqliteLedger(tmp_path / "ledger.db")
        return CommandHandler("site-1", {"dev": orders.key.public_key()}, ledger, gateway, clock), ledger

    older, payload = orders.signed(orders.body()), orders.signed(orders.body())
    handler, ledger = gateway_process()
    *_, last = await acks(handler, payload)
    ledger.close()
    handler, ledger = gateway_process()
    assert await acks(handler, payload) == [last]
    assert await refusal(handler, older) == (Outcome.REPLAYED, "seq")
    assert len(gateway.applied) == 1
    ledger.close()


async def test_nothing_is_obeyed_that_cannot_be_remembered(orders, gateway, clock) -> None:
    class FullDisk:
        def find(self, command_id: str) -> None:
            return None

        def highest_seq(self) -> int:
            return 0

        def accept(self, *args: object) -> None:
            raise UplinkError("command ledger can't be written: disk full")

        def update_ack(self, command_id: str, ack: bytes) -> None:
            raise AssertionError("not reached")

        def close(self) -> None:
            pass

    full: CommandLedger = FullDisk()  # type: ignore[assignment]
    handler = CommandHandler("site-1", {"dev": orders.key.public_key()}, full, gateway, clock)
    assert await refusal(handler, orders.signed(orders.body())) == (Outcome.UNSUPPORTED, "ledger")
    assert gateway.applied == []


async def test_a_flood_of_the_same_mistake_is_one_log_line(handler, caplog) -> None:
    for _ in range(1000):
        await refusal(handler, b"garbage")
    assert len([r for r in caplog.records if "malformed" in r.message]) == 1
    assert handler.outcomes[Outcome.MALFORMED] == 1000
