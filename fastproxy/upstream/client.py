"""Whole requests with small answers: permission from a backend, parts to a store.

The same connections as proxied requests use, so a part travels from slabs to the socket without a
copy. Redirects are never followed: a signed request is for one host.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final, Protocol

from msgspec import Struct, field

from fastproxy.errors import (
    BackendClosed,
    BackendFault,
    BackendTimeout,
    BadResponse,
    StaleConnection,
)
from fastproxy.loop.deadlines import NEVER, Timed
from fastproxy.loop.reactor import Reactor
from fastproxy.message import Headers, ResponseHead
from fastproxy.upstream.connection import UpstreamConnection
from fastproxy.upstream.lines import Line
from fastproxy.upstream.origin import Origin, parse_origin, target_of, tls_context
from fastproxy.upstream.pool import Pool, PoolLimits
from fastproxy.upstream.stream import IDEMPOTENT, Question, Stream
from fastproxy.wire.framing import Piece
from fastproxy.wire.serialize import field_lines, request_head, safe_fields

MAX_ANSWER_BYTES: Final = 1 << 20
_TLS_BURST: Final = 256 * 1024
_CONTINUE_S: Final = 1.0  # as the SDKs of AWS: not every server answers an expectation


class Streamed(Protocol):
    """A body of known size."""

    @property
    def size(self) -> int:
        """Bytes in all."""
        ...

    @property
    def is_retained(self) -> bool:
        """Whether it can be read from its beginning again."""
        ...

    def chunks(self) -> AsyncIterator[Sequence[memoryview]]:
        """The bytes in order; a run is valid until the next is asked for, or the request ends."""
        ...


class Answer(Struct, frozen=True):
    """A whole response."""

    status: int
    headers: Headers
    body: bytes
    reason: bytes = b""

    def header(self, lower_name: bytes) -> bytes | None:
        """The value of the first field called `lower_name`, or None."""
        for name, value in self.headers:
            if name.lower() == lower_name:
                return value
        return None


class Call(Struct, frozen=True):
    """One request. `headers` and `lines` (whole field lines) lack only Host and Content-Length.

    `timeout_s`: no progress for that long ends it, and so does an answer that is not complete so
    long after its head. `may_repeat`: when a pooled connection turns out to be dead before any
    answer, the request may go out once more on a fresh one. `line`: where it waits for one.
    """

    method: str
    target: bytes
    host: bytes
    headers: Headers = field(default_factory=list)
    lines: bytes = b""
    body: bytes | Streamed | None = None
    timeout_s: float = 60.0
    max_answer: int = MAX_ANSWER_BYTES
    may_repeat: bool = False
    line: Line = Line.REQUESTS


async def perform(
    pool: Pool, call: Call, *, fresh: bool = False, over: UpstreamConnection | None = None
) -> Answer:
    """Send `call` over a connection of `pool`; `fresh`: not a kept one; `over`: this one of it.

    Raises BackendFault: ConnectFailed, ConnectTimeout, BackendBusy, BackendClosed, StaleConnection,
    BackendTimeout, BadResponse (also for an answer over `max_answer` bytes).
    """
    exchange = _Exchange(pool, call)
    try:
        return await exchange.run(fresh=fresh, over=over)
    except BackendClosed as fault:
        if not exchange.was_stale:
            raise
        if not call.may_repeat:
            raise StaleConnection(fault.detail) from None
    return await _Exchange(pool, call).run(fresh=True)


class _Exchange(Timed):
    """One attempt: Taker, Receiver and Timed at once."""

    is_over = False

    def __init__(self, pool: Pool, call: Call) -> None:
        super().__init__()
        self._pool = pool
        self._call = call
        self._reactor = pool.reactor
        self._connection: UpstreamConnection | None = None  # while it is ours
        self._acquired: asyncio.Future[UpstreamConnection] = self._reactor.loop.create_future()
        self._answer: asyncio.Future[Answer] = self._reactor.loop.create_future()
        self._writable: asyncio.Future[None] | None = None
        self._wanted: asyncio.Future[bool] = self._reactor.loop.create_future()  # the body
        self._head: ResponseHead | None = None
        self._body = bytearray()
        self._unsent = 0
        self.was_stale = False

    async def run(self, *, fresh: bool, over: UpstreamConnection | None = None) -> Answer:
        """The answer; whatever happens, nothing of this attempt goes on afterwards."""
        try:
            if over is None:
                # Many requests begin in a turn of the loop, and many parts leave in it: plain ones
                # of clients need not wait for all of them.
                self._reactor.readiness.catch_up()
                self._pool.acquire(self, fresh=fresh, line=self._call.line)
            else:
                self.connected(over)
            await self._send(await self._acquired)
            return await self._answer
        finally:
            self.is_over = True
            self._reactor.deadlines.forget(self)
            self._pool.cancel(self)
            if self._connection is not None:
                self._connection.abort()
            if self._answer.done() and not self._answer.cancelled():
                self._answer.exception()  # seen, even if sending failed first

    async def _send(self, connection: UpstreamConnection) -> None:
        call = self._call
        connection.begin(self, call.method.encode("ascii"), call.timeout_s)
        connection.read_with(self._reactor.bulk)
        head = request_head(call.method.encode("ascii"), call.target, self._lines())
        self._watch_progress()
        is_whole = True
        if isinstance(call.body, bytes) or call.body is None:
            connection.send([head, call.body] if call.body else [head])
        else:
            connection.send([head])
            is_whole = await self._send_streamed(connection, call.body)
        await self._drained(connection)
        if not self._answer.done():
            if self._head is None:
                self.deadline = NEVER
            connection.is_request_sent = is_whole
            connection.expect_answer_within(call.timeout_s)

    async def _send_streamed(self, connection: UpstreamConnection, body: Streamed) -> bool:
        """Whether all of it was sent: not after an early answer, or the end of the connection."""
        if _asks_first(body) and not await self._is_wanted():
            return False
        async for run in body.chunks():
            await self._send_run(connection, run)
            if self._answer.done():
                return False
        return True

    async def _is_wanted(self) -> bool:
        await asyncio.wait((self._wanted,), timeout=_CONTINUE_S)
        return not self._wanted.done() or self._wanted.result()

    async def _send_run(self, connection: UpstreamConnection, run: Sequence[memoryview]) -> None:
        """On its own, for while the next run is awaited no variable may hold a view of the last."""
        for burst in _bursts(run) if connection.copies else (run,):
            self._reactor.readiness.catch_up()
            if self._answer.done():
                return
            connection.send(burst)
            await self._drained(connection)

    def _lines(self) -> bytes:
        call = self._call
        lines = b"Host: %b\r\n%b" % (call.host, field_lines(safe_fields(call.headers)))
        lines += call.lines
        if call.body is not None:
            size = len(call.body) if isinstance(call.body, bytes) else call.body.size
            lines += b"Content-Length: %d\r\n" % size
            if _asks_first(call.body):
                lines += b"Expect: 100-continue\r\n"
        elif call.method in ("POST", "PUT", "PATCH"):
            lines += b"Content-Length: 0\r\n"
        return lines

    async def _drained(self, connection: UpstreamConnection) -> None:
        if connection.is_blocked and not self._answer.done():
            self._writable = self._reactor.loop.create_future()
            await self._writable

    def _watch_progress(self) -> None:
        self.deadline = self._reactor.deadlines.now + self._call.timeout_s
        self._reactor.deadlines.watch(self)

    def on_deadline(self, now: float) -> None:
        """See Timed: is the kernel still taking bytes? Is the answer complete?"""
        if self._connection is None or self._answer.done():
            return
        if self._head is not None:
            self._connection.abort()
            self.response_failed(BackendTimeout("its answer drips"))
            return
        unsent = self._connection.unsent_bytes
        if self._writable is None or unsent != self._unsent:
            self._unsent = unsent
            self._watch_progress()
        else:
            self._connection.abort()
            self.response_failed(BackendTimeout("takes no bytes"))

    # -- Taker ---------------------------------------------------------------------------------

    def connected(self, connection: UpstreamConnection) -> None:
        """See Taker."""
        if self._acquired.done():
            connection.rest()
            self._pool.give_back(connection)
        else:
            # Ours from now on: who waits may be cancelled before it learns of it.
            self._connection = connection
            self._acquired.set_result(connection)

    def connect_failed(self, fault: BackendFault) -> None:
        """See Taker."""
        if not self._acquired.done():
            self._acquired.set_exception(fault)

    # -- Receiver ------------------------------------------------------------------------------

    def response_head(self, head: ResponseHead) -> None:
        """See Receiver."""
        if head.status == 101:
            raise BadResponse("switched protocols unasked")
        if head.status >= 200:
            self._head = head
            self._watch_progress()  # its bytes are few, and one by one they could come for ever
        if head.status >= 200 or head.status == 100:
            self._decide(is_wanted=head.status == 100)

    def response_data(self, pieces: Sequence[Piece]) -> None:
        """See Receiver."""
        for piece in pieces:
            self._body += piece
        if len(self._body) > self._call.max_answer:
            raise BadResponse(f"answer over {self._call.max_answer} bytes")

    def response_flush(self) -> None:
        """See Receiver."""

    def response_end(self) -> None:
        """See Receiver."""
        self._connection = None
        head = self._head
        if head is not None and not self._answer.done():
            answer = Answer(head.status, head.headers, bytes(self._body), head.reason)
            self._answer.set_result(answer)
        self.backend_writable()

    def response_failed(self, fault: BackendFault) -> None:
        """See Receiver."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self.was_stale = connection.uses > 1 and not connection.has_answered
        if not self._answer.done():
            self._answer.set_exception(fault)
        self._decide(is_wanted=False)
        self.backend_writable()

    def _decide(self, *, is_wanted: bool) -> None:
        if not self._wanted.done():
            self._wanted.set_result(is_wanted)

    def backend_blocked(self) -> None:
        """See Receiver."""

    def backend_writable(self) -> None:
        """See Receiver."""
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None


