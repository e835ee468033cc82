"""One connection to a backend or a store: an asyncio BufferedProtocol, one exchange at a time.

It frames responses and knows whether the connection may be used again. What is done with a response
is the receiver's business. Raw framing is never passed on.
"""

import asyncio
import contextlib
import os
from typing import Final, Protocol, cast

from fastproxy.errors import (
    BackendClosed,
    BackendFault,
    BackendTimeout,
    BadBody,
    BadResponse,
    StaleConnection,
)
from fastproxy.loop.deadlines import NEVER, Deadlines
from fastproxy.message import ResponseHead
from fastproxy.shortcut import Trip
from fastproxy.upstream.link import Link, Phase
from fastproxy.upstream.receiver import Receiver
from fastproxy.wire.chunked import ChunkedDecoder
from fastproxy.wire.framing import (
    BodyDecoder,
    Bytes,
    LengthDecoder,
    UntilCloseDecoder,
)
from fastproxy.wire.head import END_OF_HEAD, ResponseHeadParser
from fastproxy.wire.scratch import Scratch

MAX_HEAD_BYTES: Final = 64 * 1024
# Up to here an answer is copied once: slices of bytes cost half of what views of the scratch cost.
_COPIED_BYTES: Final = 4096
_NO_BODY: Final = frozenset({204, 304})


class Home(Protocol):
    """Where a connection goes when its exchange is over."""

    def give_back(self, connection: "UpstreamConnection") -> None:
        """It may be used again."""
        ...

    def lost(self, connection: "UpstreamConnection") -> None:
        """It is gone."""
        ...


_IDLE, _HEAD, _BODY, _TUNNEL, _CLOSED = Phase


