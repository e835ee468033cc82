"""Keep slow clients away from a backend: what nginx does before Unicorn.

With `buffer = "request"` the backend is contacted when the whole request is in. With "response" it
is released as soon as its answer is read, however slowly the client takes it. Both live in the
worker's upload memory and, when that runs short, in its spill file; both budgets hold here too.
"""

import asyncio
from typing import Final

from msgspec import Struct

from fastproxy.errors import FastproxyError, MemoryShort
from fastproxy.exchange import Exchange
from fastproxy.handlers.proxy.buffered_answer import BufferedAnswer
from fastproxy.handlers.proxy.holding import Gate, open_whole
from fastproxy.handlers.proxy.proxy_pass import Forwarding, Judge, Target, client_request
from fastproxy.handlers.reply import Dropping, Reply
from fastproxy.memory.arena import Arena
from fastproxy.memory.parties import Callbacks
from fastproxy.memory.upload_buffer import UploadBuffer
from fastproxy.message import ResponseHead

# It cannot leave early as an upload's part can, so it must not keep memory from others for ever.
_MEMORY_WAIT_S: Final = 60.0


class ShieldSettings(Struct, frozen=True):
    """Which directions are buffered."""

    request: bool
    response: bool
    websocket: bool = False
    judge: Judge | None = None


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
        waiting = Callbacks(exchange.pause_body, self._has_memory)
        self._buffer = open_whole(self._arena, waiting)
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
