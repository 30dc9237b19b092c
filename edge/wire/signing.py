"""Signatures of commands: Ed25519 over `"v2g-cmd-v1\\0"` + body, so that no other signed text can pass for a command."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from edge.wire.messages import CommandBody, Envelope

PREFIX = b"v2g-cmd-v1\0"


def sign(body: CommandBody, kid: str, key: Ed25519PrivateKey) -> Envelope:
    """Put a command into an envelope signed by `key`, which the gateway knows as `kid`."""
    data = body.encode()
    return Envelope(kid=kid, body=data, sig=key.sign(PREFIX + data))


def signature_is_good(envelope: Envelope, key: Ed25519PublicKey) -> bool:
    """Whether `key` signed exactly this body as a command."""
    try:
        key.verify(envelope.sig, PREFIX + envelope.body)
    except InvalidSignature:
        return False
    return True
