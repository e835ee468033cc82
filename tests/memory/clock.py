"""An event loop whose time passes only by waiting, and an executor that works when told."""

import asyncio
import selectors
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import Any


class NothingWillHappen(AssertionError):
    """Everybody waits and nothing is scheduled: a deadlock."""


class TimeIsUp(AssertionError):
    """The scenario ran past its end of time."""


class _Selector(selectors.SelectSelector):
    """Instead of waiting, moves the clock."""

    now = 0.0

    def __init__(self, end: float) -> None:
        super().__init__()
        self._end = end

    def select(self, timeout: float | None = None) -> list[Any]:
        events = super().select(0)
        if not events:
            if timeout is None:
                raise NothingWillHappen
            self.now += max(0.0, timeout)
            if self.now > self._end:
                raise TimeIsUp(f"{self.now:.0f} s")
        return events


class ManualLoop(asyncio.SelectorEventLoop):
    """`end`: seconds after which a scenario must be over."""

    def __init__(self, end: float = 3600.0) -> None:
        self._hands = _Selector(end)
        super().__init__(self._hands)

    def time(self) -> float:
        return self._hands.now


class ManualExecutor(Executor):
    """Does each job on the loop's own thread, after the next of `delays` (seconds)."""

    def __init__(self, loop: asyncio.AbstractEventLoop, delays: Iterator[float]) -> None:
        self._loop = loop
        self._delays = delays

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def work() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(fn(*args, **kwargs))
                except BaseException as error:
                    future.set_exception(error)

        self._loop.call_later(next(self._delays), work)
        return future
