"""One catalogue of codes: what each reason and outcome means, what usually causes it, what to do, and when it loosens.

Every text that explains a code to a person (edgectl, local page, docs/codes.md) comes from here.
"""

from __future__ import annotations

from edge.model.codeinfo import LEVELS, CodeInfo, Level
from edge.model.conditions import CONDITIONS
from edge.model.outcome import Outcome
from edge.model.reason import Reason


def _reason(
    reason: Reason, title: str, row: int, level: Level, *, meaning: str, cause: str, remedy: str, loosens: str
) -> tuple[str, CodeInfo]:
    return reason.name, CodeInfo(reason.name, title, row, level, meaning, cause, remedy, loosens)


def _outcome(
    outcome: Outcome, title: str, level: Level, *, meaning: str, cause: str, remedy: str, loosens: str
) -> tuple[str, CodeInfo]:
    code = outcome.value
    return code, CodeInfo(code, title, None, level, meaning, cause, remedy, loosens)


REASONS: dict[str, CodeInfo] = dict(
    (
        _reason(
            Reason.NONE,
            "as asked",
            0,
            Level.OK,
            meaning="Nothing bound: the EVSE is told exactly what was asked for.",
            cause="The wish lies inside every limit.",
            remedy="Nothing to do.",
            loosens="follows the next wish",
        ),
        _reason(
            Reason.RATING,
            "rating",
            1,
            Level.OK,
            meaning="The least rating of EVSE, cable and vehicle bounds the power.",
            cause="More was asked than the weakest part may carry, or the vehicle allows less now (cold or full battery).",
            remedy="If the rating looks wrong, compare rating_w and cable_a in the config with the type plate.",
            loosens="when the vehicle or EVSE reports a higher limit, up to the configured rating",
        ),
        _reason(
            Reason.ERR_BIDIRECTIONAL_UNSUPPORTED,
            "bidirectional unsupported",
            1,
            Level.OK,
            meaning="This vehicle and EVSE together can't discharge, so they are only charged.",
            cause="The EVSE did not report the bidirectional flag in this session, or the config gives it no discharge rating.",
            remedy="Check vehicle, EVSE firmware and the rating in the config; then unplug and plug in again.",
            loosens="when the capability is read anew, at the next plug-in",
        ),
        _reason(
            Reason.NOT_READY,
            "not ready",
            1,
            Level.OK,
            meaning="No energy transfer is possible now: 0 W.",
            cause="No vehicle is plugged in, or the Control Pilot is not in state C or D, or the contactor is open.",
            remedy="Plug in; check on the vehicle that charging is enabled. In state B see Control Pilot voltage in the "
            "troubleshooting guide.",
            loosens="when the EVSE reports state C, D or energy transfer",
        ),
        _reason(
            Reason.EVSE_FAULT,
            "EVSE fault",
            1,
            Level.FAULT,
            meaning="The EVSE reports a fault of its own, or Control Pilot state E or F: 0 W.",
            cause="Residual current, welded contactor, Control Pilot short or another fault inside the EVSE.",
            remedy="Read the EVSE's own display or log, clear the fault there.",
            loosens="when the EVSE clears its fault bit",
        ),
        _reason(
            Reason.E_STOP,
            "emergency stop",
            1,
            Level.FAULT,
            meaning="The EVSE reports that its emergency stop is pressed: 0 W.",
            cause="Somebody pressed the button, or its wire is broken.",
            remedy="Find out why it was pressed, make it safe, release the button.",
            loosens="when the button is released and the EVSE reports so",
        ),
        _reason(
            Reason.ERR_V2G_LIMIT_REACHED,
            "SOC floor",
            2,
            Level.OK,
            meaning="The battery is at its state-of-charge floor: no discharge.",
            cause="The lower bound of SOC (last value, less what may have flowed since, less its error) is at the floor: the "
            "highest of min_soc_threshold, departure reserve and absolute floor.",
            remedy="Nothing is wrong. Charge the vehicle, or lower min_soc_threshold in the config if the owner agrees.",
            loosens="when SOC has risen to the floor plus the hysteresis",
        ),
        _reason(
            Reason.SOC_CEILING,
            "SOC ceiling",
            2,
            Level.OK,
            meaning="The battery is full to its ceiling: no charging.",
            cause="SOC reached the configured ceiling.",
            remedy="Nothing is wrong.",
            loosens="when SOC has fallen to the ceiling minus the hysteresis",
        ),
        _reason(
            Reason.SOC_UNKNOWN,
            "SOC unknown",
            2,
            Level.OK,
            meaning="Nobody tells the state of charge, so the vehicle is not discharged.",
            cause="The vehicle sends no SOC (plain AC charging never does), the value is too old, or it was another vehicle's.",
            remedy="Check soc_source in the config and the age of `soc` in `edgectl explain`.",
            loosens="when a fresh SOC of this session arrives",
        ),
        _reason(
            Reason.THERMAL_DERATE,
            "thermal derating",
            3,
            Level.DEGRADED,
            meaning="A temperature is above the start of its derate table: less power.",
            cause="Hot weather, long full power, a dirty filter, or growing contact resistance of the connector.",
            remedy="If one connector derates and its neighbours don't, inspect its contacts.",
            loosens="when the temperature falls, step by step along the table",
        ),
        _reason(
            Reason.THERMAL_STOP,
            "thermal stop",
            3,
            Level.FAULT,
            meaning="A temperature reached its hard stop (or a cell is too cold to charge): 0 W, latched.",
            cause="A bad contact, a blocked fan, a damaged cable; for cells: a hot or frozen battery.",
            remedy="Let it cool. Inspect the connector and cable before the next use.",
            loosens="when the temperature has stayed below resume for the hold time",
        ),
        _reason(
            Reason.THERMAL_SENSOR,
            "temperature sensor lost",
            3,
            Level.DEGRADED,
            meaning="A temperature that should be known is not: no discharge, and reduced charging.",
            cause="Broken sensor or wire, the EVSE sends an invalid code, or its frame stopped coming.",
            remedy="`edgectl explain` names the value and its age; check that sensor.",
            loosens="when the sensor delivers valid values again",
        ),
        _reason(
            Reason.GRID_FREQUENCY,
            "grid frequency",
            4,
            Level.DEGRADED,
            meaning="Grid frequency is outside the limits of the grid profile: power ceases.",
            cause="A grid event, or a profile for another nominal frequency.",
            remedy="Check nominal_hz and grid.profile; else wait for the grid.",
            loosens="when frequency is back inside the enter-service range",
        ),
        _reason(
            Reason.GRID_VOLTAGE,
            "grid voltage",
            4,
            Level.DEGRADED,
            meaning="Grid voltage is outside the limits of the grid profile: power ceases.",
            cause="A grid event, a lost phase, or a wrong nominal voltage in the meter's profile.",
            remedy="Compare the meter's display with `edgectl status`; else wait for the grid.",
            loosens="when voltage is back inside the enter-service range",
        ),
        _reason(
            Reason.ENTER_SERVICE,
            "waiting to enter service",
            4,
            Level.OK,
            meaning="The grid is good again; the grid code asks for a delay and a slow ramp.",
            cause="A trip, or the start of the gateway.",
            remedy="Nothing; the wait is required.",
            loosens="when the enter-service delay is over, then along its ramp",
        ),
        _reason(
            Reason.FEEDER_LIMIT,
            "feeder limit",
            5,
            Level.OK,
            meaning="The fuse of a feeder leaves no more room.",
            cause="Other load on the feeder plus all EVSEs together reach its rating.",
            remedy="Nothing is wrong. If it binds often, look at the feeder's base load and rating_a.",
            loosens="when other load on the feeder falls, then slowly",
        ),
        _reason(
            Reason.PHASE_LIMIT,
            "phase limit",
            5,
            Level.OK,
            meaning="One phase of a feeder leaves no more room.",
            cause="Single-phase vehicles or other load are spread unevenly over the phases.",
            remedy="Check phase_map in the config against the wiring.",
            loosens="when load on that phase falls, then slowly",
        ),
        _reason(
            Reason.SITE_LIMIT,
            "site limit",
            5,
            Level.OK,
            meaning="The import or export limit at the grid connection leaves no more room.",
            cause="The whole site is at import_limit_w or export_limit_w, or at what the utility allows now.",
            remedy="Nothing is wrong. If it binds often, compare import_limit_w and export_limit_w with the contract, "
            "and look at what else draws.",
            loosens="when other load falls or the limit is raised by the one who set it, then slowly",
        ),
        _reason(
            Reason.PLAN_LIMIT,
            "limit of the plan",
            6,
            Level.OK,
            meaning="Somebody with authority limits this EVSE; who, is named beside it.",
            cause="A command of the aggregator, utility, CSMS or technician, or a local mode.",
            remedy="Ask the one who is named.",
            loosens="when the one who set it sets another; its end never loosens",
        ),
        _reason(
            Reason.ERR_SIG_TIMEOUT,
            "signal time-out",
            6,
            Level.DEGRADED,
            meaning="A signal on the way came too late; the fallback limits hold.",
            cause="The plan was not renewed (the Python half stalls), or a constraint ended and nobody sent a new one.",
            remedy="`edgectl status` shows the uplink and the plan's age; `edgectl doctor` checks the path.",
            loosens="when fresh data and an explicit new limit have come",
        ),
        _reason(
            Reason.STALE_METER,
            "meter stale",
            6,
            Level.DEGRADED,
            meaning="The meter of a feeder is lost or frozen: each EVSE below gets its fixed share, no discharge.",
            cause="Network or RS-485 cable, the meter's supply, a wrong unit id or profile, a gateway in front of it.",
            remedy="`edgectl status` names the meter, its address and last error; check these, or its profile if it refuses.",
            loosens="when the meter has delivered three fresh values and a newer plan has come",
        ),
        _reason(
            Reason.EVSE_LOST,
            "EVSE lost",
            6,
            Level.DEGRADED,
            meaning="The EVSE no longer answers: it is told its safe setpoint and booked at what may still flow.",
            cause="CAN cable or termination, the EVSE's supply, a wrong node number, or frames with a wrong CRC or counter.",
            remedy="`edgectl explain` shows the age of each value and the bad frames; check plug and termination (60 Ω).",
            loosens="when three fresh values and a newer plan have come",
        ),
        _reason(
            Reason.NOT_FOLLOWING,
            "not following",
            6,
            Level.DEGRADED,
            meaning="The EVSE was told a setpoint and its power stayed outside.",
            cause="A limit of its own, a firmware that ignores setpoints, or a measured value that stands still.",
            remedy="Compare `power` with `setpoint` in `edgectl explain`; read the EVSE's own log. Then a new command, or "
            "`edgectl lock` and `edgectl unlock`, lets it work again.",
            loosens="when its power is inside again and somebody with authority said something new",
        ),
        _reason(
            Reason.LOCKOUT,
            "locked",
            7,
            Level.DEGRADED,
            meaning="A person locked this EVSE: 0 W.",
            cause="Work on the EVSE, or a safety concern; who and why is shown beside it.",
            remedy="When the work is done: `edgectl unlock EVSE`, by the one who locked it.",
            loosens="when the one who locked it unlocks it",
        ),
        _reason(
            Reason.RAMP,
            "ramp",
            8,
            Level.OK,
            meaning="Power is on its way to the target at the ramp rate; only movement away from 0 is slowed.",
            cause="A new target, or the slow return after a fail-safe.",
            remedy="Nothing to do.",
            loosens="every cycle, until the target is reached",
        ),
        _reason(
            Reason.INIT,
            "starting",
            0,
            Level.OK,
            meaning="The gateway has just started, or the EVSE is new: 0 W until every input was fresh three times.",
            cause="A start, a reload with a new device, or an input that has never come.",
            remedy="If it lasts longer than a second, `edgectl explain` shows which input is missing.",
            loosens="when every input has been fresh three times",
        ),
        _reason(
            Reason.CONFLICT,
            "conflicting limits",
            0,
            Level.DEGRADED,
            meaning="Two limits exclude each other; the value nearest 0 that the safety rows allow was taken.",
            cause="One source demands at least some power, another forbids it.",
            remedy="`edgectl explain` shows both limits and who set them; ask them.",
            loosens="when one of the two is withdrawn",
        ),
        _reason(
            Reason.DEVICE_MINIMUM,
            "below device minimum",
            0,
            Level.OK,
            meaning="What is allowed is less than the EVSE can do at all, so it is 0 W.",
            cause="Limits leave some power but less than the device's minimum (6 A on AC).",
            remedy="Nothing is wrong; raise priority_weight if this vehicle should win over its neighbours.",
            loosens="when the limits leave at least the device's minimum",
        ),
        _reason(
            Reason.OVERRUN,
            "cycles too late",
            0,
            Level.DEGRADED,
            meaning="Three cycles in a row were late: the fallback limits hold.",
            cause="The CPU is overloaded, its clock throttled, or a driver holds interrupts.",
            remedy="`edgectl rt` shows the lateness; `edgectl doctor` checks kernel, core isolation and scheduling.",
            loosens="when cycles are on time again and a newer plan has come",
        ),
        _reason(
            Reason.INVARIANT,
            "invariant broken",
            0,
            Level.FAULT,
            meaning="The core found its own state or limits damaged and holds everything at 0 W.",
            cause="Memory corruption or a defect of the software.",
            remedy="Keep the log, report it, then `systemctl restart v2g-edge`.",
            loosens="when a new config is committed or the gateway is restarted",
        ),
        _reason(
            Reason.NOT_REALTIME,
            "not real-time",
            0,
            Level.DEGRADED,
            meaning="Real-time scheduling was not granted: no discharge.",
            cause="The service lacks CAP_SYS_NICE or LimitRTPRIO, or the kernel refuses SCHED_FIFO.",
            remedy="Use the shipped unit file and a PREEMPT_RT kernel; `edgectl doctor` says which is missing.",
            loosens="when the gateway is restarted and SCHED_FIFO is granted; on a bench, `lab: true`",
        ),
        _reason(
            Reason.GUARD_LOST,
            "guard lost",
            0,
            Level.FAULT,
            meaning="The guard process is gone or has not acknowledged the config: 0 W.",
            cause="v2g-guard was stopped, crashed, or could not open the watchdog.",
            remedy="`systemctl status v2g-edge` and its log; restart the service.",
            loosens="when the guard is alive and has acknowledged the config",
        ),
    )
)
"""By the name of the Reason."""

