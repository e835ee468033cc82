"""A request whose answer is read as it is wanted: how long it waits for what."""

import asyncio
from collections.abc import Coroutine
from typing import Any, cast

import pytest
import uvloop

from fastproxy.errors import ConnectTimeout
from fastproxy.loop.deadlines import Deadlines
from fastproxy.loop.reactor import Reactor
from fastproxy.upstream.connection import UpstreamConnection
from fastproxy.upstream.origin import parse_origin
from fastproxy.upstream.pool import Pool, PoolLimits, Taker
from fastproxy.upstream.stream import Question, Stream
from fastproxy.wire.scratch import Scratch
from tests.support.origin import Peer, origin


def run(main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


class Due(Stream):
    """Remembers until when the head is waited for."""

    due = 0.0

    def connected(self, connection: UpstreamConnection) -> None:
        super().connected(connection)
        self.due = connection.deadline


def test_the_time_for_the_head_does_not_bound_the_body() -> None:
    def halting(peer: Peer) -> None:
        if peer.request() is not None:
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na")
            peer.until_eof()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        reactor = Reactor(loop, Scratch(), Deadlines(loop))
        pool = Pool(parse_origin(host.address), PoolLimits(), reactor)
        stream = Due(pool, Question("GET", b"/", b"a", [], 500.0, header_timeout_s=50.0))
        await stream.open()
        assert 40 < stream.due - reactor.deadlines.now < 60
        assert stream._connection is not None
        assert stream._connection.deadline - reactor.deadlines.now > 400
        stream.close()
        pool.close()

    with origin(halting) as host:
        run(main())


class Nowhere:
    """A pool that never has a connection."""

    origin = "nowhere"

    def __init__(self) -> None:
        self.takers: set[Taker] = set()

    def acquire(self, taker: Taker, fresh: bool = False) -> None:
        self.takers.add(taker)

    def cancel(self, taker: Taker) -> None:
        self.takers.discard(taker)


def test_a_connection_that_does_not_come_in_time_is_waited_for_no_longer() -> None:
    async def main() -> None:
        nowhere = Nowhere()
        by = asyncio.get_running_loop().time() + 0.01
        stream = Stream(cast("Pool", nowhere), Question("GET", b"/", b"a", [], 60, connect_by=by))
        with pytest.raises(ConnectTimeout):
            await stream.open()
        stream.close()
        assert not nowhere.takers

    run(main())


@pytest.mark.parametrize(
    ("method", "body", "length"),
    [("GET", b"", None), ("POST", b"", b"0"), ("POST", b"ab", b"2"), ("DELETE", b"", None)],
)
def test_a_request_says_how_long_its_body_is(
    method: str, body: bytes, length: bytes | None
) -> None:
    stream = Stream(cast("Pool", Nowhere()), Question(method, b"/x", b"h", [], 60, body))
    head, _, rest = stream._request.partition(b"\r\n\r\n")
    told = dict(line.split(b": ") for line in head.split(b"\r\n")[1:])
    assert (told.get(b"Content-Length"), rest) == (length, body)
