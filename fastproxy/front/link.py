"""The socket of a client connection: reading on and off, writing, and the ways to end.

What the transport cannot send at once it keeps as views of the shared scratch; then the scratch is
renewed. Its high-water mark is zero so that this is known: blocked means that something waits.
"""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Sequence
from typing import Final

from fastproxy.front.probe import PeerState, peer_state
from fastproxy.loop.readiness import Descriptor, Reader, Readiness
from fastproxy.wire.framing import Piece
from fastproxy.wire.kernel import unacknowledged, unread
from fastproxy.wire.scratch import Scratch

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class Link:
    """See the module. Once the transport is gone or closing, nothing here has an effect."""

    __slots__ = (
        "_descriptor",
        "_is_ending",
        "_scratch",
        "_transport",
        "_written",
        "has_eof",
        "has_sent_eof",
        "is_blocked",
        "is_reading",
    )

    def __init__(self, transport: asyncio.Transport, scratch: Scratch) -> None:
        transport.set_write_buffer_limits(high=0)
        self._transport: asyncio.Transport | None = transport
        self._scratch = scratch
        self._written = 0
        is_plain = transport.get_extra_info("sslcontext") is None
        # For the express lane, whose bytes must never pass by TLS.
        fd = transport.get_extra_info("socket").fileno() if is_plain else -1
        self._descriptor = Descriptor(transport, fd)
        self.is_reading = True
        self.is_blocked = False
        self.has_eof = False
        self.has_sent_eof = False
        self._is_ending = False

    @property
    def peer_ip(self) -> str:
        """The peer's address, empty for a unix socket. Costs a system call."""
        peer = self._transport.get_extra_info("peername") if self._transport is not None else None
        return peer[0] if isinstance(peer, tuple) else ""

    @property
    def unsent(self) -> int:
        """Bytes written that the kernel has not taken yet."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    @property
    def taken(self) -> int:
        """Bytes written here that the peer's kernel has acknowledged. Costs a system call.

        What lies in our kernel has not arrived: of a reader that is slow, up to 4 MiB wait there,
        and the transport hears of room only when a third of that is free.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            return self._written
        queued = unacknowledged(self._fileno(transport))
        return self._written - transport.get_write_buffer_size() - queued

    @property
    def is_settled(self) -> bool:
        """Whether all that was written has left, and all that came was read: to close is safe.

        Costs a system call.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            return True
        if transport.get_write_buffer_size():
            return False
        return unread(self._fileno(transport)) == 0

    def _fileno(self, transport: asyncio.Transport) -> int:
        """The socket's, also beneath TLS."""
        fd: int = self._descriptor.fd
        return fd if fd >= 0 else transport.get_extra_info("socket").fileno()

    @property
    def peer_state(self) -> PeerState:
        """Is a peer that we do not read from still there?"""
        return peer_state(self._transport)

    def stop_reading(self) -> None:
        """Leave what comes to the kernel."""
        if self.is_reading and self._transport is not None:
            self.is_reading = False
            self._descriptor.pause()

    def start_reading(self) -> None:
        """Read on; after EOF there is nothing to read, and libuv would tell of it again."""
        if not self.is_reading and not self.has_eof and self._transport is not None:
            self.is_reading = True
            self._descriptor.resume()

    def read_with(self, readiness: Readiness, reader: Reader) -> None:
        """What is read now is read past the transport, where that is possible."""
        readiness.take(self._descriptor, reader)

    def write(self, pieces: Sequence[Piece]) -> None:
        """Write in one call to the kernel, as far as it takes it."""
        if self._transport is not None and not self.has_sent_eof and not self._is_ending:
            if len(pieces) == 1:
                self._written += len(pieces[0])
                self._transport.write(pieces[0])  # a third of what `writelines` costs
            else:
                self._written += sum(map(len, pieces))
                self._transport.writelines(pieces)
            if self.is_blocked:
                self._scratch.renew()
            self._leave_if_closing()

    def _leave_if_closing(self) -> None:
        """A write that failed has closed the transport, and with it the descriptor."""
        if self._transport is not None and self._transport.is_closing():
            self._descriptor.leave()

    def outlet(self) -> int:
        """See ClientSide. It is a duplicate: the transport may close its own while it is in use."""
        transport, fd = self._transport, self._descriptor.fd
        if fd < 0 or self._is_ending or transport is None or transport.is_closing():
            return -1
        if self.is_blocked or transport.get_write_buffer_size():
            return -1
        try:
            return os.dup(fd)
        except OSError:  # no descriptors are left: it goes without
            return -1

    def passed(self, size: int) -> None:
        """So many bytes left by the outlet."""
        self._written += size

    def send_eof(self) -> None:
        """Close our sending side once everything written has left."""
        if not self.has_sent_eof and not self._is_ending and self._transport is not None:
            self.has_sent_eof = True
            self._transport.write_eof()

    def close(self) -> None:
        """Close once everything written has left."""
        self._end()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close now; what was not sent is dropped."""
        self._end()
        if self._transport is not None:
            self._transport.abort()

    def reset(self) -> None:
        """Close with a reset: a response that ends with its connection must not look complete."""
        self._end()
        transport = self._transport
        if transport is not None and not transport.is_closing():
            with contextlib.suppress(OSError):
                sock = transport.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            transport.abort()

    def _end(self) -> None:
        self._is_ending = True
        self._descriptor.leave()

    def lost(self) -> None:
        """The transport is gone."""
        self._transport = None
        self._descriptor.forget()
