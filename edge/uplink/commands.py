"""From the bytes of a command to an ack: believe nothing that isn't proven, do nothing twice (contracts.md section 2)."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge.arbiter import UnsupportedConstraint
from edge.model import After, Constraint, Outcome, Plan, Quantity, Reason, Scope, ScopeKind, Source
from edge.uplink.clock import Clock
from edge.uplink.errors import UplinkError
from edge.uplink.ledger import CommandLedger, Entry
from edge.uplink.quietlog import QuietLog
from edge.wire import Ack, AckEvse, AckStamps, CommandBody, CommandConstraint, Envelope, WireError, signature_is_good

RECEPTION_WINDOW_MS = 2000
"""A command is received at most this long after it was issued (numbers.md)."""

VALID_FOR_MS = 60_000
"""Hold of a constraint that names none (numbers.md)."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a plan got, as the core's snapshots show it. Stamps are Unix ms; None: not yet."""

    adopted: int | None = None
    on_bus: int | None = None
    confirmed: int | None = None
    evses: tuple[AckEvse, ...] = ()


class CommandSink(Protocol):
    """What the gateway offers the uplink: its arbiter and its core."""

    def preview(self, constraints: Sequence[Constraint]) -> Plan:
        """The plan that these constraints would make. Raises UnsupportedConstraint. Changes nothing."""

    def apply(self, constraints: Sequence[Constraint]) -> Plan:
        """Take the constraints, make a plan and give it to the core."""

    def follow(self, plan: Plan, evse_ids: Sequence[str]) -> AsyncIterator[Progress]:
        """Yield each time the plan got further, each `Progress` fuller than the one before; ends by itself."""


@dataclass(frozen=True, slots=True)
class Reception:
    """One message of the command topic, with its stamps taken when it came in."""

    payload: bytes
    retained: bool
    monotonic_ns: int
    unix_ms: int


class Refused(Exception):
    """A command that is not obeyed."""

    def __init__(self, outcome: Outcome, code: str, text: str) -> None:
        super().__init__(text)
        self.outcome = outcome
        self.code = code


async def _inline(function: Callable[[], T]) -> T:
    return function()


