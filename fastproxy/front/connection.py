"""One client connection: an asyncio BufferedProtocol that turns bytes into exchanges.

All connections read into one shared scratch buffer; an idle one holds no buffer. While a handler
with its own memory takes a body, the kernel fills that memory instead.
Phases and what ends them:

    HEAD --head complete--> BODY --body complete--> WAIT --response complete--> HEAD
                             |                        |
                             +--early response--> LINGER --drained or late--> CLOSED
    WAIT --101--> TUNNEL
"""

import asyncio
from collections.abc import Sequence
from enum import Enum
from typing import Final, cast

from fastproxy.deadlines import NEVER
from fastproxy.errors import (
    BadBody,
    BadHead,
    BodyTooLarge,
    ClientGone,
    FastproxyError,
    HeadTooLarge,
    ShuttingDown,
    TooSlow,
)
from fastproxy.exchange import DirectSink, Exchange, Piece
from fastproxy.front.context import FrontContext
from fastproxy.front.probe import PeerState, peer_state
from fastproxy.message import RequestHead
from fastproxy.wire.framing import BodyDecoder, ChunkedDecoder, LengthDecoder, UntilCloseDecoder
from fastproxy.wire.head import END_OF_HEAD

# A paused upload holds at most what one read brings; without room for a read, this little.
_STASH_BYTES: Final = 256
# Below this a second system call costs more than copying the bytes.
_DIRECT_BYTES: Final = 16 * 1024
_PROBE_S: Final = 10.0


class Phase(Enum):
    """What the next byte from the client is."""

    HEAD = "head"
    BODY = "body"
    WAIT = "wait"  # the request is complete, its response is not
    LINGER = "linger"  # answered early: read and drop, so that the client sees the answer
    TUNNEL = "tunnel"
    CLOSED = "closed"


class Fill(Enum):
    """Where the kernel was told to put the bytes of the current read."""

    SCRATCH = "scratch"
    STASH = "stash"
    DIRECT = "direct"


