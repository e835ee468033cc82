"""One request whose answer is read as it is wanted: a download, on its way to somebody."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Final

from msgspec import Struct

from fastproxy.errors import (
    BackendClosed,
    BackendFault,
    BadResponse,
    ConnectTimeout,
    StaleConnection,
)
from fastproxy.message import Headers, ResponseHead, find_header
from fastproxy.upstream.connection import UpstreamConnection
from fastproxy.upstream.pool import Pool
from fastproxy.wire.framing import Piece
from fastproxy.wire.serialize import field_lines, request_head, safe_fields

# Read ahead of who takes it: as much as one read may bring, and no more reads than that.
_AHEAD_BYTES: Final = 256 * 1024
IDEMPOTENT: Final = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})  # RFC 9110, 9.2.2


class Question(Struct, frozen=True):
    """One request. `headers` lack only Host and Content-Length; seconds everywhere.

    `timeout_s`: for the head, and between two reads of the body; `header_timeout_s`: for the head,
    when that is another; `connect_by`: the loop's time until which there must be a connection.
    """

    method: str
    target: bytes
    host: bytes
    headers: Headers
    timeout_s: float
    body: bytes = b""
    header_timeout_s: float | None = None
    connect_by: float | None = None


class Stream:
    """See the module. Taker and Receiver; to be closed, whatever happened."""

    def __init__(self, pool: Pool, question: Question) -> None:
        """Raises ValueError for a field that is none."""
        self._pool = pool
        self._question = question
        self._method = question.method.encode("ascii")
        self._request = _request(self._method, question)
        self._connection: UpstreamConnection | None = None
        self._news: asyncio.Future[None] | None = None
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._head: ResponseHead | None = None
        self._fault: BackendFault | None = None
        self._is_ended = False
        self._was_stale = False

    @property
    def status(self) -> int:
        """The answer's status, once it is open."""
        return self._answer.status

    @property
    def headers(self) -> Headers:
        """Its fields, without those of the hop."""
        return self._answer.headers

    @property
    def length(self) -> int | None:
        """Its Content-Length, if it has one."""
        return self._answer.content_length

    @property
    def tells_its_end(self) -> bool:
        """Whether a body that breaks off can be told from a whole one (RFC 9112 section 6.3)."""
        answer = self._answer
        return answer.content_length is not None or answer.is_chunked

    @property
    def _answer(self) -> ResponseHead:
        assert self._head is not None  # noqa: S101 - `open` came first
        return self._head

    def header(self, lower_name: bytes) -> bytes | None:
        """The value of the first field called `lower_name`, or None."""
        return find_header(self.headers, lower_name)

    async def open(self) -> None:
        """Send the request and wait for the head. Raises BackendFault.

        A kept connection that its peer had closed is no answer: once more, over a new one, if the
        method is idempotent. The peer may have begun with what the request asks for.
        """
        await self._ask(fresh=False)
        if self._was_stale:
            if self._question.method not in IDEMPOTENT:
                raise StaleConnection("closed before its answer, and not to be asked twice")
            self._fault = None
            await self._ask(fresh=True)
        if self._fault is not None:
            raise self._fault

    async def _ask(self, *, fresh: bool) -> None:
        self._pool.acquire(self, fresh=fresh)
        try:
            async with asyncio.timeout_at(self._question.connect_by):
                while self._connection is None and not self._is_decided:
                    await self._more()
        except TimeoutError:
            raise ConnectTimeout(f"{self._pool.origin}: no connection in time") from None
        while not self._is_decided:
            await self._more()

    @property
    def _is_decided(self) -> bool:
        return self._head is not None or self._fault is not None

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body. Raises BackendFault when it ends before its time."""
        while True:
            while self._pieces:
                piece = self._pieces.popleft()
                self._size -= len(piece)
                yield piece
            if self._fault is not None:
                raise self._fault
            if self._is_ended:
                return
            if self._connection is not None:
                self._connection.resume_reading()
            await self._more()

    def close(self) -> None:
        """Want no more of it."""
        self._pool.cancel(self)
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    async def _more(self) -> None:
        self._news = asyncio.get_running_loop().create_future()
        try:
            await self._news
        finally:
            self._news = None

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    # -- Taker ---------------------------------------------------------------------------------

    def connected(self, connection: UpstreamConnection) -> None:
        """See Taker."""
        self._connection = connection
        question = self._question
        connection.begin(self, self._method, question.timeout_s)
        connection.send([self._request])
        connection.is_request_sent = True
        limit_s = question.header_timeout_s
        connection.expect_answer_within(question.timeout_s if limit_s is None else limit_s)
        self._tell()

    def connect_failed(self, fault: BackendFault) -> None:
        """See Taker."""
        self._fault = fault
        self._tell()

    # -- Receiver ------------------------------------------------------------------------------

    def response_head(self, head: ResponseHead) -> None:
        """See Receiver."""
        if head.status == 101:
            raise BadResponse("switched protocols unasked")
        if head.status >= 200:
            self._head = head
            self._tell()

    def response_data(self, pieces: Sequence[Piece]) -> None:
        """See Receiver."""
        data = b"".join(pieces)
        self._pieces.append(data)
        self._size += len(data)
        if self._size >= _AHEAD_BYTES and self._connection is not None:
            self._connection.pause_reading()
        self._tell()

    def response_flush(self) -> None:
        """See Receiver."""

    def response_end(self) -> None:
        """See Receiver."""
        self._connection = None
        self._is_ended = True
        self._tell()

    def response_failed(self, fault: BackendFault) -> None:
        """See Receiver."""
        connection, self._connection = self._connection, None
        self._was_stale = (
            isinstance(fault, BackendClosed)
            and connection is not None
            and connection.uses > 1
            and not connection.has_answered
        )
        self._fault = fault
        self._tell()

    def backend_blocked(self) -> None:
        """See Receiver."""

    def backend_writable(self) -> None:
        """See Receiver."""


def _request(method: bytes, question: Question) -> bytes:
    lines = b"Host: %b\r\n%b" % (question.host, field_lines(safe_fields(question.headers)))
    if question.body or question.method in ("POST", "PUT", "PATCH"):  # RFC 9110 section 8.6
        lines += b"Content-Length: %d\r\n" % len(question.body)
    return request_head(method, question.target, lines) + question.body
