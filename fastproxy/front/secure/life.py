"""The life of a TLS connection: its handshake, and the ways it ends.

HANDSHAKE --done--> OPEN --write_eof--> ENDING --all sent--> HALF_CLOSED
OPEN, ENDING --close--> CLOSING --all sent--> CLOSED
HALF_CLOSED --close--> CLOSED
any --abort, failed, lost--> CLOSED
"""

import asyncio
import ssl
from enum import Enum
from typing import Final, Protocol, cast

from fastproxy.front.secure.records import Records
from fastproxy.tls import Certificates

BURST_BYTES: Final = 128 * 1024  # for one call to the kernel
_CHATTER_BYTES: Final = 64 * 1024  # what a client may make TLS itself answer without reading it


class Host(Protocol):
    """Who waits for the end of the handshake: exactly one of the two is called."""

    def secured(self, channel: "SecureLife") -> None:
        """It is done: now the channel wants a protocol, which has to be told of it."""
        ...

    def lost(self, error: Exception | None) -> None:
        """The connection ended before; `error`: why the handshake failed, if it did."""
        ...


class Phase(Enum):
    """See the module."""

    HANDSHAKE = "handshake"
    OPEN = "open"
    ENDING = "ending"
    HALF_CLOSED = "half-closed"
    CLOSING = "closing"
    CLOSED = "closed"


HANDSHAKE, OPEN, ENDING, HALF_CLOSED, CLOSING, CLOSED = Phase


class SecureLife:
    """See the module. Who inherits reads and writes: `_send` sends what was written.

    Protocol of the socket's transport, and transport of the connection.
    """

    _raw: asyncio.Transport  # from connection_made on
    _protocol: asyncio.BufferedProtocol  # from `secured` on

    def __init__(self, certificates: Certificates, host: Host) -> None:
        self._records = Records(certificates)
        self._host: Host | None = host
        self._phase = HANDSHAKE
        self._error: Exception | None = None

    @property
    def tls(self) -> ssl.SSLObject:
        """What was agreed on."""
        return self._records.tls

    def _send(self) -> None:
        raise NotImplementedError

    def pause_reading(self) -> None:
        """See asyncio."""
        raise NotImplementedError

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._raw = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        phase, self._phase = self._phase, CLOSED
        self._records.forget()
        host, self._host = self._host, None
        if host is not None:
            host.lost(self._error)
        elif phase is not HANDSHAKE:
            self._protocol.connection_lost(self._error or exc)
            self._protocol = None  # type: ignore[assignment]  # it leads back to us

    def _shake_hands(self) -> None:
        try:
            is_done = self._records.shake_hands()
        except ssl.SSLError as error:
            self._fail(error)
            return
        self._flush()
        if is_done and self._phase is HANDSHAKE:
            self._phase = OPEN
            host, self._host = self._host, None
            if host is not None:
                host.secured(self)

    def _flush(self) -> None:
        """Send what TLS itself has to say."""
        said = self._records.said()
        if said and not self._raw.is_closing():
            self._raw.write(said)
            if self._raw.get_write_buffer_size() > BURST_BYTES + _CHATTER_BYTES:
                self.abort()

    # -- ending --------------------------------------------------------------------------------

    def _all_is_sent(self) -> None:
        """If there is to be no more: close_notify, then FIN."""
        if self._phase not in (ENDING, CLOSING) or self._raw.is_closing():
            return
        self._records.say_goodbye(keeps=self._phase is ENDING)
        self._flush()
        if self._phase is ENDING:
            self._phase = HALF_CLOSED
            self._raw.write_eof()
        elif self._phase is CLOSING:
            self._raw.close()

    def _fail(self, error: ssl.SSLError) -> None:
        """Say why, if TLS has a word for it, and end."""
        self._error = error
        self._flush()
        if self._phase is HANDSHAKE:
            self._phase = CLOSED
            self._raw.close()
        else:
            self.abort()

    def is_closing(self) -> bool:
        """See asyncio."""
        return self._phase in (CLOSING, CLOSED) or self._raw.is_closing()

    def write_eof(self) -> None:
        """See asyncio."""
        if self._phase is OPEN:
            self._phase = ENDING
            self._send()

    def close(self) -> None:
        """See asyncio."""
        phase = self._phase
        if phase in (OPEN, ENDING, HALF_CLOSED):
            self._phase = CLOSING
            self.pause_reading()
            if phase is HALF_CLOSED:
                self._raw.close()
            else:
                self._send()

    def abort(self) -> None:
        """See asyncio."""
        if self._phase is not CLOSED:
            self._phase = CLOSED
            self._raw.abort()
