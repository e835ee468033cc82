"""Whole requests with a body from memory: what is held while it is sent, and when it is sent."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest
import uvloop

from fastproxy.deadlines import Deadlines
from fastproxy.reactor import Reactor
from fastproxy.upstream.client import HttpClient
from fastproxy.upstream.pool import PoolLimits
from fastproxy.wire.scratch import Scratch
from tests.support.origin import Peer, origin, response
from tests.support.tls import tls_before
from tests.support.waiting import until

SIZE = 8_000_000  # more than the kernel takes at once


def with_client(
    use: Callable[[HttpClient], Awaitable[None]], tls: ssl.SSLContext | None = None
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        reactor = Reactor(loop, Scratch(), Deadlines(loop))
        reactor.deadlines.start()
        client = HttpClient(reactor, PoolLimits(), tls)
        try:
            async with asyncio.timeout(30):
                await use(client)
        finally:
            client.close()
            reactor.deadlines.stop()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


class Waiting:
    """Two runs; the second only when `memory`, where the first was, has been freed."""

    size = 2 * SIZE

    def __init__(self) -> None:
        self.memory = bytearray(b"a" * SIZE)

    def is_free(self) -> bool:
        try:
            self.memory.clear()  # fails while there is a view of it
        except BufferError:
            return False
        return True

    async def chunks(self) -> AsyncIterator[Sequence[memoryview]]:
        views = [memoryview(self.memory)]
        yield views
        views.clear()
        await until(self.is_free, within=5)
        yield [memoryview(b"b" * SIZE)]


def whole(peer: Peer) -> None:
    while (request := peer.request()) is not None:
        peer.send(response(b"%d" % len(request.body)))


@pytest.mark.parametrize("is_tls", [False, True])
def test_who_waits_for_the_next_bytes_holds_none_of_the_last(is_tls: bool, tmp_path: Path) -> None:
    def put(url: str) -> Callable[[HttpClient], Awaitable[None]]:
        async def use(client: HttpClient) -> None:
            answer = await client.request("PUT", url, headers=[], body=Waiting())
            assert answer.body == b"%d" % (2 * SIZE)

        return use

    with origin(whole) as store:
        if not is_tls:
            with_client(put(f"{store.address}/part"))
            return
        port = store.listener.getsockname()[1]
        with tls_before(port, tmp_path) as front:
            context = ssl.create_default_context(cafile=str(front.ca_file))
            with_client(put(f"{front.url}/part"), context)
