"""TLS between a client's socket and its connection, which takes this for its transport.

uvloop has such a layer, too. This one reads into memory that all connections share, decrypts
straight into what the protocol lends, and so holds no buffer for an idle connection, where uvloop's
holds 256 KiB for each; and it may begin in the middle of what was read (behind a PROXY preface).

What is written goes out encrypted as the socket takes it, and is kept as it came meanwhile:

    FREE --the socket is full--> HELD --it takes bytes--> CLEARING --all has left--> FREE
    FREE --full in the handshake--> FULL --it takes bytes--> FREE
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from enum import Enum
from typing import Any, cast

from fastproxy.front.secure.life import BURST_BYTES, CLOSED, OPEN, Host
from fastproxy.front.secure.reading import SecureReading
from fastproxy.front.secure.records import RECORD_BYTES, Buffer
from fastproxy.tls import Certificates


class Outflow(Enum):
    """See the module."""

    FREE = "free"
    FULL = "full"  # nobody knows: there is no protocol yet
    HELD = "held"  # the protocol knows
    CLEARING = "clearing"  # it still thinks so


_FREE, _FULL, _HELD, _CLEARING = Outflow


class SecureChannel(SecureReading):
    """See the module."""

    def __init__(
        self,
        certificates: Certificates,
        host: Host,
        ciphertext: memoryview,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """See SecureReading."""
        super().__init__(certificates, host, ciphertext, loop)
        self._backlog: deque[memoryview] = deque()  # written, not encrypted
        self._outflow = _FREE

    # -- protocol of the raw transport ---------------------------------------------------------

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._backlog.clear()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """See asyncio."""
        if self._outflow is _CLEARING:
            self._outflow = _HELD
        elif self._host is None:
            self._outflow = _HELD
            self._protocol.pause_writing()
        else:
            self._outflow = _FULL

    def resume_writing(self) -> None:
        """See asyncio."""
        self._outflow = _CLEARING if self._outflow is _HELD else _FREE
        self._send()
        if self._outflow is _CLEARING and self._phase is not CLOSED:
            self._outflow = _FREE
            self._protocol.resume_writing()

    # -- writing -------------------------------------------------------------------------------

    def _send(self) -> None:
        """Encrypt and send as much as the socket takes."""
        while self._backlog and self._outflow in (_FREE, _CLEARING) and self._phase is not CLOSED:
            self._raw.writelines(self._encrypt())
        if not self._backlog:
            self._all_is_sent()

    def _encrypt(self) -> list[bytes]:
        """Records for one call to the kernel."""
        records: list[bytes] = []
        size = 0
        while self._backlog and size < BURST_BYTES:
            piece = self._backlog.popleft()
            records.append(self._records.encrypt(piece[:RECORD_BYTES]))
            size += min(len(piece), RECORD_BYTES)
            if len(piece) > RECORD_BYTES:
                self._backlog.appendleft(piece[RECORD_BYTES:])
        return records

    def write(self, data: Buffer) -> None:
        """See asyncio."""
        if self._backlog or len(data) > RECORD_BYTES or self._outflow is not _FREE:
            self.writelines((data,))
        elif data and self._phase is OPEN:  # the short way for what is small
            self._raw.write(self._records.encrypt(data))

    def writelines(self, pieces: Iterable[Buffer]) -> None:
        """See asyncio. What the socket does not take is kept as views."""
        views = [memoryview(piece) for piece in pieces if len(piece)]
        if len(views) > 1 and sum(map(len, views)) <= RECORD_BYTES:
            views = [memoryview(b"".join(views))]
        self._backlog.extend(views)
        self._send()

    # -- transport of the protocol -------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See asyncio."""
        if name == "sslcontext":
            return self.tls.context
        if name == "ssl_object":
            return self.tls
        return self._raw.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """See asyncio."""
        self._protocol = cast("asyncio.BufferedProtocol", protocol)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """See asyncio."""
        self._raw.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """See asyncio."""
        return self._raw.get_write_buffer_size() + sum(map(len, self._backlog))
