"""What one key can't know about another: references, the fuse tree, budgets, limits and times. Pure; yields every problem."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

from edge.config.derive import MAX_POWER_W, evse_ratings_w, feeder_phases, soc_ceiling, soc_floor, topological
from edge.config.derive import Tree as FuseTree
from edge.config.settings import CanBus, Cell, Connector, Evse, Feeder, Meter, ModbusRtuBus, Settings
from edge.config.units import format_duration
from edge.strict_yaml import KeyPath, Problem, Shown, Tree

Check = Callable[[Tree, Settings], Iterator[Problem]]

MAX_DEPTH = 8
"""V2G_MAX_DEPTH of native/include/v2g.h."""
MAX_CAN_BUSES = 16
"""V2G_MAX_BUSES of native/include/v2g_runtime.h."""
MAX_DERATE_TABLES = 64
"""V2G_MAX_DERATES of native/include/v2g.h."""
GUARD_PERIODS = 2
DISABLED_PROFILES = {
    "en50549-1": "EN 50549-1: its figures have not been checked against the standard",
    "g99": "Engineering Recommendation G99: its figures have not been checked against the standard",
}


def cross_check(tree: Tree, settings: Settings) -> list[Problem]:
    """Every problem between keys of settings that are valid each by itself."""
    return [problem for check in CHECKS for problem in check(tree, settings)]


def _unique_ids(tree: Tree, settings: Settings) -> Iterator[Problem]:
    seen: dict[str, KeyPath] = {}
    for section in ("feeders", "buses", "meters", "evses", "inputs"):
        for i, item in enumerate(getattr(settings, section)):
            path: KeyPath = (section, i, "id")
            if item.id in seen:
                first = tree.line(seen[item.id])
                yield tree.problem(path, item.id, f"this id is taken on line {first}", "give each thing its own id")
            else:
                seen[item.id] = path


def _inputs(tree: Tree, settings: Settings) -> Iterator[Problem]:
    """Each contact is one line of a chip, and says something."""
    feeders = [f.id for f in settings.feeders]
    taken: dict[tuple[str, int], str] = {}
    for i, each in enumerate(settings.inputs):
        path: KeyPath = ("inputs", i)
        place = (each.chip, each.line)
        if place in taken:
            limit = f"{each.chip}: input {taken[place]} reads this line"
            yield tree.problem((*path, "line"), str(each.line), limit, "give another line")
        taken.setdefault(place, each.id)
        if each.feeder is not None and each.feeder not in feeders:
            yield _unknown(tree, (*path, "feeder"), each.feeder, "feeder", feeders)
        limits = each.max_charge_w is not None or each.max_discharge_w is not None
        if each.means == "limit" and not limits:
            yield tree.problem((*path, "means"), "limit", "limits nothing", "give max_charge_w or max_discharge_w")
        if each.means == "emergency-stop" and (limits or each.feeder is not None):
            yield tree.problem((*path, "means"), "emergency-stop", "stops every EVSE, whole", "leave feeder and max_… out")


def _unknown(tree: Tree, path: KeyPath, value: str, what: str, known: Iterable[str]) -> Problem:
    names = ", ".join(known) or "none"
    return tree.problem(path, value, f"no {what} has this id", f"name one of: {names}")


def _references(tree: Tree, settings: Settings) -> Iterator[Problem]:
    feeders = [f.id for f in settings.feeders]
    buses = {b.id: b for b in settings.buses}
    meters = [m.id for m in settings.meters]
    modbus = [b.id for b in settings.buses if not isinstance(b, CanBus)]
    used: dict[str, str] = {}
    for i, feeder in enumerate(settings.feeders):
        if feeder.parent is not None and feeder.parent not in feeders:
            yield _unknown(tree, ("feeders", i, "parent"), feeder.parent, "feeder", feeders)
        if feeder.meter is None:
            continue
        if feeder.meter not in meters:
            yield _unknown(tree, ("feeders", i, "meter"), feeder.meter, "meter", meters)
        elif feeder.meter in used:
            limit = f"already measures feeder {used[feeder.meter]}"
            yield tree.problem(("feeders", i, "meter"), feeder.meter, limit, "give each feeder its own meter")
        used.setdefault(feeder.meter, feeder.id)
    for i, meter in enumerate(settings.meters):
        if meter.bus not in modbus:
            yield _unknown(tree, ("meters", i, "bus"), meter.bus, "Modbus bus", modbus)
        if meter.id not in used:
            yield tree.problem(("meters", i), meter.id, "no feeder names it", "set it as a feeder's `meter`", "warning")
    for i, evse in enumerate(settings.evses):
        if evse.bus not in buses:
            yield _unknown(tree, ("evses", i, "bus"), evse.bus, "bus", buses)
        if evse.feeder not in feeders:
            yield _unknown(tree, ("evses", i, "feeder"), evse.feeder, "feeder", feeders)


def _addresses(tree: Tree, settings: Settings) -> Iterator[Problem]:
    """Each device has what its kind of bus needs, and nothing of another kind."""
    buses = {b.id: b for b in settings.buses}
    taken: dict[tuple[object, ...], str] = {}
    devices: list[tuple[KeyPath, Meter | Evse]] = [(("meters", i), m) for i, m in enumerate(settings.meters)]
    devices += [(("evses", i), e) for i, e in enumerate(settings.evses)]
    for path, device in devices:
        bus = buses.get(device.bus)
        if bus is None:
            continue
        address: tuple[object, ...]
        needed: tuple[str, ...]
        foreign: tuple[str, ...]
        if isinstance(bus, CanBus):
            needed, foreign = ("dbc", "node"), ("profile", "host")
            address = (bus.id, getattr(device, "node", None))
        elif isinstance(bus, ModbusRtuBus):
            needed, foreign = ("profile",), ("host", "dbc", "node")
            address = (bus.id, device.unit)
        else:
            needed, foreign = ("profile", "host"), ("dbc", "node")
            address = (device.host, device.port, device.unit)
        yield from _needs(tree, path, device, bus.kind, needed, foreign)
        if None in address:
            continue
        if address in taken:
            shown = Shown(" ".join(str(part) for part in address))
            limit = f"{taken[address]} has this address"
            yield tree.problem(path, shown, limit, "give each device of a bus its own node, unit or host")
        taken.setdefault(address, device.id)


def _needs(
    tree: Tree, path: KeyPath, device: Meter | Evse, kind: str, needed: Iterable[str], foreign: Iterable[str]
) -> Iterator[Problem]:
    for key in needed:
        if getattr(device, key, None) is None:
            yield tree.problem((*path, key), Shown("missing"), f"a device on a {kind} bus needs it", "add it")
    for key in foreign:
        value = getattr(device, key, None)
        if value is not None:
            yield tree.problem((*path, key), value, f"has no meaning on a {kind} bus", "remove it or change `bus`")


CHANNEL = re.compile(r"([a-z][a-z0-9_-]{0,14}|hub:/.{1,90})")


def _can_channels(tree: Tree, settings: Settings) -> Iterator[Problem]:
    """What each kind of CAN bus needs."""
    for i, bus in enumerate(settings.buses):
        if not isinstance(bus, CanBus):
            continue
        if bus.kind == "can" and not CHANNEL.fullmatch(bus.channel):
            yield tree.problem(("buses", i, "channel"), bus.channel, "is no interface's name", "such as can0, or hub:/PATH")
        if bus.kind == "can" and (bus.interface is not None or bus.options):
            yield tree.problem(("buses", i, "interface"), bus.interface, "belongs to python-can", "remove it or correct `kind`")
        if bus.kind == "python-can" and bus.interface is None:
            remedy = "add it (pcan, slcan, gs_usb, …)"
            yield tree.problem(("buses", i, "interface"), Shown("missing"), "a python-can bus needs it", remedy)
        if bus.kind == "python-can" and not settings.lab:
            limit = "is not real-time: its EVSEs charge, but don't discharge"
            yield tree.problem(("buses", i, "kind"), bus.kind, limit, "use an adapter that Linux drives", "warning")


def _ports(tree: Tree, settings: Settings) -> Iterator[Problem]:
    """The same interface, serial device or listening address twice."""
    taken: dict[str, str] = {}
    for i, bus in enumerate(settings.buses):
        if isinstance(bus, CanBus | ModbusRtuBus):
            key = "channel" if isinstance(bus, CanBus) else "port"
            value = bus.channel if isinstance(bus, CanBus) else bus.port
            if value in taken:
                yield tree.problem(("buses", i, key), value, f"bus {taken[value]} uses it", "one bus per interface or port")
            taken.setdefault(value, bus.id)
    seen: set[str] = set()
    for i, address in enumerate(settings.local.page.bind):
        if address in seen:
            limit = f"port {settings.local.page.port} of this address is bound already"
            yield tree.problem(("local", "page", "bind", i), address, limit, "name each address once")
        seen.add(address)


def _fuse_tree(tree: Tree, settings: Settings) -> Iterator[Problem]:
    roots = [(i, f) for i, f in enumerate(settings.feeders) if f.parent is None]
    for i, feeder in roots[1:]:
        limit = f"only one feeder has no parent, and {roots[0][1].id} is it"
        yield tree.problem(("feeders", i), feeder.id, limit, "name its `parent`")
    for i, feeder in enumerate(settings.feeders):
        rating_w = feeder.rating_a * settings.site.grid.nominal_v * feeder.phases
        if rating_w > MAX_POWER_W:
            shown = Shown(f"{feeder.rating_a} A = {rating_w} W")
            yield tree.problem(("feeders", i, "rating_a"), shown, f"more than {MAX_POWER_W} W", "correct it or nominal_v")
    known = {f.id for f in settings.feeders}
    placed = {f.id: f for f in topological(settings.feeders)}
    for i, feeder in enumerate(settings.feeders):
        if feeder.id not in placed and feeder.parent in known:
            chain = " → ".join(_ancestors(feeder, settings))
            limit = f"never reaches the grid connection ({chain})"
            yield tree.problem(("feeders", i, "parent"), feeder.parent, limit, "break the circle: one feeder has no parent")
        elif feeder.id in placed and feeder.parent is not None:
            yield from _below_parent(tree, i, feeder, placed, settings)


def _ancestors(feeder: Feeder, settings: Settings) -> list[str]:
    parents = {f.id: f.parent for f in settings.feeders}
    chain = [feeder.id]
    while (parent := parents.get(chain[-1])) is not None:
        chain.append(parent)
        if parent in chain[:-1]:
            break
    return chain


def _below_parent(tree: Tree, i: int, feeder: Feeder, placed: dict[str, Feeder], settings: Settings) -> Iterator[Problem]:
    parent = placed[str(feeder.parent)]
    if not set(feeder_phases(feeder)) <= set(feeder_phases(parent)):
        shown = Shown(f"phases {feeder_phases(feeder)}")
        yield tree.problem(("feeders", i), shown, f"{parent.id} has only {feeder_phases(parent)}", "correct phases or phase")
    depth = len(_ancestors(feeder, settings))
    if depth > MAX_DEPTH:
        yield tree.problem(("feeders", i), Shown(f"level {depth}"), f"the tree has at most {MAX_DEPTH}", "leave sections out")


def _budgets(tree: Tree, settings: Settings) -> Iterator[Problem]:
    """Σ fallbacks ≤ rating − declared base load on every feeder, in sum and on each phase."""
    fuses = FuseTree(settings)
    for i, feeder in enumerate(settings.feeders):
        if feeder.id not in fuses.index:
            continue
        path: KeyPath = ("feeders", i)
        base_w, room_w = fuses.base_load_w[feeder.id], fuses.import_w(feeder)
        if base_w > room_w:
            limit = f"the declared base load exceeds what the feeder may carry, {room_w} W"
            yield tree.problem((*path, "base_load_w"), Shown(f"{base_w} W"), limit, "correct base_load_w or rating_a")
            continue
        spare_w = room_w - base_w
        children_w = sum(fuses.feeder_fallback_w[c.id] for c in fuses.children[feeder.id])
        evses_w = sum(fuses.evse_fallback_w[e.id] for e in fuses.direct[feeder.id])
        figures = f"{room_w} W rating − {base_w} W base load = {spare_w} W"
        if children_w + evses_w > spare_w:
            shown = Shown(f"Σ fallbacks {evses_w} W of EVSEs + {children_w} W of child feeders = {evses_w + children_w} W")
            remedy = "lower fallback_w or fallback_charge_w below this feeder"
            yield tree.problem(path, shown, f"more than {figures}", remedy)
        if feeder.fallback_w is not None and feeder.fallback_w > spare_w:
            yield tree.problem((*path, "fallback_w"), feeder.fallback_w, f"more than {figures}", "lower it")
        yield from _phase_budget(tree, path, feeder, fuses)


def _phase_budget(tree: Tree, path: KeyPath, feeder: Feeder, fuses: FuseTree) -> Iterator[Problem]:
    base = fuses.base_lanes_w(feeder)
    phase_w = fuses.rating_w(feeder) // feeder.phases
    for phase in feeder_phases(feeder):
        below = [e for e in fuses.evses_below(feeder) if phase in e.phase_map]
        load_w = sum(fuses.evse_fallback_w[e.id] // len(e.phase_map) for e in below)
        spare_w = phase_w - base[phase - 1]
        if load_w > spare_w:
            shown = Shown(f"Σ EVSE fallbacks on L{phase} {load_w} W")
            limit = f"more than {phase_w} W of the fuse − {base[phase - 1]} W base load = {spare_w} W"
            yield tree.problem(path, shown, limit, "spread phase_map over the phases or lower fallback_charge_w")


def _evses(tree: Tree, settings: Settings) -> Iterator[Problem]:
    feeders = {f.id: f for f in settings.feeders}
    for i, evse in enumerate(settings.evses):
        path: KeyPath = ("evses", i)
        if len(set(evse.phase_map)) != len(evse.phase_map):
            yield tree.problem((*path, "phase_map"), Shown(str(list(evse.phase_map))), "a phase is named twice", "correct it")
        feeder = feeders.get(evse.feeder)
        if feeder is not None and not set(evse.phase_map) <= set(feeder_phases(feeder)):
            limit = f"feeder {feeder.id} has only phases {list(feeder_phases(feeder))}"
            yield tree.problem((*path, "phase_map"), Shown(str(list(evse.phase_map))), limit, "correct one of them")
        yield from _evse_powers(tree, path, evse, settings)
        floor, ceiling = soc_floor(settings, evse), soc_ceiling(settings, evse)
        if floor + settings.limits.soc_hysteresis > ceiling - settings.limits.soc_hysteresis:
            key = "min_soc_threshold" if evse.min_soc_threshold is not None else "max_soc"
            at = (*path, key) if getattr(evse, key) is not None else path
            limit = f"floor {floor / 100:g} % and ceiling {ceiling / 100:g} % leave no room between their hystereses"
            yield tree.problem(at, Shown(evse.id), limit, "lower the floor or raise the ceiling")


def _evse_powers(tree: Tree, path: KeyPath, evse: Evse, settings: Settings) -> Iterator[Problem]:
    charge_w, discharge_w = evse_ratings_w(evse, settings.site.grid.nominal_v)
    if charge_w == 0:
        yield tree.problem((*path, "rating_w"), evse.rating_w, "the EVSE could never charge", "give its rated power in W")
    pairs = [
        ("min_charge_w", evse.min_charge_w, charge_w),
        ("min_discharge_w", evse.min_discharge_w, discharge_w),
        ("fallback_charge_w", evse.fallback_charge_w or 0, charge_w),
        ("fallback_discharge_w", evse.fallback_discharge_w or 0, discharge_w),
    ]
    for key, value_w, rating_w in pairs:
        if value_w > rating_w:
            yield tree.problem((*path, key), value_w, f"more than the rating of EVSE and cable, {rating_w} W", "lower it")


def _limits(tree: Tree, settings: Settings) -> Iterator[Problem]:
    lowest = settings.limits.absolute_min_soc
    thresholds: list[tuple[KeyPath, int | None]] = [(("limits", "min_soc_threshold"), settings.limits.min_soc_threshold)]
    thresholds += [(("evses", i, "min_soc_threshold"), e.min_soc_threshold) for i, e in enumerate(settings.evses)]
    for path, value in thresholds:
        if value is not None and value < lowest:
            limit = f"below absolute_min_soc, {lowest / 100:g} %, which holds"
            yield tree.problem(path, Shown(f"{value / 100:g}"), limit, "raise it, or lower limits.absolute_min_soc", "warning")
    for name in ("connector", "cable", "charger", "cell"):
        yield from _thermal(tree, ("thermal", name), getattr(settings.thermal, name))
    if settings.modbus.backoff_min_ns > settings.modbus.backoff_max_ns:
        shown = Shown(format_duration(settings.modbus.backoff_min_ns))
        yield tree.problem(("modbus", "backoff_min"), shown, "longer than backoff_max", "swap or correct them")


def _thermal(tree: Tree, path: KeyPath, limits: Connector | Cell) -> Iterator[Problem]:
    order = [
        ("resume_c", limits.resume_dc),
        ("derate_from_c", limits.derate_from_dc),
        ("derate_to_c", limits.derate_to_dc),
        ("stop_c", limits.stop_dc),
    ]
    for (low_key, low), (high_key, high) in pairwise(order):
        if low > high or (low == high and low_key == "derate_from_c"):
            limit = f"resume ≤ derate_from < derate_to ≤ stop, but {low_key} is {low / 10:g}"
            yield tree.problem((*path, high_key), Shown(f"{high / 10:g}"), limit, "put the four in order")


def _times(tree: Tree, settings: Settings) -> Iterator[Problem]:
    period_ns = settings.cycle.period_ns
    timeout_ns = settings.guard.timeout_ns
    if timeout_ns is not None and timeout_ns < GUARD_PERIODS * period_ns:
        limit = f"shorter than 2 periods of {format_duration(period_ns)}"
        shown = Shown(format_duration(timeout_ns))
        yield tree.problem(("guard", "timeout"), shown, limit, f"use at least {format_duration(GUARD_PERIODS * period_ns)}")
    if not settings.guard.required and not settings.lab:
        limit = "without a guard no power flows on a site"
        yield tree.problem(("guard", "required"), Shown("false"), limit, "remove it, or say `lab: true` on a bench")
    if settings.plan.lease_ns < 2 * settings.plan.renew_ns:
        limit = f"shorter than two renewals of {format_duration(settings.plan.renew_ns)}"
        yield tree.problem(("plan", "lease"), Shown(format_duration(settings.plan.lease_ns)), limit, "lengthen it")


def _grid(tree: Tree, settings: Settings) -> Iterator[Problem]:
    grid = settings.site.grid
    path: KeyPath = ("site", "grid", "profile")
    if grid.profile in DISABLED_PROFILES:
        limit = f"disabled: {DISABLED_PROFILES[grid.profile]}"
        yield tree.problem(path, grid.profile, limit, "use none, ieee1547-cat1, ieee1547-cat2 or ieee1547-cat3")
    elif grid.profile != "none" and grid.nominal_hz != 60:
        limit = f"its trip frequencies are for 60 Hz, and site.grid.nominal_hz is {grid.nominal_hz}"
        yield tree.problem(path, grid.profile, limit, "set nominal_hz: 60 or profile: none")
    rating_w = [FuseTree(settings).rating_w(f) for f in settings.feeders if f.parent is None]
    for key in ("import_limit_w", "export_limit_w"):
        value_w = getattr(grid, key)
        if value_w is not None and rating_w and value_w > rating_w[0]:
            limit = f"more than the root feeder's rating, {rating_w[0]} W, which holds"
            yield tree.problem(("site", "grid", key), value_w, limit, "correct one of them", "warning")


def _sizes(tree: Tree, settings: Settings) -> Iterator[Problem]:
    """What the core's fixed tables hold."""
    can = [i for i, bus in enumerate(settings.buses) if isinstance(bus, CanBus)]
    if len(can) > MAX_CAN_BUSES:
        shown = Shown(f"{len(can)} CAN buses")
        yield tree.problem(("buses", can[MAX_CAN_BUSES]), shown, f"at most {MAX_CAN_BUSES}", "use a second gateway")
    ratings = {max(evse_ratings_w(e, settings.site.grid.nominal_v)) for e in settings.evses}
    lines = {settings.thermal.connector, settings.thermal.cable, settings.thermal.charger}
    tables = len(ratings) * (len(lines) + 1)
    if tables > MAX_DERATE_TABLES:
        shown = Shown(f"{len(ratings)} different ratings × {len(lines) + 1} temperature curves = {tables} tables")
        remedy = "give equal EVSEs equal ratings, or sensors equal curves"
        yield tree.problem(("evses",), shown, f"at most {MAX_DERATE_TABLES}", remedy)


CHECKS: tuple[Check, ...] = (
    _unique_ids,
    _references,
    _inputs,
    _addresses,
    _can_channels,
    _ports,
    _fuse_tree,
    _budgets,
    _evses,
    _limits,
    _times,
    _grid,
    _sizes,
)
