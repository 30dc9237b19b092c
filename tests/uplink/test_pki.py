"""The development PKI makes chains that OpenSSL believes and secrets that others can't read."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding

from edge.uplink import UplinkError, load_command_keys
from edge.uplink.pki import Identity, KeyKind, make_ca, make_client_cert, make_request, make_server_cert, pki


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa4096"])
def test_every_kind_of_chain_is_believed_by_openssl(tmp_path: Path, kind: KeyKind) -> None:
    ca = make_ca("test CA", kind)
    ca.write(tmp_path, "ca")
    make_server_cert(Identity.read(tmp_path, "ca"), ["broker.example", "10.0.0.5"], kind).write(tmp_path, "broker")
    make_client_cert(ca, "site-1", kind).write(tmp_path, "site-1")
    for name, purpose in (("broker", "sslserver"), ("site-1", "sslclient")):
        command = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", "ca.crt", f"{name}.crt"]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)


def test_a_client_certificate_is_no_server_certificate(tmp_path: Path) -> None:
    ca = make_ca("test CA", "p256")
    ca.write(tmp_path, "ca")
    make_client_cert(ca, "site-1").write(tmp_path, "site-1")
    command = ["openssl", "verify", "-purpose", "sslserver", "-CAfile", "ca.crt", "site-1.crt"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode != 0


def test_the_dev_command_makes_a_whole_set_with_private_keys_for_the_owner_only(tmp_path: Path) -> None:
    result = CliRunner().invoke(pki, ["dev", str(tmp_path / "pki"), "--site", "a", "--site", "b"])
    assert result.exit_code == 0, result.output
    names = {path.name for path in (tmp_path / "pki").iterdir()}
    assert names == {f"{n}.{e}" for n in ("ca", "broker", "aggregator", "a", "b") for e in ("crt", "key")} | {
        "dev.key",
        "dev.pub",
    }
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "pki").glob("*.key"))
    keys = load_command_keys({"dev": tmp_path / "pki" / "dev.pub"})
    assert isinstance(keys["dev"], Ed25519PublicKey)


def test_sites_make_their_own_keys_and_an_authority_signs_their_requests(tmp_path: Path) -> None:
    make_ca("fleet CA", "p384").write(tmp_path / "ca", "ca")
    run = CliRunner()
    assert run.invoke(pki, ["request", str(tmp_path), "--site", "site-7", "--site", "site-8"]).exit_code == 0
    requests = [str(tmp_path / f"{site}.csr") for site in ("site-7", "site-8")]
    signed = run.invoke(pki, ["sign", str(tmp_path / "ca"), *requests])
    assert signed.exit_code == 0, signed.output
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", "ca/ca.crt", "site-7.crt", "site-8.crt"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert Identity.read(tmp_path, "site-7").cert.subject.rfc4514_string() == "CN=site-7"


def test_a_request_for_a_name_that_is_no_site_id_is_refused(tmp_path: Path) -> None:
    make_ca("fleet CA", "p256").write(tmp_path, "ca")
    _, wanted = make_request("a site/#")
    (tmp_path / "bad.csr").write_bytes(wanted.public_bytes(Encoding.PEM))
    result = CliRunner().invoke(pki, ["sign", str(tmp_path), str(tmp_path / "bad.csr")])
    assert result.exit_code == 1 and "is not an id" in result.output
    assert CliRunner().invoke(pki, ["request", str(tmp_path), "--site", "a/b"]).exit_code == 2


def test_a_wrong_command_key_is_named(tmp_path: Path) -> None:
    make_ca("x", "p256").write(tmp_path, "ca")
    with pytest.raises(UplinkError, match=r"command_keys k: .*no\.pub can't be read"):
        load_command_keys({"k": tmp_path / "no.pub"})
    with pytest.raises(UplinkError, match="holds no public key"):
        load_command_keys({"k": tmp_path / "ca.crt"})
