"""The device descriptions that the config names: DBC tables, profiles, and what they allow together.

`load_devices` is also what the runtime packs from: it gives the same tables that the check has seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge.config.derive import poll_ns, response_ns
from edge.config.settings import CanBus, Evse, Meter, ModbusRtuBus, Settings
from edge.config.units import MS
from edge.field.canload import MAX_BUS_LOAD_PERMILLE, bus_load_permille
from edge.field.canmap import (
    CanDevice,
    CanMapError,
    CanNode,
    RxMessage,
    TxMessage,
    load_can_device,
)
from edge.field.profile import Profile, ProfileError, load_profile
from edge.strict_yaml import KeyPath, Problem, Shown, Tree

_NORDIC_MS = {"nordic-ffr-1.3s": 1300, "nordic-ffr-1.0s": 1000, "nordic-ffr-0.7s": 700}
ACTIVATION_MS = _NORDIC_MS | {f"{name}-short": ms for name, ms in _NORDIC_MS.items()} | {"ercot-ffr": 250, "neso-dc": 1000}
"""Full activation of each fast service (numbers.md part 2; ERCOT: 15 cycles at 60 Hz)."""
SERVICE_HZ = {name: 60 if name == "ercot-ffr" else 50 for name in ACTIVATION_MS}


@dataclass(frozen=True, slots=True)
class Devices:
    """Compiled device descriptions, by id of the EVSE or meter."""

    can: dict[str, CanNode]
    profiles: dict[str, Profile]


def load_devices(settings: Settings, base: Path) -> Devices:
    """Every device's tables; paths are relative to `base`, the config file's folder. CanMapError or ProfileError when a file
    is wrong (`load` has checked them before)."""
    maps: dict[str, CanDevice] = {}
    nodes: dict[str, CanNode] = {}
    for evse in settings.evses:
        if evse.dbc is not None and evse.node is not None:
            if evse.dbc not in maps:
                maps[evse.dbc] = load_can_device(evse.dbc, base)
            nodes[evse.id] = maps[evse.dbc].node(evse.node, settings.site.grid.nominal_v, settings.cycle.period_ns)
    devices: tuple[Meter | Evse, ...] = (*settings.meters, *settings.evses)
    profiles = {d.id: load_profile(d.profile, base) for d in devices if d.profile is not None}
    return Devices(nodes, profiles)


def check_devices(tree: Tree, settings: Settings) -> list[Problem]:
    """Every problem with DBC files, maps, profiles, bus loads and services."""
    found = _Found(Path(tree.file).parent)
    problems = [p for section in ("meters", "evses") for p in _load_all(tree, settings, section, found)]
    problems += _can_loads(tree, settings, found)
    problems += _can_identifiers(tree, settings, found)
    problems += _services(tree, settings, found)
    problems += _grid_meters(tree, settings, found)
    return problems


class _Found:
    """What could be loaded; each file is read once and its problems are told once."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.nodes: dict[str, CanNode] = {}
        self.profiles: dict[str, Profile] = {}
        self.maps: dict[str, CanDevice | CanMapError] = {}
        self.files: dict[str, Profile | ProfileError] = {}

    def map(self, name: str) -> CanDevice | CanMapError:
        if name not in self.maps:
            try:
                self.maps[name] = load_can_device(name, self.base)
            except CanMapError as err:
                self.maps[name] = err
        return self.maps[name]

    def profile(self, name: str) -> Profile | ProfileError:
        if name not in self.files:
            try:
                self.files[name] = load_profile(name, self.base)
            except ProfileError as err:
                self.files[name] = err
        return self.files[name]


def _load_all(tree: Tree, settings: Settings, section: str, found: _Found) -> Iterator[Problem]:
    told: set[str] = set()
    devices: tuple[Meter | Evse, ...] = getattr(settings, section)
    for i, device in enumerate(devices):
        path: KeyPath = (section, i)
        if device.profile is not None:
            profile = found.profile(device.profile)
            if isinstance(profile, Profile):
                found.profiles[device.id] = profile
                yield from _profile_fits(tree, path, device, profile)
                if isinstance(device, Evse) and profile.setpoint is not None:
                    yield from _follows_in_time(tree, path, settings, device, profile)
            elif device.profile not in told:
                yield from _passed_on(tree, (*path, "profile"), device.profile, profile.problems)
            told.add(device.profile)
        if isinstance(device, Evse) and device.dbc is not None and device.node is not None:
            yield from _compile(tree, path, device, settings, found, told)


