"""Commissioning of Modbus devices: find them, read them, measure what a profile must know, compare a profile with a device.

Each step is one function of `STEPS`: arguments in, a plain document out, so that edgectl runs it alone or lets the gateway
run it. Every step is bounded in addresses and time. `verify` with `write: true` writes fallback registers; `write` writes
whatever carries no setpoint, and only the running gateway does that, because it knows what carries one.
"""

from __future__ import annotations

import ipaddress
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from edge.field import sunspec, sunspec_grid
from edge.field.modbus_client import (
    MAX_WORDS,
    Excepted,
    Link,
    ModbusError,
    RtuLink,
    TcpLink,
    is_invalid,
    opened,
    raw_value,
    read_register,
    read_request,
    read_words,
    write_coil,
    write_words,
)
from edge.field.profile import WORDS, Fallback, Profile, ProfileError, Reading, Register, load_profile

MAX_HOSTS = 256
SCAN_LIMIT_S = 120.0
SCAN_TIMEOUT_S = 0.3
TIMEOUT_S = 1.0
PROBE_READS = 50
PROBE_REFRESH_S = 3.0
WINDOWS = (2, 4, 8, 16)
TURNS = 5
"""Every window is tried this often; one wrong or missing answer ends it."""
NOBODY = (10, 11)
"""Exceptions with which a gateway says that nobody is behind it."""

Arguments = Mapping[str, Any]
Document = dict[str, Any]
Progress = Callable[[str], None]


class CommissionError(Exception):
    """A step can't be carried out; one line."""


def is_serial(place: str) -> bool:
    """A serial port or a serial server, not a Modbus/TCP device."""
    return place.startswith(("/", "tcp:"))


def open_link(arguments: Arguments, timeout_s: float = TIMEOUT_S) -> Link:
    """`place`: HOST, HOST:PORT, /dev/… or tcp:HOST:PORT; `baud` and `parity` for a line."""
    place = str(arguments["place"])
    timeout_s = float(arguments.get("timeout_s") or timeout_s)
    if is_serial(place):
        return RtuLink(place, int(arguments.get("baud", 19200)), str(arguments.get("parity", "even")), timeout_s)
    host, _, port = place.partition(":")
    return TcpLink(host, int(port or 502), timeout_s)


def _unit(arguments: Arguments) -> int:
    return int(arguments.get("unit", 1))


def _profile(arguments: Arguments) -> Profile:
    try:
        return load_profile(str(arguments["profile"]), Path(arguments.get("folder", ".")))
    except ProfileError as error:
        raise CommissionError(str(error)) from None


# ---- Scan -------------------------------------------------------------------------------------------------------------------


def _hosts(place: str) -> Iterator[tuple[str, int]]:
    """One host, or every address of a network of at most MAX_HOSTS (`10.0.0.0/24`, `10.0.0.0/24:1502`)."""
    text, _, port = place.partition(":")
    if "/" not in text:
        yield text, int(port or 502)
        return
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise CommissionError(f"{text}: {error}") from None
    if network.num_addresses > MAX_HOSTS:
        raise CommissionError(f"{text}: {network.num_addresses} addresses, at most {MAX_HOSTS} are scanned at a time")
    for address in network.hosts():
        yield str(address), int(port or 502)


def _answers(link: Link, unit: int) -> bool:
    """Somebody answers under this unit, if only with a refusal."""
    try:
        read_words(link, unit, "holding", 0, 1)
    except Excepted as refused:
        return refused.code not in NOBODY
    except ModbusError:
        return False
    return True


def _describe(link: Link, unit: int, place: str, extra: Document) -> Document:
    found: Document = {"place": place, "unit": unit, **extra}
    try:
        _, models = sunspec.discover(lambda at, count: read_words(link, unit, "holding", at, count))
        found["sunspec"] = [m.id for m in models]
        found |= sunspec.identity(lambda at, count: read_words(link, unit, "holding", at, count), models)
    except (ModbusError, sunspec.SunSpecError):
        pass  # most devices are none
    return found


