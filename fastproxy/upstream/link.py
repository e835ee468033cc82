"""The socket of a connection to a backend or a store: sending, and what the kernel knows of it."""

import asyncio
import contextlib
import socket
from collections.abc import Sequence
from enum import Enum
from typing import Final

from fastproxy.loop.keepalive import watch_peer
from fastproxy.loop.readiness import Descriptor, Reader, Readiness
from fastproxy.wire.framing import Piece
from fastproxy.wire.kernel import unacknowledged
from fastproxy.wire.scratch import Scratch


class Phase(Enum):
    """What the next byte from the backend is."""

    IDLE = "idle"
    HEAD = "head"
    BODY = "body"
    TUNNEL = "tunnel"
    CLOSED = "closed"


_CLOSED: Final = Phase.CLOSED


class Link(Reader):
    """See the module. `copies`: under TLS, which keeps pieces longer than their scratch lives."""

    _descriptor: Descriptor  # from connection_made on, as is the transport

    def __init__(self, scratch: Scratch, *, copies: bool) -> None:
        super().__init__()
        self._scratch = scratch
        self._copies = copies
        self._transport: asyncio.Transport | None = None
        self._is_tcp = False
        self._is_near = False  # on this machine
        self._sent = 0  # at least so many bytes of a request
        self.phase = Phase.IDLE
        self.is_blocked = False

    def _open(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        sock = transport.get_extra_info("socket")
        watch_peer(sock)
        self._descriptor = Descriptor(transport, -1 if self._copies else sock.fileno())
        self._is_tcp = not self._copies and sock.family != socket.AF_UNIX
        self._is_near = self._is_tcp and _is_near(sock)
        # Zero: be told as soon as one byte had to wait, for then the scratch must be left to it.
        # uvloop's TLS takes "from 0 bytes on" literally, and would pause a connection for ever.
        transport.set_write_buffer_limits(high=1 if self._copies else 0, low=0)

    @property
    def copies(self) -> bool:
        """Whether `send` copies, as it must under TLS."""
        return self._copies

    def read_with(self, readiness: Readiness) -> None:
        """What comes is read past the transport, where that is possible, unless it is already."""
        if not self._descriptor.is_taken:
            readiness.take(self._descriptor, self)

    def is_silent(self) -> bool:
        """Whether nothing has come that was not read: it would pass for the next answer.

        Under TLS nobody knows, for TLS has things to say itself.
        """
        return self._descriptor.fd < 0 or self._descriptor.is_silent()

    def send(self, pieces: Sequence[Piece]) -> None:
        """Write pieces in one call to the kernel, as far as it takes them."""
        if self._transport is None or self.phase is _CLOSED:
            return
        self._sent += sum(map(len, pieces))
        if self._copies:
            self._transport.write(b"".join(pieces))
            return
        if len(pieces) == 1:
            self._transport.write(pieces[0])
        else:
            self._transport.writelines(pieces)
        if self.is_blocked:
            self._scratch.renew()
        if self._transport.is_closing():  # the write failed, and closed it
            self._descriptor.leave()

    @property
    def unsent_bytes(self) -> int:
        """Bytes written that the kernel has not taken yet."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def send_eof(self) -> None:
        """Close our sending side: a tunnel's client is done."""
        if self._transport is not None and not self._transport.is_closing():
            if self._transport.can_write_eof():
                self._transport.write_eof()
            else:
                self._transport.close()

    def _is_unasked(self) -> bool:
        """Whether what came is no answer: with one, some of its request would be acknowledged.

        On this machine send(2) has delivered it when it returns: what was not there came after.
        """
        if not self._is_tcp or (self._is_near and self._descriptor.is_later()):
            return False
        return 0 < self._sent <= unacknowledged(self._descriptor.fd)


def _is_near(sock: socket.socket) -> bool:
    """Whether both ends have the same address."""
    with contextlib.suppress(OSError):  # the peer is gone
        return bool(sock.getsockname()[0] == sock.getpeername()[0])
    return False
