"""One bad device costs no other device anything, and comes back when it is good again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from modbus_peers import BlackHole, Device
from modbus_rig import Rig, eventually

METER = {0: 230, 1: 0, 2: 0, 3: 7}


@pytest.fixture
def black_hole() -> Iterator[BlackHole]:
    hole = BlackHole()
    yield hole
    hole.close()


def test_a_value_keeps_its_age_when_the_meter_dies(rig: Rig, make_device: Callable[..., Device]) -> None:
    meter = make_device(METER)
    index = rig.device("127.0.0.1", meter.port)
    cell = rig.register(index, "holding", 0)
    rig.start()
    eventually(lambda: rig.read(cell).count > 2)
    meter.kill()
    eventually(lambda: rig.read(cell).quality == "stale_device")
    lost = rig.read(cell)
    assert lost.value == 230
    eventually(lambda: rig.stats(index).connect_failures > 1)
    assert rig.read(cell) == lost
    meter.start()
    eventually(lambda: rig.read(cell).quality == "good" and rig.read(cell).count > lost.count)
    assert rig.read(cell).acquired_ns > lost.acquired_ns
    assert rig.read(cell).changed_ns == lost.changed_ns


@pytest.mark.parametrize(
    ("manner", "counter"),
    [
        ("silent", "timeouts"),
        ("late", "unsolicited"),
        ("slow-loris", "timeouts"),
        ("garbage", "bad_frames"),
        ("flood", "unsolicited"),
        ("wrong-transaction", "bad_frames"),
        ("wrong-unit", "bad_frames"),
        ("wrong-length", "bad_frames"),
        ("reset", "disconnects"),
    ],
)
def test_a_bad_device_is_noticed_and_comes_back(
    rig: Rig, make_device: Callable[..., Device], manner: str, counter: str
) -> None:
    device = make_device(METER)
    index = rig.device("127.0.0.1", device.port, timeout_ms=100)
    cell = rig.register(index, "holding", 0)
    rig.start()
    eventually(lambda: rig.read(cell).count > 0)
    device.manner = manner
    eventually(lambda: getattr(rig.stats(index), counter) > 0)
    eventually(lambda: rig.state(index) == "backoff")
    assert rig.read(cell).quality == "stale_device"
    device.manner = "good"
    count = rig.read(cell).count
    eventually(lambda: rig.state(index) == "up" and rig.read(cell).quality == "good" and rig.read(cell).count > count + 3)
    assert rig.read(cell).value == 230


def test_a_late_answer_is_never_taken_for_another(rig: Rig, make_device: Callable[..., Device]) -> None:
    device = make_device({0: 1, 100: 2})
    index = rig.device("127.0.0.1", device.port, timeout_ms=100)
    low, high = rig.register(index, "holding", 0), rig.register(index, "holding", 100)
    rig.start()
    eventually(lambda: rig.read(high).count > 0)
    for _ in range(3):
        device.manner = "late"
        seen = rig.stats(index).unsolicited
        eventually(lambda seen=seen: rig.stats(index).unsolicited > seen)  # type: ignore[misc]
        device.manner = "good"
        count = rig.read(high).count
        eventually(lambda count=count: rig.read(high).count > count)  # type: ignore[misc]
        assert (rig.read(low).value, rig.read(high).value) == (1, 2)
    assert rig.stats(index).bad_frames == 0


def test_answers_in_single_bytes_are_answers(rig: Rig, make_device: Callable[..., Device]) -> None:
    device = make_device(METER)
    device.manner = "fragmented"
    index = rig.device("127.0.0.1", device.port)
    cell = rig.register(index, "holding", 0, "U64", order=1)
    rig.start()
    eventually(lambda: rig.read(cell).count > 5)
    assert rig.stats(index).bad_frames == 0
    assert rig.stats(index).connects == 1


def test_an_exception_storm_is_only_counted(rig: Rig, make_device: Callable[..., Device]) -> None:
    device = make_device(METER)
    device.manner = "exception"
    index = rig.device("127.0.0.1", device.port)
    cell = rig.register(index, "holding", 0)
    rig.start()
    eventually(lambda: rig.stats(index).exceptions > 10)
    assert rig.state(index) == "up"
    assert rig.stats(index).connects == 1
    assert rig.read(cell).quality == "exception"
    device.manner = "good"
    eventually(lambda: rig.read(cell).quality == "good")


def test_the_pause_grows_while_a_device_stays_away(rig: Rig, make_device: Callable[..., Device]) -> None:
    device = make_device(METER)
    index = rig.device("127.0.0.1", device.port)
    cell = rig.register(index, "holding", 0)
    device.kill()
    started = time.monotonic()
    rig.start()
    eventually(lambda: rig.stats(index).connect_failures >= 4)
    assert time.monotonic() - started >= 0.2 + 0.4 + 0.8
    assert rig.read(cell).quality == "none"
    device.start()
    eventually(lambda: rig.read(cell).quality == "good")


def test_an_address_that_swallows_connections_is_given_up_in_time(rig: Rig, black_hole: BlackHole) -> None:
    index = rig.device("127.0.0.1", black_hole.port, timeout_ms=100)
    rig.register(index, "holding", 0)
    rig.start()
    eventually(lambda: rig.stats(index).connect_failures > 1)


def test_a_device_without_a_probe_sees_one_request_at_a_time(rig: Rig, make_device: Callable[..., Device]) -> None:
    device = make_device(dict.fromkeys(range(0, 100, 10), 5))
    device.manner = "pipelined"
    index = rig.device("127.0.0.1", device.port)
    cells = [rig.register(index, "holding", address) for address in range(0, 100, 10)]
    rig.start()
    eventually(lambda: all(rig.read(c).count > 1 for c in cells))
    assert device.most_open == 1


def test_answers_of_a_pipelining_device_may_overtake_one_another(rig: Rig, make_device: Callable[..., Device]) -> None:
    device = make_device({address: address + 1 for address in range(0, 100, 10)})
    device.manner = "pipelined"
    index = rig.device("127.0.0.1", device.port, window=4)
    cells = [rig.register(index, "holding", address) for address in range(0, 100, 10)]
    rig.start()
    eventually(lambda: all(rig.read(c).count > 3 for c in cells))
    assert [rig.read(c).value for c in cells] == [address + 1 for address in range(0, 100, 10)]
    assert 1 < device.most_open <= 4
    assert rig.stats(index).bad_frames == 0


def test_a_setpoint_does_not_wait_behind_a_poll(rig: Rig, make_device: Callable[..., Device]) -> None:
    device = make_device({**dict.fromkeys(range(0, 100, 2), 5), 300: 0})
    device.manner = "pipelined"
    index = rig.device("127.0.0.1", device.port, poll_ms=1000)
    for address in range(0, 100, 2):
        rig.register(index, "holding", address)
    limit = rig.write(index, 6, 300)
    rig.start()
    eventually(lambda: len(device.requests) > 5)
    rig.ask(limit, 42)
    eventually(lambda: device.registers[300] == 42)
    position = next(i for i, r in enumerate(device.requests) if r[7] == 6)
    reads_before = sum(1 for r in device.requests[:position] if r[7] == 3)
    assert reads_before < 50, "the whole poll went first"


def test_only_the_newest_of_many_setpoints_reaches_a_slow_device(rig: Rig, make_device: Callable[..., Device]) -> None:
    device = make_device({300: 0})
    index = rig.device("127.0.0.1", device.port)
    rig.register(index, "holding", 300)
    limit = rig.write(index, 6, 300, min_interval_ns=300_000_000)
    rig.start()
    rig.ask(limit, 1)
    eventually(lambda: rig.result(limit).value == 1)
    for value in range(2, 31):
        rig.ask(limit, value)
        time.sleep(0.001)
    eventually(lambda: rig.result(limit).value == 30)
    assert len(device.writes()) <= 4
    assert device.registers[300] == 30


def test_a_setpoint_that_nobody_renews_becomes_the_stop(rig: Rig, make_device: Callable[..., Device]) -> None:
    device = make_device({300: 0, 301: 0})
    index = rig.device("127.0.0.1", device.port)
    limit = rig.write(index, 6, 300)
    stop = rig.config.writes[0].stop
    stop.address, stop.words = 301, [9, 0, 0, 0]
    rig.start()
    rig.ask(limit, 16, valid_s=0.3)
    eventually(lambda: device.registers[301] == 9)
    assert device.writes()[0] == (300, 16)
    eventually(lambda: rig.stats(index).stops >= 1)


def test_after_a_loss_an_expired_setpoint_is_not_sent(rig: Rig, make_device: Callable[..., Device]) -> None:
    device = make_device({300: 0, 301: 0})
    index = rig.device("127.0.0.1", device.port)
    limit = rig.write(index, 6, 300)
    rig.config.writes[0].stop.address = 301
    rig.start()
    rig.ask(limit, 16)
    eventually(lambda: device.registers[300] == 16)
    device.kill()
    eventually(lambda: rig.state(index) == "backoff")
    rig.ask(limit, 20, valid_s=0.0)
    sent = len(device.writes())
    device.start()
    eventually(lambda: len(device.writes()) > sent)
    assert device.writes()[sent] == (301, 0)


def test_a_device_that_is_left_alone_hears_nothing_and_is_then_only_read(rig: Rig, make_device: Callable[..., Device]) -> None:
    device = make_device({0: 5, 300: 0})
    index = rig.device("127.0.0.1", device.port)
    cell = rig.register(index, "holding", 0)
    limit = rig.write(index, 6, 300, refresh_ns=50_000_000)
    rig.start()
    rig.ask(limit, 16)
    eventually(lambda: len(device.writes()) > 2)
    rig.silence(index, silence_s=0.5, look_s=0.5)
    eventually(lambda: rig.state(index) == "backoff")
    heard, asked = len(device.requests), time.monotonic()
    assert rig.read(cell).quality == "stale_device"
    eventually(lambda: len(device.requests) > heard)
    assert time.monotonic() - asked > 0.4
    eventually(lambda: any(r[7] == 6 for r in device.requests[heard:]))
    first = next(i for i, r in enumerate(device.requests[heard:]) if r[7] == 6)
    assert first > 2, "it was read before it was written"
    assert time.monotonic() - asked > 0.9
    assert rig.stats(index).timeouts == 0


BAD = ("kill", "silent", "late", "fragmented", "garbage", "slow-loris", "exception", "flood")


def test_of_64_devices_8_misbehave_and_the_other_56_miss_nothing(rig: Rig, make_device: Callable[..., Device]) -> None:
    devices = [make_device({0: n}) for n in range(64)]
    cells = []
    for device in devices:
        index = rig.device("127.0.0.1", device.port, poll_ms=100)
        cells.append(rig.register(index, "holding", 0))
    for index in range(8):
        rig.config.devices[index].reply_timeout_ns = 100_000_000
    rig.start()
    eventually(lambda: all(rig.read(c).count > 2 for c in cells))
    for device, manner in zip(devices, BAD, strict=False):
        if manner == "kill":
            device.kill()
        else:
            device.manner = manner
    polls = [rig.stats(i).polls for i in range(64)]
    counts = [rig.read(c).count for c in cells]
    threading.Event().wait(3)
    for index in range(8, 64):
        stats = rig.stats(index)
        asked, got = stats.polls - polls[index], rig.read(cells[index]).count - counts[index]
        assert (stats.timeouts, stats.bad_frames, stats.disconnects, stats.connects) == (0, 0, 0, 1)
        assert rig.read(cells[index]).quality == "good"
        assert got >= asked - 1, "a poll that was begun was also answered"
    for manner, index in zip(BAD, range(8), strict=True):
        assert (rig.read(cells[index]).quality == "good") == (manner == "fragmented"), manner
    devices[0].start()
    for device in devices[:8]:
        device.manner = "good"
    eventually(lambda: all(rig.read(c).quality == "good" for c in cells))
    assert [rig.read(c).value for c in cells] == list(range(64))
