"""The public keys whose commands this gateway obeys."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from edge.uplink.errors import UplinkError


def load_command_keys(files: Mapping[str, Path]) -> dict[str, Ed25519PublicKey]:
    """Read the PEM file of each key id. Raises UplinkError on the first that is no Ed25519 public key."""
    keys = {}
    for kid, path in files.items():
        where = f"uplink.command_keys {kid}: {path}"
        try:
            key = load_pem_public_key(path.read_bytes())
        except OSError as error:
            raise UplinkError(f"{where} can't be read: {error.strerror}; copy the aggregator's public key there") from error
        except ValueError as error:
            raise UplinkError(f"{where} holds no public key in PEM form") from error
        if not isinstance(key, Ed25519PublicKey):
            raise UplinkError(f"{where} holds a {type(key).__name__}; commands are signed with Ed25519 keys")
        keys[kid] = key
    return keys
