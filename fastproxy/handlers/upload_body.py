"""Take a raw body over: ask, store, report. The backend's answer to the report is the client's.

AUTHORIZING --permitted--> RECEIVING --stored--> REPORTING --answered--> OVER
refused: the answer goes to the client, its body is not read
failed:  what this upload stored is removed, the client hears whose fault it was
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from fastproxy.claims import Signer
from fastproxy.config.schema import UploadRoute
from fastproxy.errors import (
    BadAuthorizeAnswer,
    Bug,
    FastproxyError,
    Retry,
    ShuttingDown,
)
from fastproxy.exchange import Exchange
from fastproxy.handlers.coroutine import Tasks
from fastproxy.handlers.forwarded import forwarded_lines
from fastproxy.handlers.proxy_pass import Target
from fastproxy.handlers.reporting_call import ReportingCall
from fastproxy.memory.arena import Arena
from fastproxy.memory.upload_buffer import UploadBuffer
from fastproxy.message import ResponseHead
from fastproxy.observe.upload_metrics import UploadMetrics
from fastproxy.storage.contract import Stored
from fastproxy.storage.presigned import PresignedTarget
from fastproxy.storage.tracked import TrackedStore
from fastproxy.uploads.answer import Permission, presigned_target
from fastproxy.uploads.digests import Digests
from fastproxy.uploads.live import PIECES, piece_sizes
from fastproxy.uploads.permission import Question, ask
from fastproxy.uploads.plan import plan_parts
from fastproxy.uploads.report import StoredUpload
from fastproxy.uploads.transfer import LiveTransfer, Transfer
from fastproxy.upstream.client import Answer

log = logging.getLogger("fastproxy.upload")


@dataclass
class UploadKit:
    """What all uploads of one route share."""

    route: UploadRoute
    target: Target
    store: TrackedStore | None  # None: the backend signs every URL
    arena: Arena
    signer: Signer
    open_presigned: Callable[[PresignedTarget], TrackedStore]
    metrics: UploadMetrics
    tasks: Tasks
    may_stream: bool = False  # known lengths need not be held

    def serve(self, exchange: Exchange) -> None:
        """The handler."""
        exchange.admit_body(self.route.max_size)
        upload = Upload(exchange, self)
        upload.task = self.tasks.start(upload.run())

    def store_for(self, permission: Permission) -> TrackedStore:
        """Where the backend wants it. Raises BadAuthorizeAnswer."""
        if permission.presigned is not None:
            return self.open_presigned(presigned_target(permission.presigned))
        if self.store is None:
            raise BadAuthorizeAnswer("no presigned URLs, and the route has no store of its own")
        return self.store


class Step(Enum):
    """How far an upload is."""

    AUTHORIZING = "authorizing"
    RECEIVING = "receiving"
    REPORTING = "reporting"
    OVER = "over"


class Upload:
    """One upload: Sink and DirectSink of its exchange."""

    def __init__(self, exchange: Exchange, kit: UploadKit) -> None:
        self._exchange = exchange
        self._kit = kit
        self._step = Step.AUTHORIZING
        self._buffer: UploadBuffer | None = None
        self._report: ReportingCall | None = None
        self._fault: FastproxyError | None = None
        self.task: asyncio.Task[None] | None = None
        exchange.sink = self

    # -- the walk ------------------------------------------------------------------------------

    async def run(self) -> None:
        """Everything, with one exit for what goes wrong."""
        exchange = self._exchange
        try:
            await self._walk()
        except asyncio.CancelledError:
            exchange.fail(self._fault or ShuttingDown("upload cut at the end of the drain"))
            if self._fault is None:
                raise
        except FastproxyError as fault:
            exchange.fail(self._fault or fault)
        except Exception:
            log.exception("bug in an upload", extra={"request_id": exchange.request_id})
            exchange.fail(Bug())
        finally:
            self._step = Step.OVER
            if self._buffer is not None:
                self._buffer.close()

    async def _walk(self) -> None:
        kit, exchange = self._kit, self._exchange
        question = self._question()
        started = time.monotonic()
        timeout_s = kit.target.header_timeout_s
        answer = await ask(question, kit.route, kit.target.pool, kit.signer, timeout_s)
        exchange.backend_s += time.monotonic() - started
        if isinstance(answer, Answer):
            self._refuse(answer)
            return
        store = kit.store_for(answer)
        key = answer.key or secrets.token_hex(16)
        kit.metrics.started.add()
        try:
            stored, upload = await self._store(store, key, answer, question)
        except BaseException as error:
            kit.metrics.count_failure(error)
            raise
        kit.metrics.count_stored(upload.size, upload.parts)
        await self._tell(store, stored, upload, question)

    def _question(self) -> Question:
        exchange = self._exchange
        head = exchange.head
        content_type = (head.header(b"content-type") or b"").decode("latin-1")
        return Question(
            head.method,
            head.target,
            exchange.path,
            head.host,
            head.headers,
            forwarded_lines(exchange),
            head.content_length,
            content_type,
        )

    def _refuse(self, answer: Answer) -> None:
        head = ResponseHead(answer.status, answer.reason, answer.headers)
        head.content_length = len(answer.body)
        self._exchange.respond(head)
        self._exchange.write([answer.body])
        self._exchange.end()

    # -- receiving -----------------------------------------------------------------------------

    async def _store(
        self, store: TrackedStore, key: str, permission: Permission, question: Question
    ) -> tuple[Stored, StoredUpload]:
        started = time.monotonic()
        transfer = await self._begin(store, key, permission, question)
        route, exchange = self._kit.route, self._exchange
        self._step = Step.RECEIVING
        exchange.direct = self
        exchange.send_continue()
        exchange.want_body()
        if not exchange.head.has_body:
            self.body_end()
        stored = await transfer.run(permission.timeout or route.timeout)
        exchange.upload_bytes, exchange.parts = stored.size, transfer.parts
        return stored, StoredUpload(
            permission.id,
            "" if permission.presigned is not None else route.store,
            stored.key,
            stored.path,
            stored.size,
            stored.etag,
            transfer.digests.hex(),
            question.content_type,
            transfer.parts,
            round(time.monotonic() - started, 6),
        )

    async def _begin(
        self, store: TrackedStore, key: str, permission: Permission, question: Question
    ) -> Transfer:
        """Ours from here on: a multipart upload that the backend has begun."""
        begun = None
        if permission.presigned is not None and permission.presigned.part_urls:
            begun = await store.begin(key)
        try:
            transfer = self._plan(store, key, permission, question)
        except FastproxyError:
            if begun is not None:
                await begun.abort()
            raise
        transfer.begun = begun
        return transfer

    def _plan(
        self, store: TrackedStore, key: str, permission: Permission, question: Question
    ) -> Transfer:
        kit, needs, length = self._kit, store.needs, question.length
        sizes = plan_parts(needs, length, permission.part_size or kit.route.part_size)
        largest = kit.arena.largest_part(needs)
        limits = [kit.route.max_size, needs.max_object, sizes.most]
        if permission.max_size is not None:
            limits.append(permission.max_size)
        if length is None and needs.max_parts == 1:
            limits.append(largest)  # more would wait for ever for the rest of its only part
        self._exchange.admit_body(min(limits))
        digests = Digests((*kit.route.hashes, *permission.hashes, *permission.expected))
        # What a store wants in one piece and we cannot hold goes through as it comes.
        is_held = min(length or 0, sizes(1)) <= largest
        is_live = bool(length) and (kit.may_stream or not is_held)
        if is_live:
            self._buffer = self._open_window(sizes(1))
        else:
            most = min(limits) if length is None else length
            self._buffer = kit.arena.open(needs, sizes, self._pause, self._resume, most=most)
            self._buffer.spare = sizes.spare
        transfer = LiveTransfer if is_live else Transfer
        made = transfer(
            store,
            key,
            self._buffer,
            digests,
            question.content_type,
            length,
            kit.route.part_concurrency,
            permission.expected,
        )
        if isinstance(made, LiveTransfer):
            made.sizes = sizes
        return made

    def _open_window(self, part_size: int) -> UploadBuffer:
        def piece(number: int) -> int:
            return piece_sizes(part_size, window.total)

        window = self._kit.arena.open(PIECES, piece, self._pause, self._resume)
        return window

    def _pause(self) -> None:
        self._exchange.pause_body()

    def _resume(self) -> None:
        self._exchange.want_body()

    # -- reporting -----------------------------------------------------------------------------

    async def _tell(
        self, store: TrackedStore, stored: Stored, upload: StoredUpload, question: Question
    ) -> None:
        """From here on the client may leave: the backend's answer alone decides.

        A report that may have arrived and was not answered leaves the object: the backend may rely
        on it by now, and an orphan that the log names is better than a lost file.
        """
        self._step = Step.REPORTING
        is_temporary = self._kit.route.delete_after
        call = self._report = ReportingCall(self._exchange, self._kit.target)
        try:
            if not is_temporary:
                store.report(stored)
            await call.send(upload, self._kit.signer, question)
        except BaseException as error:
            if is_temporary or _is_refused(call, error):
                await store.drop(stored)
            else:
                store.keep(stored)
                self._warn("report not answered, object kept", error, stored)
            raise
        if is_temporary or _is_refused(call):
            await store.drop(stored)
        else:
            store.keep(stored)
        self._exchange.end()

    def _warn(self, what: str, error: BaseException, stored: Stored) -> None:
        place = {"request_id": self._exchange.request_id, "key": stored.key}
        log.warning("%s: %s", what, error, extra=place)

    # -- Sink ----------------------------------------------------------------------------------

    def body_data(self, pieces: list[memoryview]) -> None:
        """See Sink. The connection asked `room()` first."""
        if self._buffer is not None and self._step is Step.RECEIVING:
            for piece in pieces:
                taken = self._buffer.feed(piece)
                assert taken == len(piece)  # noqa: S101 - room() said so

    def body_end(self) -> None:
        """See Sink."""
        if self._buffer is not None and self._step is Step.RECEIVING:
            self._buffer.finish()

    def client_failed(self, fault: FastproxyError) -> None:
        """See Sink. Once the backend is being told, the client's leaving changes nothing."""
        if self._step in (Step.AUTHORIZING, Step.RECEIVING) and self.task is not None:
            self._fault = fault
            self.task.cancel()
        elif self._report is not None:
            self._report.client_writable()

    def client_blocked(self) -> None:
        """See Sink."""
        if self._report is not None:
            self._report.client_blocked()

    def client_writable(self) -> None:
        """See Sink."""
        if self._report is not None:
            self._report.client_writable()

    # -- DirectSink ----------------------------------------------------------------------------

    def room(self) -> int:
        """See DirectSink."""
        return self._buffer.room() if self._buffer is not None else 0

    def get_buffer(self) -> memoryview:
        """See DirectSink."""
        assert self._buffer is not None  # noqa: S101 - room() said so
        return self._buffer.get_buffer()

    def buffer_updated(self, nbytes: int) -> None:
        """See DirectSink."""
        if self._buffer is not None:
            self._buffer.buffer_updated(nbytes)


def _is_refused(call: ReportingCall, error: BaseException | None = None) -> bool:
    """Whether the backend refused the upload, or can never have heard of it."""
    return call.status >= 400 or (
        not call.status and isinstance(error, FastproxyError) and error.retry is Retry.SAFE
    )