def scan(arguments: Arguments, progress: Progress) -> Document:
    """`place`, `units` (first, last), `bauds`, `parities`: every device that answers. Ends after SCAN_LIMIT_S at the latest."""
    place = str(arguments["place"])
    first, last = arguments.get("units") or ((1, 32) if is_serial(place) else (1, 1))
    units = range(int(first), int(last) + 1)
    end_s = time.monotonic() + SCAN_LIMIT_S
    lines = _serial_lines(arguments) if is_serial(place) else _tcp_lines(place)
    found: list[Document] = []
    complete = True
    for name, settings in lines:
        if time.monotonic() > end_s:
            complete = False
            break
        progress(f"{name} …")
        try:
            with opened(open_link({**arguments, **settings}, SCAN_TIMEOUT_S)) as link:
                for unit in units:
                    complete = complete and time.monotonic() <= end_s
                    if complete and _answers(link, unit):
                        extra = {k: v for k, v in settings.items() if k != "place"}
                        found.append(_describe(link, unit, settings["place"], extra))
                        progress(f"{name}: unit {unit} answers")
        except ModbusError as error:
            if "/" not in place.partition(":")[0] or is_serial(place):
                raise CommissionError(str(error)) from None
    return {"devices": found, "complete": complete}


def _tcp_lines(place: str) -> Iterator[tuple[str, Document]]:
    for host, port in _hosts(place):
        yield f"{host}:{port}", {"place": f"{host}:{port}"}


def _serial_lines(arguments: Arguments) -> Iterator[tuple[str, Document]]:
    for baud in arguments.get("bauds") or (9600, 19200, 38400, 115200):
        for parity in arguments.get("parities") or ("even", "none"):
            yield f"{arguments['place']} {baud} {parity}", {"place": arguments["place"], "baud": baud, "parity": parity}


# ---- Read -------------------------------------------------------------------------------------------------------------------


def read(arguments: Arguments, progress: Progress) -> Document:
    """Registers as they stand: `table`, `address`, `type`, `words`, `count` values one after the other."""
    kind, count = str(arguments.get("type", "uint16")), int(arguments.get("count", 1))
    if kind not in WORDS or kind == "bit" or not 1 <= count * WORDS[kind] <= MAX_WORDS:
        raise CommissionError(f"{count} × {kind}: at most {MAX_WORDS} registers of {', '.join(sorted(WORDS))}")
    table, address = str(arguments.get("table", "holding")), int(arguments["address"])
    width = WORDS[kind]
    shape = Register.model_validate({"table": table, "address": address, "type": kind, "words": arguments.get("words", "big")})
    with opened(open_link(arguments)) as link:
        words = read_words(link, _unit(arguments), table, address, count * width)
    values = [raw_value(shape, words[i * width : (i + 1) * width]) for i in range(count)]
    return {"table": table, "address": address, "type": kind, "values": values, "registers": [f"{w:#06x}" for w in words]}


# ---- Write ------------------------------------------------------------------------------------------------------------------


def commanding(profile: Profile) -> dict[str, Register]:
    """The registers of a profile with which a device is commanded: only the gateway's own chain writes these."""
    setpoint = profile.setpoint
    found: dict[str, Register | None] = {"heartbeat": profile.heartbeat, "setpoint": setpoint}
    if setpoint is not None:
        found |= {"stop": setpoint.stop, "start": setpoint.start}
    return {name: register for name, register in found.items() if register is not None}


def refuse_commanding(profile: Profile, written: Register) -> None:
    """CommissionError when a raw write would touch a register that commands the device."""
    for name, register in commanding(profile).items():
        apart = written.address + written.count <= register.address or register.address + register.count <= written.address
        if register.table == written.table and not apart:
            raise CommissionError(
                f"{written.table} {written.address}: carries the {name} of {profile.profile}, and nothing commands a device "
                "past the chain of limits: use edgectl test"
            )


def write(arguments: Arguments, progress: Progress) -> Document:
    """One value: `table` (holding or coil), `address`, `type`, `words`, `value`; `profile` says what must not be touched."""
    table, kind = str(arguments.get("table", "holding")), str(arguments.get("type", "uint16"))
    if (
        table not in ("holding", "coil")
        or kind not in WORDS
        or kind.startswith("float")
        or (table == "coil") != (kind == "bit")
    ):
        raise CommissionError(f"{table} {kind}: write an integer to a holding register, or type bit to a coil")
    shape = Register.model_validate(
        {"table": table, "address": int(arguments["address"]), "type": kind, "words": arguments.get("words", "big")}
    )
    refuse_commanding(_profile(arguments), shape)
    value, bits = int(arguments["value"]), 1 if table == "coil" else 16 * shape.count
    low, end = (-(1 << bits - 1), 1 << bits - 1) if kind.startswith("int") else (0, 1 << bits)
    if not low <= value < end:
        raise CommissionError(f"{value}: a {kind} holds {low} to {end - 1}")
    with opened(open_link(arguments)) as link:
        before = _read_if_readable(link, _unit(arguments), shape)
        _write_raw(link, _unit(arguments), shape, value)
        after = _read_if_readable(link, _unit(arguments), shape)
    return {"table": table, "address": shape.address, "type": kind, "before": before, "after": after}


