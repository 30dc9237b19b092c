"""The uplink at a real mosquitto: TLS 1.3, mutual, and a broker that comes and goes."""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from edge import wire
from edge.model import Outcome
from edge.uplink import CommandHandler, Progress, Uplink, UplinkError, UplinkSettings, running
from edge.uplink.mqtt import key_digest
from edge.wire import topics
from tests.uplink.conftest import Dispatcher, until


async def test_a_site_announces_itself_and_says_goodbye(uplink, dispatcher) -> None:
    async with running(uplink):
        birth = await dispatcher.message(topics.birth("site-1"))
        assert birth.retain and wire.Birth.decode(birth.payload).evses[0].id == "evse-1"
        await until(lambda: uplink.status().connected)
        assert uplink.status().tls_version == "TLSv1.3"
    death = await dispatcher.message(topics.death("site-1"))
    assert wire.Death.decode(death.payload).boot == "boot-1"


async def test_a_gateway_that_vanishes_is_declared_dead_by_the_broker(uplink, dispatcher) -> None:
    async with running(uplink):
        await dispatcher.message(topics.birth("site-1"))
        uplink._link._client.socket().shutdown(2)
        death = await dispatcher.message(topics.death("site-1"))
        assert death.retain
        await dispatcher.message(topics.birth("site-1"), count=2)
        deaths = [bool(m.payload) for m in dispatcher.messages if m.topic == topics.death("site-1")]
        assert deaths == [False, True, False]  # cleared at each connection


async def test_a_command_reaches_the_gateway_and_every_stamp_comes_back(uplink, dispatcher, orders, gateway) -> None:
    async with running(uplink):
        await dispatcher.message(topics.birth("site-1"))
        body = orders.body()
        dispatcher.send(orders.signed(body))
        ack = await dispatcher.ack(body.id, final=True)
    assert ack.outcome is Outcome.APPLIED
    stamps = ack.stamps
    assert stamps.issued <= stamps.received <= stamps.adopted <= stamps.on_bus <= stamps.confirmed
    assert gateway.arbiter.renew(0).evses["evse-1"].target_w == -5000


async def test_a_command_sent_twice_is_acknowledged_twice_and_carried_out_once(uplink, dispatcher, orders, gateway) -> None:
    async with running(uplink):
        await dispatcher.message(topics.birth("site-1"))
        body = orders.body()
        dispatcher.send(orders.signed(body))
        first = await dispatcher.ack(body.id, final=True)
        dispatcher.send(orders.signed(body))
        await until(lambda: len([a for a in dispatcher.acks() if a == first]) == 2)
    assert len(gateway.applied) == 1


async def test_a_forged_and_a_retained_command_are_refused_with_an_ack(uplink, dispatcher, orders, gateway, pki) -> None:
    async with running(uplink):
        await dispatcher.message(topics.birth("site-1"))
        envelope = wire.sign(orders.body(), "dev", orders.key)
        dispatcher.send(envelope.model_copy(update={"sig": bytes(64)}).encode())
        dispatcher.send(orders.signed(orders.body()), retain=True)
        await until(lambda: len(dispatcher.acks()) >= 2)
        assert [ack.outcome for ack in dispatcher.acks()] == [Outcome.BAD_SIGNATURE, Outcome.UNSUPPORTED]
    assert gateway.applied == []


async def test_a_retained_command_that_lies_in_wait_at_the_broker_is_refused(uplink, dispatcher, orders, gateway) -> None:
    dispatcher.send(orders.signed(orders.body()), retain=True)
    async with running(uplink):
        await until(lambda: [a.code for a in dispatcher.acks()] == ["retained"])
    assert gateway.applied == []


async def test_the_broker_restarts_and_the_site_comes_back(uplink, dispatcher, orders, broker) -> None:
    async with running(uplink):
        await dispatcher.message(topics.birth("site-1"))
        broker.stop()
        await until(lambda: not uplink.status().connected)
        assert uplink.status().last_error
        broker.start()
        await until(lambda: uplink.status().connected)
        await until(dispatcher.client.is_connected)
        body = orders.body()
        dispatcher.send(orders.signed(body))
        assert (await dispatcher.ack(body.id)).outcome is Outcome.APPLIED
        before = len(dispatcher.messages)
        await until(lambda: topics.telemetry("evse-1") in [m.topic for m in dispatcher.messages[before:]])


async def test_a_command_whose_progress_cannot_be_followed_stands_and_is_acknowledged(
    uplink, dispatcher, orders, gateway, monkeypatch, caplog
) -> None:
    async def broken(plan: object, evse_ids: object) -> AsyncIterator[Progress]:
        raise OSError("the core doesn't answer")
        yield

    monkeypatch.setattr(gateway, "follow", broken)
    async with running(uplink):
        await dispatcher.message(topics.birth("site-1"))
        for _ in range(2):
            body = orders.body()
            dispatcher.send(orders.signed(body))
            assert (await dispatcher.ack(body.id)).outcome is Outcome.APPLIED
    assert [r.message for r in caplog.records if "the core doesn't answer" in r.message]


