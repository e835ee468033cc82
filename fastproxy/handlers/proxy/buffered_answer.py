"""Take an answer at the backend's pace, and give it to the client at the client's.

While the client keeps up, bytes go straight through. When it does not, they queue in memory and a
task sends them; when the queue is empty again, the task ends.
"""

import asyncio
from collections.abc import Sequence

from fastproxy.errors import FastproxyError
from fastproxy.exchange import Exchange, Stage
from fastproxy.handlers.proxy.holding import Gate, open_whole
from fastproxy.handlers.proxy.proxy_pass import Forwarding
from fastproxy.memory.arena import Arena
from fastproxy.memory.parties import Callbacks
from fastproxy.memory.upload_buffer import UploadBuffer
from fastproxy.message import ResponseHead
from fastproxy.wire.framing import Piece


class BufferedAnswer:
    """See the module; a Reply."""

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
            self._buffer = open_whole(self._arena, Callbacks(lambda: None, self._has_room))
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
