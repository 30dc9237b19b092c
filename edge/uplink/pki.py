"""Keys and certificates: what a site and a broker need to trust each other, and the keys that sign commands.

For production the CA's key stays elsewhere; `python -m edge.uplink.pki dev DIR --site site-1` makes a whole development set.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edge.model import check_id

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
KeyKind = Literal["p256", "p384", "rsa4096"]

_MAKE_KEY: dict[KeyKind, Callable[[], PrivateKey]] = {
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "rsa4096": lambda: rsa.generate_private_key(public_exponent=65537, key_size=4096),
}


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate and its private key."""

    cert: x509.Certificate
    key: PrivateKey

    def write(self, directory: Path, name: str) -> None:
        """`name`.crt and `name`.key (mode 0600), PEM."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"{name}.crt").write_bytes(self.cert.public_bytes(serialization.Encoding.PEM))
        write_secret(directory / f"{name}.key", _pem(self.key))

    @classmethod
    def read(cls, directory: Path, name: str) -> Identity:
        """What `write` wrote."""
        cert = x509.load_pem_x509_certificate((directory / f"{name}.crt").read_bytes())
        key = serialization.load_pem_private_key((directory / f"{name}.key").read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
            raise ValueError(f"{directory / name}.key holds a {type(key).__name__}; want an EC or RSA key")
        return cls(cert, key)


def _pem(key: PrivateKey | Ed25519PrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def write_secret(path: Path, data: bytes) -> None:
    """Write a file that only its owner can read, from its first byte on."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)


def _build(
    name: str,
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
    issuer: Identity | None,
    signer: PrivateKey,
    days: float,
    extensions: Iterable[tuple[x509.ExtensionType, bool]],
) -> x509.Certificate:
    """`issuer` None: self-signed by `signer`."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.cert.subject if issuer else subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))  # clocks of a site differ a little
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )
    builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    digest = hashes.SHA384() if isinstance(signer, ec.EllipticCurvePrivateKey) and signer.key_size > 256 else hashes.SHA256()
    return builder.sign(signer, digest)


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


_CLIENT: tuple[tuple[x509.ExtensionType, bool], ...] = (
    (x509.BasicConstraints(ca=False, path_length=None), True),
    (_usage(ca=False), True),
    (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False),
)


def make_ca(name: str, kind: KeyKind = "p384", days: int = 3650) -> Identity:
    """A self-signed authority that signs end certificates only."""
    key = _MAKE_KEY[kind]()
    extensions = [(x509.BasicConstraints(ca=True, path_length=0), True), (_usage(ca=True), True)]
    return Identity(_build(name, key.public_key(), None, key, days, extensions), key)


def make_server_cert(ca: Identity, hosts: Iterable[str], kind: KeyKind = "p256", days: float = 397) -> Identity:
    """A broker's certificate for these host names and addresses; the first is its common name."""
    names = list(hosts)
    key = _MAKE_KEY[kind]()
    return Identity(_build(names[0], key.public_key(), ca, ca.key, days, _server(names)), key)


def _server(hosts: Iterable[str]) -> list[tuple[x509.ExtensionType, bool]]:
    return [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_usage(ca=False), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.SubjectAlternativeName([_general_name(host) for host in hosts]), False),
    ]


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def make_client_cert(ca: Identity, name: str, kind: KeyKind = "p256", days: float = 397) -> Identity:
    """A gateway's or aggregator's certificate; the common name is what the broker's access list knows it by."""
    key = _MAKE_KEY[kind]()
    return Identity(_build(name, key.public_key(), ca, ca.key, days, _CLIENT), key)


def make_request(name: str, kind: KeyKind = "p256") -> tuple[PrivateKey, x509.CertificateSigningRequest]:
    """A site's own key, which never leaves it, and the request that its authority signs."""
    key = _MAKE_KEY[kind]()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return key, x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())


