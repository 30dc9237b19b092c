"""What a changed file means for a running gateway, and how settings are shown."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from edge.config.settings import Settings


class Effect(StrEnum):
    LIVE = "live"
    """Applied at the next cycle boundary; sessions go on."""
    NEW_SESSION = "new session"
    """Applied, but what was learnt of this EVSE (SOC, capability, latches start tight) begins anew."""
    RESTART = "restart"
    """Can't be applied to the running process: the whole file is refused until `systemctl restart v2g-edge`."""


@dataclass(frozen=True, slots=True)
class Change:
    """One key that differs, list items named by id; values as the file writes them, None: absent."""

    key: str
    old: Any
    new: Any
    effect: Effect

    def __str__(self) -> str:
        return f"{self.key}: {self.old} → {self.new} ({self.effect})"


RESTART = ("site.id", "lab", "cycle.*", "guard.*", "modbus.*", "buses*", "inputs*", "local.*")
NEW_SESSION = tuple(
    f"evses[[]*].{key}" for key in ("bus", "dbc", "node", "profile", "host", "port", "unit", "phase_map", "soc_source")
)
SECRETS = ("uplink.key",)


def diff(old: Settings, new: Settings) -> list[Change]:
    """Every key whose value differs, with what applying it takes."""
    before, after = dict(_flat(as_written(old))), dict(_flat(as_written(new)))
    keys = list(before) + [key for key in after if key not in before]
    return [
        Change(key, before.get(key), after.get(key), _effect(key, before, after))
        for key in keys
        if before.get(key) != after.get(key)
    ]


def without_secrets(settings: Settings) -> dict[str, Any]:
    """The same without where secrets lie."""
    shown = as_written(settings)
    for secret in SECRETS:
        section, key = secret.split(".")
        if shown.get(section):
            shown[section][key] = "(set)"
    return shown


def as_written(settings: Settings) -> dict[str, Any]:
    """The settings as the file writes them, every default filled in."""
    return settings.model_dump(mode="json", by_alias=True)


def _flat(data: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _flat(value, f"{path}.{key}" if path else key)
    elif isinstance(data, list) and data and isinstance(data[0], dict):
        for item in data:
            yield from _flat(item, f"{path}[{item.get('id', item.get('kid'))}]")
    else:
        yield path, data


def _effect(key: str, before: dict[str, Any], after: dict[str, Any]) -> Effect:
    if any(fnmatch.fnmatchcase(key, pattern) for pattern in RESTART):
        return Effect.RESTART
    if key in before and key in after and any(fnmatch.fnmatchcase(key, pattern) for pattern in NEW_SESSION):
        return Effect.NEW_SESSION
    return Effect.LIVE
