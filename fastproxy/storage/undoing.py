"""Taking writes back: at once, and in the background again until the store lets us.

A first success is not the end when the store may still be busy with a request that was given up:
an object may appear late, a part that arrives late can bring an aborted upload back (S3 API,
AbortMultipartUpload), and an upload whose id was lost may not have been listed yet.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from itertools import chain

from fastproxy.errors import StorageFault
from fastproxy.storage.backoff import RetryPolicy
from fastproxy.storage.contract import UNFINISHED, Leftover
from fastproxy.storage.journal import PARALLEL, Journal, is_hopeless

log = logging.getLogger("fastproxy.storage")

SETTLE_S = 2.0  # before every look but the first
AGAIN = RetryPolicy(attempts=1000, base_s=1.0, cap_s=300.0)  # about 40 hours
MAX_WAITING = 10_000  # entries of a store that is down; more are the next start's

Act = Callable[[Leftover], Awaitable[None]]


class Undoing:
    """The background work of all stores of one process; `journal` holds their entries."""

    def __init__(
        self, journal: Journal, settle_s: float = SETTLE_S, again: RetryPolicy = AGAIN
    ) -> None:
        self.journal = journal
        self._settle_s = settle_s
        self._again = again
        self._first: dict[int, asyncio.Task[None]] = {}  # of entries that are being undone
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting = 0
        self._turn = asyncio.Semaphore(PARALLEL)
        self._closing = asyncio.Event()

    def start(self, entry: int, act: Act) -> asyncio.Task[None]:
        """Undo a live entry with `act`. The task ends with the first attempt and has no fault."""
        if entry not in self._first:
            self._first[entry] = self._spawn(self._begin(entry, act))
        return self._first[entry]

    async def undo(self, entry: int, act: Act) -> None:
        """The same for whoever wants to wait for the first attempt, which outlives the caller."""
        if self.journal.is_live(entry):
            await asyncio.shield(self.start(entry, act))

    async def close(self, within_s: float | None = None) -> None:
        """Wait for what runs. Who waits for a better time tries once more, now.

        What is not done then is the next start's.
        """
        self._closing.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._tasks:
                    await asyncio.wait(self._tasks)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _begin(self, entry: int, act: Act) -> None:
        left = self.journal.left(entry)
        is_done = await self._try(left, act, "not removed yet")
        if is_done and left.stage not in UNFINISHED:
            self._end(entry)
        elif self._waiting < MAX_WAITING:
            self._spawn(self._persist(entry, act))

    async def _persist(self, entry: int, act: Act) -> None:
        left, is_done = self.journal.left(entry), False
        self._waiting += 1
        try:
            for pause in chain((0.0,), self._again.pauses()):
                await asyncio.sleep(self._settle_s)
                await self._sleep(pause)
                async with self._turn:
                    is_done = await self._try(left, act)
                if is_done or self._closing.is_set():
                    break
        finally:
            self._waiting -= 1
        if is_done:
            self._end(entry)
        else:
            log.warning("left to the next start", extra={"key": left.key})

    async def _sleep(self, pause_s: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), pause_s)

    async def _try(self, left: Leftover, act: Act, complaint: str = "") -> bool:
        """Whether nothing is left to do as far as one can see."""
        try:
            await act(left)
        except StorageFault as fault:
            is_over = is_hopeless(left, fault)
            if is_over or complaint:
                what = "left behind for ever" if is_over else complaint
                log.warning("%s: %s", what, fault, extra={"key": left.key})
            return is_over
        return True

    def _end(self, entry: int) -> None:
        self.journal.end(entry)
        del self._first[entry]
