"""Certificates end and are renewed; neither comes as a surprise."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from edge.uplink import Uplink, UplinkError, running
from edge.uplink.certificates import read_certificates
from edge.uplink.pki import Identity, make_ca, make_client_cert
from edge.wire import topics
from tests.uplink.conftest import until

NOW_MS = time.time_ns() // 1_000_000
DAY_MS = 86_400_000


def test_a_certificate_that_ends_soon_is_a_warning_with_file_and_days(tmp_path: Path) -> None:
    ca = make_ca("ca", "p256")
    make_client_cert(ca, "site-1", days=20).write(tmp_path, "soon")
    make_client_cert(ca, "site-1", days=300).write(tmp_path, "later")
    [soon] = read_certificates(tmp_path / "soon.crt", NOW_MS)
    [later] = read_certificates(tmp_path / "later.crt", NOW_MS)
    [ended] = read_certificates(tmp_path / "soon.crt", NOW_MS + 30 * DAY_MS)
    assert "soon.crt: site-1 expires in 19 days" in soon.warning or "in 20 days" in soon.warning
    assert later.warning == ""
    assert "expired" in ended.warning


def test_a_file_without_a_certificate_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.crt").write_text("nothing")
    with pytest.raises(UplinkError, match=r"x\.crt holds no certificate"):
        read_certificates(tmp_path / "x.crt", NOW_MS)


@pytest.fixture
def own_files(settings, tmp_path: Path):
    """The gateway's settings with certificate files of its own, so that a test may replace them."""
    for name in ("site-1.crt", "site-1.key"):
        shutil.copy(settings.cert.parent / name, tmp_path / name)
    return replace(settings, cert=tmp_path / "site-1.crt", key=tmp_path / "site-1.key")


async def test_a_renewed_certificate_is_used_from_the_next_connection_without_a_restart(
    own_files, handler, gateway, clock, dispatcher, pki, broker
) -> None:
    uplink = Uplink(own_files, handler, "boot-1", gateway.birth, gateway.telemetry, clock)
    async with running(uplink):
        await dispatcher.message(topics.birth("site-1"))
        before = uplink.certificates()[0].not_after_ms
        make_client_cert(Identity.read(pki, "ca"), "site-1", days=900).write(own_files.cert.parent, "site-1")
        assert uplink.reload_certificates() == ""
        broker.stop()
        await until(lambda: not uplink.status().connected)
        broker.start()
        await until(lambda: uplink.status().connected)
    assert uplink.certificates()[0].not_after_ms > before


async def test_a_renewal_that_does_not_fit_changes_nothing(own_files, handler, gateway, clock, dispatcher, broker) -> None:
    uplink = Uplink(own_files, handler, "boot-1", gateway.birth, gateway.telemetry, clock)
    foreign = make_client_cert(make_ca("another", "p256"), "site-1")
    own_files.cert.write_bytes(foreign.cert.public_bytes(Encoding.PEM))
    assert "are no certificate with its key" in uplink.reload_certificates()
    async with running(uplink):
        await dispatcher.message(topics.birth("site-1"))
        broker.stop()
        await until(lambda: not uplink.status().connected)
        broker.start()
        await until(lambda: uplink.status().connected)
