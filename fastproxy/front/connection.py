"""One client connection: an asyncio BufferedProtocol that turns bytes into exchanges.

All connections read into one shared scratch buffer; an idle one holds no buffer. While a handler
with its own memory takes a body, the kernel fills that memory instead.
Phases and what ends them:

    HEAD --head complete--> BODY --body complete--> WAIT --response complete--> HEAD
                             |                        |
                             +--early response--> LINGER --drained or late--> CLOSED
    WAIT --101--> TUNNEL
    any --last response written, not yet sent--> CLOSING --sent, or not taken--> CLOSED
"""

import asyncio
from collections.abc import Sequence
from enum import Enum
from typing import Final, cast

from fastproxy.deadlines import NEVER
from fastproxy.errors import BadBody, ClientGone, FastproxyError, TooManyConnections
from fastproxy.exchange import Exchange
from fastproxy.front.context import FrontContext
from fastproxy.front.guest import Guest
from fastproxy.front.heads import skip_blank_lines, split_head
from fastproxy.front.life import BODY, HEAD, LINGER, TUNNEL, WAIT, ConnectionLife
from fastproxy.front.link import Link
from fastproxy.message import RequestHead
from fastproxy.sides import DirectSink
from fastproxy.wire.framing import (
    BodyDecoder,
    ChunkedDecoder,
    LengthDecoder,
    Piece,
    UntilCloseDecoder,
)

# A paused upload holds at most what one read brings; without room for a read, this little.
_STASH_BYTES: Final = 256
# Behind the payload that is sure to come: what of it is the client's next request, we must keep.
_BEYOND_BYTES: Final = 64 * 1024


class Fill(Enum):
    """Where the kernel was told to put the bytes of the current read."""

    CHOOSING = "choosing"  # the loop is asking, and calls a null pointer if reading stops now
    SCRATCH = "scratch"
    STASH = "stash"
    DIRECT = "direct"


_CHOOSING, _SCRATCH, _STASH, _DIRECT = Fill