def _asks_first(body: bytes | Streamed) -> bool:
    """Whether the body leaves only after "100 Continue" (RFC 9110 section 10.1.1).

    What cannot be sent again must not be spent on a pooled connection that its peer has closed, nor
    on a store that refuses the request whatever its body is.
    """
    return not isinstance(body, bytes) and not body.is_retained and body.size > 0


def _bursts(run: Sequence[memoryview]) -> Iterator[Sequence[memoryview]]:
    """A run in short pieces: TLS copies what it is given, so it is given little at a time."""
    for view in run:
        for start in range(0, len(view), _TLS_BURST):
            yield (view[start : start + _TLS_BURST],)


class HttpClient:
    """Requests to absolute URLs, with a pool for every origin.

    `tls`: None for the system's authorities, which are read when they are first needed.
    """

    def __init__(
        self, reactor: Reactor, limits: PoolLimits, tls: ssl.SSLContext | None = None
    ) -> None:
        self._reactor = reactor
        self._limits = limits
        self._tls = tls
        self._pools: dict[Origin, Pool] = {}

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Headers,
        body: bytes | Streamed | None = None,
        timeout_s: float = 60.0,
    ) -> Answer:
        """Send one request; raises as `perform`. ValueError for a URL we cannot speak to."""
        origin = parse_origin(url)
        call = Call(
            method,
            target_of(url),
            origin.host_header,
            headers,
            body=body,
            timeout_s=timeout_s,
            may_repeat=method in IDEMPOTENT,
        )
        return await perform(self._pool(origin), call)

    def stream(self, method: str, url: str, headers: Headers, timeout_s: float) -> Stream:
        """A request, not sent yet, whose answer is read as it is wanted. ValueError as above."""
        origin = parse_origin(url)
        pool = self._pool(origin)
        host = origin.host_header
        return Stream(pool, Question(method, target_of(url), host, headers, timeout_s))

    def _pool(self, origin: Origin) -> Pool:
        pool = self._pools.get(origin)
        if pool is None:
            tls = (self._tls or tls_context()) if origin.is_tls else None
            pool = self._pools[origin] = Pool(origin, self._limits, self._reactor, tls)
        return pool

    def close(self) -> None:
        """Close all pooled connections."""
        for pool in self._pools.values():
            pool.close()
