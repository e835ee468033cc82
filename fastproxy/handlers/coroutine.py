"""Handlers that are coroutines: one task an exchange, reads that wait, writes that wait for room.

A `Dialogue` is the sink of its exchange. It buffers at most HIGH_WATER bytes of the body and one
read, and pauses the client until they are taken.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from enum import Enum
from typing import Final

from fastproxy.errors import Bug, FastproxyError, ShuttingDown
from fastproxy.exchange import Exchange, Stage
from fastproxy.message import ResponseHead

log = logging.getLogger("fastproxy")

HIGH_WATER: Final = 64 * 1024
_CANCEL_S: Final = 5.0


class ExchangeOver(ConnectionError):
    """The client has left, or the response is already complete."""


class OnLeave(Enum):
    """What becomes of the coroutine when the client fails."""

    CANCEL = "cancel"
    TELL = "tell"  # its next read or write raises ExchangeOver


class Tasks:
    """The coroutines of one worker that are still running."""

    def __init__(self) -> None:
        self._pending: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._pending)

    def start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Run `work` until it ends or `stop`."""
        task = asyncio.get_running_loop().create_task(work)
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)
        return task

    async def stop(self, grace_s: float = 0.0) -> None:
        """Let them finish for `grace_s` seconds, then cancel them and wait until they ended."""
        if self._pending:
            await asyncio.wait(self._pending, timeout=grace_s)
        for task in self._pending:
            task.cancel()
        if self._pending:
            await asyncio.wait(self._pending, timeout=_CANCEL_S)
        if self._pending:
            log.error("%d handlers do not end although they were cancelled", len(self._pending))


