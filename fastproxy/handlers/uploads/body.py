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
from enum import Enum
from typing import Final, TypeVar

from fastproxy.asking import Question
from fastproxy.errors import BackendFault, Bug, FastproxyError, ShuttingDown
from fastproxy.exchange import Exchange
from fastproxy.handlers.uploads.kit import UploadKit, content_type_of, question_of, refuse
from fastproxy.handlers.uploads.reporting_call import Reporting, ReportingCall, settling
from fastproxy.loop.deadlines import Timed
from fastproxy.memory.upload_buffer import UploadBuffer
from fastproxy.storage.contract import Stored
from fastproxy.storage.tracked import TrackedStore
from fastproxy.uploads.answer import Permission
from fastproxy.uploads.digests import Digests
from fastproxy.uploads.live import PIECES, piece_sizes
from fastproxy.uploads.report import report
from fastproxy.uploads.scrub import Inlet
from fastproxy.uploads.transfer import LiveTransfer, Transfer, late
from fastproxy.upstream.client import Answer
from fastproxy.upstream.connection import UpstreamConnection
from fastproxy.upstream.lines import Line

log = logging.getLogger("fastproxy.upload")


class Step(Enum):
    """How far an upload is."""

    AUTHORIZING = "authorizing"
    RECEIVING = "receiving"
    STORING = "storing"
    REPORTING = "reporting"
    OVER = "over"


T = TypeVar("T", bound=Transfer)
_TAKING: Final = (Step.RECEIVING, Step.STORING)


def make_upload(kit: UploadKit) -> Callable[[Exchange], None]:
    """The handler of a route."""

    def serve(exchange: Exchange) -> None:
        exchange.admit_body(kit.route.max_size)
        Upload(exchange, kit).start()

    return serve


