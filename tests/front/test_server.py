"""The front in this process: what connections leave in memory, and how it listens."""

import asyncio
import contextlib
import gc
import socket
import struct
from collections.abc import Awaitable, Callable
from unittest.mock import Mock

import pytest
import uvloop

from fastproxy.config.schema import Duration, Limits
from fastproxy.errors import BadForm
from fastproxy.exchange import Exchange
from fastproxy.front.connection import ClientConnection
from fastproxy.front.context import FrontContext
from fastproxy.front.server import FrontServer
from fastproxy.loop.deadlines import Deadlines
from fastproxy.loop.reactor import Reactor
from fastproxy.wire.head import RequestHeadParser
from fastproxy.wire.scratch import Scratch
from tests.support.waiting import until

_SACKED_AT = 8 + 5 * 4  # in struct tcp_info; of a listener: its backlog


class Reports:
    """Counts."""

    def __init__(self) -> None:
        self.count = 0

    def report(self, exchange: Exchange) -> None:
        self.count += 1


def hello(exchange: Exchange) -> None:
    exchange.answer(200, [], b"hello")


def with_front(
    use: Callable[[FrontContext, tuple[str, int], Reports], Awaitable[None]],
    serve: Callable[[Exchange], None] = hello,
    limits: Limits | None = None,
    backlog: int = 4096,
) -> None:
    """Run `use` with a front that listens."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        troubles: list[object] = []
        loop.set_exception_handler(lambda _, context: troubles.append(context))
        reactor = Reactor(loop, Scratch(), Deadlines(loop))
        reports = Reports()
        context = FrontContext(limits or Limits(), reactor, RequestHeadParser(), reports, serve)
        server = FrontServer(context, lambda exchange: False)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            await server.start([listener], backlog)
            reactor.start()
            try:
                await use(context, listener.getsockname(), reports)
            finally:
                server.cut()
                reactor.stop()
                await asyncio.sleep(0.01)
        assert troubles == []

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def living(context: FrontContext) -> int:
    """Connections in memory; those of other tests are not counted.

    By type: lazy objects of libraries, asked for their class, wake up.
    """
    found = (thing for thing in gc.get_objects() if issubclass(type(thing), ClientConnection))
    return sum(thing._context is context for thing in found)


def test_resets_leave_no_deadline_and_no_object() -> None:
    async def use(context: FrontContext, address: tuple[str, int], reports: Reports) -> None:
        def attack() -> None:
            wire = [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", b"bad\r\n\r\n"]
            for number in range(2000):
                with socket.create_connection(address, 30) as sock:
                    linger = struct.pack("ii", 1, 0)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    sock.sendall(wire[number % 4])
            with socket.create_connection(address, 30) as sock:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
                assert sock.recv(1000).endswith(b"hello")

        gc.collect()
        gc.disable()
        try:
            await asyncio.to_thread(attack)
            await until(lambda: not context.connections)
            assert len(context.reactor.deadlines) == 0
            await until(lambda: living(context) == 0)
        finally:
            gc.enable()

    with_front(use)


def test_an_idle_connection_is_small() -> None:
    async def use(context: FrontContext, address: tuple[str, int], reports: Reports) -> None:
        def connect() -> list[socket.socket]:
            socks = [socket.create_connection(address, 30) for _ in range(200)]
            for sock in socks:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
                sock.recv(1000)
            return socks

        socks = await asyncio.to_thread(connect)
        connection = next(iter(context.connections))
        assert not hasattr(connection, "__dict__")
        for sock in socks:
            sock.close()
        await until(lambda: not context.connections)
        assert reports.count == 200

    with_front(use)


def test_the_backlog_of_the_listener_stays_what_it_was() -> None:
    async def use(context: FrontContext, address: tuple[str, int], reports: Reports) -> None:
        for listener in listeners_on(address):
            info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
            (backlog,) = struct.unpack_from("I", info, _SACKED_AT)
            assert backlog == 777

    def listeners_on(address: tuple[str, int]) -> list[socket.socket]:
        found = [
            thing
            for thing in gc.get_objects()
            if issubclass(type(thing), socket.socket) and thing.fileno() >= 0
        ]
        return [sock for sock in found if sock.getsockname() == address]

    with_front(use, backlog=777)


def test_a_deep_pipeline_is_served_without_recursion() -> None:
    async def use(context: FrontContext, address: tuple[str, int], reports: Reports) -> None:
        def ask() -> None:
            with socket.create_connection(address, 30) as sock:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n" * 5000)
                sock.shutdown(socket.SHUT_WR)
                got = b""
                while data := sock.recv(1 << 20):
                    got += data
            assert got.count(b"hello") == 5000

        await asyncio.to_thread(ask)
        assert reports.count == 5000

    with_front(use)


class Refusing:
    """The Sink and DirectSink of a body of which it refuses the first bytes."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._memory = memoryview(bytearray(100))
        exchange.sink = exchange.direct = self
        exchange.send_continue()
        exchange.want_body()

    def room(self) -> int:
        return len(self._memory)

    def get_buffer(self) -> memoryview:
        return self._memory

    def buffer_updated(self, nbytes: int) -> None:
        self._exchange.fail(BadForm("refused"))

    def body_data(self, pieces: list[memoryview]) -> None:
        raise AssertionError

    def body_end(self) -> None:
        raise AssertionError


