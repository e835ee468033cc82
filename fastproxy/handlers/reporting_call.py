"""Send an upload's report and stream the answer to the client, who may be gone by now."""

import asyncio
from collections.abc import Sequence

from fastproxy.claims import Signer
from fastproxy.errors import FastproxyError
from fastproxy.exchange import Exchange, Stage
from fastproxy.handlers.proxy_pass import Forwarding, Outgoing, Target
from fastproxy.message import ResponseHead
from fastproxy.uploads.permission import Question
from fastproxy.uploads.report import StoredUpload, report, report_lines
from fastproxy.wire.framing import Piece


class ReportingCall:
    """BodySource and Reply of the report. The exchange ignores what comes after its end."""

    def __init__(self, exchange: Exchange, target: Target) -> None:
        self._exchange = exchange
        self._target = target
        self._body = b""
        self.status = 0  # of the answer, as soon as its head is there
        self._stage = Stage.PENDING
        self._forwarding: Forwarding | None = None
        self._done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.backend_s = exchange.backend_s
        self.retries = 0

    async def send(self, upload: StoredUpload, signer: Signer, question: Question) -> int:
        """The status of the backend's answer, which is on its way to the client but for its end.

        Raises BackendFault.
        """
        self._body, lines = report(upload, signer, question.method, question.path)
        all_lines = report_lines(question.host, question.headers, question.forwarded, lines)
        outgoing = Outgoing(question.method, question.target, all_lines)
        outgoing.length = len(self._body)
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

    # -- BodySource ----------------------------------------------------------------------------

    def want_body(self) -> None:
        """See BodySource: it is small and goes at once."""
        if self._forwarding is not None and self._body:
            body, self._body = self._body, b""
            self._forwarding.send_body([body])
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