async def test_a_defect_behind_the_sink_does_not_end_the_uplink(
    uplink, dispatcher, orders, gateway, monkeypatch, caplog
) -> None:
    working = gateway.apply

    def broken(constraints: object) -> None:
        monkeypatch.setattr(gateway, "apply", working)
        raise OSError("the core doesn't take the plan")

    monkeypatch.setattr(gateway, "apply", broken)
    async with running(uplink):
        await dispatcher.message(topics.birth("site-1"))
        dispatcher.send(orders.signed(orders.body()))
        body = orders.body()
        dispatcher.send(orders.signed(body))
        assert (await dispatcher.ack(body.id)).outcome is Outcome.APPLIED
    assert [r.message for r in caplog.records if "the core doesn't take the plan" in r.message]


async def test_ten_thousand_garbage_payloads_move_nothing_and_the_next_command_is_obeyed(
    uplink, dispatcher, orders, gateway, caplog
) -> None:
    async with running(uplink):
        await dispatcher.message(topics.birth("site-1"))
        for number in range(10_000):
            dispatcher.send(os.urandom(number % 64), qos=0)
        body = orders.body()

        def obeyed() -> bool:
            return any(ack.id == body.id and ack.outcome is Outcome.APPLIED for ack in dispatcher.acks())

        for _ in range(50):  # the flood may still fill the queue when the command comes: ask again, as an aggregator would
            body = orders.body()
            dispatcher.send(orders.signed(body))
            try:
                await until(obeyed, 2)
                break
            except AssertionError:
                continue
        assert obeyed()
        assert len(gateway.applied) >= 1
        assert len(dispatcher.acks()) < 1000
    assert len([r for r in caplog.records if "command malformed" in r.message]) == 1


async def test_telemetry_is_fast_while_something_changes_and_slow_when_nothing_does(uplink, dispatcher, gateway) -> None:
    """Judged by the gateway's own stamps, and only one against the other: how the messages travel is the machine's business."""

    def soon_again(evse: str) -> int:
        """How often a message followed its predecessor by less than the middle of both periods, 0.1 and 0.5 s."""
        sent = [wire.Telemetry.decode(m.payload).ts for m in list(dispatcher.messages) if m.topic == topics.telemetry(evse)]
        return sum(later - earlier < 300 for earlier, later in pairwise(sent))

    def seen() -> bool:
        gateway.power_w["evse-1"] = -gateway.power_w["evse-1"]
        return soon_again("evse-1") >= 10

    gateway.power_w["evse-1"] = 7_000
    async with running(uplink):
        await until(seen)
        assert soon_again("evse-2") <= 2
    message = next(m for m in dispatcher.messages if m.topic == topics.telemetry("evse-1"))
    assert (message.qos, message.retain) == (0, False)
    assert abs(wire.Telemetry.decode(message.payload).power_w) == 7_000


async def test_the_round_trip_to_the_broker_is_measured(uplink, dispatcher, monkeypatch) -> None:
    monkeypatch.setattr("edge.uplink.uplink.PROBE_PERIOD_S", 0.05)
    async with running(uplink):
        await until(lambda: uplink.status().round_trip_ms is not None)
    assert uplink.status().round_trip_ms > 0


async def test_a_client_that_offers_only_tls_1_2_is_turned_away(broker, pki) -> None:
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    context.load_cert_chain(pki / "site-1.crt", pki / "site-1.key")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        await asyncio.open_connection("localhost", broker.port, ssl=context)


async def test_the_gateway_refuses_a_broker_that_offers_only_tls_1_2(pki, handler, gateway, clock) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "broker.crt", pki / "broker.key")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    settings = UplinkSettings(
        "site-1", "127.0.0.1", pki / "ca.crt", pki / "site-1.crt", pki / "site-1.key", port=port, reconnect_max_s=1
    )
    uplink = Uplink(settings, handler, "boot-1", gateway.birth, gateway.telemetry, clock)
    async with running(uplink):
        await until(lambda: bool(uplink.status().last_error))
        assert not uplink.status().connected
    server.close()


async def test_the_gateway_refuses_a_broker_with_another_name(broker, settings, handler, gateway, clock, tmp_path) -> None:
    from edge.uplink.pki import make_ca, make_client_cert

    other_ca = make_ca("another CA", "p256")
    other_ca.write(tmp_path, "ca")
    make_client_cert(other_ca, "site-1").write(tmp_path, "site-1")
    foreign = UplinkSettings(
        "site-1", "localhost", tmp_path / "ca.crt", settings.cert, settings.key, port=broker.port, reconnect_max_s=1
    )
    uplink = Uplink(foreign, handler, "boot-1", gateway.birth, gateway.telemetry, clock)
    async with running(uplink):
        await until(lambda: bool(uplink.status().last_error))
        assert not uplink.status().connected
        assert "certificate verify failed" in uplink.status().last_error