class UpstreamConnection(Link):
    """See the module. `uses` counts exchanges begun: above 1 the connection was a pooled one."""

    def __init__(self, home: Home, scratch: Scratch, deadlines: Deadlines, *, copies: bool) -> None:
        super().__init__(scratch, copies=copies)
        self._home = home
        self._deadlines = deadlines
        self._receiver: Receiver | None = None
        self._trip: Trip | None = None  # instead of a receiver
        self._decoder: BodyDecoder | None = None
        self._partial_head = b""
        self._is_head_request = False
        self._may_reuse = False
        self._has_eof = False
        self._body_timeout_s = NEVER
        self.idle_timeout_s = NEVER
        self.uses = 0
        self.is_request_sent = False
        self.has_answered = False  # any byte of a response has come

    @property
    def is_over(self) -> bool:
        """Whether the connection has ended."""
        return self.phase is _CLOSED

    # -- one exchange --------------------------------------------------------------------------

    def begin(self, receiver: Receiver, method: bytes, body_timeout_s: float) -> None:
        """Start an exchange. Then `send`, and set `is_request_sent` when the request is whole."""
        self._receiver = receiver
        self._is_head_request = method == b"HEAD"
        self._body_timeout_s = body_timeout_s
        self.phase = _HEAD
        self.deadline = NEVER
        self.uses += 1
        self.is_request_sent = False
        self.has_answered = False
        self._partial_head = b""
        self._sent = 0

    def _leave_trip(self) -> None:
        """Something that the express lane does not know is about to happen."""
        trip = self._trip  # held: nobody else may hold it when it is over
        if trip is not None:
            trip.leave()

    def expect_answer_within(self, timeout_s: float) -> None:
        """The response head is due `timeout_s` seconds from now."""
        self.deadline = self._deadlines.now + timeout_s
        self._deadlines.watch(self)

    def rest(self) -> None:
        """Wait for the next exchange, for at most the idle timeout."""
        self.phase = _IDLE
        self.deadline = self._deadlines.now + self.idle_timeout_s
        self._deadlines.watch(self)

    def pause_reading(self) -> None:
        """Read nothing until `resume_reading`: the receiver is full."""
        if self._transport is not None and not self._transport.is_closing():
            if self.phase is _BODY:
                self.deadline = NEVER
            self._descriptor.pause()

    def resume_reading(self) -> None:
        """Read on."""
        if self._transport is None or self._transport.is_closing():
            return
        if self.phase is _BODY:
            self._touch()
            self._deadlines.watch(self)
        self._descriptor.resume()

    def abort(self) -> None:
        """End the exchange and the connection now. The receiver hears no more."""
        self._receiver = None
        self._leave(_CLOSED)

    # -- asyncio.BufferedProtocol --------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        # uvloop's transports are registered with no abstract class
        self._open(cast("asyncio.Transport", transport))

    def get_buffer(self, sizehint: int) -> memoryview:
        """See asyncio."""
        return self._scratch.view

    def buffer_updated(self, nbytes: int) -> None:
        """See asyncio."""
        if not self.has_answered and self._is_unasked():
            self._leave_trip()
            self._fail(StaleConnection("bytes that were sent before the request had arrived"))
            return
        trip = self._trip
        if trip is not None:
            if trip.answered(nbytes):
                return
            trip.leave()
        receiver = self._receiver
        data = self._scratch.view[:nbytes]
        try:
            if self.phase is _HEAD and nbytes <= _COPIED_BYTES:
                self._advance_all(bytes(data))
            else:
                self._advance_all(data)
        except (BadResponse, BadBody) as error:
            fault = error if isinstance(error, BadResponse) else BadResponse(error.detail)
            self._fail(fault)
        else:
            if receiver is not None and receiver is self._receiver:
                receiver.response_flush()

    def eof_received(self) -> bool:
        """See asyncio: True keeps our sending side open (tunnels only)."""
        self._leave_trip()
        self._has_eof = True
        if self.phase is _TUNNEL and self._receiver is not None:
            self._receiver.response_end()
            return True
        if self.phase is _BODY and self._decoder is not None and self._decoder.at_eof():
            self._may_reuse = False
            self._finish()
        else:
            self._fail(BackendClosed("closed before its answer was complete"))
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._leave_trip()
        if exc is not None and self._receiver is not None and not self._copies:
            self._read_what_is_left()
        self._fail(BackendClosed(str(exc) if exc else "connection lost"))
        self._descriptor.forget()
        self._transport = None

    def _read_what_is_left(self) -> None:
        """A write that fails ends the transport, but the answer that says why may lie unread.

        So it does when a backend refuses an upload early and closes: answer and reset come at once.
        """
        transport = self._transport
        if transport is None or self._has_eof:
            return
        with contextlib.suppress(OSError):
            fileno = transport.get_extra_info("socket").fileno()
            while self.phase is not _CLOSED:
                nbytes = os.readv(fileno, [self._scratch.view])
                if not nbytes:
                    self.eof_received()
                    return
                self.buffer_updated(nbytes)

    def pause_writing(self) -> None:
        """See asyncio."""
        self._leave_trip()
        self.is_blocked = True
        if self.phase is _HEAD:
            self.expect_answer_within(self._body_timeout_s)
        if self._receiver is not None:
            self._receiver.backend_blocked()

    def resume_writing(self) -> None:
        """See asyncio."""
        self.is_blocked = False
        if self.phase is _HEAD and not self.is_request_sent:
            self.deadline = NEVER
        if self._receiver is not None:
            self._receiver.backend_writable()

    def on_deadline(self, now: float) -> None:
        """See Timed: a pooled connection has been idle too long, or the backend is too slow."""
        self._leave_trip()
        if self.phase is _IDLE:
            self._leave(_CLOSED)
        elif self.phase is not _TUNNEL:
            self._fail(BackendTimeout(f"nothing came while waiting for the {self.phase.value}"))

    # -- reading a response --------------------------------------------------------------------

    def _advance_all(self, data: Bytes) -> None:
        while len(data) and self.phase is not _CLOSED:
            data = self._advance(data)

    def _advance(self, data: Bytes) -> Bytes:
        """Deal with the front of `data`; what is left of it."""
        if self.phase is _HEAD:
            return self._read_head(data)
        decoder = self._decoder  # the receiver may end the exchange
        if decoder is None or self._receiver is None:
            raise BadResponse("bytes outside of an answer")
        if self.phase is _BODY:
            self._touch()
        pieces, taken = decoder.decode(data)
        if pieces:
            self._receiver.response_data(pieces)
        if decoder.is_done and self.phase is _BODY:
            self._may_reuse = self._may_reuse and taken == len(data)
            self._finish()
            return data[:0]
        return data[taken:]

    def _touch(self) -> None:
        self.deadline = self._deadlines.now + self._body_timeout_s

    def _read_head(self, data: Bytes) -> Bytes:
        self.has_answered = True
        before = len(self._partial_head)
        raw = bytes(data[:MAX_HEAD_BYTES])
        if before:
            raw = self._partial_head + raw
        end = raw.find(END_OF_HEAD, max(0, before - 3))
        if end < 0:
            if len(raw) >= MAX_HEAD_BYTES:
                raise BadResponse("head too large")
            self._partial_head = raw
            return data[:0]
        self._partial_head = b""
        end += len(END_OF_HEAD)
        if end > MAX_HEAD_BYTES:
            raise BadResponse("head too large")
        rest = data[end - before :]
        self._on_head(_PARSER.parse(raw[:end]), is_alone=not rest)
        return rest

    def _on_head(self, head: ResponseHead, *, is_alone: bool) -> None:
        receiver = self._receiver
        if receiver is None:
            raise BadResponse("an answer nobody asked for")
        if head.status == 101:
            self.phase = _TUNNEL
            self.deadline = NEVER
            self._decoder = UntilCloseDecoder()
            receiver.response_head(head)
            return
        if head.status < 200:
            receiver.response_head(head)
            return
        self._decoder = self._choose_decoder(head)
        self._may_reuse = head.keep_alive and not isinstance(self._decoder, UntilCloseDecoder)
        self.phase = _BODY
        self._keep_alive_hint(head)
        self._touch()
        self._deadlines.watch(self)
        receiver.response_head(head)
        if self._receiver is receiver and self._decoder is not None and self._decoder.is_done:
            # What follows an answer without a body must not pass for the next one's answer.
            self._may_reuse = self._may_reuse and is_alone
            self._finish()

    def _choose_decoder(self, head: ResponseHead) -> BodyDecoder:
        """RFC 9112 section 6.3, in its order."""
        if self._is_head_request or head.status in _NO_BODY:
            return LengthDecoder(0)
        if head.is_chunked:
            return ChunkedDecoder()
        if head.content_length is not None:
            return LengthDecoder(head.content_length)
        return UntilCloseDecoder()

    def _keep_alive_hint(self, head: ResponseHead) -> None:
        """Honour `Keep-Alive: timeout=N`, which is hop-by-hop and so not among the headers."""
        if head.keep_alive_timeout_s is not None:
            self.idle_timeout_s = min(self.idle_timeout_s, max(0.0, head.keep_alive_timeout_s - 1))

    # -- ending --------------------------------------------------------------------------------

    def _finish(self) -> None:
        receiver, self._receiver = self._receiver, None
        reusable = self._may_reuse and self.is_request_sent and not self.is_blocked
        self._decoder = None
        if reusable and self._transport is not None and not self._transport.is_closing():
            self._descriptor.resume()
            self.rest()
            self._home.give_back(self)
        else:
            self._leave(_CLOSED)
        if receiver is not None:
            receiver.response_end()

    def _fail(self, fault: BackendFault) -> None:
        receiver, self._receiver = self._receiver, None
        self._leave(_CLOSED)
        if receiver is not None:
            receiver.response_failed(fault)

    def _leave(self, phase: Phase) -> None:
        if self.phase is _CLOSED:
            return
        self.phase = phase
        self._decoder = None
        self._deadlines.forget(self)
        self._home.lost(self)
        if self._transport is not None:
            self._descriptor.leave()
            self._transport.abort()


_PARSER: Final = ResponseHeadParser()
