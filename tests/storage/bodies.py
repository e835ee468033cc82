"""Bodies, an HTTP client and waiting, for tests of stores."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from fastproxy.loop.deadlines import Deadlines
from fastproxy.loop.reactor import Reactor
from fastproxy.storage.sender import HttpCall
from fastproxy.upstream.client import HttpClient
from fastproxy.upstream.pool import PoolLimits
from fastproxy.wire.scratch import Scratch

T = TypeVar("T")


class Bytes:
    """A PartBody of bytes in memory; `reads` counts how often it was asked for."""

    is_retained = True

    def __init__(self, data: bytes, number: int = 1, offset: int = 0, step: int = 65536) -> None:
        self.data = data
        self.number = number
        self.offset = offset
        self.size = len(data)
        self.reads = 0
        self._step = step

    async def chunks(self) -> AsyncIterator[Sequence[memoryview]]:
        self.reads += 1
        view = memoryview(self.data)
        for at in range(0, len(view), self._step * 4):
            run = view[at : at + self._step * 4]
            yield [run[i : i + self._step] for i in range(0, len(run), self._step)]


def cut(data: bytes, size: int) -> list[Bytes]:
    """Parts of `size` bytes, the last one smaller; an empty object is one empty part."""
    starts = range(0, max(len(data), 1), size)
    return [Bytes(data[at : at + size], i, at) for i, at in enumerate(starts, 1)]


def pattern(size: int) -> bytes:
    """Bytes in which no two 4-byte words within 1 GiB are alike."""
    words = b"".join(i.to_bytes(4, "big") for i in range(min(size // 4 + 1, 1 << 18)))
    return (words * (size // len(words) + 1))[:size]


@asynccontextmanager
async def http_client() -> AsyncIterator[HttpCall]:
    """The real HTTP client on the running loop."""
    loop = asyncio.get_running_loop()
    reactor = Reactor(loop, Scratch(), Deadlines(loop))
    client = HttpClient(reactor, PoolLimits())
    reactor.deadlines.start()
    try:
        yield client.request
    finally:
        client.close()
        reactor.deadlines.stop()


def run(main: Callable[[HttpCall], Coroutine[Any, Any, T]], within_s: float = 60) -> T:
    """Run `main` with an HTTP client on a fresh loop."""

    async def body() -> T:
        async with asyncio.timeout(within_s), http_client() as call:
            return await main(call)

    return asyncio.run(body())


async def until(condition: Callable[[], Awaitable[bool]], within_s: float = 10) -> None:
    """Ask until it holds."""
    async with asyncio.timeout(within_s):
        while not await condition():  # noqa: ASYNC110 - what is waited for is in no process of ours
            await asyncio.sleep(0.02)