def test_who_is_refused_as_its_body_ends_leaves_no_connection() -> None:
    async def use(context: FrontContext, address: tuple[str, int], reports: Reports) -> None:
        def ask() -> None:
            with socket.create_connection(address, 30) as sock:
                sock.sendall(b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n")
                sock.sendall(b"Expect: 100-continue\r\n\r\n")
                assert sock.recv(1000).startswith(b"HTTP/1.1 100 ")
                sock.sendall(b"all")
                assert sock.recv(1000).startswith(b"HTTP/1.1 400 ")

        await asyncio.to_thread(ask)
        await until(lambda: not context.connections)

    with_front(use, Refusing)


def test_draining_ends_idle_connections_and_finishes_the_others() -> None:
    held: list[Exchange] = []

    async def use(context: FrontContext, address: tuple[str, int], reports: Reports) -> None:
        loop = asyncio.get_running_loop()
        idle = await asyncio.to_thread(socket.create_connection, address, 30)
        busy = await asyncio.to_thread(socket.create_connection, address, 30)
        busy.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        await until(lambda: len(held) == 1 and len(context.connections) == 2)
        server = FrontServer(context, lambda exchange: False)
        drain = loop.create_task(server.drain(20, 20))
        assert await asyncio.to_thread(idle.recv, 10) == b""
        held[0].answer(200, [], b"done")
        answer = await asyncio.to_thread(busy.recv, 1000)
        assert b"Connection: close" in answer
        assert answer.endswith(b"done")
        assert await asyncio.to_thread(busy.recv, 10) == b""
        await drain
        idle.close()
        busy.close()

    with_front(use, held.append)


def test_a_client_that_had_just_connected_is_answered_by_a_drain() -> None:
    async def use(context: FrontContext, address: tuple[str, int], reports: Reports) -> None:
        sock = await asyncio.to_thread(socket.create_connection, address, 30)
        await until(lambda: len(context.connections) == 1)
        server = FrontServer(context, lambda exchange: False)
        drain = asyncio.get_running_loop().create_task(server.drain(20, 20))
        await until(lambda: context.is_draining)
        await asyncio.sleep(0.05)  # as long as its request may be on its way
        sock.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        answer = await asyncio.to_thread(sock.recv, 1000)
        assert b"Connection: close" in answer
        assert await asyncio.to_thread(sock.recv, 10) == b""
        await drain
        sock.close()

    with_front(use)


def test_a_drain_knows_whom_the_loop_has_only_just_let_in() -> None:
    async def use(context: FrontContext, address: tuple[str, int], reports: Reports) -> None:
        server = FrontServer(context, lambda exchange: False)
        connection = ClientConnection(context)
        transport = Mock(spec=asyncio.Transport)
        transport.get_extra_info.return_value.fileno.return_value = 0
        transport.get_write_buffer_size.return_value = 0
        loop = asyncio.get_running_loop()
        drain = loop.create_task(server.drain(20, 20))
        loop.call_soon(connection.connection_made, transport)
        await until(lambda: context.is_draining)
        assert not drain.done()
        assert len(context.connections) == 1
        connection.connection_lost(None)
        await drain

    with_front(use)


def test_draining_waits_until_a_slow_reader_has_its_answer() -> None:
    body = bytes(5 << 20)

    async def use(context: FrontContext, address: tuple[str, int], reports: Reports) -> None:
        sock = socket.socket()
        sock.settimeout(30)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await asyncio.to_thread(sock.connect, address)
        sock.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        await until(lambda: reports.count == 1)
        server = FrontServer(context, lambda exchange: False)
        drain = asyncio.get_running_loop().create_task(server.drain(20, 20))
        await asyncio.sleep(0.1)
        assert not drain.done()

        def read_all() -> int:
            size = 0
            while data := sock.recv(1 << 20):
                size += len(data)
            return size

        assert await asyncio.to_thread(read_all) > len(body)
        await drain
        sock.close()

    with_front(use, lambda exchange: exchange.answer(200, [], body))


LAST = b"GET / HTTP/1.0\r\n\r\n"


def everything(sock: socket.socket) -> bytes:
    """All that comes until the end; ConnectionResetError if that is how it ends."""
    found = bytearray()
    while data := sock.recv(1 << 20):
        found += data
    return bytes(found)


def test_bytes_that_come_behind_the_last_request_do_not_reset_its_answer() -> None:
    sock = socket.socket()
    sock.settimeout(30)

    def send_more_then_answer(exchange: Exchange) -> None:
        sock.sendall(b"\r\n")  # while we are at work: nobody can have read it
        exchange.answer(200, [], b"hello")

    async def use(context: FrontContext, address: tuple[str, int], reports: Reports) -> None:
        await asyncio.to_thread(sock.connect, address)
        sock.sendall(LAST)
        assert (await asyncio.to_thread(everything, sock)).endswith(b"hello")
        sock.sendall(b"\r\n")  # it may go on, within a budget, until it ends
        sock.close()
        await until(lambda: not context.connections)

    with_front(use, send_more_then_answer)


def test_a_client_that_writes_while_it_reads_its_last_answer_gets_all_of_it() -> None:
    body = bytes(8 << 20)

    async def use(context: FrontContext, address: tuple[str, int], reports: Reports) -> None:
        with socket.socket() as sock:
            sock.settimeout(30)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await asyncio.to_thread(sock.connect, address)
            sock.sendall(LAST)
            await until(lambda: reports.count == 1)
            sock.sendall(b"\r\n")
            assert (await asyncio.to_thread(everything, sock)).endswith(body)
        await until(lambda: not context.connections)

    with_front(use, lambda exchange: exchange.answer(200, [], body))


def test_a_client_that_does_not_end_is_left_after_the_time_for_lingering() -> None:
    limits = Limits(lingering_timeout=Duration(0.05))

    async def use(context: FrontContext, address: tuple[str, int], reports: Reports) -> None:
        with socket.create_connection(address, 30) as sock:
            sock.sendall(LAST + b"\r\nmore")
            await until(lambda: not context.connections)

    with_front(use, limits=limits)


def test_what_lingering_drops_is_no_sign_that_a_client_takes_its_answer() -> None:
    limits = Limits(send_timeout=Duration(0.2))

    async def use(context: FrontContext, address: tuple[str, int], reports: Reports) -> None:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, address)
            sock.send(LAST)
            await until(lambda: reports.count == 1)

            def is_gone() -> bool:
                with contextlib.suppress(OSError):
                    sock.send(b"\n")
                return not context.connections

            await until(is_gone)

    with_front(use, lambda exchange: exchange.answer(200, [], bytes(8 << 20)), limits)


@pytest.mark.parametrize("more", [b"", b"\r\nmore"])
def test_who_waits_for_long_and_leaves_is_noticed_also_behind_bytes_that_nobody_reads(
    more: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastproxy.front.life._PROBE_S", 0.1)

    def park(exchange: Exchange) -> None:
        exchange.is_parked = True

    async def use(context: FrontContext, address: tuple[str, int], reports: Reports) -> None:
        with (
            socket.create_connection(address, 30) as at_once,
            socket.create_connection(address, 30) as later,
        ):
            at_once.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n" + more)
            later.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            await until(lambda: sum(one.is_serving for one in context.connections) == 2)
            later.sendall(more)
            paused = 1 if more else 0
            await until(
                lambda: sum(not one._link.is_reading for one in context.connections) == paused
            )
        await until(lambda: not context.connections)
        assert reports.count == 2

    with_front(use, park)