def _read_if_readable(link: Link, unit: int, register: Register) -> int | float | None:
    """None: the device has it for writing only."""
    try:
        return read_register(link, unit, register)
    except Excepted:
        return None


def _write_raw(link: Link, unit: int, register: Register, value: int) -> None:
    if register.table == "coil":
        write_coil(link, unit, register.address, bool(value))
        return
    data = (value & ((1 << 16 * register.count) - 1)).to_bytes(2 * register.count, "big")
    words = [int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2)]
    write_words(link, unit, register.address, words if register.words == "big" else words[::-1])


# ---- Probe ------------------------------------------------------------------------------------------------------------------


def probe(arguments: Arguments, progress: Progress) -> Document:
    """What a profile must know and no paper says: answer times, the window, how often the registers change; and what the
    fallback registers hold."""
    profile, unit = _profile(arguments), _unit(arguments)
    first = profile.registers[0]
    with opened(open_link(arguments)) as link:
        progress("answer times …")
        times_s = sorted(_timed(link, unit, first) for _ in range(PROBE_READS))
        progress("window …")
        window = _window(link, unit, first) if isinstance(link, TcpLink) else 1
    progress("refresh …")
    with opened(open_link(arguments)) as link:  # anew: a device may have closed on too many requests
        changes_s = _changes(link, unit, profile)
        fallback = None if profile.fallback is None else _read_fallback(link, unit, profile.fallback)
    return {
        "reply_ms": {
            "fastest": round(times_s[0] * 1e3, 2),
            "median": round(statistics.median(times_s) * 1e3, 2),
            "slowest": round(times_s[-1] * 1e3, 2),
            "reads": len(times_s),
        },
        "window": window,
        "refresh_ms": None if not changes_s else round(statistics.median(changes_s) * 1e3),
        "changes": len(changes_s),
        "fallback": fallback,
    }


def _read_fallback(link: Link, unit: int, fallback: Fallback) -> Document:
    """What the device does by itself, as its registers say: its power in W, after how long without a write."""
    power, timeout = read_register(link, unit, fallback), read_register(link, unit, fallback.timeout)
    return {"power_w": float(power * fallback.core_scale), "after_ms": float(timeout * fallback.timeout.core_scale)}


def _timed(link: Link, unit: int, register: Register) -> float:
    begin_s = time.monotonic()
    read_register(link, unit, register)
    return time.monotonic() - begin_s


def _window(link: TcpLink, unit: int, register: Register) -> int:
    """The most requests at once that were all answered rightly, every time. Requests differ in length, so a mixed-up answer
    shows; a device that breaks at a window is left with the one before."""
    best = 1
    for window in WINDOWS:
        counts = [1 + i % 2 for i in range(window)]
        requests = [read_request(register.table, register.address, count) for count in counts]
        try:
            for _ in range(TURNS):
                answers = link.pipeline(unit, requests)
                if any(a[0] != r[0] or len(a) != 2 + 2 * c for a, r, c in zip(answers, requests, counts, strict=True)):
                    return best
        except ModbusError:
            return best
        best = window
    return best


def _changes(link: Link, unit: int, profile: Profile) -> list[float]:
    """Times between two changes of the liveliest register: the profile's liveness signal, else every value."""
    name = profile.liveness.signal if profile.liveness is not None else None
    watched: list[Reading] = [r for r in profile.registers if name is None or r.signal == name][:4]
    last: list[int | float] | None = None
    at_s: list[float] = []
    end_s = time.monotonic() + PROBE_REFRESH_S
    while time.monotonic() < end_s:
        values = [read_register(link, unit, r) for r in watched]
        if last is not None and values != last:
            at_s.append(time.monotonic())
        last = values
    return [b - a for a, b in itertools.pairwise(at_s)]


# ---- Verify -----------------------------------------------------------------------------------------------------------------