@pytest.mark.parametrize("which", ["ca", "cert", "key"])
@pytest.mark.parametrize("damage", ["missing", "garbage"])
def test_a_missing_or_unreadable_certificate_is_a_start_up_error_that_names_the_file(
    settings, handler: CommandHandler, gateway, clock, tmp_path, which, damage
) -> None:
    bad = tmp_path / "bad.pem"
    if damage == "garbage":
        bad.write_text("not PEM")
    files = {"ca": settings.ca, "cert": settings.cert, "key": settings.key} | {which: bad}
    with pytest.raises(UplinkError, match=rf"uplink\..*{bad.name}"):
        Uplink(UplinkSettings("site-1", "localhost", **files), handler, "b", gateway.birth, gateway.telemetry, clock)


async def test_the_broker_lets_no_gateway_speak_or_listen_for_another(broker, dispatcher, pki, orders) -> None:
    intruder = Dispatcher(broker.port, pki, "site-2")
    for topic in (topics.ack("site-1"), topics.command("site-1"), topics.telemetry("evse-1")):
        intruder.client.publish(topic, b"intruder", 1)
    intruder.client.publish(topics.ack("site-2"), b"own", 1)
    dispatcher.send(orders.signed(orders.body()))
    await dispatcher.message(topics.ack("site-2"))
    await dispatcher.message(topics.command("site-1"))
    assert [m.topic for m in dispatcher.messages if m.payload == b"intruder"] == []
    assert [m.topic for m in intruder.messages if "site-1" in m.topic] == []
    intruder.close()


async def test_sending_more_than_the_data_budget_is_one_alarm_a_day(
    settings, handler, gateway, clock, dispatcher, caplog, monkeypatch
) -> None:
    monkeypatch.setattr("edge.uplink.uplink.PROBE_PERIOD_S", 0.02)
    frugal = replace(settings, budget_mb_per_day=0.001)
    uplink = Uplink(frugal, handler, "boot-1", gateway.birth, gateway.telemetry, clock)
    async with running(uplink):
        await until(lambda: [r for r in caplog.records if "data budget" in r.message])
        before = uplink.status().bytes_out
        await until(lambda: uplink.status().bytes_out > before + 2_000)
    assert len([r for r in caplog.records if "data budget" in r.message]) == 1


def test_a_tpms_key_without_the_tpm_provider_is_a_start_up_error_that_says_so(
    settings, handler, gateway, clock, tmp_path
) -> None:
    key = tmp_path / "tpm.key"
    key.write_text("-----BEGIN TSS2 PRIVATE KEY-----\nMIHwBgZngQUKAQOgAwEBAQ==\n-----END TSS2 PRIVATE KEY-----\n")
    with pytest.raises(UplinkError, match="OPENSSL_CONF must name a file that activates the tpm2 provider"):
        Uplink(replace(settings, key=key), handler, "b", gateway.birth, gateway.telemetry, clock)


def pin_of(certificate: Path) -> str:
    return base64.b64encode(key_digest(ssl.PEM_cert_to_DER_cert(certificate.read_text()))).decode()


async def test_a_broker_whose_public_key_is_not_pinned_is_refused(settings, handler, gateway, clock, pki) -> None:
    pinned = replace(settings, pins=(pin_of(pki / "site-1.crt"),))
    uplink = Uplink(pinned, handler, "boot-1", gateway.birth, gateway.telemetry, clock)
    async with running(uplink):
        await until(lambda: "uplink.pins" in uplink.status().last_error)
        assert not uplink.status().connected


async def test_a_pinned_broker_is_connected_to(settings, handler, gateway, clock, pki) -> None:
    pinned = replace(settings, pins=(pin_of(pki / "site-1.crt"), pin_of(pki / "broker.crt")))
    uplink = Uplink(pinned, handler, "boot-1", gateway.birth, gateway.telemetry, clock)
    async with running(uplink):
        await until(lambda: uplink.status().connected)


async def test_the_broker_must_have_the_name_that_the_config_says(settings, handler, gateway, clock) -> None:
    uplink = Uplink(replace(settings, server_name="other"), handler, "boot-1", gateway.birth, gateway.telemetry, clock)
    async with running(uplink):
        await until(lambda: "other" in uplink.status().last_error)
    by_address = replace(settings, host="127.0.0.1", server_name="localhost")
    uplink = Uplink(by_address, handler, "boot-1", gateway.birth, gateway.telemetry, clock)
    async with running(uplink):
        await until(lambda: uplink.status().connected)
