"""Much that is due at once, spread over iterations of the loop: others have theirs in between."""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

AT_ONCE: Final = 32  # some 20 ms of requests that all go to a backend anew


class CallBatches:
    """So many calls an iteration, in the order in which they were added; the first few at once."""

    def __init__(self, loop: asyncio.AbstractEventLoop, at_once: int = AT_ONCE) -> None:
        self._loop = loop
        self._at_once = at_once
        self._left = at_once  # of the present iteration
        self._waiting: deque[Callable[[], None]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, call: Callable[[], None]) -> None:
        """Call it now or later."""
        if not self._left:
            self._waiting.append(call)
            return
        if self._left == self._at_once:
            self._loop.call_soon(self._next)
        self._left -= 1
        call()

    def _next(self) -> None:
        count = min(self._at_once, len(self._waiting))
        self._left = self._at_once - count
        if count:
            self._loop.call_soon(self._next)  # first: one that raises must not keep the others
        for _ in range(count):
            self._waiting.popleft()()


class Turns:
    """The same for tasks: so many of them go on in an iteration, in the order in which they ask."""

    def __init__(self, loop: asyncio.AbstractEventLoop, at_once: int) -> None:
        self._loop = loop
        self._calls = CallBatches(loop, at_once)

    async def take(self) -> None:
        """Go on now or later."""
        mine: asyncio.Future[None] = self._loop.create_future()
        self._calls.add(partial(_let_on, mine))
        if not mine.done():
            await mine


def _let_on(task: asyncio.Future[None]) -> None:
    if not task.done():  # it was cancelled
        task.set_result(None)