OUTCOMES: dict[str, CodeInfo] = dict(
    (
        _outcome(
            Outcome.APPLIED,
            "applied",
            Level.OK,
            meaning="The command was adopted as it stands.",
            cause="Signature, sequence, scope and time are good, and no limit stands against it.",
            remedy="Nothing to do.",
            loosens="The command holds for its valid_for_ms; then its `after` bounds hold.",
        ),
        _outcome(
            Outcome.CLIPPED,
            "clipped",
            Level.OK,
            meaning="The command was adopted, but a local limit allows less than it wishes.",
            cause="A row of the constraint chain; the ack names the reason for each EVSE.",
            remedy="`edgectl explain EVSE` shows what binds.",
            loosens="when the limit that is named loosens",
        ),
        _outcome(
            Outcome.DUPLICATE,
            "duplicate",
            Level.OK,
            meaning="The same command id was seen before; the same ack is sent, nothing else happens.",
            cause="MQTT delivered it twice, or the aggregator repeated it.",
            remedy="Nothing to do.",
            loosens="Nothing binds.",
        ),
        _outcome(
            Outcome.EXPIRED,
            "expired",
            Level.DEGRADED,
            meaning="The command came after its accept_until and was ignored.",
            cause="A slow backhaul, a broker that stored it, or clocks that differ.",
            remedy="Compare the clocks of gateway and aggregator; `edgectl status` shows the round trip.",
            loosens="The next command in time is accepted.",
        ),
        _outcome(
            Outcome.REPLAYED,
            "replayed",
            Level.DEGRADED,
            meaning="The sequence number is not newer than one already seen; ignored.",
            cause="An old command was sent again, or the aggregator lost its counter.",
            remedy="Check the aggregator's sequence store; if nobody can explain it, treat it as an attack.",
            loosens="A command with a newer seq is accepted.",
        ),
        _outcome(
            Outcome.BAD_SIGNATURE,
            "bad signature",
            Level.DEGRADED,
            meaning="The signature doesn't fit the command; ignored.",
            cause="The message was changed on the way, or signed with another key.",
            remedy="Compare the aggregator's public key with uplink.command_keys in the config.",
            loosens="A correctly signed command is accepted.",
        ),
        _outcome(
            Outcome.UNKNOWN_KEY,
            "unknown key",
            Level.DEGRADED,
            meaning="The command names a key that this gateway doesn't know; ignored.",
            cause="A new signing key that was not rolled out, or a foreign sender.",
            remedy="Add the key to uplink.command_keys with the Ansible role and reload.",
            loosens="A command signed with a known key is accepted.",
        ),
        _outcome(
            Outcome.WRONG_SITE,
            "wrong site",
            Level.DEGRADED,
            meaning="The command is for another site; ignored.",
            cause="Inventory or broker ACL is wrong.",
            remedy="Compare site.id in the config with the aggregator's inventory.",
            loosens="A command for this site is accepted.",
        ),
        _outcome(
            Outcome.UNSUPPORTED,
            "unsupported",
            Level.DEGRADED,
            meaning="The command names a quantity or scope that this gateway doesn't have; nothing of it is adopted.",
            cause="A newer aggregator, or an EVSE or feeder that was removed.",
            remedy="Compare ids and versions in the birth message.",
            loosens="A command with supported scopes and quantities is accepted.",
        ),
        _outcome(
            Outcome.MALFORMED,
            "malformed",
            Level.DEGRADED,
            meaning="The message can't be read, or breaks a rule of the contract (bounds must contain 0); ignored.",
            cause="A defect or a version mismatch of the sender.",
            remedy="The event's text names the field; correct the sender.",
            loosens="A well-formed command is accepted.",
        ),
        _outcome(
            Outcome.CLOCK_UNTRUSTED,
            "clock untrusted",
            Level.DEGRADED,
            meaning="The gateway's own clock isn't trusted, so it can't tell whether the command is in time; ignored.",
            cause="No NTP since start, or the clock stepped by more than a second.",
            remedy="`timedatectl` and `edgectl doctor`; bring NTP back.",
            loosens="when the clock is synchronised again",
        ),
    )
)
"""By the text of the Outcome."""


