"""config.yaml of the aggregator. The names are those of the user's document (contracts.md section 5)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from edge.model.ids import ID_PATTERN

DEFAULT_PATH = Path("/etc/v2g-aggregator/config.yaml")
Id = Annotated[str, Field(pattern=f"^{ID_PATTERN}$")]


class SettingsError(ValueError):
    """The config can't be used; the message names the file, the key, the value and the remedy."""


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Broker(Section):
    """Where the fleet's broker is; certificates lie in /etc/ssl/v2g-certs/."""

    host: str = "localhost"
    port: Annotated[int, Field(ge=1, le=65535)] = 8883
    ca: Path = Path("/etc/ssl/v2g-certs/ca.crt")
    cert: Path = Path("/etc/ssl/v2g-certs/aggregator.crt")
    key: Path = Path("/etc/ssl/v2g-certs/aggregator.key")


class CommandKey(Section):
    """The Ed25519 key that signs commands, under the name that the gateways know it by."""

    kid: Id
    key: Path


class Settings(Section):
    """The whole of config.yaml."""

    broker: Broker = Broker()
    command_key: CommandKey | None = None
    """Without it the aggregator only listens."""
    database: str = "sqlite:////var/lib/v2g-aggregator/aggregator.db"
    """SQLAlchemy URL; PostgreSQL works the same way."""
    dispatch_log: Path | None = Path("/var/log/v2g-dispatch.log")
    authorize_new: bool = False
    """Whether an EVSE that appears in a site's birth message may be dispatched without `devices authorize`."""
    min_soc_threshold: Annotated[float, Field(ge=0, le=100)] = 30.0
    """%: an EVSE at or below it gets no share of a discharge. The gateway's own floor holds whatever stands here."""
    priority_weight: Annotated[float, Field(gt=0)] = 1.0
    """Weight of an EVSE that has none of its own."""


def load(path: Path) -> Settings:
    """Read and check a config file. Raises SettingsError with one line."""
    try:
        document = YAML(typ="safe", pure=True).load(path.read_text()) or {}
    except OSError as error:
        raise SettingsError(f"{path} can't be read: {error.strerror}") from error
    except YAMLError as error:
        raise SettingsError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    try:
        return Settings.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"{path}: {key}: {first['msg']} (value {first['input']!r})") from None
