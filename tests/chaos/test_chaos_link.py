"""The link to the broker is slow, half open, reset or trickles; the gateway goes on and comes back."""

from __future__ import annotations

import asyncio
import random

import pytest

from edge.model import Outcome
from edge.uplink import running
from edge.wire import topics
from tests.uplink.conftest import until


async def test_a_half_open_connection_is_noticed_by_both_ends_and_mended(uplink, link, dispatcher, orders) -> None:
    async with running(uplink):
        await dispatcher.message(topics.birth("site-1"))
        link.hole = True
        await dispatcher.message(topics.death("site-1"))
        await until(lambda: not uplink.status().connected)
        link.hole = False
        await dispatcher.message(topics.birth("site-1"), count=2)
        await until(lambda: uplink.status().connected)
        body = orders.body()
        dispatcher.send(orders.signed(body))
        assert (await dispatcher.ack(body.id)).outcome is Outcome.APPLIED


async def test_resets_at_random_moments_make_no_command_act_twice(uplink, link, dispatcher, orders, gateway) -> None:
    rng = random.Random(3)
    sent = []
    async with running(uplink):
        await dispatcher.message(topics.birth("site-1"))
        for _ in range(6):
            body = orders.body()
            sent.append(body.id)
            for _ in range(3):
                dispatcher.send(orders.signed(body))
                await asyncio.sleep(rng.uniform(0, 0.05))
            link.reset()
            await until(lambda: not uplink.status().connected)
            await until(lambda: uplink.status().connected)
    applied = [batch[0].name for batch in gateway.applied]
    assert len(applied) == len(set(applied)) and set(applied) <= set(sent)


@pytest.mark.parametrize("keep_alive_s", [15])
async def test_a_slow_link_is_measured_and_called_slow(uplink, link, dispatcher, monkeypatch) -> None:
    monkeypatch.setattr("edge.uplink.uplink.PROBE_PERIOD_S", 0.2)
    link.delay_s = 0.6
    async with running(uplink):
        await until(lambda: uplink.status().round_trip_ms is not None)
        assert uplink.status().round_trip_ms >= 1200
        assert uplink.backhaul.slow


async def test_a_broker_that_trickles_its_handshake_does_not_hold_up_the_event_loop(uplink, link) -> None:
    link.trickle = True
    renewals = 0
    async with running(uplink):
        for _ in range(20):
            await asyncio.wait_for(asyncio.sleep(0.05), 10)
            renewals += 1
        assert not uplink.status().connected
        stopping = asyncio.get_running_loop().time()
    assert renewals == 20
    assert asyncio.get_running_loop().time() - stopping < 10
