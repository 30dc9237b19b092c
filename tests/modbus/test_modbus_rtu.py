"""A serial line with several slaves: silence is kept, a silent slave costs one time-out, a late answer is nobody's answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from modbus_line import Line, Wire
from modbus_peers import Loop
from modbus_rig import LineRig, eventually
from pymodbus import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire()
    yield wire
    wire.close()


@pytest.mark.parametrize("manner", ["good", "bytewise"])
def test_several_slaves_are_read_and_silence_is_kept(line: Line, line_rig: LineRig, manner: str) -> None:
    cells = []
    for unit in (1, 2, 3):
        line.add(unit, {52: 0, 53: 100 * unit}).manner = manner
        cells.append(line_rig.register(line_rig.slave(unit), "input", 52, "U32"))
    line_rig.start()
    eventually(lambda: all(line_rig.read(c).count > 5 for c in cells))
    assert [line_rig.read(c).value for c in cells] == [100, 200, 300]
    assert line.too_soon == 0
    assert [line_rig.stats(i).bad_frames + line_rig.stats(i).timeouts for i in range(3)] == [0, 0, 0]


def test_a_plan_that_does_not_fit_its_line_is_refused_with_figures(line: Line, line_rig: LineRig) -> None:
    for unit in (1, 2, 3):
        line_rig.register(line_rig.slave(unit, poll_ms=20), "input", 52, "U32")
    with pytest.raises(ValueError, match=r"need 206\.\d % of the line at 19200 baud, 97\.0 % is there"):
        line_rig.start()


def test_a_silent_slave_is_left_alone_and_the_others_go_on(line: Line, line_rig: LineRig) -> None:
    for unit in (1, 2, 3):
        line.add(unit, {0: unit})
    patience_ms = {1: 200, 2: 3_000, 3: 3_000}  # the line is a model on a busy machine: who is not silent may answer late
    cells = [line_rig.register(line_rig.slave(unit, timeout_ms=ms), "input", 0) for unit, ms in patience_ms.items()]
    line_rig.config.backoff_min_ns = line_rig.config.backoff_max_ns = 1_000_000_000
    line_rig.start()
    eventually(lambda: all(line_rig.read(c).count > 1 for c in cells))
    line.slaves[1].manner = "silent"
    eventually(lambda: line_rig.state(0) == "backoff")
    assert line_rig.read(cells[0]).quality == "stale_device"
    before = len(line.slaves[1].requests), line_rig.read(cells[1]).count
    eventually(lambda: line_rig.read(cells[1]).count >= before[1] + 5)
    assert len(line.slaves[1].requests) - before[0] <= 1
    line.slaves[1].manner = "good"
    eventually(lambda: line_rig.read(cells[0]).quality == "good")
    assert [line_rig.stats(i).timeouts for i in (1, 2)] == [0, 0]


def test_a_late_answer_is_thrown_away_and_the_next_request_is_another(line: Line, line_rig: LineRig) -> None:
    slave = line.add(1, {0: 0, 1: 7})
    line.add(2, {0: 0, 1: 9})
    cells = [line_rig.register(line_rig.slave(unit, timeout_ms=60), "input", 0, "U32") for unit in (1, 2)]
    line_rig.start()
    eventually(lambda: all(line_rig.read(c).count > 1 for c in cells))
    slave.manner = "late"
    eventually(lambda: line_rig.stats(0).timeouts > 0 and line_rig.stats(0).unsolicited + line_rig.stats(1).unsolicited > 0)
    slave.registers[1] = 8
    slave.manner = "good"
    seen = len(slave.requests)
    eventually(lambda: line_rig.read(cells[0]).value == 8)
    assert line_rig.read(cells[1]).value == 9
    counts = [int.from_bytes(request[4:6], "big") for request in slave.requests[seen - 1 :]]
    assert 1 in counts[: counts.index(2, 1) + 1], "no request of another length came first"


def test_one_disturbed_frame_costs_one_poll(line: Line, line_rig: LineRig) -> None:
    slave = line.add(1, {0: 5})
    cell = line_rig.register(line_rig.slave(1), "input", 0)
    line_rig.start()
    eventually(lambda: line_rig.read(cell).count > 1)
    slave.manner = "disturbed-once"
    eventually(lambda: line_rig.stats(0).bad_frames == 1)
    count = line_rig.read(cell).count
    eventually(lambda: line_rig.read(cell).count > count)
    assert line_rig.stats(0).timeouts == 0
    assert line_rig.read(cell).value == 5


@pytest.mark.parametrize("manner", ["disturbed", "chatter", "dribbling"])
def test_a_slave_that_talks_nonsense_is_left_alone(line: Line, line_rig: LineRig, manner: str) -> None:
    slave = line.add(1, {0: 5})
    line.add(2, {0: 6})
    cells = [line_rig.register(line_rig.slave(unit), "input", 0) for unit in (1, 2)]
    line_rig.config.devices[0].reply_timeout_ns = 100_000_000
    line_rig.start()
    eventually(lambda: all(line_rig.read(c).count > 1 for c in cells))
    slave.manner = manner
    eventually(lambda: line_rig.state(0) == "backoff")
    count = line_rig.read(cells[1]).count
    eventually(lambda: line_rig.read(cells[1]).count > count + 3)
    slave.manner = "good"
    eventually(lambda: line_rig.read(cells[0]).quality == "good")
    assert [line_rig.read(c).value for c in cells] == [5, 6]


def test_a_setpoint_goes_before_the_polls(line: Line, line_rig: LineRig) -> None:
    slave = line.add(1, {300: 0})
    charger = line_rig.slave(1)
    shown = line_rig.register(charger, "holding", 300)
    limit = line_rig.write(charger, 6, 300, read_back=shown)
    line_rig.start()
    eventually(lambda: line_rig.read(shown).count > 1)
    line_rig.ask(limit, 16, valid_s=0.5)
    eventually(lambda: line_rig.read(shown).value == 16)
    assert line_rig.result(limit).value == 16
    eventually(lambda: slave.registers[300] == 0)  # nobody renewed it: the stop
    assert line.too_soon == 0


def test_a_slave_that_is_left_alone_costs_the_others_nothing(line: Line, line_rig: LineRig) -> None:
    slave = line.add(1, {300: 0})
    line.add(2, {0: 6})
    charger, meter = line_rig.slave(1), line_rig.slave(2)
    shown, other = line_rig.register(charger, "holding", 300), line_rig.register(meter, "input", 0)
    limit = line_rig.write(charger, 6, 300)
    line_rig.start()
    line_rig.ask(limit, 16)
    eventually(lambda: line_rig.read(shown).value == 16 and line_rig.read(other).count > 1)
    line_rig.silence(charger, silence_s=1, look_s=1)
    eventually(lambda: line_rig.state(charger) == "backoff")
    heard, count = len(slave.requests), line_rig.read(other).count
    eventually(lambda: line_rig.read(other).count > count + 5)
    assert len(slave.requests) <= heard + 1, "at most the one that was already on the line"
    slave.registers[300] = 6  # it fell back
    eventually(lambda: line_rig.read(shown).value == 6)
    eventually(lambda: line_rig.read(shown).value == 16)  # and was written again
    assert [line_rig.stats(i).timeouts for i in (charger, meter)] == [0, 0]


def test_an_adapter_that_is_pulled_out_comes_back(line: Line, line_rig: LineRig) -> None:
    line.add(1, {0: 5})
    cell = line_rig.register(line_rig.slave(1), "input", 0)
    line_rig.start()
    eventually(lambda: line_rig.read(cell).count > 1)
    line.unplug()
    eventually(lambda: line_rig.read(cell).quality == "stale_device")
    lost = line_rig.read(cell)
    eventually(lambda: line_rig.stats(0).connect_failures > 1)
    assert line_rig.read(cell) == lost
    line.plug()
    eventually(lambda: line_rig.read(cell).quality == "good")


def pymodbus_device() -> SimDevice:
    words = [SimData(0, values=[1000 + i for i in range(50)], datatype=DataType.REGISTERS)]
    bits = [SimData(0, values=[True, False] * 8, datatype=DataType.BITS)]
    return SimDevice(id=17, simdata=(bits, bits, words, words))


async def serve_on_wire(port: str) -> ModbusSerialServer:
    server = ModbusSerialServer(pymodbus_device(), framer=FramerType.RTU, port=port, baudrate=19200)
    await server.serve_forever(background=True)
    return server


async def serve_rtu_over_tcp() -> ModbusTcpServer:
    server = ModbusTcpServer(pymodbus_device(), framer=FramerType.RTU, address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    return server


def poll_pymodbus(rig: LineRig) -> None:
    """Every table is read, a setpoint is written and read back."""
    device = rig.slave(17)
    cells = [rig.register(device, table, address) for table, address in (("holding", 7), ("input", 30))]
    coil = rig.register(device, "coil", 2, "BIT")
    limit = rig.write(device, 16, 20, read_back=0)
    try:
        rig.start()
        rig.ask(limit, 321)
        eventually(lambda: all(rig.read(c).count > 1 for c in (*cells, coil)) and rig.result(limit).value == 321)
        assert [rig.read(c).value for c in (*cells, coil)] == [1007, 1030, 1]
        assert rig.stats(device).bad_frames == 0
    finally:
        rig.stop()


def test_pymodbus_as_a_slave_understands_the_engine(loop: Loop, wire: Wire) -> None:
    server = loop.run(serve_on_wire(wire.ends[1]))
    poll_pymodbus(LineRig(wire.ends[0]))
    loop.run(server.shutdown())


def test_a_line_behind_a_serial_server_is_polled_over_tcp(loop: Loop) -> None:
    server = loop.run(serve_rtu_over_tcp())
    rig = LineRig("line behind a serial server")
    rig.over_tcp(server.transport.sockets[0].getsockname()[1])
    poll_pymodbus(rig)
    loop.run(server.shutdown())
