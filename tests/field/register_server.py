"""A Modbus/TCP device of plain registers, with manners: it pipelines as far as `window` says, and counts what it is asked."""

from __future__ import annotations

import socket
import struct
import threading


class RegisterServer:
    def __init__(self, registers: dict[int, int], window: int = 16) -> None:
        self.registers, self.window = registers, window
        self.writes: list[tuple[int, list[int]]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.place = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(4096):
                frames = []
                while len(data) >= 8:
                    length = 6 + int.from_bytes(data[4:6], "big")
                    frames.append(data[:length])
                    data = data[length:]
                if len(frames) > self.window:
                    return  # more than it bears
                for frame in frames:
                    answer = self._answer(frame[7:])
                    connection.sendall(frame[:4] + struct.pack(">HB", len(answer) + 1, frame[6]) + answer)

    def _answer(self, pdu: bytes) -> bytes:
        function, address, count = struct.unpack(">BHH", pdu[:5])
        wanted = range(address, address + count)
        if function == 3 and all(a in self.registers for a in wanted):
            words = [self.registers[a] for a in wanted]
            return struct.pack(f">BB{count}H", 3, 2 * count, *words)
        if function == 6 and address in self.registers:
            self._write(address, [count])
            return pdu
        if function == 16 and all(a in self.registers for a in wanted):
            self._write(address, list(struct.unpack(f">{count}H", pdu[6:])))
            return pdu[:5]
        return bytes([function | 0x80, 2])

    def _write(self, address: int, words: list[int]) -> None:
        self.writes.append((address, words))
        self.registers |= {address + i: word for i, word in enumerate(words)}

    def close(self) -> None:
        self._listener.close()
