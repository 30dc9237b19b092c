"""Certificates and keys are looked at before anything starts; the examples are good files."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from edge.config import read
from edge.config.check import check
from edge.config.docs import renewed
from edge.config.schema import schema
from edge.uplink.pki import make_development_pki

ROOT = Path(__file__).parents[2]


def make_pki(folder: Path, days: int = 365) -> None:
    """A self-signed pair that serves as authority and gateway, and a command key."""
    folder.mkdir()
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lab-1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=900))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    for file in ("ca.crt", "lab-1.crt"):
        (folder / file).write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "lab-1.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (folder / "lab-1.key").chmod(0o600)
    public = ed25519.Ed25519PrivateKey.generate().public_key()
    (folder / "dev.pub").write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    make_pki(tmp_path / "pki")
    shutil.copy(ROOT / "examples" / "lab.yaml", tmp_path)
    return tmp_path / "lab.yaml"


def problem_of(path: Path) -> str:
    (problem,) = check(path)
    return str(problem).removeprefix(f"{path}:")


def test_the_lab_example_is_accepted_with_the_development_keys(tmp_path):
    make_development_pki(tmp_path / "pki", ["lab-1"])
    shutil.copy(ROOT / "examples" / "lab.yaml", tmp_path)
    result = read(tmp_path / "lab.yaml")
    assert result.problems == []
    assert result.settings is not None
    assert result.settings.lab
    assert len(result.settings.evses) == 8
    assert len(result.settings.meters) == 3


def test_the_site_example_is_accepted():
    assert check(ROOT / "examples" / "config.yaml", files=False) == []


def test_a_missing_certificate_is_refused(lab):
    (lab.parent / "pki" / "ca.crt").unlink()
    assert "uplink.ca: 'pki/ca.crt': can't be read: No such file or directory; correct the path" in problem_of(lab)


def test_an_expired_certificate_or_a_clock_far_ahead_keeps_no_site_from_starting(lab):
    shutil.rmtree(lab.parent / "pki")
    make_pki(lab.parent / "pki", days=-1)
    problems = check(lab)
    assert [(p.key, p.level) for p in problems] == [("uplink.ca", "warning"), ("uplink.cert", "warning")]
    assert "expired on 20" in str(problems[0]) and "set the clock" in str(problems[0])


def test_a_certificate_that_ends_soon_is_a_warning(lab):
    shutil.rmtree(lab.parent / "pki")
    make_pki(lab.parent / "pki", days=10)
    assert [p.level for p in check(lab)] == ["warning", "warning"]


def test_the_key_of_another_certificate_is_refused(lab):
    make_pki(lab.parent / "other")
    shutil.copy(lab.parent / "other" / "lab-1.key", lab.parent / "pki" / "lab-1.key")
    assert "uplink.key: 'pki/lab-1.key': doesn't belong to the certificate pki/lab-1.crt" in problem_of(lab)


@pytest.mark.parametrize(("mode", "level"), [(0o644, "error"), (0o640, "warning")])
def test_a_private_key_that_others_can_read_is_told(lab, mode, level):
    (lab.parent / "pki" / "lab-1.key").chmod(mode)
    (problem,) = check(lab)
    assert problem.level == level
    assert f"mode 0{mode:o}" in str(problem)
    assert str(problem).endswith("chmod 600 pki/lab-1.key")


@pytest.mark.parametrize(("file", "limit"), [("ca.crt", "not a PEM certificate"), ("dev.pub", "not a PEM Ed25519 public key")])
def test_a_file_of_another_kind_is_refused(lab, file, limit):
    (lab.parent / "pki" / file).write_text("hello")
    assert limit in problem_of(lab)


def test_a_damaged_private_key_is_refused(lab):
    (lab.parent / "pki" / "lab-1.key").write_text("hello")
    assert "not an unencrypted PEM private key" in problem_of(lab)


def test_a_key_that_lives_in_a_tpm_is_accepted(lab):
    key = lab.parent / "pki" / "lab-1.key"
    key.write_text("-----BEGIN TSS2 PRIVATE KEY-----\nMIHwBgZngQUKAQOgAwEBAQ==\n-----END TSS2 PRIVATE KEY-----\n")
    assert check(lab) == []


def test_a_pin_that_is_no_sha256_is_refused_with_the_command_that_makes_one(lab):
    lab.write_text(lab.read_text().replace("  ca: pki/ca.crt", "  ca: pki/ca.crt\n  pins: [c2hvcnQ=]"))
    assert "uplink.pins[0]" in problem_of(lab) and "32 bytes in base64" in problem_of(lab) and "openssl" in problem_of(lab)


def test_the_page_of_keys_is_current():
    page = (ROOT / "docs" / "config.md").read_text()
    assert renewed(page) == page, "run python -m edge.config.docs"


def test_the_schema_shows_values_as_the_file_writes_them():
    definitions = schema()["$defs"]
    assert definitions["Cycle"]["properties"]["period"]["default"] == "10ms"
    assert definitions["Limits"]["properties"]["min_soc_threshold"]["default"] == 30
    json.dumps(schema())
