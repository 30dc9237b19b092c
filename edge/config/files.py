"""Certificates and keys that the config names: readable, matching, not expired, not readable by others."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from edge.config.settings import Settings, Uplink
from edge.strict_yaml import KeyPath, Problem, Tree

if TYPE_CHECKING:
    from cryptography import x509

TPM_KEY = b"BEGIN TSS2 PRIVATE KEY"
"""A key that only a TPM can use: whether it fits its certificate shows when the uplink opens it."""

EXPIRY_WARNING = timedelta(days=30)


def resolved(config_file: Path | str, text: str) -> Path:
    """A path of the config: relative ones are relative to the config file's folder."""
    return Path(config_file).parent / text


def check_files(tree: Tree, settings: Settings, now: datetime | None = None) -> list[Problem]:
    """Every problem with the files of `uplink`; `now` for tests."""
    if settings.uplink is None:
        return []
    return list(_uplink_files(tree, settings.uplink, now or datetime.now(UTC)))


def _uplink_files(tree: Tree, uplink: Uplink, now: datetime) -> Iterator[Problem]:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

    for key in ("ca", "cert"):
        yield from _certificate_problems(tree, ("uplink", key), getattr(uplink, key), now)
    path: KeyPath = ("uplink", "key")
    data, problem = _read(tree, path, uplink.key)
    yield from problem
    if data is not None:
        yield from _permissions(tree, path, uplink.key)
    if data is not None and TPM_KEY not in data:
        try:
            private = load_pem_private_key(data, password=None)
        except (ValueError, TypeError) as err:
            yield tree.problem(path, uplink.key, f"not an unencrypted PEM private key: {_first_line(err)}", "make a new one")
        else:
            certificate = _certificate(tree.file, uplink.cert)
            if certificate is not None and certificate.public_key() != private.public_key():
                yield tree.problem(path, uplink.key, f"doesn't belong to the certificate {uplink.cert}", "name its own key")
    for i, command_key in enumerate(uplink.command_keys):
        at: KeyPath = ("uplink", "command_keys", i, "key")
        data, problem = _read(tree, at, command_key.key)
        yield from problem
        if data is None:
            continue
        try:
            is_ed25519 = isinstance(load_pem_public_key(data), Ed25519PublicKey)
        except ValueError:
            is_ed25519 = False
        if not is_ed25519:
            yield tree.problem(at, command_key.key, "not a PEM Ed25519 public key", "export it with openssl pkey -pubout")


def _read(tree: Tree, path: KeyPath, text: str) -> tuple[bytes | None, list[Problem]]:
    try:
        return resolved(tree.file, text).read_bytes(), []
    except OSError as err:
        remedy = "correct the path or the file's owner and mode"
        return None, [tree.problem(path, text, f"can't be read: {err.strerror or err}", remedy)]


def _certificate(config_file: str, text: str) -> x509.Certificate | None:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(resolved(config_file, text).read_bytes())
    except (OSError, ValueError):
        return None


def _certificate_problems(tree: Tree, path: KeyPath, text: str, now: datetime) -> Iterator[Problem]:
    data, problem = _read(tree, path, text)
    yield from problem
    if data is None:
        return
    certificate = _certificate(tree.file, text)
    if certificate is None:
        yield tree.problem(path, text, "not a PEM certificate", "name the file that begins with BEGIN CERTIFICATE")
        return
    end, begin = certificate.not_valid_after_utc, certificate.not_valid_before_utc
    if end < now:
        # No error: the site must start without its cloud, and perhaps only the clock is wrong.
        yield tree.problem(path, text, f"expired on {end:%Y-%m-%d}, no uplink", "renew it, or set the clock", "warning")
    elif end < now + EXPIRY_WARNING:
        yield tree.problem(path, text, f"expires on {end:%Y-%m-%d}", "renew it", "warning")
    if begin > now:
        yield tree.problem(path, text, f"not valid before {begin:%Y-%m-%d %H:%M} UTC", "check the clock", "warning")


def _permissions(tree: Tree, path: KeyPath, text: str) -> Iterator[Problem]:
    mode = stat.S_IMODE(resolved(tree.file, text).stat().st_mode)
    if mode & stat.S_IRWXO:
        yield tree.problem(path, text, f"mode {mode:04o}: every user can use this private key", f"chmod 600 {text}")
    elif mode & stat.S_IRWXG:
        yield tree.problem(path, text, f"mode {mode:04o}: its group can use this private key", f"chmod 600 {text}", "warning")


def _first_line(err: Exception) -> str:
    return str(err).splitlines()[0][:80] if str(err) else type(err).__name__