def _compile(tree: Tree, path: KeyPath, evse: Evse, settings: Settings, found: _Found, told: set[str]) -> Iterator[Problem]:
    device = found.map(str(evse.dbc))
    if isinstance(device, CanDevice):
        try:
            node = device.node(int(evse.node or 0), settings.site.grid.nominal_v, settings.cycle.period_ns)
            found.nodes[evse.id] = node
            return
        except CanMapError as err:
            device = err
    if evse.dbc not in told:
        yield from _passed_on(tree, (*path, "dbc"), str(evse.dbc), device.problems)
    told.add(str(evse.dbc))


def _passed_on(tree: Tree, path: KeyPath, value: str, problems: list[Problem]) -> Iterator[Problem]:
    """The problems of a device file, each under the config's key that names the file."""
    for problem in problems:
        where = f"{problem.file}:{problem.line}: " if problem.line else ""
        what = ": ".join(part for part in (problem.key, problem.value, problem.limit) if part)
        yield tree.problem(path, value, f"{where}{what}", problem.remedy)


def _profile_fits(tree: Tree, path: KeyPath, device: Meter | Evse, profile: Profile) -> Iterator[Problem]:
    at = (*path, "profile")
    is_evse = isinstance(device, Evse)
    if is_evse == (profile.kind == "meter"):
        limit = f"is the profile of a {profile.kind}"
        yield tree.problem(at, profile.profile, limit, f"name a profile of kind {'evse' if is_evse else 'meter'}")
        return
    if not is_evse:
        if profile.signal("power_w") is None:
            yield tree.problem(at, profile.profile, "has no power_w, so a feeder can't be held", "use another profile")
        return
    if profile.setpoint is None:
        yield tree.problem(at, profile.profile, "has no setpoint, so the EVSE can't be controlled", "use another profile")
        return
    if not profile.writes_verified and not device.accept_unverified:
        limit = "was only read in a document, and its writes were never tried"
        yield tree.problem(at, profile.profile, limit, "try it, or set accept_unverified: true at this EVSE")
    if profile.write.nonvolatile:
        limit = "its setpoint lies in nonvolatile memory, and control writes it cyclically"
        yield tree.problem(at, profile.profile, limit, "use a profile whose setpoint register is volatile")


def _follows_in_time(tree: Tree, path: KeyPath, settings: Settings, evse: Evse, profile: Profile) -> Iterator[Problem]:
    """Until `reaction_time` is over an EVSE stays booked at what it had; it must be over no sooner than the device can show
    that it followed, and, once nobody is heard any more, has fallen back."""
    serial = any(isinstance(b, ModbusRtuBus) and b.id == evse.bus for b in settings.buses)
    poll_ms = poll_ns(settings, evse.poll_ns, serial=serial) // MS
    write_ms = profile.write.min_interval_ms
    needed_ms = write_ms + poll_ms + profile.refresh_ms
    figures = f"a write {write_ms} ms + a poll {poll_ms} ms + its refresh {profile.refresh_ms} ms"
    timeout_ms = _fallback_ms(profile)
    if timeout_ms is not None and timeout_ms + poll_ms > needed_ms:
        needed_ms = timeout_ms + poll_ms
        figures = f"its fallback comes after {timeout_ms} ms, seen {poll_ms} ms later"
    if evse.reaction_time_ns < needed_ms * MS:
        shown = Shown(f"{evse.reaction_time_ns // MS}ms")
        yield tree.problem((*path, "reaction_time"), shown, f"{figures} = {needed_ms} ms", f"set it to {needed_ms}ms or more")


def _fallback_ms(profile: Profile) -> int | None:
    """The time-out that the gateway writes; None: the device's own, which is read back and judged then."""
    fallback = profile.fallback
    if fallback is None or fallback.timeout.value is None:
        return None
    return round(fallback.timeout.value * fallback.timeout.core_scale)