class BodyBuffer:
    """A little of the request body, waiting to be read."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._pieces: list[bytes] = []
        self._size = 0
        self._is_complete = not exchange.head.has_body
        self._is_closed = False
        self._news = asyncio.Event()

    @property
    def is_exhausted(self) -> bool:
        """Whether all of the body was read."""
        return self._is_complete and not self._pieces

    def open(self) -> None:
        """Read ahead, unless the client waits for a permission only the handler can give."""
        if not self._is_complete and not self._exchange.head.expects_continue:
            self._exchange.want_body()

    def put(self, pieces: list[memoryview]) -> None:
        """Keep a copy of `pieces`."""
        data = b"".join(pieces)
        self._pieces.append(data)
        self._size += len(data)
        if self._size >= HIGH_WATER:
            self._exchange.pause_body()
        self._news.set()

    def complete(self) -> None:
        """Nothing follows."""
        self._is_complete = True
        self._news.set()

    def close(self) -> None:
        """Nobody gets any more of it."""
        self._is_closed = True
        self._pieces.clear()
        self._news.set()

    async def read(self) -> bytes:
        """What is there, waiting for it if need be; b"" at the end. Raises ExchangeOver."""
        while not (self._pieces or self._is_complete or self._is_closed):
            self._news.clear()
            self._exchange.send_continue()
            self._exchange.want_body()
            await self._news.wait()
        if self._is_closed:
            raise ExchangeOver("the request body will not be complete")
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        if not self._is_complete:
            self._exchange.want_body()
        return data


class Dialogue:
    """One exchange as its coroutine sees it. The Sink."""

    def __init__(self, exchange: Exchange, on_leave: OnLeave) -> None:
        self.exchange = exchange
        self.body = BodyBuffer(exchange)
        self._on_leave = on_leave
        self._task: asyncio.Task[None] | None = None
        self._fault: FastproxyError | None = None
        self._room: int | None = None  # what Content-Length leaves to be sent
        self._is_over = asyncio.Event()
        self._is_writable = asyncio.Event()
        exchange.sink = self

    def start(self, tasks: Tasks, work: Callable[["Dialogue"], Awaitable[None]]) -> None:
        """Run `work`, which must answer. It may raise FastproxyError; all else is a bug."""
        if not self.exchange.is_client_blocked:
            self._is_writable.set()
        self._task = tasks.start(self._run(work))
        self.body.open()

    async def _run(self, work: Callable[["Dialogue"], Awaitable[None]]) -> None:
        exchange = self.exchange
        try:
            await work(self)
            if exchange.stage is not Stage.OVER:
                raise RuntimeError("the handler ended without a complete response")
        except asyncio.CancelledError:
            exchange.fail(self._fault or self._cancellation())
            raise
        except FastproxyError as fault:
            exchange.fail(fault)
        except ExchangeOver as news:
            exchange.fail(self._fault or Bug(str(news)))
        except (Exception, SystemExit) as error:
            self._log_bug(error)
            exchange.fail(Bug(f"{type(error).__name__} in a handler"))
        finally:
            self._close()
            # Else the two hold each other, with all that was in the frames of a failure, until the
            # collector comes.
            self._task = None

    def _cancellation(self) -> FastproxyError:
        """Ours, or one that a handler let out of something it awaited."""
        if self._task is not None and self._task.cancelling():
            return ShuttingDown("handler cancelled")
        return Bug("a handler raised CancelledError")

    def _log_bug(self, error: BaseException) -> None:
        """When the client left first, the error is most likely only the news of it."""
        level = logging.INFO if self._fault is not None else logging.ERROR
        place = {"request_id": self.exchange.request_id, "route": self.exchange.route_name}
        log.log(level, "exception in a handler", exc_info=error, extra=place)

    def _close(self) -> None:
        self.body.close()
        self._is_over.set()
        self._is_writable.set()

    # -- for the coroutine ---------------------------------------------------------------------

    @property
    def has_failed(self) -> bool:
        """Whether the client failed."""
        return self._fault is not None

    async def over(self) -> None:
        """Wait until the client has failed or the response is complete."""
        await self._is_over.wait()

    def respond(self, head: ResponseHead) -> None:
        """Start the response; it leaves with the first of its body."""
        self.exchange.respond(head)
        is_bodyless = self.exchange.head.method == b"HEAD" or head.status in (204, 304)
        self._room = None if is_bodyless else head.content_length

    async def write(self, data: bytes) -> None:
        """Send some of the body and wait for room. Raises ExchangeOver, RuntimeError if too long.

        b"" sends the head, if it still waits.
        """
        self._put(data)
        self.exchange.flush()
        await self.room()

    async def room(self) -> None:
        """Wait until the client takes bytes. Raises ExchangeOver."""
        # A handler that never waits for anything else must not keep the loop: the others have their
        # turn, and it is told that a client is gone.
        await asyncio.sleep(0)
        if not self._is_writable.is_set():
            await self._is_writable.wait()
        if self._fault is not None:
            raise ExchangeOver(self._fault.kind)

    def passed(self, size: int) -> None:
        """So many bytes of the body left by the exchange's outlet."""
        if self._room is not None:
            self._room -= size
        self.exchange.passed(size)

    def end(self, data: bytes = b"") -> None:
        """Send the last of the body. Raises RuntimeError if that is not Content-Length bytes."""
        self._put(data)
        if self._room:
            raise RuntimeError(f"response is {self._room} bytes shorter than its Content-Length")
        self.exchange.end()
        self._close()

    def _put(self, data: bytes) -> None:
        if self._fault is not None:
            raise ExchangeOver(self._fault.kind)
        if self._room is not None:
            if len(data) > self._room:
                raise RuntimeError("response is longer than its Content-Length")
            self._room -= len(data)
        self.exchange.write([data])

    # -- Sink ----------------------------------------------------------------------------------

    def body_data(self, pieces: list[memoryview]) -> None:
        """See Sink."""
        self.body.put(pieces)

    def body_end(self) -> None:
        """See Sink."""
        self.body.complete()

    def client_failed(self, fault: FastproxyError) -> None:
        """See Sink."""
        self._fault = fault
        self._close()
        if self._on_leave is OnLeave.CANCEL and self._task is not None:
            self._task.cancel()

    def client_blocked(self) -> None:
        """See Sink."""
        self._is_writable.clear()

    def client_writable(self) -> None:
        """See Sink."""
        self._is_writable.set()
