"""TLS between a client's socket and its connection, which takes this for its transport.

uvloop has such a layer, too. This one reads into memory that all connections share, decrypts
straight into what the protocol lends, and so holds no buffer for an idle connection, where uvloop's
holds 256 KiB for each; and it may begin in the middle of what was read (behind a PROXY preface).

    HANDSHAKE --done--> OPEN --write_eof--> ENDING --close--> CLOSING --all sent--> CLOSED
    any --abort, failed, lost--> CLOSED
"""

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import Iterable
from enum import Enum
from typing import Any, Final, Protocol, cast

from fastproxy.tls import Certificates

Buffer = bytes | bytearray | memoryview

READ_BYTES: Final = 64 * 1024  # of ciphertext at once; a paused connection may keep as much
_RECORD_BYTES: Final = 16 * 1024  # of plain text (RFC 8446 section 5.1); BIOs never shrink
_BURST_BYTES: Final = 128 * 1024  # for one call to the kernel
_CHATTER_BYTES: Final = 64 * 1024  # what a client may make TLS itself answer without reading it


class Host(Protocol):
    """Who waits for the end of the handshake: exactly one of the two is called."""

    def secured(self, channel: "SecureChannel") -> None:
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
    CLOSING = "closing"
    CLOSED = "closed"


_HANDSHAKE, _OPEN, _ENDING, _CLOSING, _CLOSED = Phase


