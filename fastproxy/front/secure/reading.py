"""From the socket to the protocol: decrypted into what it lends, as long as it reads.

All connections read into one memory. What the protocol does not take is kept as it came, so an idle
connection holds nothing.

    FLOWING --the socket ends--> LAST --all is handed over--> ENDED
    FLOWING --close_notify--> ENDED
"""

import asyncio
import ssl
from enum import Enum
from typing import Final

from fastproxy.front.secure.life import (
    CLOSED,
    ENDING,
    HALF_CLOSED,
    HANDSHAKE,
    OPEN,
    Host,
    SecureLife,
)
from fastproxy.front.secure.records import RECORD_BYTES
from fastproxy.tls import Certificates

READ_BYTES: Final = 64 * 1024  # of ciphertext at once; a paused connection may keep as much


class Inflow(Enum):
    """See the module."""

    FLOWING = "flowing"
    LAST = "last"
    ENDED = "ended"


_FLOWING, _LAST, _ENDED = Inflow
_LIVING: Final = (OPEN, ENDING, HALF_CLOSED)


class SecureReading(SecureLife):
    """See the module."""

    def __init__(
        self,
        certificates: Certificates,
        host: Host,
        ciphertext: memoryview,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """`ciphertext`: READ_BYTES that all channels share."""
        super().__init__(certificates, host)
        self._ciphertext = ciphertext
        self._loop = loop
        self._kept = b""  # read, not decrypted: the protocol has paused
        self._inflow = _FLOWING
        self._is_reading = True
        self._is_digesting = False  # whom it is handed over to need not ask for more

    def get_buffer(self, sizehint: int) -> memoryview:
        """See asyncio."""
        return self._ciphertext

    def buffer_updated(self, nbytes: int) -> None:
        """See asyncio."""
        if self._inflow is _ENDED:
            self._raw.pause_reading()  # behind close_notify nothing means anything
        elif self._kept:
            self._kept += self._ciphertext[:nbytes]
        else:
            self._digest(self._ciphertext[:nbytes])

    def eof_received(self) -> bool:
        """See asyncio. Without a close_notify the end is as good as that of plain TCP: a request
        says itself how long it is, so none is taken for complete that is not."""
        if self._phase is HANDSHAKE:
            return False
        if self._inflow is _FLOWING:
            self._inflow = _LAST
        if not (self._kept or self._records.has_readable()):
            self._on_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._kept = b""
        super().connection_lost(exc)

    def pause_reading(self) -> None:
        """See asyncio."""
        self._is_reading = False
        if not self._raw.is_closing():
            self._raw.pause_reading()

    def resume_reading(self) -> None:
        """See asyncio. Nothing is handed over before the caller has returned."""
        self._is_reading = True
        if self._is_digesting or self._raw.is_closing():
            return
        if self._kept or self._records.has_readable():
            self._loop.call_soon(self._go_on)
        else:
            self._raw.resume_reading()

    def _go_on(self) -> None:
        if self._is_reading and self._phase in _LIVING:
            kept, self._kept = self._kept, b""
            self._digest(memoryview(kept))

    # -- decrypting ----------------------------------------------------------------------------

    def _digest(self, data: memoryview) -> None:
        """Decrypt as long as the protocol reads, and keep what it has not taken."""
        self._is_digesting = True
        at = 0
        try:
            if not data:
                self._hand_over()
            while at < len(data) and self._wants_more():
                self._records.feed(data[at : at + RECORD_BYTES])
                at += RECORD_BYTES
                self._hand_over()
        except Exception:
            self.abort()
            raise
        finally:
            self._is_digesting = False
        if self._phase is not CLOSED and self._inflow is not _ENDED:
            self._kept = bytes(data[at:])
            self._read_on()

    def _wants_more(self) -> bool:
        return self._phase is HANDSHAKE or (
            self._is_reading and self._phase in _LIVING and self._inflow is not _ENDED
        )

    def _hand_over(self) -> None:
        """What is here, while it is wanted."""
        if self._phase is HANDSHAKE:
            self._shake_hands()
            if not self._records.has_readable():
                return
        while self._is_reading and self._phase in _LIVING and self._read_some():
            pass
        self._flush()

    def _read_some(self) -> bool:
        """Hand over some plain text; whether there may be more."""
        window = self._protocol.get_buffer(-1)
        try:
            size = self._records.read(window)
        except ssl.SSLError as error:
            self._fail(error)
            return False
        del window  # its owner may want to be rid of it
        if size:
            self._protocol.buffer_updated(size)
            return self._records.has_readable()
        if self._records.has_ended:
            self._on_eof()
        return False

    def _read_on(self) -> None:
        """Let the socket be read, or not, as the protocol wants it."""
        if self._raw.is_closing():
            return
        if not self._is_reading:
            self._raw.pause_reading()
            return
        self._raw.resume_reading()
        if self._inflow is _LAST:
            self._on_eof()

    def _on_eof(self) -> None:
        if self._inflow is not _ENDED and self._phase in _LIVING:
            self._inflow = _ENDED
            self._protocol.eof_received()
