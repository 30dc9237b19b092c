"""CAN messages of a config → `struct v2g_can_config`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edge.config.settings import Evse
from edge.core._native import lib
from edge.core.errors import CoreError
from edge.core.layout import NativeConfig
from edge.field.canmap import Multiplexor, RxMessage, RxSignal, TxMessage, TxSignal
from edge.field.e2e import IdMode, Proof, Protection

CAN_EFF_FLAG = 0x8000_0000
"""linux/can.h: a 29-bit identifier."""

Message = RxMessage | TxMessage

PROTECTIONS = {
    Protection.PLAIN: lib.V2G_CAN_PLAIN,
    Protection.PROTECTED: lib.V2G_CAN_PROTECTED,
    Protection.P01: lib.V2G_CAN_E2E_P01,
    Protection.P02: lib.V2G_CAN_E2E_P02,
}
ID_MODES = {
    IdMode.BOTH: lib.V2G_CAN_ID_BOTH,
    IdMode.ALT: lib.V2G_CAN_ID_ALT,
    IdMode.LOW: lib.V2G_CAN_ID_LOW,
    IdMode.NIBBLE: lib.V2G_CAN_ID_NIBBLE,
}


class _Layouts:
    """Gives each shape of a frame its index: EVSEs of one kind share the layouts."""

    def __init__(self, native: Any) -> None:
        self._native = native
        self._index: dict[object, int] = {}

    def index(self, message: Message) -> int:
        proof = message.proof
        received = (message.multiplexor, message.deadline_ns) if isinstance(message, RxMessage) else ()
        shape = (message.length, message.fd, proof.protection, proof.id_mode, *received, message.signals)
        if shape not in self._index:
            self._index[shape] = len(self._index)
            self._add(message)
        return self._index[shape]

    def _add(self, message: Message) -> None:
        native, at, first = self._native, self._native.layouts, self._native.signals
        if at == lib.V2G_CAN_MAX_LAYOUTS or first + len(message.signals) > lib.V2G_CAN_MAX_SIGNALS:
            limit = f"{lib.V2G_CAN_MAX_LAYOUTS} kinds of frames with {lib.V2G_CAN_MAX_SIGNALS} signals"
            raise CoreError(f"CAN message {message.name}: more than {limit}: use fewer kinds of EVSEs")
        layout = native.layout[at]
        layout.first, layout.signals, layout.length = first, len(message.signals), message.length
        layout.e2e, layout.id_mode = PROTECTIONS[message.proof.protection], ID_MODES[message.proof.id_mode]
        layout.fd = message.fd
        if isinstance(message, RxMessage):
            layout.deadline_us = message.deadline_ns // 1000
            _pack_multiplexor(layout, message.multiplexor)
        signals: tuple[RxSignal | TxSignal, ...] = message.signals
        for i, signal in enumerate(signals):
            _pack_signal(native.signal[first + i], signal)
        native.layouts, native.signals = at + 1, first + len(message.signals)


class _Lists:
    """Data identifier lists of E2E profile 2; equal ones are kept once."""

    def __init__(self, native: Any) -> None:
        self._native = native
        self._index: dict[tuple[int, ...], int] = {}

    def data_id(self, proof: Proof) -> int:
        """What a message's entry holds: profile 1 its identifier, profile 2 the index of its list."""
        if proof.protection is not Protection.P02:
            return proof.data_id
        if proof.data_list not in self._index:
            at = self._native.lists
            if at == lib.V2G_CAN_MAX_LISTS:
                raise CoreError(f"evses: more than {at} data identifier lists of E2E profile 2: use fewer kinds of EVSEs")
            self._native.list[at].id = list(proof.data_list)
            self._index[proof.data_list] = at
            self._native.lists = at + 1
        return self._index[proof.data_list]


def _pack_multiplexor(layout: Any, multiplexor: Multiplexor | None) -> None:
    if multiplexor is not None:
        layout.mux_start, layout.mux_bits = multiplexor.start, multiplexor.bits
        layout.mux_option = int(multiplexor.option)


def _pack_signal(entry: Any, signal: RxSignal | TxSignal) -> None:
    entry.start, entry.bits, entry.option = signal.start, signal.bits, int(signal.option)
    entry.mul, entry.shift, entry.offset = signal.mul, signal.shift, signal.offset
    if isinstance(signal, RxSignal):
        entry.field, entry.invalid, entry.mux = int(signal.field), signal.invalid, signal.mux
        entry.minimum, entry.maximum = signal.minimum, signal.maximum
    else:
        entry.field = int(signal.source)


def _can_id(message: Message) -> int:
    return message.can_id | (CAN_EFF_FLAG if message.extended else 0)


def _phases(evse: Evse) -> list[int]:
    """The site's phase, 0 to 2, of the EVSE's phase 1, 2, 3; those that it doesn't have follow in any order."""
    own = [phase - 1 for phase in evse.phase_map]
    return own + [phase for phase in range(3) if phase not in own][: 3 - len(own)]


def pack_can(native: Any, config: NativeConfig, fds: Sequence[int]) -> None:
    """`fds`: one open descriptor per CAN bus. CoreError when the site has more than the tables hold."""
    settings = config.settings
    native.fd = [*fds, *[-1] * (lib.V2G_MAX_BUSES - len(fds))]
    native.buses = len(config.buses)
    layouts, lists = _Layouts(native), _Lists(native)
    bus_index = {b.id: i for i, b in enumerate(config.buses)}
    received: list[tuple[int, int, int, int, int]] = []
    for i, evse in enumerate(settings.evses):
        if evse.id not in config.devices.can:
            continue  # it is on Modbus
        node, bus = config.devices.can[evse.id], bus_index[evse.bus]
        received += [(bus, _can_id(m), layouts.index(m), i, lists.data_id(m.proof)) for m in node.rx]
        for message in node.tx:
            _pack_tx(native, bus, message, layouts.index(message), i)
            native.tx[native.txs - 1].data_id = lists.data_id(message.proof)
    if len(received) > lib.V2G_CAN_MAX_RX:
        raise CoreError(f"evses: {len(received)} received CAN messages, more than {lib.V2G_CAN_MAX_RX}: use fewer EVSEs")
    for at, (bus, can_id, layout, i, data_id) in enumerate(sorted(received)):
        entry = native.rx[at]
        entry.data_id = data_id
        entry.id, entry.bus, entry.layout, entry.evse = can_id, bus, layout, i
        entry.phase = _phases(settings.evses[i])
    native.rxs = len(received)


def _pack_tx(native: Any, bus: int, message: TxMessage, layout: int, evse: int) -> None:
    at = native.txs
    if at == lib.V2G_CAN_MAX_TX:
        raise CoreError(f"evses: more than {at} transmitted CAN messages: use fewer EVSEs")
    entry = native.tx[at]
    entry.id, entry.bus, entry.layout, entry.evse = _can_id(message), bus, layout, evse
    native.txs = at + 1
