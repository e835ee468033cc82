"""Take a raw body over: ask, store, report. The backend's answer to the report is the client's.

AUTHORIZING --permitted--> RECEIVING --part--> STORING --stored--> REPORTING --answered--> OVER
refused: the answer goes to the client, its body is not read
failed:  what this upload stored is removed, the client hears whose fault it was

Most of a slow upload's life there is nothing to do but to take bytes. While it is RECEIVING it has
no task: 35,000 waiting coroutines with all they call held 4 KiB each.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Final

from fastproxy.claims import Signer
from fastproxy.config.schema import UploadRoute
from fastproxy.deadlines import Deadlines, Timed
from fastproxy.errors import (
    BadAuthorizeAnswer,
    Bug,
    FastproxyError,
    ShuttingDown,
)
from fastproxy.exchange import Exchange
from fastproxy.handlers.coroutine import Tasks
from fastproxy.handlers.forwarded import forwarded_lines
from fastproxy.handlers.proxy_pass import Target
from fastproxy.handlers.reporting_call import ReportingCall, settling
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
    deadlines: Deadlines
    may_stream: bool = False  # known lengths need not be held

    def serve(self, exchange: Exchange) -> None:
        """The handler."""
        exchange.admit_body(self.route.max_size)
        Upload(exchange, self).start()

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
    STORING = "storing"
    REPORTING = "reporting"
    OVER = "over"


_TAKING: Final = (Step.RECEIVING, Step.STORING)


class Upload(Timed):
    """One upload: the Sink of its exchange; its buffer is the DirectSink."""

    __slots__ = ("_buffer", "_exchange", "_fault", "_kit", "_permission", "_report", "_started",
                 "_step", "_store", "_task", "_transfer")  # fmt: skip
    _store: TrackedStore  # these from RECEIVING on
    _permission: Permission
    _started: float
    _transfer: Transfer

    def __init__(self, exchange: Exchange, kit: UploadKit) -> None:
        super().__init__()
        self._exchange = exchange
        self._kit = kit
        self._step = Step.AUTHORIZING
        self._buffer: UploadBuffer | None = None
        self._report: ReportingCall | None = None
        self._fault: FastproxyError | None = None
        self._task: asyncio.Task[None] | None = None
        exchange.sink = self

    # -- the walk ------------------------------------------------------------------------------

    def start(self) -> None:
        """Ask the backend, and go on from there."""
        self._task = self._kit.tasks.start(self._guarded(self._admit))

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """Everything, with one exit for what goes wrong."""
        try:
            await work()
        except asyncio.CancelledError:
            self._fail(self._fault or ShuttingDown("upload cut at the end of the drain"))
            if self._fault is None:
                raise
        except FastproxyError as fault:
            self._fail(self._fault or fault)
        except Exception:
            log.exception("bug in an upload", extra={"request_id": self._exchange.request_id})
            self._fail(Bug())
        finally:
            self._task = None

    def _fail(self, fault: FastproxyError) -> None:
        self._exchange.fail(fault)
        self._over()

    def _over(self) -> None:
        self._step = Step.OVER
        self._kit.deadlines.forget(self)
        if self._buffer is not None:
            self._buffer.close()

    async def _admit(self) -> None:
        kit, exchange = self._kit, self._exchange
        question = self._question()
        started = time.monotonic()
        timeout_s = kit.target.header_timeout_s
        answer = await ask(question, kit.route, kit.target.pool, kit.signer, timeout_s)
        exchange.backend_s += time.monotonic() - started
        if isinstance(answer, Answer):
            self._refuse(answer)
            return
        self._store = kit.store_for(answer)
        self._permission = answer
        kit.metrics.started.add()
        with self._counted():
            await self._receive(answer, question)
        if not self._waits_for_body():
            await self._deliver()

    async def _deliver(self) -> None:
        """Store what has come and what comes, then tell the backend."""
        if self._step is Step.OVER:  # the client left before this task began
            return
        self._step = Step.STORING
        transfer, exchange, metrics = self._transfer, self._exchange, self._kit.metrics
        with self._counted():
            stored = await transfer.run(self._timeout_s - (time.monotonic() - self._started))
        exchange.upload_bytes, exchange.parts = stored.size, transfer.parts
        metrics.count_stored(stored.size, transfer.parts)
        await self._tell(stored)
        self._over()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self._kit.metrics.count_failure(self._fault or error)
            raise

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
        self._over()

    # -- receiving -----------------------------------------------------------------------------

    async def _receive(self, permission: Permission, question: Question) -> None:
        """Have a place for the body, and let the client send it."""
        exchange = self._exchange
        self._started = time.monotonic()
        self._transfer = await self._begin(permission, question)
        self._step = Step.RECEIVING
        exchange.direct = self._transfer.buffer
        exchange.send_continue()
        exchange.want_body()
        if not exchange.head.has_body:
            self.body_end()

    async def _begin(self, permission: Permission, question: Question) -> Transfer:
        """Ours from here on: a multipart upload that the backend has begun."""
        key = permission.key or secrets.token_hex(16)
        begun = None
        if permission.presigned is not None and permission.presigned.part_urls:
            begun = await self._store.begin(key)
        try:
            transfer = self._plan(key, permission, question)
        except FastproxyError:
            if begun is not None:
                await begun.abort()
            raise
        transfer.begun = begun
        return transfer

    def _waits_for_body(self) -> bool:
        """Whether nothing is to be done before more has come; then the buffer will call."""
        if not self._transfer.may_wait or not self._transfer.buffer.call_when_ready(self._go_on):
            return False
        deadlines = self._kit.deadlines
        self.deadline = deadlines.now + self._timeout_s
        deadlines.watch(self)
        return True

    def _go_on(self) -> None:
        if self._step is Step.RECEIVING:
            self._task = self._kit.tasks.start(self._guarded(self._deliver))

    @property
    def _timeout_s(self) -> float:
        return self._permission.timeout or self._kit.route.timeout

    @property
    def is_over(self) -> bool:
        """See Timed: afterwards the transfer has a deadline of its own."""
        return self._step is not Step.RECEIVING

    def on_deadline(self, now: float) -> None:
        """See Timed."""
        if self._step is Step.RECEIVING:
            self._give_up(self._transfer.late(self._timeout_s))

    def _give_up(self, fault: FastproxyError) -> None:
        """Of the body not even a part has come, so there is nothing to take back."""
        self._kit.metrics.count_failure(fault)
        self._fail(fault)

    def _plan(self, key: str, permission: Permission, question: Question) -> Transfer:
        kit, needs, length = self._kit, self._store.needs, question.length
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
            self._store,
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

    async def _tell(self, stored: Stored) -> None:
        """From here on the client may leave: the backend's answer alone decides."""
        self._step = Step.REPORTING
        question = self._question()
        upload = self._stored_upload(stored, question)
        call = self._report = ReportingCall(self._exchange, self._kit.target)
        is_temporary = self._kit.route.delete_after
        async with settling(call, self._store, stored, is_temporary=is_temporary):
            await call.send(upload, self._kit.signer, question)
        self._exchange.end()

    def _stored_upload(self, stored: Stored, question: Question) -> StoredUpload:
        permission, transfer = self._permission, self._transfer
        return StoredUpload(
            permission.id,
            "" if permission.presigned is not None else self._kit.route.store,
            stored.key,
            stored.path,
            stored.size,
            stored.etag,
            transfer.digests.hex(),
            question.content_type,
            transfer.parts,
            round(time.monotonic() - self._started, 6),
        )

    # -- Sink ----------------------------------------------------------------------------------

    def body_data(self, pieces: list[memoryview]) -> None:
        """See Sink. The connection asked `room()` first."""
        if self._buffer is not None and self._step in _TAKING:
            for piece in pieces:
                taken = self._buffer.feed(piece)
                assert taken == len(piece)  # noqa: S101 - room() said so

    def body_end(self) -> None:
        """See Sink."""
        if self._buffer is not None and self._step in _TAKING:
            self._buffer.finish()

    def client_failed(self, fault: FastproxyError) -> None:
        """See Sink. Once the backend is being told, the client's leaving changes nothing."""
        if self._step is Step.RECEIVING:
            self._give_up(fault)
        elif self._step in (Step.AUTHORIZING, Step.STORING) and self._task is not None:
            self._fault = fault
            self._task.cancel()
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