class CommandHandler:
    """Checks a command in the order in which it can be believed, and carries it out once.

    `run_blocking` runs the ledger's disk writes off the event loop, one after the other.
    """

    def __init__(
        self,
        site_id: str,
        keys: Mapping[str, Ed25519PublicKey],
        ledger: CommandLedger,
        sink: CommandSink,
        clock: Clock,
        *,
        window_ms: int = RECEPTION_WINDOW_MS,
        valid_for_ms: int = VALID_FOR_MS,
        run_blocking: Callable[[Callable[[], Entry | None]], Awaitable[Entry | None]] = _inline,
    ) -> None:
        self._site_id = site_id
        self.keys = dict(keys)
        """Key id to public key; replace it to rotate or revoke."""
        self._ledger = ledger
        self._sink = sink
        self._clock = clock
        self._window_ms = window_ms
        self._valid_for_ms = valid_for_ms
        self._run_blocking = run_blocking
        self._log = QuietLog(logging.getLogger("v2g.uplink.commands"))
        self.outcomes: Counter[Outcome] = Counter()
        """Every message of the command topic by what became of it; a repeat counts as `duplicate`."""
        self.last_good_ns: int | None = None
        """When the last command that was obeyed came in (CLOCK_MONOTONIC)."""

    async def handle(self, reception: Reception) -> AsyncIterator[Ack]:
        """Yield the command's ack, then again each time it got more stamps. Never raises on anything that a message holds."""
        command_id, seq = "", None
        try:
            body, digest = self._open(reception)
            command_id, seq = body.id, body.seq
            if body.site != self._site_id:
                raise Refused(Outcome.WRONG_SITE, "site", f"command for site {body.site}")
            repeated = await self._repeated(body, digest)
            if repeated is not None:
                self.outcomes[Outcome.DUPLICATE] += 1
                yield repeated
                return
            self._check_time(body, reception)
            constraints = tuple(translate(c, body.id, reception.monotonic_ns, self._valid_for_ms) for c in body.constraints)
            ack = self._accepted(body, constraints, reception)
            entry = Entry(digest, ack.encode())
            await self._run_blocking(lambda: self._ledger.accept(body.id, body.seq, entry, reception.unix_ms))
        except Refused as refused:
            yield self._refuse(command_id, seq, refused)
            return
        except UnsupportedConstraint as error:
            yield self._refuse(command_id, seq, Refused(Outcome.UNSUPPORTED, error.code, str(error)))
            return
        except UplinkError as error:
            yield self._refuse(command_id, seq, Refused(Outcome.UNSUPPORTED, "ledger", str(error)))
            return
        self.outcomes[ack.outcome] += 1
        self.last_good_ns = reception.monotonic_ns
        async for fuller in self._carry_out(body, constraints, ack):
            yield fuller

    def _open(self, reception: Reception) -> tuple[CommandBody, bytes]:
        """The signed body and its digest; who sent it is proven from here on."""
        if reception.retained:
            raise Refused(Outcome.UNSUPPORTED, "retained", "a retained message is no command; clear it at the broker")
        try:
            envelope = Envelope.decode(reception.payload)
        except WireError as error:
            raise _unreadable(error) from None
        key = self.keys.get(envelope.kid)
        if key is None:
            raise Refused(Outcome.UNKNOWN_KEY, "kid", f"no key {envelope.kid} in uplink.command_keys")
        if not signature_is_good(envelope, key):
            raise Refused(Outcome.BAD_SIGNATURE, "signature", f"key {envelope.kid} didn't sign this body")
        try:
            return CommandBody.decode(envelope.body), hashlib.sha256(envelope.body).digest()
        except WireError as error:
            raise _unreadable(error) from None

    async def _repeated(self, body: CommandBody, digest: bytes) -> Ack | None:
        """The ack of a command that was obeyed before; None: it is new."""
        entry = await self._run_blocking(lambda: self._ledger.find(body.id))
        if entry is None:
            if body.seq <= self._ledger.highest_seq():
                raise Refused(Outcome.REPLAYED, "seq", f"seq {body.seq} is not above {self._ledger.highest_seq()}")
            return None
        if entry.digest != digest:
            raise Refused(Outcome.REPLAYED, "id_reused", f"id {body.id} was used for another command")
        return Ack.decode(entry.ack)

    def _check_time(self, body: CommandBody, reception: Reception) -> None:
        if not self._clock.trusted:
            raise Refused(Outcome.CLOCK_UNTRUSTED, "clock", self._clock.distrust)
        if body.issued > reception.unix_ms + self._window_ms:
            raise Refused(Outcome.EXPIRED, "issued_ahead", f"issued {body.issued - reception.unix_ms} ms after it was received")
        late_ms = reception.unix_ms - min(body.accept_until, body.issued + self._window_ms)
        if late_ms > 0:
            trip_ms = reception.unix_ms - body.issued
            raise Refused(Outcome.EXPIRED, "accept_until", f"{trip_ms} ms from aggregator to gateway, {late_ms} ms too late")

    def _accepted(self, body: CommandBody, constraints: Sequence[Constraint], reception: Reception) -> Ack:
        """The first ack: what the plan makes of the command. Raises UnsupportedConstraint."""
        plan = self._sink.preview(constraints)
        return Ack(
            id=body.id,
            seq=body.seq,
            outcome=Outcome.CLIPPED if _clipped_by_plan(constraints, plan) else Outcome.APPLIED,
            evses=[
                AckEvse(id=evse_id, min_w=p.min_w, max_w=p.max_w, target_w=p.target_w, reason=_plan_reason(p.locked).name)
                for evse_id, p in plan.evses.items()
                if evse_id in _evse_ids(constraints)
            ],
            stamps=AckStamps(issued=body.issued, received=reception.unix_ms),
        )

    async def _carry_out(self, body: CommandBody, constraints: Sequence[Constraint], ack: Ack) -> AsyncIterator[Ack]:
        plan = self._sink.apply(constraints)
        yield ack
        async for progress in self._sink.follow(plan, _evse_ids(constraints)):
            ack = _with_progress(ack, progress, constraints)
            try:
                await self._run_blocking(partial(self._ledger.update_ack, body.id, ack.encode()))
            except UplinkError as error:
                self._log.warning("ledger", str(error))  # the command stands; only its stamps are not remembered
            yield ack

    def _refuse(self, command_id: str, seq: int | None, refused: Refused) -> Ack:
        self.outcomes[refused.outcome] += 1
        self._log.warning(f"command {refused.outcome}", f"{refused} (id {command_id or 'unreadable'})")
        return Ack(id=command_id, seq=seq, outcome=refused.outcome, code=refused.code)


