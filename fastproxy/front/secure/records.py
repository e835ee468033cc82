"""TLS without a socket: what came goes in, what is to be sent comes out."""

import contextlib
import ssl
from typing import Any, Final, cast

from fastproxy.tls import Certificates

RECORD_BYTES: Final = 16 * 1024  # of plain text (RFC 8446 section 5.1); BIOs never shrink

Buffer = bytes | bytearray | memoryview


class Records:
    """One connection's. `tls`: what was agreed on. `has_ended`: the peer has said goodbye."""

    def __init__(self, certificates: Certificates) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = certificates.accept(self._incoming, self._outgoing)
        self._early = b""  # decrypted before its time
        self._may_hold = False  # OpenSSL, the rest of a record that filled the last window
        self.has_ended = False

    def has_readable(self) -> bool:
        """Besides part of a record, which OpenSSL keeps, and which shows nowhere."""
        if self._incoming.pending or self._early:
            return True
        return self._may_hold and self.tls.pending() > 0

    def shake_hands(self) -> bool:
        """Whether the handshake is done. Raises ssl.SSLError."""
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def feed(self, ciphertext: memoryview) -> None:
        """At most RECORD_BYTES, when what came before is read."""
        self._incoming.write(ciphertext)

    def read(self, window: Any) -> int:
        """Bytes put into the window; 0: a record is not complete, or the peer has ended.

        Raises ssl.SSLError.
        """
        if self._early:
            return self._read_early(window)
        try:
            size = cast("int", self.tls.read(len(window), window))
        except ssl.SSLWantReadError:
            return 0
        except ssl.SSLZeroReturnError:
            size = 0
        if not size:
            self.has_ended = True
        self._may_hold = size == len(window)
        return size

    def _read_early(self, window: Any) -> int:
        size = min(len(window), len(self._early))
        window[:size] = self._early[:size]
        self._early = self._early[size:]
        return size

    def encrypt(self, data: Buffer) -> bytes:
        """One record of at most RECORD_BYTES of `data`."""
        self.tls.write(data)
        return self._outgoing.read()

    def said(self) -> bytes:
        """What TLS itself has to say."""
        return self._outgoing.read() if self._outgoing.pending else b""

    def say_goodbye(self, *, keeps: bool) -> None:
        """Not to wait for the peer's is allowed (RFC 8446 section 6.1).

        `keeps`: what it has still sent is to be read. OpenSSL fails when it meets data on its way
        to the peer's goodbye, so they are decrypted now.
        """
        with contextlib.suppress(ssl.SSLError):
            while keeps and (data := self.tls.read(RECORD_BYTES)):
                self._early += data
        with contextlib.suppress(ssl.SSLError):  # SSLWantReadError: the peer has not answered
            self.tls.unwrap()

    def forget(self) -> None:
        """Nothing is read any more."""
        self._early = b""
