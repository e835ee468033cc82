"""The pool by itself: who gets a connection, and what happens to those nobody wants."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import uvloop

from fastproxy.errors import BackendBusy, BackendFault, ConnectFailed, StaleConnection
from fastproxy.loop.deadlines import Deadlines
from fastproxy.loop.reactor import Reactor
from fastproxy.message import ResponseHead
from fastproxy.upstream.connection import UpstreamConnection
from fastproxy.upstream.lines import Line
from fastproxy.upstream.origin import parse_origin
from fastproxy.upstream.pool import Pool, PoolLimits
from fastproxy.wire.scratch import Scratch
from tests.support.origin import Peer, origin, response, unused_port
from tests.support.waiting import until


@dataclass(eq=False)
class Taker:
    """Taker and Receiver in one: asks, and remembers what came."""

    got: list[UpstreamConnection] = field(default_factory=list)
    faults: list[BackendFault] = field(default_factory=list)
    body: bytes = b""
    is_done: bool = False

    def has_connection(self) -> bool:
        return bool(self.got)

    def is_answered(self) -> bool:
        return self.is_done

    def connected(self, connection: UpstreamConnection) -> None:
        self.got.append(connection)

    def connect_failed(self, fault: BackendFault) -> None:
        self.faults.append(fault)

    def ask(self) -> None:
        connection = self.got[-1]
        connection.begin(self, b"GET", 10)
        connection.send([b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"])
        connection.is_request_sent = True

    def response_head(self, head: ResponseHead) -> None:
        pass

    def response_data(self, pieces: list[memoryview]) -> None:
        self.body += b"".join(pieces)

    def response_flush(self) -> None:
        pass

    def response_end(self) -> None:
        self.is_done = True

    def response_failed(self, fault: BackendFault) -> None:
        self.faults.append(fault)

    def backend_blocked(self) -> None:
        pass

    def backend_writable(self) -> None:
        pass


def with_pool(
    use: Callable[[Pool], Awaitable[None]], address: str, limits: PoolLimits | None = None
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        reactor = Reactor(loop, Scratch(), Deadlines(loop))
        reactor.deadlines.start()
        pool = Pool(parse_origin(address), limits or PoolLimits(), reactor)
        await use(pool)
        pool.close()
        await until(lambda: pool.open_count == 0)
        reactor.deadlines.stop()
        assert len(reactor.deadlines) == 0

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def hello(peer: Peer) -> None:
    while peer.request() is not None:
        peer.send(response(b"hello"))


async def exchange(pool: Pool, taker: Taker, *, fresh: bool = False) -> None:
    pool.acquire(taker, fresh=fresh)
    await until(lambda: taker.got)
    taker.ask()
    await until(lambda: taker.is_done)


def test_the_most_recently_used_connection_is_used_next() -> None:
    async def use(pool: Pool) -> None:
        first, second, third = Taker(), Taker(), Taker()
        for taker in (first, second):
            pool.acquire(taker)
            await until(taker.has_connection)
        first.ask()
        await until(lambda: first.is_done)
        second.ask()
        await until(lambda: second.is_done)
        assert pool.idle_count == 2
        pool.acquire(third)
        assert third.got == second.got
        third.got[0].abort()

    with origin(hello) as backend:
        with_pool(use, backend.address)
        assert [peer.requests[0].target for peer in backend.peers] == [b"/", b"/"]


def has_spoken(connection: UpstreamConnection) -> None:
    """Bytes lie in the kernel. Meanwhile the loop must not turn: it would read them."""
    deadline = time.monotonic() + 20
    while connection.is_silent():
        assert time.monotonic() < deadline


def test_who_has_spoken_out_of_turn_is_not_asked_again() -> None:

    async def use(pool: Pool) -> None:
        first, second = Taker(), Taker()
        await exchange(pool, first)
        backend.peers[0].send(response(b"stolen"))
        has_spoken(first.got[0])
        pool.acquire(second)
        assert second.got == []
        await until(second.has_connection)
        second.ask()
        await until(second.is_answered)
        assert second.body == b"hello"

    with origin(hello) as backend:
        with_pool(use, backend.address)
        assert backend.connections == 2


def test_who_has_spoken_out_of_turn_is_not_given_to_one_who_waits() -> None:
    async def use(pool: Pool) -> None:
        first, second = Taker(), Taker()
        pool.acquire(first)
        await until(first.has_connection)
        pool.acquire(second)
        assert second.got == []
        (connection,) = first.got
        connection.rest()
        backend.peers[0].send(response(b"stolen"))
        has_spoken(connection)
        pool.give_back(connection)
        await until(second.has_connection)
        second.ask()
        await until(second.is_answered)
        assert second.body == b"hello"

    with origin(hello) as backend:
        with_pool(use, backend.address, PoolLimits(max_connections=1))
        assert backend.connections == 2


def test_what_was_sent_before_the_request_arrived_is_no_answer() -> None:
    """It crosses the request on its way: nothing of that is acknowledged."""

    def deaf(peer: Peer) -> None:
        is_asked.wait()
        peer.send(response(b"stolen"))

    async def use(pool: Pool) -> None:
        taker = Taker()
        pool.acquire(taker)
        await until(taker.has_connection)
        taker.got[0].send([bytes(8 << 20)])  # so that nothing more gets through
        taker.ask()
        is_asked.set()
        await until(lambda: taker.faults)
        assert [type(fault) for fault in taker.faults] == [StaleConnection]
        assert (taker.body, taker.is_done) == (b"", False)

    is_asked = threading.Event()
    with origin(deaf) as backend:
        with_pool(use, backend.address)


def test_a_retry_gets_a_fresh_connection() -> None:
    async def use(pool: Pool) -> None:
        await exchange(pool, Taker())
        await exchange(pool, Taker(), fresh=True)

    with origin(hello) as backend:
        with_pool(use, backend.address)
        assert backend.connections == 2


def test_a_connection_nobody_waits_for_any_more_serves_the_next() -> None:
    async def use(pool: Pool) -> None:
        gone, next_one = Taker(), Taker()
        pool.acquire(gone)
        pool.cancel(gone)
        await until(lambda: pool.idle_count == 1)
        await exchange(pool, next_one)
        assert gone.got == []
        assert next_one.body == b"hello"

    with origin(hello) as backend:
        with_pool(use, backend.address)
        assert backend.connections == 1


def test_a_connection_that_never_served_anybody_does_not_stay_for_ever() -> None:
    async def use(pool: Pool) -> None:
        gone = Taker()
        pool.acquire(gone)
        pool.cancel(gone)
        await until(lambda: pool.idle_count == 1)
        await until(lambda: pool.open_count == 0)

    with origin(hello) as backend:
        with_pool(use, backend.address, PoolLimits(idle_timeout_s=0.3))


async def served_in_order(takers: list[Taker]) -> None:
    """One connection goes from one to the next."""
    for number, taker in enumerate(takers):
        await until(taker.has_connection)
        assert not any(other.got for other in takers[number + 1 :])
        taker.ask()
        await until(taker.is_answered)


def test_those_who_wait_are_served_in_order_by_one_connection() -> None:
    async def use(pool: Pool) -> None:
        takers = [Taker() for _ in range(4)]
        for taker in takers:
            pool.acquire(taker)
        late = Taker()
        pool.acquire(late)
        assert isinstance(late.faults[0], BackendBusy)
        await served_in_order(takers)

    with origin(hello) as backend:
        with_pool(use, backend.address, PoolLimits(max_connections=1, queue=3))
        assert backend.connections == 1


def test_requests_and_questions_are_served_in_turns() -> None:
    async def use(pool: Pool) -> None:
        holder, *questions = (Taker() for _ in range(4))
        pages = [Taker() for _ in range(2)]
        pool.acquire(holder)
        for taker in questions:
            pool.acquire(taker, line=Line.QUESTIONS)
        late = Taker()
        pool.acquire(late, line=Line.QUESTIONS)
        assert isinstance(late.faults[0], BackendBusy)
        for taker in pages:  # for whom there is still room
            pool.acquire(taker)
        await served_in_order([holder, pages[0], questions[0], pages[1], *questions[1:]])

    with origin(hello) as backend:
        with_pool(use, backend.address, PoolLimits(max_connections=1, queue=3))
        assert backend.connections == 1


def test_when_connecting_fails_the_next_in_line_tries() -> None:
    async def use(pool: Pool) -> None:
        takers = [Taker() for _ in range(5)]
        for taker in takers:
            pool.acquire(taker)
        await until(lambda: all(taker.faults for taker in takers))
        assert all(isinstance(taker.faults[0], ConnectFailed) for taker in takers)

    with_pool(use, f"http://127.0.0.1:{unused_port()}", PoolLimits(max_connections=1))


def test_waiting_ends_in_time() -> None:
    async def use(pool: Pool) -> None:
        holder, waiter = Taker(), Taker()
        pool.acquire(holder)
        pool.acquire(waiter)
        await until(lambda: waiter.faults)
        assert isinstance(waiter.faults[0], BackendBusy)
        holder.got[0].abort()

    with origin(hello) as backend:
        with_pool(use, backend.address, PoolLimits(max_connections=1, queue_timeout_s=0.3))


def test_an_idle_connection_that_the_backend_closes_is_dropped_at_once() -> None:
    async def use(pool: Pool) -> None:
        await exchange(pool, Taker())
        await until(lambda: pool.open_count == 0)
        assert pool.idle_count == 0

    def once(peer: Peer) -> None:
        peer.request()
        peer.send(response(b"x"))

    with origin(once) as backend:
        with_pool(use, backend.address)


def test_no_more_than_max_idle_are_kept() -> None:
    async def use(pool: Pool) -> None:
        takers = [Taker() for _ in range(5)]
        for taker in takers:
            pool.acquire(taker)
        await until(lambda: all(taker.got for taker in takers))
        for taker in takers:
            taker.ask()
        await until(lambda: all(taker.is_done for taker in takers))
        assert (pool.idle_count, pool.open_count) == (2, 2)

    with origin(hello) as backend:
        with_pool(use, backend.address, PoolLimits(max_idle=2))


class Satisfied(Taker):
    """Wants no more than the first of a body."""

    def response_data(self, pieces: list[memoryview]) -> None:
        super().response_data(pieces)
        self.got[-1].abort()


def test_who_wants_no_more_of_a_body_may_end_it_there() -> None:
    async def use(pool: Pool) -> None:
        troubles: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, it: troubles.append(it))
        taker = Satisfied()
        pool.acquire(taker)
        await until(taker.has_connection)
        taker.ask()
        await until(lambda: pool.open_count == 0)
        assert (taker.body, taker.faults, troubles) == (b"hello", [], [])

    with origin(hello) as backend:
        with_pool(use, backend.address)