class Upload(Timed, Reporting):
    """One upload: Sink of its exchange, Signals of its buffer, which is the DirectSink."""

    __slots__ = ("_buffer", "_connection", "_exchange", "_fault", "_has_turn", "_inlet",
                 "_key", "_kit", "_permission", "_report", "_started", "_step", "_store",
                 "_task")  # fmt: skip
    _inlet: Inlet  # these from RECEIVING on
    _key: str
    _permission: Permission
    _store: TrackedStore

    def __init__(self, exchange: Exchange, kit: UploadKit) -> None:
        super().__init__()
        self._exchange = exchange
        self._kit = kit
        self._step = Step.AUTHORIZING
        self._started = time.monotonic()  # with asking, then with receiving
        self._connection: UpstreamConnection | None = None  # for a task that has not begun
        self._has_turn = False
        self._buffer: UploadBuffer | None = None
        self._report: ReportingCall | None = None
        self._fault: FastproxyError | None = None
        self._task: asyncio.Task[None] | None = None
        exchange.sink = self

    # -- the walk ------------------------------------------------------------------------------

    def start(self) -> None:
        """Ask the backend, and go on from there.

        Nothing is made before there is a connection to ask over: when many come at once, each that
        waited in a task took 8.5 KiB, of which 4 did not come back.
        """
        self._kit.target.pool.acquire(self, line=Line.QUESTIONS)

    def connected(self, connection: UpstreamConnection) -> None:
        """See Taker."""
        self._connection = connection
        self._task = self._kit.tasks.start(self._guarded(self._admit))

    def connect_failed(self, fault: BackendFault) -> None:
        """See Taker."""
        self._fail(fault)

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
        self._give_turn()
        self._kit.deadlines.forget(self)
        if self._buffer is not None:
            self._buffer.close()
            self._buffer = None  # or all of us would wait for the collector of cycles
            del self._inlet

    async def _admit(self) -> None:
        kit, exchange = self._kit, self._exchange
        question, connection = question_of(exchange), self._take_connection()
        answer = await kit.asker.ask(question, connection)
        exchange.backend_s += time.monotonic() - self._started
        if isinstance(answer, Answer):
            refuse(exchange, answer)
            self._over()
            return
        self._store = kit.store_for(answer)
        self._permission = answer
        kit.metrics.started.add()
        with self._counted():
            transfer = await self._receive(question)
        if transfer is not None or not self._waits_for_body():
            await self._deliver(transfer)

    def _take_connection(self) -> UpstreamConnection | None:
        """Raises what the client failed of meanwhile."""
        connection, self._connection = self._connection, None
        if self._fault is not None:
            if connection is not None:
                connection.rest()
                self._kit.target.pool.give_back(connection)
            raise self._fault
        return connection

    async def _deliver(self, begun: Transfer | None = None) -> None:
        """Store what has come and what comes, then tell the backend."""
        if self._step is Step.OVER:  # the client left before this task began
            return
        self._step = Step.STORING
        transfer = begun or self._make_transfer(Transfer)
        exchange, metrics = self._exchange, self._kit.metrics
        with self._counted():
            stored = await transfer.run(self._timeout_s - (time.monotonic() - self._started))
        self._give_turn()
        exchange.upload_bytes, exchange.parts = stored.size, transfer.parts
        metrics.count_stored(stored.size, transfer.parts)
        await self._tell(stored, transfer)
        self._over()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self._kit.metrics.count_failure(self._fault or error)
            raise

    # -- receiving -----------------------------------------------------------------------------

    async def _receive(self, question: Question) -> Transfer | None:
        """Have a place for the body, and let the client send it; a transfer if one begins now."""
        exchange, permission = self._exchange, self._permission
        self._started = time.monotonic()
        self._key = permission.key or secrets.token_hex(16)
        transfer = await self._begin(question)
        self._step = Step.RECEIVING if transfer is None else Step.STORING
        exchange.direct = self._inlet = self._kit.inlet(self._opened, self.client_failed)
        exchange.send_continue()
        exchange.want_body()
        if not exchange.head.has_body:
            self.body_end()
        return transfer

    async def _begin(self, question: Question) -> Transfer | None:
        """Ours from here on: a multipart upload that the backend has begun."""
        begun, presigned = None, self._permission.presigned
        if presigned is not None and presigned.part_urls:
            begun = await self._store.begin(self._key)
        try:
            transfer: Transfer | None = self._plan(question.length)
        except FastproxyError:
            if begun is not None:
                await begun.abort()
            raise
        if begun is not None:
            transfer = transfer or self._make_transfer(Transfer)
            transfer.begun = begun
        return transfer

    def _waits_for_body(self) -> bool:
        """Whether nothing is to be done before more has come; then the buffer will tell."""
        if self._buffer is None or not self._buffer.tell_when_ready():
            return False
        deadlines = self._kit.deadlines
        self.deadline = deadlines.now + self._timeout_s
        deadlines.watch(self)
        return True

    def on_ready(self) -> None:
        """See Signals. A body that is whole waits for its turn; one that goes on would keep it."""
        if self._step is Step.RECEIVING and self._opened.is_finished:
            self._kit.storing.acquire(self._begin_in_turn)
        elif self._step is Step.RECEIVING:
            self._task = self._kit.tasks.start(self._guarded(self._deliver))

    def _begin_in_turn(self) -> bool:
        if self._step is not Step.RECEIVING:
            return False
        self._has_turn = True
        self._task = self._kit.tasks.start(self._guarded(self._deliver))
        return True

    def _give_turn(self) -> None:
        if self._has_turn:
            self._has_turn = False
            self._kit.storing.release()

    @property
    def _opened(self) -> UploadBuffer:
        assert self._buffer is not None  # noqa: S101 - it is there from RECEIVING on
        return self._buffer

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
            self._give_up(late(self._opened, self._timeout_s))

    def _give_up(self, fault: FastproxyError) -> None:
        """Of the body not even a part has come, so there is nothing to take back."""
        self._kit.metrics.count_failure(fault)
        self._fail(fault)

    def _plan(self, length: int | None) -> LiveTransfer | None:
        """Open the buffer; a transfer if the body is to go through as it comes."""
        kit, needs = self._kit, self._store.needs
        parts, most = kit.plan(self._permission, needs, length)
        self._exchange.admit_body(most)
        # What a store wants in one piece and we cannot hold goes through as it comes.
        is_held = min(length or 0, parts(1)) <= kit.arena.largest_part(needs)
        if length and (kit.may_stream or not is_held):
            self._buffer = self._open_window(parts(1))
            live = self._make_transfer(LiveTransfer)
            live.sizes = parts
            return live
        most = most if length is None else length
        buffer = self._buffer = kit.arena.open(needs, parts, self, most=most)
        buffer.spare = parts.spare
        return None

    def _open_window(self, part_size: int) -> UploadBuffer:
        def piece(number: int) -> int:
            return piece_sizes(part_size, window.total)

        window = self._kit.arena.open(PIECES, piece, self)
        return window

    def _make_transfer(self, kind: type[T]) -> T:
        route, permission = self._kit.route, self._permission
        return kind(
            self._store,
            self._key,
            self._opened,
            Digests((*route.hashes, *permission.hashes, *permission.expected)),
            content_type_of(self._exchange),
            self._exchange.head.content_length,
            route.part_concurrency,
            permission.expected,
            permission.size,
        )

    def on_pause(self) -> None:
        """See Signals."""
        self._exchange.pause_body()

    def on_resume(self) -> None:
        """See Signals."""
        self._exchange.want_body()

    # -- reporting -----------------------------------------------------------------------------

    async def _tell(self, stored: Stored, transfer: Transfer) -> None:
        """From here on the client may leave: the backend's answer alone decides."""
        self._step = Step.REPORTING
        kit, permission, question = self._kit, self._permission, question_of(self._exchange)
        name = kit.target.dialect.raw_name
        upload = kit.told(permission, stored, transfer, began=self._started, name=name)
        body, lines = report(upload, kit.signer, question.method, question.path)
        call = self._report = ReportingCall(self._exchange, kit.target)
        is_temporary = kit.is_temporary(permission)
        async with settling(call, self._store, stored, is_temporary=is_temporary):
            await call.send([body], lines, question)
        self._exchange.end()

    # -- Sink ----------------------------------------------------------------------------------

    def body_data(self, pieces: list[memoryview]) -> None:
        """See Sink. The connection asked `room()` first."""
        for piece in pieces:
            if self._step in _TAKING:  # each may be the one that is refused
                taken = self._inlet.feed(piece)
                assert taken == len(piece)  # noqa: S101 - room() said so

    def body_end(self) -> None:
        """See Sink."""
        if self._step in _TAKING:
            self._opened.finish()

    def client_failed(self, fault: FastproxyError) -> None:
        """See Sink. Once the backend is being told, the client's leaving changes nothing."""
        if self._step is Step.RECEIVING:
            self._give_up(fault)
        elif self._step is Step.AUTHORIZING and self._task is None:
            self._kit.target.pool.cancel(self)
            self._fail(fault)
        elif self._step in (Step.AUTHORIZING, Step.STORING) and self._task is not None:
            self._fault = fault
            if self._connection is None:  # else the task has not begun, and will see it
                self._task.cancel()
        else:
            self.client_writable()
