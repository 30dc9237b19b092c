"""What the uplink's certificates say: whose, until when, and whether somebody should renew them soon."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID

from edge.model.when import utc_text
from edge.uplink.errors import UplinkError

WARN_DAYS = 30
"""Days before the end at which a warning begins (our choice: an Ansible run a month renews in time)."""

_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class CertificateInfo:
    """One certificate of a file. `days_left` is negative when it ended."""

    path: Path
    subject: str
    not_after_ms: int
    days_left: int

    @property
    def warning(self) -> str:
        """One line for log, status and doctor; empty: nothing to do."""
        if self.days_left < 0:
            return f"{self.path}: {self.subject} expired on {utc_text(self.not_after_ms)}; renew it (rotate-keys.yml)"
        if self.days_left <= WARN_DAYS:
            return f"{self.path}: {self.subject} expires in {self.days_left} days; renew it (rotate-keys.yml)"
        return ""


def read_certificates(path: Path, now_ms: int) -> list[CertificateInfo]:
    """Every certificate of a PEM file. Raises UplinkError."""
    try:
        certificates = x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise UplinkError(f"{path} can't be read: {error.strerror}") from error
    except ValueError as error:
        raise UplinkError(f"{path} holds no certificate in PEM form") from error
    return [_info(path, certificate, now_ms) for certificate in certificates]


def _info(path: Path, certificate: x509.Certificate, now_ms: int) -> CertificateInfo:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    subject = str(names[0].value) if names else certificate.subject.rfc4514_string()
    not_after_ms = round(certificate.not_valid_after_utc.timestamp() * 1000)
    return CertificateInfo(path, subject, not_after_ms, (not_after_ms - now_ms) // _DAY_MS)
