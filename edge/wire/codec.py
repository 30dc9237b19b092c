"""msgpack maps to and from the models of `edge.wire.messages`: strict about what is known, blind to what is not.

Every message is a map with `"v": 1`. A reader ignores keys that it doesn't know, so that an older gateway and a newer
aggregator (and the reverse) understand each other.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import msgpack
from pydantic import BaseModel, ConfigDict, ValidationError

VERSION = 1

_KEYS = {
    "capacity": "cap",
    "currents_ma": "i",
    "export_wh": "e_exp",
    "import_wh": "e_imp",
    "max_w": "max",
    "min_w": "min",
    "power_w": "p",
    "quantity": "q",
    "setpoint": "set",
    "site_power_w": "site_p",
    "site_target_w": "site_target",
    "stamps": "t",
    "target_w": "target",
    "temperature": "t",
    "voltages_dv": "u",
}
"""Field name in Python, which carries its unit, to key on the wire; all others are the same."""


class WireError(ValueError):
    """A message that can't be read. `code`: `size`, `msgpack`, `version` or `schema`; the text names the first bad place."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Part(BaseModel):
    """A map inside a message."""

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="ignore",
        alias_generator=lambda name: _KEYS.get(name, name),
        validate_by_name=True,
        validate_by_alias=True,
    )


class Message(Part):
    """A whole message. `max_bytes` bounds what is read and written."""

    max_bytes: ClassVar[int] = 16 * 1024
    versioned: ClassVar[bool] = True

    def encode(self) -> bytes:
        """The message as msgpack. Raises WireError `size` when it grew beyond `max_bytes`."""
        document = self.model_dump(by_alias=True, exclude_none=True)
        data: bytes = msgpack.packb({"v": VERSION, **document} if self.versioned else document)
        if len(data) > self.max_bytes:
            raise WireError("size", f"{type(self).__name__} has {len(data)} bytes, at most {self.max_bytes} are sent")
        return data

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a message. Raises WireError on anything that is not exactly what the contract says; never anything else."""
        document = unpack(data, cls.max_bytes)
        if cls.versioned and (document.get("v") is True or document.get("v") != VERSION):
            raise WireError("version", f"{cls.__name__} has version {document.get('v')!r}, this side reads {VERSION}")
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise WireError("schema", f"{cls.__name__} {place}: {first['msg']}") from None


def unpack(data: bytes, max_bytes: int) -> dict[str, Any]:
    """One msgpack map with text keys. Raises WireError `size` or `msgpack`."""
    if len(data) > max_bytes:
        raise WireError("size", f"{len(data)} bytes, at most {max_bytes} are read")
    try:
        document = msgpack.unpackb(data, raw=False, strict_map_key=True)
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException) as error:
        raise WireError("msgpack", f"no msgpack: {type(error).__name__} {error}") from None
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise WireError("msgpack", "no map with text keys")
    return document
