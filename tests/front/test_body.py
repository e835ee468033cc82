"""How far a body is read: what comes behind it is the next request, and is not ours to hold yet."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from fastproxy.config.worst_case import AHEAD
from fastproxy.exchange import Exchange
from fastproxy.front.connection import ClientConnection
from fastproxy.front.context import FrontContext
from tests.front.raw import Raw
from tests.front.test_server import Reports, with_front
from tests.support.waiting import until

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


class Counting(Taking):
    """Tells `turns` of each read, and of the turn of the loop behind it."""

    def __init__(self, exchange: Exchange, turns: list[str]) -> None:
        self._exchange = exchange
        self._turns = turns
        super().__init__(exchange, has_memory=True)

    def buffer_updated(self, nbytes: int) -> None:
        super().buffer_updated(nbytes)
        loop = asyncio.get_running_loop()
        self._turns.append("r")
        loop.call_soon(self._turns.append, "t")
        if not self.is_whole:  # memory is short for a moment
            self._exchange.pause_body()
            loop.call_soon(self._exchange.want_body)


@contextmanager
def clients(address: tuple[str, int], count: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(address, 30)) for _ in range(count)]


def test_bodies_with_memory_of_their_own_are_read_a_few_in_a_turn_of_the_loop() -> None:
    """Also when they were paused: others have theirs in between."""
    sinks: list[Counting] = []
    turns: list[str] = []

    def serve(exchange: Exchange) -> None:
        sinks.append(Counting(exchange, turns))

    async def use(context: FrontContext, address: tuple[str, int], reports: Reports) -> None:
        with clients(address, 40) as socks:
            for sock in socks:
                sock.sendall(b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n")
            await until(lambda: len(sinks) == 40)
            for piece in (b"one", b"two", b"six"):
                turns.clear()
                for sock in socks:
                    sock.sendall(piece)
                await until(lambda: turns.count("t") == 40)
                assert max(map(len, "".join(turns).split("t"))) <= 8
            await until(lambda: all(sink.is_whole for sink in sinks))
            assert all(sink.body == b"onetwosix" for sink in sinks)

    with_front(use, serve)