def _unreadable(error: WireError) -> Refused:
    outcome = Outcome.UNSUPPORTED if error.code == "version" else Outcome.MALFORMED
    return Refused(outcome, error.code, str(error))


def translate(said: CommandConstraint, command_id: str, received_ns: int, valid_for_ms: int = VALID_FOR_MS) -> Constraint:
    """A constraint of a command in the gateway's words; its lease runs on the monotonic clock from reception.
    `valid_for_ms`: how long one holds that doesn't say so itself."""
    if said.quantity != Quantity.P_W:
        raise Refused(Outcome.UNSUPPORTED, "quantity", f"quantity {said.quantity!r}; this gateway knows {Quantity.P_W}")
    ids = {ScopeKind.EVSE: said.scope.evse, ScopeKind.FEEDER: said.scope.feeder, ScopeKind.SITE: said.scope.site}
    scope = next(Scope(kind, scope_id) for kind, scope_id in ids.items() if scope_id is not None)
    after = said.after
    return Constraint(
        source=Source.AGGREGATOR,
        scope=scope,
        min_w=said.min_w,
        max_w=said.max_w,
        target_w=said.target_w,
        ramp_w_s=said.ramp_w_s,
        until_ns=received_ns + (said.valid_for_ms or valid_for_ms) * 1_000_000,
        after=None if after is None else After(after.min_w, after.max_w, after.target_w),
        name=command_id,
    )


def _evse_ids(constraints: Sequence[Constraint]) -> tuple[str, ...]:
    return tuple(c.scope.id for c in constraints if c.scope.kind is ScopeKind.EVSE)


def _plan_reason(locked: bool) -> Reason:
    return Reason.LOCKOUT if locked else Reason.PLAN_LIMIT


def _clipped_by_plan(constraints: Sequence[Constraint], plan: Plan) -> bool:
    """Whether somebody else's bound or wish keeps the plan from the command's wish."""
    root = next((feeder for feeder in plan.feeders.values() if feeder.target_w is not None), None)
    for constraint in constraints:
        if constraint.target_w is None:
            continue
        if constraint.scope.kind is ScopeKind.EVSE:
            evse = plan.evses[constraint.scope.id]
            if evse.target_w != constraint.target_w or evse.site_target:
                return True
        elif root is None or root.target_w != constraint.target_w:
            return True
    return False


def _with_progress(ack: Ack, progress: Progress, constraints: Sequence[Constraint]) -> Ack:
    """The ack with the stamps and setpoints that the core shows. A setpoint on its way (`RAMP`) is not clipped."""
    wishes = {c.scope.id: c.target_w for c in constraints if c.scope.kind is ScopeKind.EVSE and c.target_w is not None}
    clipped = any(
        evse.id in wishes and evse.target_w != wishes[evse.id] and evse.reason not in (Reason.NONE.name, Reason.RAMP.name)
        for evse in progress.evses
    )
    stamps = AckStamps(
        issued=ack.stamps.issued,
        received=ack.stamps.received,
        adopted=progress.adopted,
        on_bus=progress.on_bus,
        confirmed=progress.confirmed,
    )
    outcome = Outcome.CLIPPED if clipped else ack.outcome
    return ack.model_copy(update={"outcome": outcome, "evses": list(progress.evses) or ack.evses, "stamps": stamps})
