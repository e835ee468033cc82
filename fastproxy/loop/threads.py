"""Blocking calls in threads, whose ends are waited for."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from contextlib import asynccontextmanager, suppress
from typing import ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a blocking call in a thread, and wait for its end even when cancelled.

    It may be using memory that the caller gives up next, or descriptors, whose numbers others get
    then.
    """
    return await in_thread_of(None, lambda: call(*args, **kwargs))


async def in_thread_of(threads: Executor | None, call: Callable[[], T]) -> T:
    """The same in one of some `threads`; None: the loop's."""
    future = asyncio.get_running_loop().run_in_executor(threads, call)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([future])
        if not future.cancelled():
            future.exception()  # seen
        raise


class Closable(Protocol):
    """What has to be let go."""

    def close(self) -> None:
        """Let go."""
        ...


C = TypeVar("C", bound=Closable)


@asynccontextmanager
async def opened(call: Callable[[], C]) -> AsyncIterator[C]:
    """What `call` opens in a thread; it is closed whatever happens, also to who waits for it."""
    box: list[C] = []
    try:
        await in_thread(lambda: box.append(call()))
        yield box[0]
    finally:
        for resource in box:
            resource.close()
