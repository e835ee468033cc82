"""Reading past the transports, on uvloop and real sockets: nothing lost, nothing twice."""

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
import uvloop

from fastproxy.loop.readiness import Descriptor, Reader, Readiness
from tests.support.waiting import until

ROOM = 64


class Listener(Reader, asyncio.BufferedProtocol):  # type: ignore[misc]  # as in front/server.py
    """Notes what it reads, and does `then` with it."""

    is_over = False

    def __init__(self) -> None:
        super().__init__()
        self.memory = bytearray(ROOM)
        self.read = bytearray()
        self.reads: list[int] = []
        self.has_eof = False
        self.is_lost = False
        self.error: Exception | None = None
        self.then: Callable[[], None] = lambda: None
        self.asked: Callable[[], None] = lambda: None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        fd = transport.get_extra_info("socket").fileno()
        self.descriptor = Descriptor(transport, fd)

    def get_buffer(self, sizehint: int) -> memoryview:
        self.asked()
        return memoryview(self.memory)

    def buffer_updated(self, nbytes: int) -> None:
        self.reads.append(nbytes)
        self.read += self.memory[:nbytes]
        self.then()

    def eof_received(self) -> bool:
        self.has_eof = True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        self.error = exc
        self.descriptor.forget()


class Site:
    """A worker's readiness and connections to it, whose far ends the test holds."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.readiness = Readiness()
        self.readiness.start(self.loop)
        self.bulk = Readiness(self.readiness, at_once=2)
        self.bulk.start(self.loop)
        self.far: list[socket.socket] = []
        self.near: list[Listener] = []
        self.faults: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda loop, context: self.faults.append(context))

    async def connect(
        self, *, take: bool = True, bulk: bool = False
    ) -> tuple[Listener, socket.socket]:
        with socket.create_server(("127.0.0.1", 0)) as server:
            far = socket.create_connection(server.getsockname())
            near, _ = server.accept()
        self.far.append(far)
        near.setblocking(False)
        _, listener = await self.loop.create_connection(Listener, sock=near)
        self.near.append(listener)
        if take:
            readiness = self.bulk if bulk else self.readiness
            assert readiness.take(listener.descriptor, listener)
        return listener, far

    async def close(self) -> None:
        for listener in self.near:
            listener.transport.abort()
        await until(lambda: all(listener.is_lost for listener in self.near))
        self.bulk.stop()
        self.readiness.stop()
        for far in self.far:
            far.close()


def story(play: Callable[[Site], Awaitable[None]]) -> Callable[[], None]:
    """A test on uvloop that ends with everything closed and no fault unseen."""

    def test() -> None:
        async def run() -> None:
            site = Site()
            try:
                async with asyncio.timeout(10):
                    await play(site)
            finally:
                await site.close()
            assert not site.faults

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run())

    test.__name__ = play.__name__
    return test


async def read(listener: Listener, size: int) -> None:
    await until(lambda: len(listener.read) >= size)


@story
async def test_what_comes_is_read_while_the_transport_does_not_read(site: Site) -> None:
    listener, far = await site.connect()
    assert not listener.transport.is_reading()
    for word in (b"one", b"two", b"three"):
        far.sendall(word)
        await until(lambda word=word: listener.read.endswith(word))
    assert listener.read == b"onetwothree"
    assert not listener.transport.is_reading()


@story
async def test_what_came_before_it_was_taken_is_read(site: Site) -> None:
    listener, far = await site.connect(take=False)
    listener.transport.pause_reading()
    far.sendall(b"early")
    listener.transport.resume_reading()
    assert site.readiness.take(listener.descriptor, listener)
    await read(listener, 5)
    assert listener.read == b"early"


@pytest.mark.parametrize("count", [63, 64, 65, 200])
def test_nobody_is_forgotten_however_many_are_due_at_once(count: int) -> None:
    @story
    async def play(site: Site) -> None:
        pairs = [await site.connect() for _ in range(count)]
        for _, far in pairs:
            far.sendall(b"here")
        await until(lambda: all(listener.read == b"here" for listener, _ in pairs))

    play()


@story
async def test_who_has_spoken_is_not_silent_also_in_the_middle_of_work(site: Site) -> None:
    working, far = await site.connect()
    other, far_other = await site.connect()
    seen = []

    def work() -> None:
        seen.append(other.descriptor.is_silent())
        far_other.sendall(b"unasked")
        seen.append(other.descriptor.is_silent())

    working.then = work
    far.sendall(b"go")
    await read(other, 7)
    assert seen == [True, False]
    assert other.descriptor.is_silent()


@story
async def test_what_came_before_a_look_after_the_mark_is_not_later(site: Site) -> None:
    working, far = await site.connect()
    other, far_other = await site.connect()
    seen = []

    def work() -> None:
        other.descriptor.mark()
        far_other.sendall(b"at once")

    working.then = work
    other.then = lambda: seen.append(other.descriptor.is_later())
    far.sendall(b"go")
    await read(other, 7)
    working.then = other.descriptor.mark
    far.sendall(b"go")
    await read(working, 4)
    far_other.sendall(b" later")
    await read(other, 13)
    assert seen == [False, True]


@pytest.mark.parametrize(
    "size", [1, ROOM - 1, ROOM, ROOM + 1, 15 * ROOM, 16 * ROOM, 100 * ROOM + 7]
)
def test_bytes_keep_their_order_however_many_come_at_once(size: int) -> None:
    sent = os.urandom(size)

    @story
    async def play(site: Site) -> None:
        listener, far = await site.connect()
        far.sendall(sent)
        await read(listener, size)
        assert listener.read == sent
        far.sendall(b"more")
        await read(listener, size + 4)
        assert listener.read == sent + b"more"

    play()


@story
async def test_who_brings_more_than_sixteen_buffers_is_left_to_the_transport(site: Site) -> None:
    listener, far = await site.connect()
    far.sendall(bytes(17 * ROOM))
    await read(listener, 17 * ROOM)
    assert listener.transport.is_reading()
    assert site.readiness.take(listener.descriptor, listener)
    assert not listener.transport.is_reading()


@story
async def test_an_end_is_met_by_the_transport(site: Site) -> None:
    listener, far = await site.connect()
    far.sendall(b"last words")
    far.shutdown(socket.SHUT_WR)
    await until(lambda: listener.is_lost)
    assert listener.read == b"last words"
    assert listener.has_eof
    assert listener.error is None


@story
async def test_a_reset_is_met_by_the_transport(site: Site) -> None:
    listener, far = await site.connect()
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    far.close()
    await until(lambda: listener.is_lost)
    assert isinstance(listener.error, ConnectionResetError)


@story
async def test_a_paused_connection_is_read_by_neither(site: Site) -> None:
    listener, far = await site.connect()
    other, far_of_other = await site.connect()
    listener.then = listener.descriptor.pause
    far.sendall(b"1")
    await read(listener, 1)
    far.sendall(b"2")
    far_of_other.sendall(b"x")
    await read(other, 1)
    await asyncio.sleep(0)
    assert listener.read == b"1"
    listener.then = lambda: None
    listener.descriptor.resume()
    await read(listener, 2)
    assert listener.read == b"12"


@story
async def test_a_protocol_may_pause_while_it_is_asked_for_memory(site: Site) -> None:
    listener, far = await site.connect()
    asked: list[bool] = []
    listener.asked = lambda: (asked.append(True), listener.descriptor.pause())  # type: ignore[assignment]
    far.sendall(b"kept")
    await until(lambda: asked)
    assert not listener.read
    listener.asked = lambda: None
    listener.descriptor.resume()
    await read(listener, 4)
    assert listener.read == b"kept"


@story
async def test_resuming_what_is_read_here_does_not_wake_the_transport(site: Site) -> None:
    listener, far = await site.connect()
    listener.descriptor.resume()
    assert not listener.transport.is_reading()
    far.sendall(b"once")
    await read(listener, 4)
    assert listener.read == b"once"


@story
async def test_who_is_ended_by_an_event_before_its_own_is_not_read_any_more(site: Site) -> None:
    """Both are ready at once; whichever comes first ends the other, and takes its number."""
    pair = [await site.connect(), await site.connect()]
    opened: list[int] = []

    def end(listener: Listener) -> None:
        listener.descriptor.leave()
        listener.transport.abort()
        opened.append(os.open("/dev/zero", os.O_RDONLY))

    (one, far_of_one), (two, far_of_two) = pair
    one.then, two.then = (lambda: end(two)), (lambda: end(one))
    far_of_one.sendall(b"1")
    far_of_two.sendall(b"2")
    await until(lambda: one.is_lost or two.is_lost)
    assert len(one.read) + len(two.read) == 1
    for fd in opened:
        os.close(fd)


@story
async def test_a_number_that_is_used_again_belongs_to_the_new_connection(site: Site) -> None:
    old, _ = await site.connect()
    new, far = await site.connect(take=False)
    number = old.transport.get_extra_info("socket").fileno()
    os.dup2(new.transport.get_extra_info("socket").fileno(), number)
    again = Descriptor(new.transport, number)
    assert site.readiness.take(again, new)
    old.descriptor.forget()
    far.sendall(b"new")
    await read(new, 3)
    assert not new.transport.is_reading()
    assert not old.read
    again.forget()


def test_a_protocol_that_fails_loses_its_connection_and_no_other() -> None:
    async def run() -> None:
        site = Site()
        listener, far = await site.connect()
        other, far_of_other = await site.connect()

        def fail() -> None:
            raise LookupError("of the protocol")

        listener.then = fail
        far.sendall(b"x")
        await until(lambda: listener.is_lost)
        far_of_other.sendall(b"y")
        await read(other, 1)
        (fault,) = site.faults
        assert isinstance(fault["exception"], LookupError)
        await site.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


@story
async def test_tls_is_left_to_its_transport(site: Site) -> None:
    listener, _ = await site.connect(take=False)
    assert not site.readiness.take(Descriptor(listener.transport, -1), listener)
    assert listener.transport.is_reading()


@story
async def test_before_its_start_and_after_its_end_nothing_is_taken(site: Site) -> None:
    listener, far = await site.connect(take=False)
    assert not Readiness().take(listener.descriptor, listener)
    site.readiness.stop()
    assert not site.readiness.take(listener.descriptor, listener)
    far.sendall(b"by the transport")
    await read(listener, 16)


@story
async def test_only_so_many_are_read_before_the_loop_has_its_turn(site: Site) -> None:
    pairs = [await site.connect(bulk=True) for _ in range(7)]
    order: list[str] = []
    for listener, _ in pairs:
        listener.then = lambda: (order.append("read"), site.loop.call_soon(order.append, "turn"))  # type: ignore[assignment]
    for _, far in pairs:
        far.sendall(b"here")
    await until(lambda: order.count("turn") == 7)
    assert all(listener.read == b"here" for listener, _ in pairs)
    in_turns = "".join(word[0] for word in order).split("t")
    assert max(map(len, in_turns)) == 2


@story
async def test_urgent_ones_are_read_between_any_two_others(site: Site) -> None:
    """What comes for them while another is at work."""
    urgent, far_of_urgent = await site.connect()
    pairs = [await site.connect(bulk=True) for _ in range(5)]
    order: list[str] = []
    urgent.then = lambda: order.append("urgent")
    for listener, _ in pairs:
        listener.then = lambda: (order.append("bulk"), far_of_urgent.sendall(b"!"))  # type: ignore[assignment]
    for _, far in pairs:
        far.sendall(b"here")
    await until(lambda: len(order) == 10)
    assert order == ["bulk", "urgent"] * 5


@story
async def test_a_connection_moves_from_one_set_to_another(site: Site) -> None:
    listener, far = await site.connect(bulk=True)
    far.sendall(b"one")
    await read(listener, 3)
    assert site.readiness.take(listener.descriptor, listener)
    site.bulk.stop()
    far.sendall(b"two")
    await read(listener, 6)
    assert listener.read == b"onetwo"
    assert not listener.transport.is_reading()


@story
async def test_who_cannot_move_to_another_set_is_read_by_its_transport(site: Site) -> None:
    listener, far = await site.connect(bulk=True)
    assert not Readiness().take(listener.descriptor, listener)
    assert listener.transport.is_reading()
    far.sendall(b"not lost")
    await read(listener, 8)
    assert listener.read == b"not lost"


@story
async def test_who_is_closing_is_not_taken(site: Site) -> None:
    """Its number may be that of another connection, whose bytes it would get."""
    listener, _ = await site.connect(take=False)
    listener.transport.abort()  # of which its protocol has not heard yet
    assert not site.readiness.take(listener.descriptor, listener)
    assert not listener.descriptor.is_taken


@story
async def test_the_urgent_ones_may_have_ended_before(site: Site) -> None:
    listener, far = await site.connect(bulk=True)
    site.readiness.stop()
    far.sendall(b"on its own")
    await read(listener, 10)
    assert listener.read == b"on its own"


@pytest.mark.parametrize("count", [-1, 0, 65])
def test_a_turn_has_room_for_one_to_sixty_four(count: int) -> None:
    with pytest.raises(ValueError, match="at once"):
        Readiness(at_once=count)