class ClientConnection(asyncio.BufferedProtocol):
    """See the module."""

    def __init__(self, context: FrontContext) -> None:
        self._context = context
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._decoder: BodyDecoder | None = None
        self._pending = b""  # read, not yet understood: part of a head, early body, pipelined
        self._phase = Phase.HEAD
        self._fill = Fill.SCRATCH
        self._wants_body = False
        self._is_reading = True
        self._is_stepping = False
        self._has_eof = False
        self._body_bytes = 0
        self._reading_since = 0.0  # start of the body, later by all the time we paused it
        self._unsent = 0
        self._remote_ip = ""
        self._is_trusted = False
        self.is_blocked = False
        self.deadline = NEVER

    @property
    def is_over(self) -> bool:
        """Whether the connection has ended."""
        return self._phase is Phase.CLOSED

    @property
    def is_idle(self) -> bool:
        """Whether no request is being read or served."""
        return self._phase is Phase.HEAD and not self._pending

    @property
    def is_body_complete(self) -> bool:
        """See ClientSide."""
        return self._phase is not Phase.BODY

    @property
    def exchange(self) -> Exchange | None:
        """The request being served, if any."""
        return self._exchange

    # -- asyncio.BufferedProtocol --------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=0)
        peer = transport.get_extra_info("peername")
        self._remote_ip = peer[0] if isinstance(peer, tuple) else ""
        self._is_trusted = self._context.is_trusted(self._remote_ip)
        if not self._context.add(self):
            self._refuse(ShuttingDown("too many connections"))
            return
        self._wait_until(self._context.limits.header_timeout)

    def get_buffer(self, sizehint: int) -> memoryview:
        """See asyncio."""
        scratch = self._context.reactor.scratch
        self._fill = Fill.SCRATCH
        if self._phase is Phase.HEAD or self._phase is Phase.WAIT:
            return scratch.head_view
        exchange = self._exchange
        if exchange is not None and exchange.direct is not None and self._decoder is not None:
            return self._choose_memory(exchange.direct, self._decoder)
        return scratch.view

    def _choose_memory(self, direct: DirectSink, decoder: BodyDecoder) -> memoryview:
        room = direct.room()
        if not room:
            self._fill = Fill.STASH
            return self._context.reactor.scratch.view[:_STASH_BYTES]
        run = decoder.payload_run()
        if run >= _DIRECT_BYTES:
            self._fill = Fill.DIRECT
            return direct.get_buffer()[:run]
        return self._context.reactor.scratch.view[:room]

    def buffer_updated(self, nbytes: int) -> None:
        """See asyncio."""
        if self._fill is Fill.DIRECT:
            self._on_direct(nbytes)
            return
        data = self._context.reactor.scratch.view[:nbytes]
        if self._phase is Phase.LINGER:
            self._on_lingering(nbytes)
        elif self._fill is Fill.STASH:
            self._pending += bytes(data)
            self.pause_body()
        elif self._phase is Phase.BODY or self._phase is Phase.TUNNEL:
            self._on_body(data)
            self._step()
        else:
            self._on_bytes(data)

    def eof_received(self) -> bool:
        """See asyncio. True keeps our sending side open: a half-closed client gets its answer."""
        self._has_eof = True
        if self._phase is Phase.WAIT:
            return True
        if self._phase is Phase.TUNNEL:
            self._end_tunnel_body()
            return True
        if self._phase is Phase.BODY:
            # Its answer, if it still can read one, is written; then the connection closes.
            self._fail_client(BadBody("body ended before its time"))
        else:
            self._close()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._fail_client(ClientGone(str(exc) if exc else "connection lost"))
        self._leave()
        self._transport = None

    def pause_writing(self) -> None:
        """See asyncio."""
        self.is_blocked = True
        if self._phase in (Phase.WAIT, Phase.BODY):
            self._unsent = self._unsent_bytes()
            self._wait_until(self._context.limits.send_timeout)
        if self._exchange is not None and self._exchange.sink is not None:
            self._exchange.sink.client_blocked()

    def resume_writing(self) -> None:
        """See asyncio."""
        self.is_blocked = False
        if self._phase is Phase.WAIT:
            self.deadline = NEVER
        if self._exchange is not None and self._exchange.sink is not None:
            self._exchange.sink.client_writable()

    # -- heads ---------------------------------------------------------------------------------

    def _on_bytes(self, data: memoryview) -> None:
        """Bytes where a head may start: keep what is not yet a whole one."""
        if self._phase is Phase.HEAD and not self._pending:
            self._wait_until(self._context.limits.header_timeout)
        self._pending += bytes(data)
        if self._phase is Phase.WAIT:
            self._stop_reading()
        else:
            self._step()

    def _step(self) -> None:
        """Serve what is pending, one request after another; never re-entered, so never deep."""
        if self._is_stepping:
            return
        self._is_stepping = True
        try:
            while self._phase is Phase.HEAD and self._pending and self._take_head():
                pass
        finally:
            self._is_stepping = False
        if self._phase is Phase.HEAD:
            self._start_reading()

    def _take_head(self) -> bool:
        """Begin the next exchange if its head is complete; whether it was."""
        # RFC 9112 section 2.2: empty lines before a request line are to be ignored.
        raw = (
            self._pending.lstrip(b"\r\n") if self._pending[:1] in (b"\r", b"\n") else self._pending
        )
        try:
            end = raw.find(END_OF_HEAD)
            if end < 0:
                self._judge_partial(raw)
                self._pending = raw
                return False
            if end > self._context.limits.header_bytes:
                raise HeadTooLarge(f"{end} bytes")
            end += len(END_OF_HEAD)
            self._pending = raw[end:]
            head = self._context.parser.parse(raw[:end])
        except FastproxyError as fault:
            self._refuse(fault)
            return False
        self._begin(head)
        return True

    def _judge_partial(self, raw: bytes) -> None:
        """What no further byte can make right is refused at once."""
        if len(raw) > self._context.limits.header_bytes:
            raise HeadTooLarge(f"over {len(raw)} bytes")
        if b"\n\n" in raw or b"\n\r\n" in raw or (raw and not 65 <= raw[0] <= 90):
            raise BadHead("not an HTTP/1 head")

    def _begin(self, head: RequestHead) -> None:
        context = self._context
        exchange = Exchange(head, self, context.reporter, context.limits.body)
        self._exchange = exchange
        context.identify(exchange, self._remote_ip, is_trusted=self._is_trusted)
        self.deadline = NEVER
        self._body_bytes = 0
        if head.has_body:
            self._phase = Phase.BODY
            length = head.content_length
            self._decoder = ChunkedDecoder() if length is None else LengthDecoder(length)
            self._wants_body = False
            self._stop_reading()
        else:
            self._phase = Phase.WAIT
            self._decoder = None
        context.serve(exchange)

    def _refuse(self, fault: FastproxyError) -> None:
        """Answer a request that has no exchange yet, and end the connection."""
        head = RequestHead(b"-", b"-", 1, [])
        head.keep_alive = False
        exchange = Exchange(head, self, self._context.reporter, 0)
        self._exchange = exchange
        self._context.identify(exchange, self._remote_ip, is_trusted=False)
        self._pending = b""
        self._phase = Phase.BODY  # whatever else it sends is not a request of ours: linger
        exchange.fail(fault)

    # -- bodies --------------------------------------------------------------------------------

    def want_body(self) -> None:
        """See ClientSide."""
        if self._phase is Phase.TUNNEL:
            self._start_reading()
        if self._phase is not Phase.BODY or self._wants_body:
            return
        self._wants_body = True
        now = self._context.reactor.deadlines.now
        self._reading_since = now - self._reading_since if self._body_bytes else now
        if self._pending:
            pending, self._pending = self._pending, b""
            self._on_pending(pending)
        if self._wants_body and self._phase is Phase.BODY:
            self._wait_until(self._context.limits.body_timeout)
            self._start_reading()

    def _on_pending(self, pending: bytes) -> None:
        exchange = self._exchange
        left = memoryview(pending)
        while left and self._phase is Phase.BODY and exchange is not None:
            room = len(left) if exchange.direct is None else exchange.direct.room()
            if not room:
                self._pending = bytes(left) + self._pending
                self.pause_body()
                return
            now, left = left[:room], left[room:]
            self._on_body(now)
        self._pending += bytes(left)

    def pause_body(self) -> None:
        """See ClientSide. A paused socket hears nothing, so it is probed from time to time."""
        if self._phase is Phase.TUNNEL:
            self._stop_reading()
        elif self._phase is Phase.BODY and self._wants_body:
            self._wants_body = False
            now = self._context.reactor.deadlines.now
            self._reading_since = now - self._reading_since  # how long it was read so far
            self._stop_reading()
            self._wait_until(_PROBE_S)

    def _on_direct(self, nbytes: int) -> None:
        exchange, decoder = self._exchange, self._decoder
        if exchange is None or exchange.direct is None or decoder is None:
            return
        exchange.direct.buffer_updated(nbytes)
        decoder.skip(nbytes)
        try:
            self._count_body(exchange, nbytes)
        except FastproxyError as fault:
            self._fail_client(fault)
            return
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
        if decoder.is_done and self._phase is Phase.BODY:
            self._pending = bytes(data[taken:]) + self._pending
            self._body_complete(exchange)

    def _count_body(self, exchange: Exchange, size: int) -> None:
        """Judge size and pace. Raises BodyTooLarge, TooSlow."""
        limits = self._context.limits
        self._body_bytes += size
        exchange.body_bytes = self._body_bytes
        if self._phase is Phase.TUNNEL:
            return
        if self._body_bytes > exchange.max_body:
            raise BodyTooLarge(f"more than {exchange.max_body} bytes")
        now = self._context.reactor.deadlines.now
        self.deadline = now + limits.body_timeout
        elapsed = now - self._reading_since
        if elapsed > limits.rate_grace and self._body_bytes < limits.min_body_rate * elapsed:
            raise TooSlow(f"{self._body_bytes} bytes in {elapsed:.0f} s")

    def _body_complete(self, exchange: Exchange) -> None:
        self._phase = Phase.WAIT
        self._decoder = None
        self.deadline = NEVER
        if not self._pending:
            self._start_reading()
        if exchange.sink is not None:
            exchange.sink.body_end()

    # -- ClientSide ----------------------------------------------------------------------------

    def write(self, pieces: Sequence[Piece]) -> None:
        """See ClientSide."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.writelines(pieces)
        if self.is_blocked:
            self._context.reactor.scratch.renew()

    def begin_tunnel(self) -> None:
        """See ClientSide."""
        self._phase = Phase.TUNNEL
        self._decoder = UntilCloseDecoder()
        self.deadline = NEVER
        self._start_reading()
        if self._pending:
            pending, self._pending = self._pending, b""
            self._on_body(memoryview(pending))

    def send_eof(self) -> None:
        """See ClientSide."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write_eof()
            self._wait_until(self._context.limits.send_timeout)

    def _end_tunnel_body(self) -> None:
        if self._exchange is not None and self._exchange.sink is not None:
            self._wait_until(self._context.limits.send_timeout)
            self._exchange.sink.body_end()

    def exchange_over(self, *, keep: bool) -> None:
        """See ClientSide."""
        is_complete = self._phase is Phase.WAIT
        self._exchange = None
        self._decoder = None
        if keep and is_complete and not self._has_eof and not self._context.is_draining:
            self._phase = Phase.HEAD
            self._wait_until(self._context.limits.idle_timeout)
            self._step()
        elif is_complete:
            self._close()
        else:
            self._linger()

    def abort(self) -> None:
        """See ClientSide."""
        self._exchange = None
        self._leave()
        if self._transport is not None:
            self._transport.abort()

    # -- ending --------------------------------------------------------------------------------

    def drain(self) -> None:
        """Close if idle; else the response in flight says it is the last."""
        if self.is_idle:
            self._close()
        elif self._exchange is not None:
            self._exchange.is_draining = True

    def cut(self) -> None:
        """End the exchange in flight, if any, and close now."""
        self._fail_client(ShuttingDown("cut at the end of the drain"))
        self.abort()

    def _fail_client(self, fault: FastproxyError) -> None:
        """Tell the handler that the client failed; it lets go and fails the exchange."""
        exchange = self._exchange
        if exchange is None:
            return
        if exchange.fault is None:
            exchange.fault = fault
        if exchange.sink is not None:
            exchange.sink.client_failed(fault)
        exchange.fail(fault)

    def _linger(self) -> None:
        """RFC 9112 section 9.6: closing with unread bytes would reset away our answer."""
        self._phase = Phase.LINGER
        self._pending = b""
        self._body_bytes = 0
        if self._has_eof:
            self._close()
            return
        if self._transport is not None and self._transport.can_write_eof():
            self._transport.write_eof()
        self._wait_until(self._context.limits.lingering_timeout)
        self._start_reading()

    def _on_lingering(self, nbytes: int) -> None:
        self._body_bytes += nbytes
        if self._body_bytes > self._context.limits.lingering_bytes:
            self._close()

    def _close(self) -> None:
        """Close once everything written has left."""
        self._leave()
        if self._transport is not None:
            self._transport.close()

    def _leave(self) -> None:
        if self._phase is not Phase.CLOSED:
            self._phase = Phase.CLOSED
            self._pending = b""
            self._context.discard(self)
            self._context.reactor.deadlines.forget(self)

    # -- time and reading ----------------------------------------------------------------------

    def on_deadline(self, now: float) -> None:
        """See Timed."""
        if self._phase is Phase.HEAD and self._pending:
            self._refuse(TooSlow("head"))
        elif self._phase in (Phase.HEAD, Phase.LINGER):
            self._close()
        elif self.is_blocked:
            self._judge_reader()
        elif self._phase is Phase.TUNNEL:
            self.cut()
        elif self._phase is Phase.BODY and self._wants_body:
            self._fail_client(TooSlow("nothing came"))
        elif self._phase is Phase.BODY:
            self._probe()

    def _judge_reader(self) -> None:
        unsent = self._unsent_bytes()
        if unsent == self._unsent:
            self._fail_client(ClientGone("takes no bytes"))
            self.abort()
        else:
            self._unsent = unsent
            self._wait_until(self._context.limits.send_timeout)

    def _probe(self) -> None:
        """Is a client that we do not read from still there?"""
        state = peer_state(self._transport)
        if state is PeerState.GONE:
            self._fail_client(ClientGone("gone while paused"))
            self.abort()
        else:
            self._wait_until(_PROBE_S)

    def _unsent_bytes(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def _wait_until(self, timeout_s: float) -> None:
        deadlines = self._context.reactor.deadlines
        self.deadline = deadlines.now + timeout_s
        deadlines.watch(self)

    def _stop_reading(self) -> None:
        if self._is_reading and self._transport is not None:
            self._is_reading = False
            self._transport.pause_reading()

    def _start_reading(self) -> None:
        if not self._is_reading and self._transport is not None:
            self._is_reading = True
            if not self._transport.is_closing():
                self._transport.resume_reading()
