"""One request being served: its body to take, its response to give.

A handler sets itself as the exchange's sink, asks for the body with `want_body`, and answers with
`respond`, `write`, `end`, or `fail`. How the response is framed for this client is decided here.
Against the stream go only: pause and resume, "body wanted", and "done".
"""

import time
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Final, Protocol

from fastproxy.errors import BodyTooLarge, FastproxyError
from fastproxy.message import Headers, RequestHead, ResponseHead
from fastproxy.sides import Asker, ClientSide, DirectSink, Sink
from fastproxy.wire.date import date_field
from fastproxy.wire.framing import LAST_CHUNK, Piece, frame_chunk
from fastproxy.wire.serialize import CONTINUE, field_lines, response_head, status_line

# Up to here copying a body behind its head costs less than telling the kernel of two buffers.
_JOINED_BYTES: Final = 4096
_BODYLESS: Final = frozenset({204, 304})
_OWN_WORDS: Final[Headers] = [(b"Content-Type", b"text/plain; charset=utf-8")]


class Framing(Enum):
    """How the client is told where the response ends."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"


_NONE, _LENGTH, _CHUNKED, _CLOSE = Framing


class Stage(Enum):
    """How far the response is."""

    PENDING = "pending"
    STARTED = "started"
    OVER = "over"


PENDING, STARTED, OVER = Stage


class Pages(Protocol):
    """What clients are shown in place of our own words."""

    def page(self, status: int) -> tuple[Headers, bytes] | None:
        """Fields and body for an error; None: nothing better."""
        ...


class Reporter(Protocol):
    """Counts and logs an exchange when it is over."""

    def report(self, exchange: "Exchange") -> None:
        """Called exactly once for every exchange."""
        ...


class Exchange:
    """See the module. The router sets `route_index` and `path`; times are monotonic seconds."""

    __slots__ = (
        "_client",
        "_framing",
        "_held",
        "_is_last",
        "_remaining",
        "_reporter",
        "_stage",
        "asker",
        "backend_s",
        "body_bytes",
        "client_subject",
        "direct",
        "fault",
        "fields",
        "head",
        "is_draining",
        "is_parked",
        "is_peer_trusted",
        "max_body",
        "on_over",
        "pages",
        "parts",
        "path",
        "peer_ip",
        "remote_ip",
        "request_id",
        "retries",
        "route_index",
        "route_name",
        "scheme",
        "sent_bytes",
        "sink",
        "started_at",
        "status",
        "upload_bytes",
        "was_upgraded",
    )

    def __init__(
        self, head: RequestHead, client: ClientSide, reporter: Reporter, max_body: int
    ) -> None:
        self.head = head
        self._client = client
        self._reporter = reporter
        self._framing = _NONE
        self._held = b""  # a response head that waits to be sent with the first of its body
        self._remaining = 0
        self._is_last = False  # the client was told that the connection ends with this response
        self.max_body = max_body
        self.fields: Headers | None = None  # for the answer, whoever gives it
        self.sink: Sink | None = None
        self.direct: DirectSink | None = None
        self._stage = PENDING
        self.fault: FastproxyError | None = None
        self.pages: Pages | None = None  # in place of our own words about errors
        self.path = ""
        self.route_index = -1
        self.route_name = ""
        self.peer_ip = ""
        self.is_peer_trusted = False
        self.remote_ip = ""  # the client's, behind trusted proxies
        self.asker: Asker | None = None  # who has one less open when this is over
        self.request_id = ""
        self.scheme = b"http"
        self.client_subject = b""  # of the certificate that the client holds
        self.is_draining = False
        self.is_parked = False  # a client that closes its side now has left, it waits for nothing
        self.on_over: Callable[[], None] | None = None  # after the report; must not raise
        self.was_upgraded = False
        self.started_at = time.monotonic()
        self.backend_s = 0.0
        self.status = 0
        self.body_bytes = 0
        self.sent_bytes = 0
        self.upload_bytes = 0
        self.parts = 0
        self.retries = 0

    # -- request body --------------------------------------------------------------------------

    def admit_body(self, limit: int) -> None:
        """Set the largest body taken. Raises BodyTooLarge if the declared length is above it."""
        self.max_body = limit
        length = self.head.content_length
        if length is not None and length > limit:
            raise BodyTooLarge(f"{length} bytes declared, {limit} allowed")

    @property
    def stage(self) -> Stage:
        """How far the response is."""
        return self._stage

    @property
    def is_body_complete(self) -> bool:
        """Whether the whole request body was read."""
        return self._client.is_body_complete

    @property
    def is_client_blocked(self) -> bool:
        """Whether the client takes no bytes now."""
        return self._client.is_blocked

    def send_continue(self) -> None:
        """Answer `Expect: 100-continue`, if it was asked and nothing was answered yet."""
        if self.head.expects_continue and self.stage is PENDING:
            self.head.expects_continue = False
            self._client.write([CONTINUE])

    def want_body(self) -> None:
        """Read (on) in the request body."""
        if self.stage is not OVER:
            self._client.want_body()

    def pause_body(self) -> None:
        """Stop reading the request body."""
        if self.stage is not OVER:
            self._client.pause_body()

    def drop_body(self) -> None:
        """The handler takes no more of it; what that means, the end of the response says."""

    # -- response ------------------------------------------------------------------------------

    def interim(self, head: ResponseHead) -> None:
        """Pass a 1xx head on; HTTP/1.0 clients do not know them (RFC 9110 section 15.2)."""
        if self.stage is not PENDING or self.head.minor_version == 0:
            return
        if head.status == 100:
            self.send_continue()
            return
        lines = field_lines(head.headers)
        self._client.write([b"%b%b\r\n" % (status_line(head.status, head.reason), lines)])

    def respond(self, head: ResponseHead) -> None:
        """Start the response. `head.content_length` None: the length is not known."""
        if self.stage is not PENDING:
            return
        self._stage = STARTED
        self.status = head.status
        if self.fields is not None:
            head.headers = [*head.headers, *self.fields]
        self._framing, line = self._choose_framing(head)
        self._held = response_head(head, line + self._connection_line())

    def _choose_framing(self, head: ResponseHead) -> tuple[Framing, bytes]:
        length = head.content_length
        if self.head.method == b"HEAD" or head.status in _BODYLESS:
            if length is None or head.status == 204:
                return _NONE, b""
            return _NONE, b"Content-Length: %d\r\n" % length
        if length is not None:
            self._remaining = length
            return _LENGTH, b"Content-Length: %d\r\n" % length
        if self.head.minor_version == 1:
            return _CHUNKED, b"Transfer-Encoding: chunked\r\n"
        return _CLOSE, b""

    def _connection_line(self) -> bytes:
        self._is_last = not self._may_keep()
        if self._is_last:
            return b"Connection: close\r\n"
        return b"Connection: keep-alive\r\n" if self.head.minor_version == 0 else b""

    def _may_keep(self) -> bool:
        return (
            self.head.keep_alive
            and self._framing is not _CLOSE
            and not self.is_draining
            and self._client.is_body_complete
        )

    def write(self, pieces: Sequence[Piece]) -> None:
        """Send some of the response body; empty pieces are allowed."""
        if self.stage is not STARTED or self._framing is _NONE:
            return
        size = sum(map(len, pieces))
        if not size:
            return
        self.sent_bytes += size
        if self._framing is _CHUNKED:
            pieces = frame_chunk(pieces)
        elif self._framing is _LENGTH:
            self._remaining -= size
        if self._held and size <= _JOINED_BYTES:
            pieces = [b"".join((self._held, *pieces))]
            self._held = b""
        self._send(pieces)

    def _send(self, pieces: Sequence[Piece]) -> None:
        if self._held:
            pieces = [self._held, *pieces]
            self._held = b""
        self._client.write(pieces)

    def outlet(self) -> int:
        """A descriptor to send the body by, past the connection, or -1; the caller closes it.

        What was sent is told by `passed`; that it takes no more, and takes more, by `outlet_full`
        and `outlet_free`, as then the client is watched like any other that does not read.
        """
        if self._stage is not STARTED or self._framing is not _LENGTH or self._held:
            return -1
        return self._client.outlet()

    def passed(self, size: int) -> None:
        """So many bytes of the body left by the outlet."""
        self.sent_bytes += size
        self._remaining -= size
        self._client.passed(size)

    def outlet_full(self) -> None:
        """See `outlet`."""
        if self._stage is STARTED:
            self._client.pause_writing()

    def outlet_free(self) -> None:
        """See `outlet`."""
        if self._stage is STARTED:
            self._client.resume_writing()

    def flush(self) -> None:
        """Send a head that waits for its body."""
        if self._held:
            self._send([])

    def end(self) -> None:
        """The response is complete."""
        if self.stage is not STARTED:
            return
        if self._framing is _CHUNKED:
            self._send([LAST_CHUNK])
        elif self._framing is _LENGTH and self._remaining:
            self.cut()
            return
        self.flush()
        self._over(keep=not self._is_last and self._may_keep())

    def answer(self, status: int, headers: Headers, body: bytes = b"") -> None:
        """A whole response at once."""
        head = ResponseHead(status, b"", headers)
        head.content_length = len(body)
        self.respond(head)
        self.write([body])
        self.end()

    def fail(self, fault: FastproxyError, fields: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """End with an error: as a response if none was begun, else by cutting the connection.

        `fields` go into the response's head.
        """
        if self.stage is OVER:
            return
        self.fault = self.fault or fault
        # It is kept for the log. Frames it went through may hold views of parts: let go of them now
        # and not when the garbage collector comes by.
        fault.__traceback__ = fault.__cause__ = fault.__context__ = None
        if self._held:  # nothing of the response was sent yet
            self._held = b""
            self._stage = PENDING
        if self.stage is STARTED or fault.status is None:
            self.cut()
            return
        page = self.pages.page(fault.status) if self.pages is not None else None
        reason = f"{fault.status} {fault.side.value}: {fault.kind}\n"
        told, body = page or (_OWN_WORDS, reason.encode("ascii"))
        headers: Headers = [date_field(), *told, *fields]
        if fault.status in (429, 503):
            headers.append((b"Retry-After", b"%d" % fault.retry_after_s))
        if self.request_id:
            headers.append((b"X-Request-Id", self.request_id.encode("latin-1")))
        self.answer(fault.status, headers, body)

    def cut(self) -> None:
        """End without a complete response: the client must be able to tell."""
        if self.stage is OVER:
            return
        self._stage = OVER
        self._client.abort()
        self._let_go()

    def begin_tunnel(self, head: ResponseHead) -> None:
        """Pass a 101 on; from now on all bytes are the sink's."""
        self._stage = STARTED
        self.status = head.status
        self.was_upgraded = True
        self._framing = _CLOSE
        lines = b"Upgrade: %b\r\nConnection: upgrade\r\n" % head.upgrade
        self._client.begin_tunnel()
        self._client.write([response_head(head, lines)])

    def end_tunnel_answer(self) -> None:
        """The backend has sent all; what the client still sends goes on."""
        self._client.send_eof()

    def _over(self, *, keep: bool) -> None:
        self._stage = OVER
        self._let_go()
        self._client.exchange_over(keep=keep)

    def _let_go(self) -> None:
        self.sink = None
        self.direct = None
        if self.asker is not None:
            self.asker.open -= 1
        self._reporter.report(self)
        if self.on_over is not None:
            self.on_over()
