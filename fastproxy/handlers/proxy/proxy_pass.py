"""Forward a request to a backend and stream its answer back. No task, only callbacks.

A request is tried again only when a pooled connection turned out to be dead before any byte of an
answer, nothing of a body was sent, and the method is safe to repeat (RFC 9110 section 9.2.2).
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Protocol

from fastproxy.errors import BackendClosed, BackendFault, BadResponse, FastproxyError
from fastproxy.exchange import PENDING, Exchange, Pages
from fastproxy.handlers.forwarded import request_lines
from fastproxy.handlers.reply import BodySource, Dropping, Reply
from fastproxy.message import ResponseHead
from fastproxy.protocol import NATIVE, Dialect
from fastproxy.upstream.connection import UpstreamConnection
from fastproxy.upstream.pool import Pool
from fastproxy.wire.framing import LAST_CHUNK, Piece, frame_chunk
from fastproxy.wire.serialize import request_head

_IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"})


class Target:
    """A backend as a handler sees it. Durations in seconds.

    `hints`: field lines that tell it with each proxied request what we can do for it.
    """

    __slots__ = ("body_timeout_s", "dialect", "header_timeout_s", "hints", "name", "pool")

    def __init__(
        self,
        name: str,
        pool: Pool,
        header_timeout_s: float,
        body_timeout_s: float,
        dialect: Dialect = NATIVE,
        hints: bytes = b"",
    ) -> None:
        self.name = name
        self.pool = pool
        self.header_timeout_s = header_timeout_s
        self.body_timeout_s = body_timeout_s
        self.dialect = dialect
        self.hints = hints


class Outgoing:
    """A request for the backend. `length` None: chunked; `has_body` False: neither.

    `lines`: all field lines but those of framing. `is_precious`: it cannot be repeated, and must
    not be lost to a kept connection that just ends.
    """

    __slots__ = ("has_body", "is_precious", "length", "lines", "method", "target")

    def __init__(self, method: bytes, target: bytes, lines: bytes) -> None:
        self.method = method
        self.target = target
        self.lines = lines
        self.length: int | None = None
        self.has_body = False
        self.is_precious = False

    def head(self) -> bytes:
        """The head as bytes."""
        lines = self.lines
        if self.length is not None:
            lines += b"Content-Length: %d\r\n" % self.length
        elif self.has_body:
            lines += b"Transfer-Encoding: chunked\r\n"
        return request_head(self.method, self.target, lines)


class Judge(Protocol):
    """Who may answer in the place of a backend, by the head of its answer."""

    @property
    def pages(self) -> Pages | None:
        """What is shown in place of our own words about errors."""
        ...

    def __call__(self, exchange: Exchange, reply: Reply, head: ResponseHead) -> Reply | None:
        """Where the answer goes instead of to `reply`; None: nowhere else.

        A Dropping: the exchange gets its answer from elsewhere, and has another sink by now.
        """
        ...


def client_request(exchange: Exchange, *, websocket: bool = False, hints: bytes = b"") -> Outgoing:
    """The client's request as the backend gets it; `hints`: its target's."""
    head = exchange.head
    lines = request_lines(exchange) + hints
    if head.expects_continue:
        lines += b"Expect: 100-continue\r\n"
    if websocket and head.upgrade.lower() == b"websocket":
        lines += b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
    has_body = head.has_body or head.content_length == 0
    outgoing = Outgoing(head.method, head.target, lines)
    outgoing.length = head.content_length
    outgoing.has_body = has_body
    return outgoing


class Forwarding:
    """One request on its way to a backend and its answer on the way back: Taker and Receiver."""

    def __init__(
        self,
        outgoing: Outgoing,
        target: Target,
        source: BodySource,
        reply: Reply,
        judge: Callable[[ResponseHead], Reply | None] | None = None,
    ) -> None:
        """`judge`: where the answer goes instead, if anywhere, by its head."""
        self._outgoing = outgoing
        self._target = target
        self._source = source
        self._reply = reply
        self._judge = judge
        self._connection: UpstreamConnection | None = None
        self._has_sent_body = False
        self._is_retry = False
        self._is_over = False
        self._started_at = time.monotonic()
        self.is_tunnel = False
        self._tunnel_ends = 0  # of its two directions

    def start(self) -> None:
        """Get a connection and send."""
        fresh = self._is_retry or self._outgoing.is_precious
        self._target.pool.acquire(self, fresh=fresh)

    def adopt(self, connection: UpstreamConnection, started_at: float) -> None:
        """Go on with a request that was sent whole over `connection`, at `started_at`."""
        self._connection = connection
        self._started_at = started_at
        self._has_sent_body = bool(self._outgoing.length)

    def cancel(self) -> None:
        """Nobody wants the answer any more."""
        if not self._is_over:
            self._is_over = True
            self._target.pool.cancel(self)
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.abort()

    # -- Taker ---------------------------------------------------------------------------------

    def connected(self, connection: UpstreamConnection) -> None:
        """See Taker."""
        if self._is_over:
            self._target.pool.give_back(connection)
            return
        self._connection = connection
        connection.begin(self, self._outgoing.method, self._target.body_timeout_s)
        connection.send([self._outgoing.head()])
        if self._outgoing.has_body and self._outgoing.length != 0:
            if not connection.is_blocked:
                self._source.want_body()
        else:
            self._request_sent(connection)

    def connect_failed(self, fault: BackendFault) -> None:
        """See Taker."""
        self._is_over = True
        self._source.drop_body()
        self._reply.fail(fault)

    # -- the request body ----------------------------------------------------------------------

    def send_body(self, pieces: list[Piece]) -> None:
        """Some of the body."""
        connection = self._connection
        if connection is None:
            return
        self._has_sent_body = True
        if self.is_tunnel or self._outgoing.length is not None:
            connection.send(pieces)
        else:
            connection.send(frame_chunk(pieces))

    def end_body(self) -> None:
        """The body is complete."""
        connection = self._connection
        if connection is None:
            return
        if self.is_tunnel:
            connection.send_eof()
            self._one_tunnel_end()
            return
        if self._outgoing.length is None:
            connection.send([LAST_CHUNK])
        self._request_sent(connection)

    def _request_sent(self, connection: UpstreamConnection) -> None:
        connection.is_request_sent = True
        if self._reply.stage is PENDING:
            connection.expect_answer_within(self._target.header_timeout_s)

    # -- Receiver ------------------------------------------------------------------------------

    def response_head(self, head: ResponseHead) -> None:
        """See Receiver."""
        if head.is_private:
            # A permission holds what opens a store: it must not reach a client.
            raise BadResponse("an answer for fastproxy to a request of a client")
        if head.status == 101:
            self._switch(head)
        elif head.status < 200:
            self._reply.interim(head)
        else:
            self._reply.backend_s += time.monotonic() - self._started_at
            other = self._judge(head) if self._judge is not None else None
            if isinstance(other, Dropping):
                self._source.drop_body()
                self._source = self._reply = other
                return
            self._reply = other or self._reply
            self._reply.respond(head)

    def _switch(self, head: ResponseHead) -> None:
        """RFC 9110 section 15.2.2: only to what was asked for."""
        asked = b"\r\nUpgrade: websocket\r\n" in self._outgoing.lines
        if not asked or head.upgrade.lower() != b"websocket":
            raise BadResponse("101 to a protocol nobody asked for")
        self.is_tunnel = True
        self._reply.backend_s += time.monotonic() - self._started_at
        self._reply.begin_tunnel(head)

    def response_data(self, pieces: Sequence[Piece]) -> None:
        """See Receiver."""
        self._reply.write(pieces)

    def response_flush(self) -> None:
        """See Receiver."""
        self._reply.flush()

    def response_end(self) -> None:
        """See Receiver."""
        if self.is_tunnel:
            self._reply.end_tunnel_answer()
            self._one_tunnel_end()
            return
        self._is_over = True
        self._connection = None
        self._source.drop_body()
        self._reply.end()

    def _one_tunnel_end(self) -> None:
        """A tunnel is over when both directions are."""
        self._tunnel_ends += 1
        if self._tunnel_ends == 2:
            self.cancel()
            self._reply.end()

    def response_failed(self, fault: BackendFault) -> None:
        """See Receiver."""
        connection, self._connection = self._connection, None
        if self._is_over:
            return
        if connection is not None and self._may_repeat(connection, fault):
            self._is_retry = True
            self._reply.retries += 1
            self._source.pause_body()  # nothing may come while there is nowhere to send it
            self.start()
            return
        self._is_over = True
        self._source.drop_body()
        self._reply.fail(fault)

    def _may_repeat(self, connection: UpstreamConnection, fault: BackendFault) -> bool:
        return (
            isinstance(fault, BackendClosed)
            and connection.uses > 1
            and not connection.has_answered
            and not self._is_retry
            and not self._has_sent_body
            and self._outgoing.method in _IDEMPOTENT
        )

    def backend_blocked(self) -> None:
        """See Receiver."""
        self._source.pause_body()

    def backend_writable(self) -> None:
        """See Receiver."""
        connection = self._connection
        if connection is not None and (self.is_tunnel or not connection.is_request_sent):
            self._source.want_body()

    def reader_blocked(self) -> None:
        """The one who reads the answer takes no more now."""
        if self._connection is not None:
            self._connection.pause_reading()

    def reader_writable(self) -> None:
        """The one who reads the answer takes bytes again."""
        if self._connection is not None:
            self._connection.resume_reading()


class ProxyPass:
    """The plain case: from the client's connection straight to the backend's. The Sink."""

    def __init__(
        self,
        exchange: Exchange,
        target: Target,
        *,
        websocket: bool = False,
        judge: Judge | None = None,
    ) -> None:
        self._exchange = exchange
        outgoing = client_request(exchange, websocket=websocket, hints=target.hints)
        judges = None
        if judge is not None:
            judges = partial(judge, exchange, exchange)
            exchange.pages = judge.pages
        self._forwarding = Forwarding(outgoing, target, exchange, exchange, judges)
        exchange.sink = self

    def start(self) -> None:
        """Begin."""
        self._forwarding.start()

    def adopt(self, connection: UpstreamConnection, started_at: float) -> Forwarding:
        """Go on with what was begun elsewhere; the Receiver of the answer."""
        self._forwarding.adopt(connection, started_at)
        return self._forwarding

    def body_data(self, pieces: list[memoryview]) -> None:
        """See Sink."""
        self._forwarding.send_body([*pieces])

    def body_end(self) -> None:
        """See Sink."""
        self._forwarding.end_body()

    def client_failed(self, fault: FastproxyError) -> None:
        """See Sink."""
        self._forwarding.cancel()

    def client_blocked(self) -> None:
        """See Sink."""
        self._forwarding.reader_blocked()

    def client_writable(self) -> None:
        """See Sink."""
        self._forwarding.reader_writable()


class PlainProxy:
    """The handler of a route that only proxies. `max_body` in bytes."""

    __slots__ = ("judge", "max_body", "target", "websocket")

    def __init__(
        self, target: Target, max_body: int, *, websocket: bool, judge: Judge | None = None
    ) -> None:
        self.target = target
        self.max_body = max_body
        self.websocket = websocket
        self.judge = judge

    def __call__(self, exchange: Exchange) -> None:
        """Serve one request. Raises BodyTooLarge."""
        exchange.admit_body(self.max_body)
        ProxyPass(exchange, self.target, websocket=self.websocket, judge=self.judge).start()
