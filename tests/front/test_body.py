"""How far a body is read: what comes behind it is the next request, and is not ours to hold yet."""

import asyncio
from typing import Any

import pytest

from fastproxy.config.worst_case import AHEAD
from fastproxy.exchange import Exchange
from fastproxy.front.connection import ClientConnection
from fastproxy.front.context import FrontContext
from tests.front.raw import Raw
from tests.front.test_server import Reports, with_front

FRAMINGS = {
    "chunked": (b"Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n"),
    "length": (b"Content-Length: 5", b"hello"),
}
BEHIND = 1 << 20


class Taking:
    """The Sink of a body, and its DirectSink if it has memory of its own. It never answers."""

    def __init__(self, exchange: Exchange, *, has_memory: bool) -> None:
        self.body = bytearray()
        self.is_whole = False
        self._memory = memoryview(bytearray(1 << 20))
        exchange.sink = self
        if has_memory:
            exchange.direct = self
        exchange.want_body()

    def room(self) -> int:
        return len(self._memory)

    def get_buffer(self) -> memoryview:
        return self._memory

    def buffer_updated(self, nbytes: int) -> None:
        self.body += self._memory[:nbytes]

    def body_data(self, pieces: list[memoryview]) -> None:
        self.body += b"".join(pieces)

    def body_end(self) -> None:
        self.is_whole = True

    def client_failed(self, fault: Any) -> None:
        """The end of the test."""


@pytest.mark.parametrize("has_memory", [False, True], ids=["shared memory", "its own memory"])
@pytest.mark.parametrize("framing", FRAMINGS)
def test_of_what_comes_behind_a_body_little_is_read(framing: str, *, has_memory: bool) -> None:
    sinks: list[Taking] = []

    def serve(exchange: Exchange) -> None:
        sinks.append(Taking(exchange, has_memory=has_memory))

    async def use(context: FrontContext, address: tuple[str, int], reports: Reports) -> None:
        raw, connection = Raw(), ClientConnection(context)
        raw.protocol = connection
        connection.connection_made(raw)
        field, body = FRAMINGS[framing]
        raw.deliver(b"PUT / HTTP/1.1\r\nHost: h\r\n%b\r\n\r\n" % field)
        raw.deliver(body + b"GET /" + bytes(BEHIND))
        (sink,) = sinks
        assert sink.body == b"hello"
        assert sink.is_whole
        assert BEHIND - len(raw.inbox) <= AHEAD
        assert not raw.is_reading
        connection.connection_lost(None)
        await asyncio.sleep(0)

    with_front(use, serve)