def _can_loads(tree: Tree, settings: Settings, found: _Found) -> Iterator[Problem]:
    for i, bus in enumerate(settings.buses):
        if not isinstance(bus, CanBus):
            continue
        nodes = [found.nodes[e.id] for e in settings.evses if e.bus == bus.id and e.id in found.nodes]
        if any(m.period_ns == 0 for node in nodes for m in node.rx):
            continue
        longer = sorted({name for node in nodes for name in node.fd_messages})
        if longer and not bus.fd:
            shown = Shown(", ".join(longer))
            yield tree.problem(("buses", i), shown, "CAN FD, and the bus is not", "add `fd: true`, or use classic messages")
        load = bus_load_permille(nodes, bus.bitrate, bus.data_bitrate if bus.fd else None)
        if load > MAX_BUS_LOAD_PERMILLE:
            rate = f"{bus.bitrate} bit/s" + (f" and {bus.data_bitrate} bit/s" if bus.fd else "")
            shown = Shown(f"load {load / 10:g} % of {rate} with {len(nodes)} EVSEs and worst-case stuffing")
            limit = f"more than {MAX_BUS_LOAD_PERMILLE / 10:g} %"
            remedy = "move EVSEs to another bus or lengthen cycle.period"
            no_wire = settings.lab and bus.channel.startswith("hub:")
            yield tree.problem(("buses", i), shown, limit, remedy, "warning" if no_wire else "error")


def _can_identifiers(tree: Tree, settings: Settings, found: _Found) -> Iterator[Problem]:
    """No two devices of a bus use one identifier."""
    owner: dict[tuple[str, bool, int], str] = {}
    for i, evse in enumerate(settings.evses):
        node = found.nodes.get(evse.id)
        messages: tuple[RxMessage | TxMessage, ...] = (*node.rx, *node.tx) if node is not None else ()
        for message in messages:
            key = (evse.bus, message.extended, message.can_id)
            if key in owner and owner[key] != evse.id:
                shown = Shown(f"identifier {message.can_id:#x} of {message.name}")
                yield tree.problem(("evses", i), shown, f"is used by {owner[key]} on {evse.bus}", "change node or bus")
                break
            owner.setdefault(key, evse.id)


def _frequency_meters(settings: Settings, found: _Found, *signals: str) -> list[tuple[Meter, Profile]]:
    """The meters that site control asks about the grid: those that tell the frequency, and these signals."""
    known = [(m, found.profiles.get(m.id)) for m in settings.meters]
    return [(m, p) for m, p in known if p is not None and all(p.signal(s) for s in ("frequency_hz", *signals))]


def _services(tree: Tree, settings: Settings, found: _Found) -> Iterator[Problem]:
    meters = _frequency_meters(settings, found)
    for i, service in enumerate(settings.site.grid.services):
        path: KeyPath = ("site", "grid", "services", i)
        if settings.site.grid.nominal_hz != SERVICE_HZ[service]:
            yield tree.problem(path, service, f"is a service of {SERVICE_HZ[service]} Hz grids", "correct nominal_hz")
        if not meters:
            yield tree.problem(path, service, "no meter shows the frequency", "add one, or leave it out")
            continue
        meter_ms = max(p.refresh_ms + poll_ns(settings, m.poll_ns, serial=m.host is None) // MS for m, p in meters)
        slowest = max(settings.evses, key=response_ns)
        needed_ms = meter_ms + response_ns(slowest) // MS
        if needed_ms > ACTIVATION_MS[service]:
            figures = f"meter {meter_ms} ms + EVSE {slowest.id} {response_ns(slowest) // MS} ms = {needed_ms} ms"
            yield tree.problem(path, service, f"{figures}, but it must act in {ACTIVATION_MS[service]} ms", "leave it out")


def _grid_meters(tree: Tree, settings: Settings, found: _Found) -> Iterator[Problem]:
    """A grid profile trips on frequency and voltage: somebody must tell them."""
    grid = settings.site.grid
    if grid.profile == "none":
        return
    if not _frequency_meters(settings, found, "voltage_l1_v"):
        limit = "no meter shows frequency and voltage"
        yield tree.problem(("site", "grid", "profile"), grid.profile, limit, "add one, or use profile: none")
