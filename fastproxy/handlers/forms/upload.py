"""Take the files out of a form: ask, store each, pass the other fields on with what was stored.

ASKING --permitted--> RECEIVING --all stored--> REPORTING --answered--> OVER
refused: the answer goes to the client, the rest of its body is not read
failed:  what the form stored is removed, the client hears whose fault it was
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from enum import Enum

from msgspec.structs import replace

from fastproxy.errors import BadForm, Bug, FastproxyError, ShuttingDown, TooSlow
from fastproxy.exchange import Exchange
from fastproxy.handlers.forms.file import FileUpload, abandon
from fastproxy.handlers.forms.intake import FormIntake
from fastproxy.handlers.forms.kit import FormKit
from fastproxy.handlers.forms.listing import Listing
from fastproxy.handlers.uploads.kit import question_of, refuse
from fastproxy.handlers.uploads.reporting_call import Reporting, ReportingCall, settling
from fastproxy.uploads.answer import Permission
from fastproxy.uploads.transfer import late
from fastproxy.upstream.client import Answer
from fastproxy.wire.multipart import FormParser
from fastproxy.wire.part_head import PartHead

log = logging.getLogger("fastproxy.upload")


class Step(Enum):
    """How far a form is."""

    NEW = "new"  # its task has not begun
    ASKING = "asking"
    RECEIVING = "receiving"
    REPORTING = "reporting"
    OVER = "over"


def make_form(kit: FormKit, otherwise: Callable[[Exchange], None]) -> Callable[[Exchange], None]:
    """The handler of a route; `otherwise` serves the requests that have no form."""

    def serve(exchange: Exchange) -> None:
        parser = kit.parser_for(exchange)
        if parser is None:
            otherwise(exchange)
            return
        exchange.admit_body(kit.route.max_size)
        FormUpload(exchange, kit, parser).start()

    return serve


class Refusal(Exception):
    """The backend does not want the form."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


