"""Keep slow clients away from a backend: what nginx does before Unicorn.

With `buffer = "request"` the backend is contacted when the whole request is in. With "response" it
is released as soon as its answer is read, however slowly the client takes it. Both live in the
worker's upload memory and, when that runs short, in its spill file; both budgets hold here too.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fastproxy.errors import FastproxyError, MemoryShort
from fastproxy.exchange import Exchange, Stage
from fastproxy.handlers.proxy_pass import Forwarding, Judge, Target, client_request
from fastproxy.handlers.reply import Dropping, Reply
from fastproxy.memory.arena import Arena
from fastproxy.memory.parties import Callbacks
from fastproxy.memory.upload_buffer import UploadBuffer
from fastproxy.message import ResponseHead
from fastproxy.storage.contract import StoreNeeds
from fastproxy.wire.framing import Piece

_ENDLESS: Final = 1 << 60
# One part, which the memory's policy may spill but not cut: a request leaves when all of it is in,
# an answer is cut by us when the client takes bytes again.
_WHOLE: Final = StoreNeeds(min_part=1, part_size=_ENDLESS, max_part=_ENDLESS, max_parts=1)
# It cannot leave early as an upload's part can, so it must not keep memory from others for ever.
_MEMORY_WAIT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class ShieldSettings:
    """Which directions are buffered."""

    request: bool
    response: bool
    websocket: bool = False
    judge: Judge | None = None


class Gate:
    """Open or shut; waiting for it costs a future only when it is shut."""

    def __init__(self) -> None:
        self.is_open = True
        self._waiter: asyncio.Future[None] | None = None

    def shut(self) -> None:
        """From now on, wait."""
        self.is_open = False

    def open(self) -> None:
        """Go on."""
        self.is_open = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        self._waiter = None

    async def passed(self) -> None:
        """Wait until it is open."""
        while not self.is_open:
            if self._waiter is None:
                self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter


class Shield:
    """One shielded request: Sink, DirectSink and BodySource."""

    def __init__(
        self, exchange: Exchange, target: Target, arena: Arena, settings: ShieldSettings
    ) -> None:
        self._exchange = exchange
        self._target = target
        self._arena = arena
        self._settings = settings
        self._buffer: UploadBuffer | None = None
        self._task: asyncio.Task[None] | None = None
        self._memory_timer: asyncio.TimerHandle | None = None
        self._gate = Gate()
        self._answer = BufferedAnswer(exchange, arena) if settings.response else None
        self._forwarding: Forwarding | None = None
        if settings.judge is not None:
            exchange.pages = settings.judge.pages
        exchange.sink = self

    def start(self) -> None:
        """Begin. Raises MemoryShort."""
        exchange = self._exchange
        if not (self._settings.request and exchange.head.has_body):
            self._forward(buffered_length=None)
            return
        self._buffer = self._arena.open(
            _WHOLE, lambda number: _ENDLESS, Callbacks(exchange.pause_body, self._has_memory)
        )
        exchange.direct = self
        exchange.send_continue()
        exchange.want_body()

    def _forward(self, buffered_length: int | None) -> None:
        websocket, hints = self._settings.websocket, self._target.hints
        outgoing = client_request(self._exchange, websocket=websocket, hints=hints)
        if buffered_length is not None:
            outgoing.length = buffered_length
        reply = self._answer or self._exchange
        source = self._exchange if buffered_length is None else self
        judges = self._judged if self._settings.judge is not None else None
        self._forwarding = Forwarding(outgoing, self._target, source, reply, judges)
        if self._answer is not None:
            self._answer.source = self._forwarding
        self._forwarding.start()

    def _judged(self, head: ResponseHead) -> Reply | None:
        judge = self._settings.judge
        if judge is None:
            return None
        other = judge(self._exchange, self._answer or self._exchange, head)
        if isinstance(other, Dropping):
            if self._answer is not None:
                self._answer.count()
            self._forwarding = self._answer = None  # no cycles for the collector
        return other

    async def _send_buffered(self, buffer: UploadBuffer) -> None:
        """The whole request is here: send it as fast as the backend takes it."""
        exchange = self._exchange
        try:
            part = await buffer.next_part()
            if part is None:
                return
            self._gate.shut()
            self._forward(buffered_length=part.size)
            await self._gate.passed()
            if self._forwarding is not None and part.size:
                async for run in part.chunks():
                    self._forwarding.send_body([*run])
                    await self._gate.passed()
                self._forwarding.end_body()
        except FastproxyError as fault:
            self._stop()
            exchange.fail(fault)
        finally:
            self._task = None  # cancelled, it would keep this frame, and so its views of the part
            buffer.close()

    def _has_memory(self) -> None:
        self._stop_waiting()
        self._exchange.want_body()

    def _stop_waiting(self) -> None:
        if self._memory_timer is not None:
            self._memory_timer.cancel()
            self._memory_timer = None

    def _no_memory(self) -> None:
        if self._buffer is not None:
            self._buffer.close()
        self._exchange.fail(MemoryShort(f"no memory for {_MEMORY_WAIT_S:g} s"))

    def _stop(self) -> None:
        self._stop_waiting()
        if self._forwarding is not None:
            self._forwarding.cancel()
        if self._answer is not None:
            self._answer.close()

    # -- BodySource ----------------------------------------------------------------------------

    def want_body(self) -> None:
        """See BodySource."""
        self._gate.open()

    def pause_body(self) -> None:
        """See BodySource."""
        self._gate.shut()

    def drop_body(self) -> None:
        """See BodySource. Else it would wait at the gate for ever, with all its memory."""
        if self._task is not None:
            self._task.cancel()

    # -- Sink ----------------------------------------------------------------------------------

    def body_data(self, pieces: list[memoryview]) -> None:
        """See Sink."""
        if self._buffer is not None:
            for piece in pieces:
                self._buffer.feed(piece)
        elif self._forwarding is not None:
            self._forwarding.send_body([*pieces])

    def body_end(self) -> None:
        """See Sink."""
        if self._buffer is not None:
            self._buffer.finish()
            self._task = asyncio.get_running_loop().create_task(self._send_buffered(self._buffer))
        elif self._forwarding is not None:
            self._forwarding.end_body()

    def client_failed(self, fault: FastproxyError) -> None:
        """See Sink."""
        self._stop()
        if self._task is not None:
            self._task.cancel()
        if self._buffer is not None:
            self._buffer.close()

    def client_blocked(self) -> None:
        """See Sink."""
        if self._answer is not None:
            self._answer.gate.shut()
        elif self._forwarding is not None:
            self._forwarding.reader_blocked()

    def client_writable(self) -> None:
        """See Sink."""
        if self._answer is not None:
            self._answer.gate.open()
        elif self._forwarding is not None:
            self._forwarding.reader_writable()

    # -- DirectSink ----------------------------------------------------------------------------

    def room(self) -> int:
        """See DirectSink."""
        room = self._buffer.room() if self._buffer is not None else 0
        if not room and self._memory_timer is None:
            loop = asyncio.get_running_loop()
            self._memory_timer = loop.call_later(_MEMORY_WAIT_S, self._no_memory)
        return room

    def get_buffer(self) -> memoryview:
        """See DirectSink."""
        assert self._buffer is not None  # noqa: S101 - room() said so
        return self._buffer.get_buffer()

    def buffer_updated(self, nbytes: int) -> None:
        """See DirectSink."""
        if self._buffer is not None:
            self._buffer.buffer_updated(nbytes)


class BufferedAnswer:
    """A Reply that takes the answer at the backend's pace.

    While the client keeps up, bytes go straight through. When it does not, they queue in memory
    and a task sends them; when the queue is empty again, the task ends.
    """

    def __init__(self, exchange: Exchange, arena: Arena) -> None:
        self._exchange = exchange
        self._arena = arena
        self._buffer: UploadBuffer | None = None
        self._rest = b""  # what no memory was left for: at most one read
        self._task: asyncio.Task[None] | None = None
        self._is_ended = False
        self.gate = Gate()
        self.source: Forwarding | None = None
        self.backend_s = 0.0
        self.retries = 0

    @property
    def stage(self) -> Stage:
        """See Reply."""
        return self._exchange.stage

    def interim(self, head: ResponseHead) -> None:
        """See Reply."""
        self._exchange.interim(head)

    def respond(self, head: ResponseHead) -> None:
        """See Reply."""
        self.count()
        self._exchange.respond(head)

    def count(self) -> None:
        """Tell the exchange how long the backend took."""
        self._exchange.backend_s = self.backend_s
        self._exchange.retries = self.retries

    def write(self, pieces: Sequence[Piece]) -> None:
        """See Reply."""
        if self._buffer is None and self.gate.is_open:
            self._exchange.write(pieces)
            return
        try:
            self._queue(pieces)
        except FastproxyError as fault:
            self.fail(fault)

    def _queue(self, pieces: Sequence[Piece]) -> None:
        if self._buffer is None:
            self._exchange.flush()
            self._buffer = self._arena.open(
                _WHOLE, lambda number: _ENDLESS, Callbacks(lambda: None, self._has_room)
            )
            self._task = asyncio.get_running_loop().create_task(self._drain(self._buffer))
        for at, piece in enumerate(pieces):
            taken = self._buffer.feed(piece) if not self._rest else 0
            if taken < len(piece):
                self._rest += bytes(piece[taken:]) + b"".join(pieces[at + 1 :])
                if self.source is not None:
                    self.source.reader_blocked()
                return

    def _has_room(self) -> None:
        rest, self._rest = self._rest, b""
        if self._buffer is not None and rest:
            self._rest = rest[self._buffer.feed(rest) :]
            self._buffer.cut()  # the client may be waiting for just these bytes
        if not self._rest:
            if self._is_ended and self._buffer is not None:
                self._buffer.finish()
            elif self.source is not None:
                self.source.reader_writable()

    async def _drain(self, buffer: UploadBuffer) -> None:
        exchange = self._exchange
        try:
            while await self._send_next(buffer):
                pass
        except FastproxyError as fault:
            exchange.fail(fault)
            return
        finally:
            self._task = None  # as in Shield._send_buffered
            buffer.close()
            self._buffer = None
        if self._is_ended:
            exchange.end()

    async def _send_next(self, buffer: UploadBuffer) -> bool:
        """Send what is queued, be it a whole piece or not; False when nothing is left."""
        await self.gate.passed()
        if not buffer.parts_waiting and not buffer.is_finished:
            buffer.cut()
        if not buffer.parts_waiting and not self._rest:
            return False
        part = await buffer.next_part()
        if part is None:
            return False
        async for run in part.chunks():
            self._exchange.write([*run])
            await self.gate.passed()
        part.release()
        return True

    def flush(self) -> None:
        """See Reply."""
        self._exchange.flush()

    def end(self) -> None:
        """See Reply: the backend is released; the client gets the rest at its own pace."""
        self._is_ended = True
        if self._buffer is None:
            self._exchange.end()
        elif not self._rest:
            self._buffer.finish()

    def begin_tunnel(self, head: ResponseHead) -> None:
        """See Reply."""
        self._exchange.begin_tunnel(head)

    def end_tunnel_answer(self) -> None:
        """See Reply."""
        self._exchange.end_tunnel_answer()

    def fail(self, fault: FastproxyError) -> None:
        """See Reply."""
        self.close()
        self._exchange.fail(fault)

    def close(self) -> None:
        """Nobody wants the rest."""
        if self._task is not None:
            self._task.cancel()
        if self._buffer is not None:
            self._buffer.close()  # a task that is cancelled before its first step cleans nothing up
        if self.source is not None:
            self.source.cancel()