class ClientConnection(ConnectionLife):
    """See the module."""

    __slots__ = ("_decoder", "_fill", "_is_stepping", "_is_trusted", "_remote_ip")

    def __init__(self, context: FrontContext, guest: Guest | None = None) -> None:
        super().__init__(context, guest)
        self._decoder: BodyDecoder | None = None
        self._fill = _SCRATCH
        self._is_stepping = False
        self._remote_ip = ""
        self._is_trusted = False

    @property
    def is_body_complete(self) -> bool:
        """See ClientSide."""
        return self._phase is not BODY

    @property
    def is_blocked(self) -> bool:
        """See ClientSide."""
        return self._link.is_blocked

    # -- asyncio.BufferedProtocol --------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        context = self._context
        self._link = Link(cast("asyncio.Transport", transport), context.scratch)
        self._remote_ip = self._link.peer_ip if self._guest is None else self._guest.ip
        self._is_trusted = context.is_trusted(self._remote_ip)
        if self._guest is None and not context.add(self):  # a guest was counted at the entrance
            self._refuse(TooManyConnections(f"{context.limits.connections} allowed"))
        elif self._is_trusted or self._enter(self._remote_ip):
            self._wait_until(context.header_timeout)

    def get_buffer(self, sizehint: int) -> memoryview:
        """See asyncio."""
        scratch = self._context.scratch
        self._fill = _SCRATCH
        if self._phase is HEAD or self._phase is WAIT:
            return scratch.head_view
        exchange = self._exchange
        if exchange is not None and exchange.direct is not None and self._decoder is not None:
            return self._choose_memory(exchange.direct, self._decoder)
        return scratch.view

    def _choose_memory(self, direct: DirectSink, decoder: BodyDecoder) -> memoryview:
        self._fill = _CHOOSING
        if not direct.room():
            self._fill = _STASH
            return self._context.scratch.view[:_STASH_BYTES]
        self._fill = _DIRECT
        return direct.get_buffer()[: decoder.reach(_BEYOND_BYTES)]

    def buffer_updated(self, nbytes: int) -> None:
        """See asyncio."""
        if self._fill is _DIRECT:
            self._on_direct(nbytes)
            return
        if self._phase is HEAD and not self._pending and self._context.shortcut.take(self, nbytes):
            return
        if self._phase is BODY and self._trip is not None:
            trip = self._trip  # held, as in _leave_trip
            if trip.body_came(nbytes):
                return
            trip.leave()
        data = self._context.scratch.view[:nbytes]
        if self._phase is LINGER:
            self._on_lingering(nbytes)
        elif self._fill is _STASH:
            self._pending += bytes(data)
            self.pause_body()
        elif self._phase is BODY or self._phase is TUNNEL:
            self._on_body(data)
            self._step()
        else:
            self._on_bytes(data)

    def eof_received(self) -> bool:
        """See asyncio. True: we close ourselves, for a half-closed client gets its answer."""
        self._link.has_eof = True
        if self._phase is BODY:
            self._leave_trip()
        if self._phase is TUNNEL:
            self._wait_for_progress()
            if self._exchange is not None and self._exchange.sink is not None:
                self._exchange.sink.body_end()
        elif self._phase is BODY:
            # Its answer, if it still can read one, is written; then the connection closes.
            self._fail_client(BadBody("body ended before its time"))
        else:
            self._half_closed()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._leave_trip()
        self._fail_client(ClientGone(str(exc) if exc else "connection lost"))
        self._leave()
        self._link.lost()

    def pause_writing(self) -> None:
        """See asyncio."""
        self._leave_trip()
        self._link.is_blocked = True
        self._wait_for_progress()
        if self._exchange is not None and self._exchange.sink is not None:
            self._exchange.sink.client_blocked()

    def resume_writing(self) -> None:
        """See asyncio."""
        self._link.is_blocked = False
        if self._uptake is not None:
            self._uptake.rest(self._context.deadlines.now)
        self._wait_as_phase_says()
        if self._exchange is not None and self._exchange.sink is not None:
            self._exchange.sink.client_writable()
        self._step()

    # -- heads ---------------------------------------------------------------------------------

    def _on_bytes(self, data: memoryview) -> None:
        """Bytes where a head may start: keep what is not yet a whole one."""
        if self._phase is HEAD and not self._pending:
            self._pending = skip_blank_lines(bytes(data))
            if not self._pending:
                return
            self._wait_until(self._context.header_timeout)
        else:
            self._pending += bytes(data)
        if self._phase is WAIT:
            self._link.stop_reading()
        else:
            self._step()

    def _step(self) -> None:
        """Serve what is pending, one request after another; never re-entered, so never deep.

        A client that does not read its answers gets no more of them: they would pile up here.
        """
        if self._is_stepping:
            return
        self._is_stepping = True
        try:
            while self._phase is HEAD and self._pending and not self._link.is_blocked:
                if not self._take_head():
                    break
        finally:
            self._is_stepping = False
        if self._phase is HEAD:
            if self._link.is_blocked and self._pending:
                self._link.stop_reading()
            elif self._link.has_eof:
                self._close()
            else:
                self._link.start_reading()

    def _take_head(self) -> bool:
        """Begin the next exchange if its head is complete; whether it was."""
        context = self._context
        self._pending = skip_blank_lines(self._pending)
        try:
            split = split_head(self._pending, context.limits)
            if split is None:
                return False
            raw, self._pending = split
            head = context.parser.parse(raw)
        except FastproxyError as fault:
            self._refuse(fault)
            return False
        self._begin(head)
        return True

    def _begin(self, head: RequestHead) -> None:
        context = self._context
        exchange = Exchange(head, self, context.reporter, context.max_body)
        exchange.is_draining = context.is_draining
        self._exchange = exchange
        context.identify(exchange, self._remote_ip, self._is_trusted, self._guest)
        self.deadline = NEVER
        self._pace.begin()
        if head.has_body:
            self._phase = BODY
            length = head.content_length
            self._decoder = ChunkedDecoder() if length is None else LengthDecoder(length)
            self._wants_body = False
            self._link.stop_reading()
        else:
            self._phase = WAIT
            self._decoder = None
            if not self._pending:
                self._link.start_reading()
        context.serve(exchange)

    def _refuse(self, fault: FastproxyError) -> None:
        """Answer a request that has no exchange yet, and end the connection."""
        head = RequestHead(b"-", b"-", 1, [])
        head.keep_alive = False
        exchange = Exchange(head, self, self._context.reporter, 0)
        self._exchange = exchange
        self._context.identify(exchange, self._remote_ip, False, self._guest)
        self._pending = b""
        self._phase = BODY  # whatever else it sends is not a request of ours: linger
        exchange.fail(fault)

    # -- bodies --------------------------------------------------------------------------------

    def want_body(self) -> None:
        """See ClientSide."""
        if self._phase is TUNNEL:
            self._link.start_reading()
        if self._phase is not BODY or self._wants_body:
            return
        self._wants_body = True
        self._pace.resume(self._context.deadlines.now)
        self._on_pending()
        if self._wants_body and self._phase is BODY:
            if self._link.has_eof:
                self._fail_client(BadBody("body ended before its time"))
            else:
                self._wait_as_phase_says()
                self._link.start_reading()

    def _on_pending(self) -> None:
        """Hand over what was read before it was wanted, as far as there is room."""
        exchange = self._exchange
        if exchange is None:
            return
        while self._pending and self._wants_body and exchange is self._exchange:
            room = len(self._pending) if exchange.direct is None else exchange.direct.room()
            if not room:
                self.pause_body()
                return
            data, self._pending = self._pending[:room], self._pending[room:]
            self._on_body(memoryview(data))

    def pause_body(self) -> None:
        """See ClientSide. A paused socket hears nothing, so it is probed from time to time."""
        if self._fill is _CHOOSING:
            return  # no room: the stash is chosen, and what it gets pauses the body
        if self._phase is TUNNEL:
            self._link.stop_reading()
        elif self._phase is BODY and self._wants_body:
            self._wants_body = False
            self._pace.pause(self._context.deadlines.now)
            self._link.stop_reading()
            self._wait_as_phase_says()

    def _on_direct(self, nbytes: int) -> None:
        """The framing that came with the payload is squeezed out where it stands.

        A GiB in chunks of 256 KiB took 1.3 s with reads for payload alone, and others between them;
        it takes 0.6 s.
        """
        exchange, decoder = self._exchange, self._decoder
        if exchange is None or exchange.direct is None or decoder is None:
            return
        window = exchange.direct.get_buffer()[:nbytes]
        try:
            size, taken = decoder.squeeze(window)
            self._count_body(exchange, size)
        except FastproxyError as fault:
            self._fail_client(fault)
            return
        if taken < nbytes:
            self._pending = bytes(window[taken:])
        exchange.direct.buffer_updated(size)
        if decoder.is_done:
            self._body_complete(exchange)
            self._step()

    def _on_body(self, data: memoryview) -> None:
        exchange, decoder = self._exchange, self._decoder
        if exchange is None or exchange.sink is None or decoder is None:
            return
        try:
            pieces, taken = decoder.decode(data)
            self._count_body(exchange, sum(map(len, pieces)))
        except FastproxyError as fault:
            self._fail_client(fault)
            return
        if pieces:
            exchange.sink.body_data(pieces)
        if decoder.is_done and self._phase is BODY and exchange is self._exchange:
            self._pending = bytes(data[taken:]) + self._pending
            self._body_complete(exchange)

    def _count_body(self, exchange: Exchange, size: int) -> None:
        """Judge size and pace. Raises BodyTooLarge, TooSlow."""
        now = self._context.deadlines.now
        if self._phase is TUNNEL:
            self._pace.size += size
        else:
            self._pace.count(size, exchange.max_body, now)
            if not self._link.is_blocked:
                self.deadline = now + self._context.limits.body_timeout
        exchange.body_bytes = self._pace.size

    def _body_complete(self, exchange: Exchange) -> None:
        self._phase = WAIT
        self._wants_body = False
        self._decoder = None
        self._wait_as_phase_says()
        if not self._pending:
            self._link.start_reading()
        if exchange.sink is not None:
            exchange.sink.body_end()

    # -- ClientSide ----------------------------------------------------------------------------

    def write(self, pieces: Sequence[Piece]) -> None:
        """See ClientSide."""
        self._link.write(pieces)

    def begin_tunnel(self) -> None:
        """See ClientSide."""
        self._phase = TUNNEL
        self._decoder = UntilCloseDecoder()
        self._wait_as_phase_says()
        self._link.start_reading()
        if self._pending:
            pending, self._pending = self._pending, b""
            self._on_body(memoryview(pending))

    def send_eof(self) -> None:
        """See ClientSide."""
        self._link.send_eof()
        self._wait_for_progress()

    def exchange_over(self, *, keep: bool) -> None:
        """See ClientSide."""
        is_complete = self._phase is WAIT
        self._exchange = None
        self._decoder = None
        self._wants_body = False
        if keep and is_complete and not self._context.is_draining:
            self._phase = HEAD
            self._wait_as_phase_says()
            self._step()
        elif is_complete and not self._pending:
            self._close()
        else:
            self._linger()
