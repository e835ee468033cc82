"""A client without a network: its TLS, what it has been sent, and the transport between."""

import asyncio
import socket
import ssl
from collections.abc import Iterable
from typing import Any


class _Socket:
    """What is asked of a transport's socket."""

    family = socket.AF_INET

    def fileno(self) -> int:
        return -1

    def setsockopt(self, *_: Any) -> None:
        """Nothing depends on it."""


class Raw(asyncio.Transport):
    """The server's raw transport. Whatever the protocol says, only `take` moves bytes on."""

    def __init__(self, peer: str = "192.0.2.9", room: int = 1 << 60) -> None:
        super().__init__()
        self.peer = peer
        self.protocol: Any = None
        self.sent = bytearray()  # on its way to the client
        self.room = room  # what the kernel still takes
        self.waiting = bytearray()
        self.inbox = bytearray()
        self.is_reading = True
        self.has_eof = False
        self.ended: str | None = None
        self.high = 65536

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "peername":
            return (self.peer, 4711) if self.peer else ""
        return _Socket() if name == "socket" else default

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = 65536 if high is None else high

    def get_write_buffer_size(self) -> int:
        return len(self.waiting)

    def is_closing(self) -> bool:
        return self.ended is not None

    def pause_reading(self) -> None:
        assert self.ended is None
        self.is_reading = False

    def resume_reading(self) -> None:
        assert self.ended is None
        self.is_reading = True

    def write(self, data: Any) -> None:
        assert self.ended is None
        assert not self.has_eof
        was_free = len(self.waiting) <= self.high
        self.waiting += data
        self._move()
        if was_free and len(self.waiting) > self.high:
            self.protocol.pause_writing()

    def writelines(self, pieces: Iterable[Any]) -> None:
        self.write(b"".join(pieces))

    def _move(self) -> None:
        size = min(self.room, len(self.waiting))
        self.sent += self.waiting[:size]
        self.room -= size
        del self.waiting[:size]

    def take(self, room: int) -> None:
        """The kernel takes `room` more bytes."""
        was_blocked = len(self.waiting) > self.high
        self.room += room
        self._move()
        if was_blocked and not self.waiting:
            self.protocol.resume_writing()

    def write_eof(self) -> None:
        self.has_eof = True

    def close(self) -> None:
        self._end("closed")

    def abort(self) -> None:
        self._end("aborted")

    def _end(self, how: str) -> None:
        if self.ended is None:
            self.ended = how
            protocol = self.protocol
            asyncio.get_running_loop().call_soon(lambda: protocol.connection_lost(None))

    def deliver(self, data: bytes = b"", cuts: Iterable[int] = (1 << 30,)) -> None:
        """Let the protocol read it, in reads of these sizes, as long as it reads."""
        self.inbox += data
        sizes = list(cuts)
        while self.inbox and self.is_reading and self.ended is None:
            window = self.protocol.get_buffer(-1)
            size = min(len(self.inbox), len(window), sizes.pop(0) if len(sizes) > 1 else sizes[0])
            window[:size] = self.inbox[:size]
            del self.inbox[:size], window
            self.protocol.buffer_updated(size)


class TlsClient:
    """The client's side of TLS over a Raw."""

    def __init__(self, raw: Raw, context: ssl.SSLContext, name: str = "localhost") -> None:
        self.raw = raw
        self._incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self.outgoing, server_hostname=name)

    def hello(self) -> bytes:
        """The first bytes."""
        self.shake()
        return self.outgoing.read()

    def shake(self) -> bool:
        """Go on with the handshake; whether it is done."""
        self._receive()
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def connect(self, before: bytes = b"", cuts: Iterable[int] = (1 << 30,)) -> None:
        """The whole handshake, `before` it something else."""
        sizes = list(cuts)
        self.raw.deliver(before + self.hello(), sizes)
        while not self.shake():
            data = self.outgoing.read()
            assert data or self.raw.sent, "nobody speaks"
            self.raw.deliver(data, sizes)
        self.raw.deliver(self.outgoing.read(), sizes)

    def encrypt(self, data: bytes) -> bytes:
        """Records of it."""
        self.tls.write(data)
        return self.outgoing.read()

    def received(self) -> bytes:
        """What the server has sent, decrypted."""
        self._receive()
        found = bytearray()
        try:
            while data := self.tls.read(1 << 16):
                found += data
        except ssl.SSLWantReadError:
            pass
        return bytes(found)

    def is_at_goodbye(self) -> bool:
        """Whether the server's close_notify is what comes next."""
        self._receive()
        try:
            return self.tls.read(1) == b""
        except ssl.SSLZeroReturnError:
            return True
        except ssl.SSLWantReadError:
            return False

    def _receive(self) -> None:
        self._incoming.write(self.raw.sent)
        self.raw.sent.clear()