def verify(arguments: Arguments, progress: Progress) -> Document:
    """Every register of a profile against the device: answers, holds a value, holds what the profile requires. With
    `write: true` the fallback registers are written as the gateway will write them, and read back."""
    profile, unit = _profile(arguments), _unit(arguments)
    lines: list[Document] = []
    with opened(open_link(arguments)) as link:
        for register in profile.registers:
            lines.append(_check_reading(link, unit, register))
        for required in profile.requires:
            lines.append(_check_holds(link, unit, required, required.value, required.about))
        if profile.fallback is not None:
            if arguments.get("write"):
                progress("writing the fallback registers …")
                _write_fallback(link, unit, profile)
            lines += _check_fallback(link, unit, profile)
    return {"profile": profile.profile, "lines": lines, "ok": all(line["ok"] for line in lines)}


def _check_reading(link: Link, unit: int, register: Reading) -> Document:
    line: Document = {"what": register.signal, "table": register.table, "address": register.address}
    try:
        raw = read_register(link, unit, register)
    except ModbusError as error:
        return line | {"ok": False, "why": str(error)}
    if is_invalid(register, raw):
        return line | {"ok": True, "value": None, "unit": register.unit, "why": "no value now"}
    if register.codes:
        state = next((name for name, codes in register.codes.items() if raw in codes), None)
        return line | {"ok": state is not None, "value": state, "why": "" if state else f"code {raw} has no meaning here"}
    return line | {"ok": True, "value": round(float(raw * register.scale), 6), "unit": register.unit}


def _check_holds(link: Link, unit: int, register: Register, wanted: int, about: str) -> Document:
    line: Document = {"what": about, "table": register.table, "address": register.address}
    try:
        raw = read_register(link, unit, register)
    except ModbusError as error:
        return line | {"ok": False, "why": str(error)}
    return line | {"ok": raw == wanted, "value": raw, "why": "" if raw == wanted else f"must be {wanted}"}


def _write_fallback(link: Link, unit: int, profile: Profile) -> None:
    fallback = profile.fallback
    if fallback is None:
        return
    for register, value in ((fallback, fallback.value), (fallback.timeout, fallback.timeout.value)):
        if value is not None:
            _write_raw(link, unit, register, value)


def _check_fallback(link: Link, unit: int, profile: Profile) -> list[Document]:
    fallback = profile.fallback
    if fallback is None:
        return []
    lines = [_check_holds(link, unit, fallback, fallback.value, "fallback: 0 W when nobody writes")]
    if fallback.timeout.value is not None:
        lines.append(_check_holds(link, unit, fallback.timeout, fallback.timeout.value, "fallback: its time-out"))
    return lines


# ---- SunSpec ----------------------------------------------------------------------------------------------------------------


def sunspec_step(arguments: Arguments, progress: Progress) -> Document:
    """Models, identity and grid functions of a SunSpec device; `make: meter|charger` adds a profile named `name`."""
    unit = _unit(arguments)
    with opened(open_link(arguments)) as link:

        def words(address: int, count: int) -> list[int]:
            return read_words(link, unit, "holding", address, count)

        base, models = sunspec.discover(words)
        functions = sunspec_grid.read_functions(words, models)
        document: Document = {
            "base": base,
            **sunspec.identity(words, models),
            "models": [{"id": m.id, "address": m.address, "length": m.length} for m in models],
            "grid_functions": [function.document() for function in functions.values()],
        }
        if arguments.get("grid_profile"):
            document["differences"] = sunspec_grid.compare(functions, str(arguments["grid_profile"]))
        if arguments.get("make") == "meter":
            turn = bool(arguments.get("export_positive"))
            document["profile"] = sunspec.meter_profile(words, str(arguments["name"]), turn)
        elif arguments.get("make") == "charger":
            document["profile"] = sunspec.der_profile(words, str(arguments["name"]))
    return document


STEPS: dict[str, Callable[[Arguments, Progress], Document]] = {
    "scan": scan,
    "read": read,
    "write": write,
    "probe": probe,
    "verify": verify,
    "sunspec": sunspec_step,
}


COMMANDS = {"scan": "modbus scan", "read": "modbus read", "write": "modbus write", "sunspec": "sunspec scan"}
COMMANDS |= {"probe": "probe", "verify": "verify"}
"""How edgectl calls each step."""


def run(step: str, arguments: Arguments, progress: Progress = lambda text: None) -> Document:
    """One step. CommissionError says in one line why it can't be done."""
    try:
        return STEPS[step](arguments, progress)
    except (ModbusError, sunspec.SunSpecError) as error:
        raise CommissionError(f"{arguments.get('place')}: {error}") from None
    except (KeyError, ValueError, TypeError) as error:
        raise CommissionError(f"{step}: {error}: see edgectl {COMMANDS[step]} --help") from None
