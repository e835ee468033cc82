"""Whole requests with a body from memory: what is held while it is sent, and when it is sent."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import pairwise
from pathlib import Path
from threading import Barrier

import pytest
import uvloop

from fastproxy.errors import BackendFault, BackendTimeout
from fastproxy.loop.deadlines import Deadlines
from fastproxy.loop.reactor import Reactor
from fastproxy.upstream.client import Answer, Call, HttpClient, perform
from fastproxy.upstream.connection import UpstreamConnection
from fastproxy.upstream.origin import parse_origin
from fastproxy.upstream.pool import Pool, PoolLimits
from fastproxy.wire.scratch import Scratch
from tests.loop.test_readiness import Listener
from tests.support.origin import Origin, Peer, Request, echo, origin, response
from tests.support.tls import tls_before
from tests.support.waiting import until

SIZE = 8_000_000  # more than the kernel takes at once


def with_client(
    use: Callable[[HttpClient], Awaitable[None]], tls: ssl.SSLContext | None = None
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        reactor = Reactor(loop, Scratch(), Deadlines(loop))
        reactor.start()
        client = HttpClient(reactor, PoolLimits(), tls)
        try:
            async with asyncio.timeout(30):
                await use(client)
        finally:
            client.close()
            reactor.stop()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


class Waiting:
    """Two runs; the second only when `memory`, where the first was, has been freed."""

    size = 2 * SIZE
    is_retained = True

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


def test_an_answer_that_drips_is_not_waited_for_for_ever() -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        peer.drip(bytes(100_000), 1, 0.05)

    async def use(client: HttpClient) -> None:
        with pytest.raises(BackendTimeout):
            await client.request("GET", f"{backend.address}/", headers=[], timeout_s=0.5)

    with origin(script) as backend:
        with_client(use)


class Once:
    """A body that can be read only once; `reads` counts."""

    is_retained = False

    def __init__(self, data: bytes = b"live") -> None:
        self.data = data
        self.size = len(data)
        self.reads = 0

    async def chunks(self) -> AsyncIterator[Sequence[memoryview]]:
        self.reads += 1
        assert self.reads == 1
        yield [memoryview(self.data)]


def continued(peer: Peer, head: Request) -> None:
    """Say that the body is wanted, take it, and answer with it."""
    assert head.header(b"expect") == b"100-continue"
    peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    peer.send(response(peer.take(int(head.header(b"content-length") or 0))))


def puts(address: str, body: Once, times: int = 1) -> list[Answer]:
    """A GET that leaves a pooled connection, then the body, `times` times."""
    answers: list[Answer] = []

    async def use(client: HttpClient) -> None:
        await client.request("GET", f"{address}/", headers=[])
        while len(answers) < times:
            answers.append(await client.request("PUT", f"{address}/", headers=[], body=body))

    with_client(use)
    return answers


def test_a_stale_connection_does_not_cost_a_body_that_was_not_retained() -> None:
    def script(peer: Peer) -> None:
        while (head := peer.head()) is not None:
            if head.method == b"GET":
                peer.send(response(b""))
            elif peer.number == 0:
                return  # as if it had been closed while the request was on its way
            else:
                continued(peer, head)

    body = Once()
    with origin(script) as store:
        (answer,) = puts(store.address, body)
        assert answer.body == b"live"
        assert body.reads == 1
        assert store.connections == 2


def test_a_refusal_leaves_a_body_that_was_not_retained_for_another_try() -> None:
    def script(peer: Peer) -> None:
        while (head := peer.head()) is not None:
            if head.method == b"GET":
                peer.send(response(b""))
            elif peer.number == 0:
                peer.send(response(b"slow down", status=b"503 Slow Down"))
            else:
                continued(peer, head)

    body = Once()
    with origin(script) as store:
        refused, stored = puts(store.address, body, times=2)
        assert (refused.status, refused.body) == (503, b"slow down")
        assert (stored.status, stored.body) == (200, b"live")
        assert store.connections == 2  # after what was announced and not sent none can be used


def test_a_store_that_says_nothing_to_an_expectation_gets_the_body_all_the_same() -> None:
    body = Once()
    with origin(echo) as store:
        (answer,) = puts(store.address, body)
        assert answer.body == b"live"


def test_nothing_is_expected_for_a_body_that_can_be_sent_again_or_is_empty() -> None:
    body, empty = Once(), Once(b"")
    body.is_retained = True
    with origin(echo) as store:
        puts(store.address, body)
        puts(store.address, empty)
        assert [request.header(b"expect") for request in store.requests] == [None] * 4


class Holder:
    """Has a connection and does nothing with it."""

    connection: UpstreamConnection | None = None

    def connected(self, connection: UpstreamConnection) -> None:
        self.connection = connection

    def connect_failed(self, fault: BackendFault) -> None:
        raise fault


class Canceller(Holder):
    """Cancels a task the moment that it has the connection."""

    def __init__(self, task: asyncio.Task[Answer]) -> None:
        self._task = task

    def connected(self, connection: UpstreamConnection) -> None:
        super().connected(connection)
        self._task.cancel()


CALL = Call("GET", b"/", b"h")


def with_one_connection(
    script: Callable[[Peer], None], use: Callable[[Pool, Origin], Awaitable[None]]
) -> None:
    """`use` a pool that has one connection to an origin with that script."""

    async def main(store: Origin) -> None:
        loop = asyncio.get_running_loop()
        reactor = Reactor(loop, Scratch(), Deadlines(loop))
        reactor.start()
        pool = Pool(parse_origin(store.address), PoolLimits(max_connections=1), reactor)
        async with asyncio.timeout(30):
            await use(pool, store)
        pool.close()
        reactor.stop()

    with (
        origin(script) as store,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(main(store))


def test_who_is_cancelled_while_it_is_given_a_connection_leaves_it_to_others() -> None:
    async def use(pool: Pool, _: Origin) -> None:
        holder = Holder()
        pool.acquire(holder)
        await until(lambda: holder.connection)
        cancelled = asyncio.create_task(perform(pool, CALL))
        await asyncio.sleep(0)  # it stands in the queue
        assert holder.connection is not None
        pool.give_back(holder.connection)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert (await perform(pool, CALL)).status == 200

    with_one_connection(echo, use)


def test_who_is_cancelled_while_it_waits_for_an_answer_waits_no_longer() -> None:
    def silent_once(peer: Peer) -> None:
        if peer.number:
            echo(peer)
        else:
            peer.until_eof()

    async def use(pool: Pool, store: Origin) -> None:
        cancelled = asyncio.create_task(perform(pool, CALL))
        await until(lambda: store.received)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert (await perform(pool, CALL)).status == 200

    with_one_connection(silent_once, use)


def test_who_is_cancelled_as_its_answer_ends_leaves_the_connection_to_the_next() -> None:
    async def use(pool: Pool, _: Origin) -> None:
        cancelled = asyncio.create_task(perform(pool, CALL))
        await asyncio.sleep(0)  # it is first
        following = Canceller(cancelled)
        pool.acquire(following)
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert following.connection is not None
        assert not following.connection.is_over
        following.connection.abort()

    with_one_connection(echo, use)


def test_answers_that_come_at_once_are_read_a_few_in_a_turn_of_the_loop() -> None:
    """A connection that is new or kept: each wakes a task, and clients have their turn between."""
    count = 30
    asked, answered = Barrier(count + 1), Barrier(count + 1)
    turns: list[str] = []

    def script(peer: Peer) -> None:
        while peer.request() is not None:
            asked.wait(30)
            peer.send(response(b"here"))
            answered.wait(30)

    async def ask(client: HttpClient, url: str) -> None:
        answer = await client.request("GET", url, headers=[])
        assert answer.body == b"here"
        turns.append("a")
        asyncio.get_running_loop().call_soon(turns.append, "t")

    async def use(client: HttpClient) -> None:
        for _ in range(2):
            turns.clear()
            asking = [asyncio.create_task(ask(client, f"{store.address}/")) for _ in range(count)]
            await asyncio.to_thread(asked.wait, 30)
            answered.wait(30)  # the loop stands: all have come when it goes on
            await asyncio.gather(*asking)
            assert max(map(len, "".join(turns).split("t"))) <= 8
        assert store.connections == count

    with origin(script) as store:
        with_client(use)


def test_plain_clients_are_served_while_requests_begin_and_bodies_leave() -> None:
    """Between any two of them, in the middle of a turn of the loop."""
    order: list[str] = []

    async def put(client: HttpClient, url: str, far: socket.socket) -> None:
        body = Telling(order, far)
        far.sendall(b"!")
        order.append("begins")
        await client.request("PUT", url, headers=[], body=body)

    async def use(client: HttpClient) -> None:
        far, near = socket.socketpair()
        near.setblocking(False)
        loop = asyncio.get_running_loop()
        transport, plain = await loop.create_connection(Listener, sock=near)
        plain.then = lambda: order.append("plain")
        assert client._reactor.readiness.take(plain.descriptor, plain)
        await asyncio.gather(*(put(client, f"{store.address}/", far) for _ in range(5)))
        transport.abort()
        far.close()
        assert order.count("begins") == order.count("leaves") == 5
        assert all(after == "plain" for before, after in pairwise(order) if before != "plain")

    with origin(echo) as store:
        with_client(use)


class Telling:
    """A body of one run: as it leaves, something comes from a plain client."""

    size = 4
    is_retained = True

    def __init__(self, order: list[str], far: socket.socket) -> None:
        self._order = order
        self._far = far

    async def chunks(self) -> AsyncIterator[Sequence[memoryview]]:
        self._far.sendall(b"!")
        self._order.append("leaves")
        yield [memoryview(b"body")]