class FormUpload(Reporting):
    """One form: Sink of its exchange."""

    __slots__ = ("_exchange", "_fault", "_intake", "_kit", "_listing", "_report", "_step", "_task")

    def __init__(self, exchange: Exchange, kit: FormKit, parser: FormParser) -> None:
        self._exchange = exchange
        self._kit = kit
        self._intake = FormIntake(exchange, kit, parser)
        self._step = Step.NEW
        self._fault: FastproxyError | None = None  # the client's
        self._listing: Listing | None = None
        self._report: ReportingCall | None = None
        self._task: asyncio.Task[None] | None = None
        exchange.sink = self

    # -- the walk ------------------------------------------------------------------------------

    def start(self) -> None:
        """Ask the backend, and go on from there."""
        self._task = self._kit.uploads.tasks.start(self._guarded())

    async def _guarded(self) -> None:
        """Everything, with one exit for what goes wrong."""
        try:
            await self._walk()
        except Refusal as refusal:
            await self._take_back(BadForm("refused"))
            refuse(self._exchange, refusal.answer)
        except asyncio.CancelledError:
            await self._fail(self._fault or ShuttingDown("form cut at the end of the drain"))
            if self._fault is None:
                raise
        except FastproxyError as fault:
            await self._fail(self._fault or fault)
        except Exception:
            log.exception("bug in a form", extra={"request_id": self._exchange.request_id})
            await self._fail(Bug())
        finally:
            self._step = Step.OVER
            self._intake.close()
            self._task = None

    async def _fail(self, fault: FastproxyError) -> None:
        """The client need not wait until all is removed."""
        self._exchange.fail(fault)
        await self._take_back(fault)

    async def _take_back(self, fault: FastproxyError) -> None:
        self._step = Step.OVER
        self._intake.stop(fault)
        for file in self._told:
            await file.give_up(fault)
        await self._abandon()

    async def _abandon(self) -> None:
        """What the backend has begun for a file that did not come."""
        if self._intake.permission is not None and not self._intake.files:
            await abandon(self._kit.uploads, self._intake.permission)

    async def _walk(self) -> None:
        if self._fault is not None:
            raise self._fault
        self._step = Step.ASKING
        if not self._kit.route.authorize_each:
            self._intake.permission = await self._ask(None)
        timeout_s = self._timeout_s
        self._intake.deadline = time.monotonic() + timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                await self._receive()
        except TimeoutError:
            raise self._late(timeout_s) from None
        await self._abandon()
        await self._list()
        await self._tell()

    async def _list(self) -> None:
        """What is in the form's only file, if it is wanted."""
        exchange, lister, files = self._exchange, self._kit.lister, self._intake.files
        if lister is not None and len(files) == 1 and lister.wants(exchange.head.target):
            self._listing = await lister.list(files[0], exchange.request_id)

    @property
    def _told(self) -> list[FileUpload | Listing]:
        """The files, and what is in one of them."""
        return [*self._intake.files, *([self._listing] if self._listing is not None else [])]

    async def _ask(self, head: PartHead | None) -> Permission:
        """Raises Refusal, BackendFault."""
        began, question = time.monotonic(), question_of(self._exchange)
        if head is not None:
            more = {"field": head.name, "filename": head.filename}
            question = replace(question, length=None, content_type=head.content_type, more=more)
        answer = await self._kit.uploads.asker.ask(question)
        self._exchange.backend_s += time.monotonic() - began
        if isinstance(answer, Answer):
            raise Refusal(answer)
        return answer

    @property
    def _timeout_s(self) -> float:
        permission = self._intake.permission
        wanted = permission.timeout if permission is not None else None
        return wanted or self._kit.route.timeout

    def _late(self, timeout_s: float) -> FastproxyError:
        """Whom the form was waiting for."""
        for file in self._intake.files:
            if file.stored is None:
                return late(file.buffer, timeout_s)
        return TooSlow(f"not complete within {timeout_s:g} s")

    async def _receive(self) -> None:
        """Let the client send the form, until all of it came and every file is stored."""
        exchange, intake = self._exchange, self._intake
        self._step = Step.RECEIVING
        exchange.direct = intake
        exchange.send_continue()
        exchange.want_body()
        while not intake.is_complete:
            await intake.news.wait()
            intake.news.clear()
            if intake.fault is not None:
                raise intake.fault
            if intake.asked is not None:
                await self._open(intake.asked)
                intake.resume()

    async def _open(self, head: PartHead) -> None:
        """Begin a file that is asked for by itself. Ours from then on: what the backend began."""
        permission = await self._ask(head)
        try:
            self._intake.open(head, permission)
        except FastproxyError:
            await abandon(self._kit.uploads, permission)
            raise

    async def _tell(self) -> None:
        """Once the report is out the client may leave: the backend's answer alone decides."""
        exchange, kit, intake = self._exchange, self._kit.uploads, self._intake
        if intake.fault is not None:  # its fields had to give way meanwhile
            raise intake.fault
        question = question_of(exchange)
        files = [file.told() for file in self._told]
        exchange.upload_bytes = sum(file.upload.size for file in files)
        exchange.parts = sum(file.upload.parts for file in files)
        body, lines = intake.fields.report(files, kit.signer, question.method, question.path)
        self._step = Step.REPORTING
        call = self._report = ReportingCall(exchange, kit.target)
        async with AsyncExitStack() as stack:
            for file in self._told:
                temporary = file.is_temporary
                settled = settling(call, file.store, file.hand_over(), is_temporary=temporary)
                await stack.enter_async_context(settled)
            await call.send([body], lines, question)
        exchange.end()

    # -- Sink ----------------------------------------------------------------------------------

    def body_data(self, pieces: list[memoryview]) -> None:
        """See Sink."""
        if self._step is Step.RECEIVING:
            self._intake.take(pieces)

    def body_end(self) -> None:
        """See Sink."""
        if self._step is Step.RECEIVING:
            self._intake.end()

    def client_failed(self, fault: FastproxyError) -> None:
        """See Sink. Once the backend is being told, the client's leaving changes nothing."""
        if self._step is Step.NEW:
            self._fault = fault
        elif self._step in (Step.ASKING, Step.RECEIVING) and self._task is not None:
            self._fault = fault
            self._task.cancel()
        else:
            self.client_writable()