class SecureChannel(asyncio.BufferedProtocol, asyncio.Transport):
    """See the module. Protocol of the raw transport, transport of the protocol."""

    __slots__ = (
        "_backlog",
        "_ciphertext",
        "_error",
        "_has_eof",
        "_host",
        "_incoming",
        "_is_blocked",
        "_is_digesting",
        "_is_protocol_blocked",
        "_is_reading",
        "_kept",
        "_loop",
        "_outgoing",
        "_phase",
        "_plain",
        "_protocol",
        "_raw",
        "_raw_has_eof",
        "_said_goodbye",
        "_tls",
    )
    _raw: asyncio.Transport  # from connection_made on
    _protocol: asyncio.BufferedProtocol  # from `secured` on

    def __init__(
        self,
        certificates: Certificates,
        host: Host,
        ciphertext: memoryview,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """`ciphertext`: READ_BYTES that all channels share."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = certificates.accept(self._incoming, self._outgoing)
        self._host: Host | None = host
        self._ciphertext = ciphertext
        self._loop = loop
        self._phase = _HANDSHAKE
        self._kept = b""  # read, not decrypted: the protocol has paused
        self._plain = b""  # decrypted before its time
        self._backlog: deque[memoryview] = deque()  # written, not encrypted: the socket is full
        self._is_reading = True
        self._is_digesting = False
        self._is_blocked = False
        self._is_protocol_blocked = False
        self._has_eof = False
        self._raw_has_eof = False
        self._said_goodbye = False
        self._error: Exception | None = None

    @property
    def tls(self) -> ssl.SSLObject:
        """What was agreed on."""
        return self._tls

    # -- protocol of the raw transport ---------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._raw = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        """See asyncio."""
        return self._ciphertext

    def buffer_updated(self, nbytes: int) -> None:
        """See asyncio."""
        if self._has_eof:
            self._raw.pause_reading()  # behind close_notify nothing means anything
        elif self._kept:
            self._kept += self._ciphertext[:nbytes]
        else:
            self._digest(self._ciphertext[:nbytes])

    def eof_received(self) -> bool:
        """See asyncio. Without a close_notify the end is as good as that of plain TCP: a request
        says itself how long it is, so none is taken for complete that is not."""
        self._raw_has_eof = True
        if self._phase is _HANDSHAKE:
            return False
        if not (self._kept or self._has_readable):
            self._on_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        phase, self._phase = self._phase, _CLOSED
        self._backlog.clear()
        self._kept = self._plain = b""
        host, self._host = self._host, None
        if host is not None:
            host.lost(self._error)
        elif phase is not _HANDSHAKE:
            self._protocol.connection_lost(self._error or exc)
            del self._protocol

    def pause_writing(self) -> None:
        """See asyncio."""
        self._is_blocked = True
        if self._host is None and not self._is_protocol_blocked:
            self._is_protocol_blocked = True
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """See asyncio."""
        self._is_blocked = False
        self._send()
        if self._is_protocol_blocked and not self._is_blocked and self._phase is not _CLOSED:
            self._is_protocol_blocked = False
            self._protocol.resume_writing()

    # -- reading -------------------------------------------------------------------------------

    @property
    def _has_readable(self) -> bool:
        """Besides part of a record, which OpenSSL keeps, and which shows nowhere."""
        return bool(self._plain or self._incoming.pending or self._tls.pending())

    def _digest(self, data: memoryview) -> None:
        """Decrypt as long as the protocol reads, and keep what it has not taken."""
        self._is_digesting = True
        at = 0
        try:
            while self._read_all() and at < len(data):
                self._incoming.write(data[at : at + _RECORD_BYTES])
                at += _RECORD_BYTES
        except Exception:
            self.abort()
            raise
        finally:
            self._is_digesting = False
        if self._phase is _CLOSED or self._has_eof:
            return
        self._kept = bytes(data[at:])
        if self._is_reading:
            self._raw.resume_reading()
            if self._raw_has_eof:
                self._on_eof()
        elif not self._raw.is_closing():
            self._raw.pause_reading()

    def _read_all(self) -> bool:
        """Whether more ciphertext is wanted: not when the protocol has paused, nor at the end."""
        if self._phase is _HANDSHAKE and not self._shake_hands():
            return self._phase is _HANDSHAKE
        while self._is_wanted and self._has_readable and self._read_some():
            pass
        self._flush()
        return self._is_wanted

    @property
    def _is_wanted(self) -> bool:
        return self._is_reading and self._phase in (_OPEN, _ENDING) and not self._has_eof

    def _read_some(self) -> bool:
        """Hand over some plain text; whether there may be more."""
        window = self._protocol.get_buffer(-1)
        size = self._read_plain(window) if self._plain else self._decrypt(window)
        del window  # its owner may want to be rid of it
        if size > 0:
            self._protocol.buffer_updated(size)
        return size > 0

    def _decrypt(self, window: Any) -> int:
        """Bytes put into the window; 0: a record is not complete, or there will be no more."""
        try:
            size = cast("int", self._tls.read(len(window), window))
        except ssl.SSLWantReadError:
            return 0
        except ssl.SSLZeroReturnError:
            size = 0
        except ssl.SSLError as error:
            self._fail(error)
            return 0
        if not size:  # close_notify
            self._on_eof()
        return size

    def _read_plain(self, window: Any) -> int:
        size = min(len(window), len(self._plain))
        window[:size] = self._plain[:size]
        self._plain = self._plain[size:]
        return size

    def _shake_hands(self) -> bool:
        """Whether the handshake is done."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except ssl.SSLError as error:
            self._fail(error)
            return False
        self._flush()
        self._phase = _OPEN
        host, self._host = self._host, None
        if host is not None:
            host.secured(self)
        return True

    def _on_eof(self) -> None:
        if not self._has_eof and self._phase in (_OPEN, _ENDING):
            self._has_eof = True
            self._protocol.eof_received()

    # -- writing -------------------------------------------------------------------------------

    def _send(self) -> None:
        """Encrypt and send as much as the socket takes."""
        while self._backlog and not self._is_blocked and self._phase is not _CLOSED:
            self._raw.writelines(self._encrypt())
        if not self._backlog and self._phase in (_ENDING, _CLOSING):
            self._say_goodbye()

    def _encrypt(self) -> list[bytes]:
        records: list[bytes] = []
        size = 0
        while self._backlog and size < _BURST_BYTES:
            piece = self._backlog.popleft()
            size += self._tls.write(piece[:_RECORD_BYTES])
            records.append(self._outgoing.read())
            if len(piece) > _RECORD_BYTES:
                self._backlog.appendleft(piece[_RECORD_BYTES:])
        return records

    def _flush(self) -> None:
        """Send what TLS itself has to say."""
        if not self._outgoing.pending or self._raw.is_closing():
            return
        self._raw.write(self._outgoing.read())
        if self._raw.get_write_buffer_size() > _BURST_BYTES + _CHATTER_BYTES:
            self.abort()

    def _say_goodbye(self) -> None:
        """close_notify, then FIN. Not to wait for the peer's is allowed (RFC 8446 section 6.1)."""
        if not self._said_goodbye:
            self._said_goodbye = True
            self._save_plain()
            with contextlib.suppress(ssl.SSLError):  # SSLWantReadError: the peer has not answered
                self._tls.unwrap()
            self._flush()
            if self._phase is _ENDING:
                self._raw.write_eof()
        if self._phase is _CLOSING:
            self._raw.close()

    def _save_plain(self) -> None:
        """OpenSSL fails when it meets data on its way to the peer's goodbye."""
        if self._phase is _CLOSING:
            return
        with contextlib.suppress(ssl.SSLError):
            while data := self._tls.read(_RECORD_BYTES):
                self._plain += data

    def _fail(self, error: ssl.SSLError) -> None:
        """Say why, if TLS has a word for it, and end."""
        self._error = error
        self._flush()
        if self._phase is _HANDSHAKE:
            self._phase = _CLOSED
            self._raw.close()
        else:
            self.abort()

    # -- transport of the protocol -------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See asyncio."""
        if name == "sslcontext":
            return self._tls.context
        if name == "ssl_object":
            return self._tls
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

    def is_closing(self) -> bool:
        """See asyncio."""
        return self._phase in (_CLOSING, _CLOSED) or self._raw.is_closing()

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
        if self._kept or self._has_readable:
            self._loop.call_soon(self._go_on)
        else:
            self._raw.resume_reading()

    def _go_on(self) -> None:
        if self._is_reading and self._phase in (_OPEN, _ENDING):
            kept, self._kept = self._kept, b""
            self._digest(memoryview(kept))

    def write(self, data: Buffer) -> None:
        """See asyncio."""
        self.writelines((data,))

    def writelines(self, pieces: Iterable[Buffer]) -> None:
        """See asyncio. What the socket does not take is kept as views."""
        views = [memoryview(piece) for piece in pieces if len(piece)]
        if len(views) > 1 and sum(map(len, views)) <= _RECORD_BYTES:
            views = [memoryview(b"".join(views))]
        self._backlog.extend(views)
        self._send()

    def write_eof(self) -> None:
        """See asyncio."""
        if self._phase is _OPEN:
            self._phase = _ENDING
            self._send()

    def close(self) -> None:
        """See asyncio."""
        if self._phase in (_OPEN, _ENDING):
            self._phase = _CLOSING
            self.pause_reading()
            self._send()

    def abort(self) -> None:
        """See asyncio."""
        if self._phase is not _CLOSED:
            self._phase = _CLOSED
            self._raw.abort()
