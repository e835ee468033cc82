"""One client connection: an asyncio BufferedProtocol that turns bytes into exchanges.

All connections read into one shared scratch buffer; an idle one holds no buffer. While a handler
with its own memory takes a body, the kernel fills that memory instead.
Phases and what ends them:

    HEAD --head complete--> BODY --body complete--> WAIT --response complete--> HEAD
                             |                        |
                             +--early response--> LINGER --drained or late--> CLOSED
    WAIT --last response, not all of it sent, or bytes behind the request--> LINGER
    WAIT --101--> TUNNEL
    any --last response written, not yet sent--> CLOSING --sent, or not taken--> CLOSED
"""

import asyncio
from collections.abc import Sequence
from typing import cast

from fastproxy.errors import BadBody, ClientGone, FastproxyError, TooManyConnections
from fastproxy.exchange import Exchange
from fastproxy.front.body import DIRECT, SCRATCH, STASH, BodyReading
from fastproxy.front.context import FrontContext
from fastproxy.front.guest import Guest
from fastproxy.front.heads import is_news, skip_blank_lines, split_head
from fastproxy.front.life import BODY, HEAD, LINGER, TUNNEL, WAIT
from fastproxy.front.link import Link
from fastproxy.loop.deadlines import NEVER
from fastproxy.message import RequestHead
from fastproxy.wire.chunked import ChunkedDecoder
from fastproxy.wire.framing import LengthDecoder, Piece, UntilCloseDecoder


class ClientConnection(BodyReading):
    """See the module."""

    __slots__ = ("_is_stepping", "_is_trusted", "_remote_ip")

    def __init__(self, context: FrontContext, guest: Guest | None = None) -> None:
        super().__init__(context, guest)
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
        self._fill = SCRATCH
        if self._phase is HEAD or self._phase is WAIT:
            return self._context.scratch.head_view
        return self._body_memory()

    def buffer_updated(self, nbytes: int) -> None:
        """See asyncio."""
        if self._fill is DIRECT:
            self._on_direct(nbytes)
            self._step()
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
        elif self._fill is STASH:
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
            if self._phase is HEAD and not is_news(self._pending, len(data), self._context.limits):
                return
        if self._phase is WAIT:
            self._link.stop_reading()
            self._wait_as_phase_says()
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
        if self._link.has_eof and self._exchange is not None and self._exchange.sink is not None:
            self._exchange.sink.body_end()  # it came when there was no tunnel yet

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
        elif is_complete and not self._pending and self._link.is_settled:
            self._close()
        else:
            self._linger()