def sign_request(
    ca: Identity, request: x509.CertificateSigningRequest, days: int = 397, hosts: Iterable[str] = ()
) -> x509.Certificate:
    """A client certificate for the request's name and key, or a broker's for `hosts`; nothing else is taken over from the
    request. Raises ValueError."""
    names = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(names) != 1 or not request.is_signature_valid:
        raise ValueError("want a request with one common name, signed by its own key")
    key = request.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise ValueError(f"want an EC or RSA key, have {type(key).__name__}")
    served = list(hosts)
    return _build(check_id(str(names[0].value)), key, ca, ca.key, days, _server(served) if served else _CLIENT)


def make_command_key(directory: Path, kid: str) -> Ed25519PrivateKey:
    """A key that signs commands: `kid`.key stays with the aggregator, `kid`.pub goes to every gateway."""
    directory.mkdir(parents=True, exist_ok=True)
    key = Ed25519PrivateKey.generate()
    write_secret(directory / f"{kid}.key", _pem(key))
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (directory / f"{kid}.pub").write_bytes(public)
    return key


def make_development_pki(
    directory: Path, sites: Iterable[str], hosts: Iterable[str] = ("localhost", "127.0.0.1"), kind: KeyKind = "p256"
) -> None:
    """A whole set for a desk: `ca`, `broker`, `aggregator` and one per site as .crt and .key, and the command key `dev`."""
    ca = make_ca("v2g development CA", kind)
    ca.write(directory, "ca")
    make_server_cert(ca, hosts, kind).write(directory, "broker")
    make_client_cert(ca, "aggregator", kind).write(directory, "aggregator")
    for site in sites:
        make_client_cert(ca, site, kind).write(directory, site)
    make_command_key(directory, "dev")


@click.group()
def pki() -> None:
    """Keys and certificates of gateways, brokers and commands."""


@pki.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--site", "sites", multiple=True, default=("site-1",), show_default=True, help="Site id; may be repeated.")
@click.option("--host", "hosts", multiple=True, default=("localhost", "127.0.0.1"), show_default=True, help="Of the broker.")
@click.option("--kind", type=click.Choice(["p256", "p384", "rsa4096"]), default="p256", show_default=True)
def dev(directory: Path, sites: tuple[str, ...], hosts: tuple[str, ...], kind: KeyKind) -> None:
    """A whole development PKI in DIRECTORY. Not for production: every private key lies beside the others."""
    make_development_pki(directory, sites, hosts, kind)
    click.echo(f"{directory}: ca, broker, aggregator, {', '.join(sites)} (.crt, .key) and the command key dev (.key, .pub)")


@pki.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--site", "sites", multiple=True, required=True, help="Site id; may be repeated.")
@click.option("--kind", type=click.Choice(["p256", "p384", "rsa4096"]), default="p256", show_default=True)
def request(directory: Path, sites: tuple[str, ...], kind: KeyKind) -> None:
    """A private key and a signing request (.key, .csr) in DIRECTORY for each site."""
    directory.mkdir(parents=True, exist_ok=True)
    for site in sites:
        try:
            key, wanted = make_request(check_id(site), kind)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        write_secret(directory / f"{site}.key", _pem(key))
        (directory / f"{site}.csr").write_bytes(wanted.public_bytes(serialization.Encoding.PEM))
        click.echo(f"{directory / site}.key, .csr")


@pki.command()
@click.argument("ca", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("requests", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--days", default=397, show_default=True, type=click.IntRange(1, 3650), help="How long they are good.")
@click.option("--host", "hosts", multiple=True, help="A broker's: host name or address that it is reached by; may be repeated.")
def sign(ca: Path, requests: tuple[Path, ...], days: int, hosts: tuple[str, ...]) -> None:
    """Sign REQUESTS with ca.crt and ca.key of the directory CA; each certificate lies beside its request."""
    try:
        authority = Identity.read(ca, "ca")
    except (OSError, ValueError) as error:
        raise click.ClickException(f"{ca}: {error}") from error
    for path in requests:
        try:
            certificate = sign_request(authority, x509.load_pem_x509_csr(path.read_bytes()), days, hosts)
        except ValueError as error:
            raise click.ClickException(f"{path}: {error}") from error
        path.with_suffix(".crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        click.echo(path.with_suffix(".crt"))


if __name__ == "__main__":
    pki()
