"""Transports without a network, and a loop that connects to nothing else."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any

_NARROW = 4608  # the smallest send buffer there is
_DEAF = 256 * 1024  # more than a peer that does not read has room for


def _deaf_pair() -> tuple[socket.socket, socket.socket]:
    """By TCP: what is sent now waits in our kernel, for the peer has no more room."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _NARROW)
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    near.sendall(bytes(_DEAF))
    return near, far


class Transport:
    """One end of a pair of sockets, as a loop would show it. `far` is the peer's end."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, peer: str, *, narrow: bool, deaf: bool = False
    ) -> None:
        self._loop = loop
        self._peer = peer
        self.sock, self.far = _deaf_pair() if deaf else socket.socketpair()
        self.sock.setblocking(False)
        self.far.setblocking(False)
        if narrow:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _NARROW)
        self.protocol: Any = None
        self.received = bytearray()  # by the peer
        self.inbox = bytearray()  # sent by the peer, not yet read
        self.is_reading = True
        self.is_reset = False
        self._waiting = bytearray()
        self._is_closing = False
        self._is_paused = False
        self._wants_eof = False
        self.is_lost = False

    def connect(self, protocol: Any) -> None:
        self.protocol = protocol
        protocol.connection_made(self)

    # -- asyncio.Transport ---------------------------------------------------------------------

    def get_extra_info(self, name: str) -> Any:
        if name == "peername":
            return (self._peer, 4711) if self._peer else ""
        return self.sock if name == "socket" else None

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high == 0  # the lane relies on it

    def get_write_buffer_size(self) -> int:
        return len(self._waiting)

    def is_closing(self) -> bool:
        return self._is_closing

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def can_write_eof(self) -> bool:
        return True

    def write(self, data: bytes | memoryview) -> None:
        if self._is_closing:
            return
        self._waiting += data
        self.flush()
        if self._waiting and not self._is_paused:
            self._is_paused = True
            self.protocol.pause_writing()

    def writelines(self, pieces: Sequence[bytes | memoryview]) -> None:
        self.write(b"".join(pieces))

    def write_eof(self) -> None:
        self._wants_eof = True
        self.flush()

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self.is_reading = False
            self.flush()

    def abort(self) -> None:
        self._waiting.clear()
        self.end(None)

    # -- the network ---------------------------------------------------------------------------

    def flush(self) -> None:
        """Let the kernel take what it takes."""
        if self.is_lost:
            return
        try:
            while self._waiting:
                del self._waiting[: self.sock.send(self._waiting)]
        except BlockingIOError:
            return
        except OSError as error:
            self._waiting.clear()
            self.end(error)
            return
        if self._wants_eof:
            self.sock.shutdown(socket.SHUT_WR)
            self._wants_eof = False
        if self._is_closing:
            self.end(None)

    def writable(self) -> None:
        """The peer has read; tell the protocol when all is sent."""
        self.flush()
        if self._is_paused and not self._waiting and not self.is_lost:
            self._is_paused = False
            self.protocol.resume_writing()

    def end(self, error: Exception | None) -> None:
        """The connection is over; the protocol hears of it in the next turn of the loop."""
        if not self.is_lost:
            self.is_lost = self._is_closing = True
            self.is_reading = False
            self._loop.call_soon(self._tell, error)

    def _tell(self, error: Exception | None) -> None:
        linger = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER)
        self.is_reset = linger == 1
        self.protocol.connection_lost(error)
        self.sock.close()

    def pump(self) -> None:
        """Let the protocol read what the peer sent, as long as it reads."""
        while self.inbox and self.is_reading:
            room = self.protocol.get_buffer(-1)
            size = min(len(room), len(self.inbox))
            room[:size] = self.inbox[:size]
            del self.inbox[:size], room
            self.protocol.buffer_updated(size)

    def read_far(self) -> None:
        """The peer reads all there is."""
        try:
            while data := self.far.recv(1 << 20):
                self.received += data
                self.writable()
        except OSError:
            pass


class MemoryLoop(asyncio.SelectorEventLoop):
    """Connects to nothing but a new Transport of its world. Its clock stands."""

    connect: Callable[[], Transport]

    def time(self) -> float:
        return 1000.0

    async def create_connection(self, make: Any, *_: Any, **__: Any) -> Any:
        transport = self.connect()
        protocol = make()
        transport.connect(protocol)
        return transport, protocol