def find(code: str) -> CodeInfo | None:
    """The entry of a reason, condition or outcome, however its case is written; None: no such code."""
    return REASONS.get(code.upper()) or CONDITIONS.get(code.upper()) or OUTCOMES.get(code.lower())


def reason_info(reason: Reason) -> CodeInfo:
    return REASONS[reason.name]


def worst(*levels: Level) -> Level:
    """The worst of some levels; OK when there are none."""
    return LEVELS[max((LEVELS.index(level) for level in levels), default=0)]


def to_markdown() -> str:
    """docs/codes.md."""
    lines = [
        "# Codes",
        "",
        "Generated from `edge/model/catalogue.py`; a test keeps it current. `edgectl explain CODE` prints the same text.",
        "The level is what `edgectl status` makes of it: ok is a limit doing its work, degraded wants a look, fault a person.",
    ]
    parts = (("Reasons of a setpoint", REASONS), ("Notices and events", CONDITIONS), ("Outcomes of a command", OUTCOMES))
    for title, entries in parts:
        lines += ["", f"## {title}"]
        for info in entries.values():
            row = f"row {info.row} of the chain, " if info.row else ""
            lines += [
                "",
                f"### `{info.code}` – {info.title}",
                f"{info.meaning} ({row}level {info.level})",
                "",
                f"* **Cause:** {info.cause}",
                f"* **Remedy:** {info.remedy}",
                f"* **Next:** {info.loosens}",
            ]
    return "\n".join(lines) + "\n"
