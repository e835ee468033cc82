"""Send an upload's report and stream the answer to the client, who may be gone by now."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastproxy.asking import Question
from fastproxy.errors import FastproxyError, Retry
from fastproxy.exchange import Exchange, Stage
from fastproxy.handlers.proxy.proxy_pass import Forwarding, Outgoing, Target
from fastproxy.message import ResponseHead
from fastproxy.storage.contract import Stored
from fastproxy.storage.tracked import TrackedStore
from fastproxy.uploads.report import report_lines
from fastproxy.wire.framing import Piece

log = logging.getLogger("fastproxy.upload")


class Reporting:
    """Of a Sink the part that the answer to its report, once it is on its way, has to hear of."""

    __slots__ = ()
    _report: "ReportingCall | None"

    def client_blocked(self) -> None:
        """See Sink."""
        if self._report is not None:
            self._report.client_blocked()

    def client_writable(self) -> None:
        """See Sink."""
        if self._report is not None:
            self._report.client_writable()


class ReportingCall:
    """BodySource and Reply of the report. The exchange ignores what comes after its end."""

    def __init__(self, exchange: Exchange, target: Target) -> None:
        self._exchange = exchange
        self._target = target
        self._body: list[Piece] = []
        self.status = 0  # of the answer, as soon as its head is there
        self._stage = Stage.PENDING
        self._forwarding: Forwarding | None = None
        self._done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.backend_s = exchange.backend_s
        self.retries = 0

    @property
    def request_id(self) -> str:
        """The client's request."""
        return self._exchange.request_id

    async def send(self, body: list[Piece], lines: bytes, question: Question) -> int:
        """The status of the backend's answer, which is on its way to the client but for its end.

        `lines`: the fields that describe and sign `body`. Raises BackendFault.
        """
        self._body = body
        all_lines = report_lines(question.host, question.headers, question.forwarded, lines)
        outgoing = Outgoing(question.method, question.target, all_lines)
        outgoing.length = sum(map(len, body))
        outgoing.has_body = True
        outgoing.is_precious = True
        self._forwarding = Forwarding(outgoing, self._target, self, self)
        self._forwarding.start()
        try:
            return await self._done
        finally:
            self._exchange.backend_s = self.backend_s
            self._exchange.retries += self.retries
            self._forwarding.cancel()
            self._forwarding = None  # it holds us: no cycles for the collector

    # -- BodySource ----------------------------------------------------------------------------

    def want_body(self) -> None:
        """See BodySource: it is small and goes at once."""
        if self._forwarding is not None and self._body:
            body, self._body = self._body, []
            self._forwarding.send_body(body)
            self._forwarding.end_body()

    def pause_body(self) -> None:
        """See BodySource."""

    def drop_body(self) -> None:
        """See BodySource."""

    # -- Reply ---------------------------------------------------------------------------------

    @property
    def stage(self) -> Stage:
        """See Reply."""
        return self._stage

    def interim(self, head: ResponseHead) -> None:
        """See Reply."""
        self._exchange.interim(head)

    def respond(self, head: ResponseHead) -> None:
        """See Reply."""
        self._stage = Stage.STARTED
        self.status = head.status
        self._exchange.respond(head)

    def write(self, pieces: Sequence[Piece]) -> None:
        """See Reply."""
        self._exchange.write(pieces)

    def flush(self) -> None:
        """See Reply."""
        self._exchange.flush()

    def end(self) -> None:
        """See Reply. The exchange ends later: first a refused object is removed."""
        self._stage = Stage.OVER
        if not self._done.done():
            self._done.set_result(self.status)

    def begin_tunnel(self, head: ResponseHead) -> None:
        """See Reply: never asked for, so never reached."""

    def end_tunnel_answer(self) -> None:
        """See Reply."""

    def fail(self, fault: FastproxyError) -> None:
        """See Reply."""
        self._stage = Stage.OVER
        if not self._done.done():
            self._done.set_exception(fault)

    # -- the client's pace ---------------------------------------------------------------------

    def client_blocked(self) -> None:
        """The client takes no more bytes now."""
        if self._forwarding is not None:
            self._forwarding.reader_blocked()

    def client_writable(self) -> None:
        """The client takes bytes again, or is gone and nobody waits for it."""
        if self._forwarding is not None:
            self._forwarding.reader_writable()


@asynccontextmanager
async def settling(
    call: ReportingCall, store: TrackedStore, stored: Stored, *, is_temporary: bool
) -> AsyncIterator[None]:
    """While `call` is sent; afterwards the object is the backend's, or it is removed.

    A report that may have arrived and was not answered leaves the object: the backend may rely on
    it by now, and an orphan that the log names is better than a lost file.
    """
    try:
        if not is_temporary:
            store.report(stored)
        yield
    except BaseException as error:
        if is_temporary or _is_refused(call, error):
            await store.drop(stored)
        else:
            store.keep(stored)
            place = {"request_id": call.request_id, "key": stored.key}
            log.warning("report not answered, object kept: %s", error, extra=place)
        raise
    if is_temporary or _is_refused(call):
        await store.drop(stored)
    else:
        store.keep(stored)


def _is_refused(call: ReportingCall, error: BaseException | None = None) -> bool:
    """Whether the backend refused the upload, or can never have heard of it.

    307 and 308 ask for the whole request at another address (RFC 9110 section 15.4.8), as routers
    do that want a slash more or less: the client will send its body again.
    """
    return (
        call.status in (307, 308)
        or call.status >= 400
        or (not call.status and isinstance(error, FastproxyError) and error.retry is Retry.SAFE)
    )
