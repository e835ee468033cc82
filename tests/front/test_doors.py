"""Workers that accept from the same socket share its clients, and nobody waits for a worker."""

import asyncio
import contextlib
import itertools
import math
import os
import resource
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from unittest.mock import patch

import pytest
import uvloop

from fastproxy.front.client_counts import ClientCounts, Seat
from fastproxy.front.doors import Doors
from tests.support.waiting import until

TOLERATED = 4


class Worker:
    """Doors and whom they let in."""

    def __init__(self, seat: Seat) -> None:
        self.seat = seat
        self.clients: list[asyncio.BaseTransport] = []
        self.doors = Doors(lambda _: Client(self), seat)

    async def open(self, listeners: Sequence[socket.socket]) -> None:
        await self.doors.open([listener.dup() for listener in listeners], 4096)

    def close(self) -> None:
        self.doors.shut()
        for client in self.clients:
            client.close()


class Client(asyncio.Protocol):
    """One that says nothing."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._worker.clients.append(transport)
        self._worker.seat.came()
        self._worker.doors.step_back()


class Place:
    """Listening sockets that two workers share."""

    def __init__(self, listeners: Sequence[socket.socket]) -> None:
        self.listeners = listeners
        client_counts = ClientCounts(2)
        self.one, self.other = Worker(client_counts.seat(0)), Worker(client_counts.seat(1))
        self._socks: list[socket.socket] = []

    def connect(self, count: int) -> None:
        for listener in itertools.islice(itertools.cycle(self.listeners), count):
            sock = socket.socket(listener.family)
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
            self._socks.append(sock)

    async def one_is_ahead(self) -> None:
        """The first worker has taken clients until it was ahead of the other, which has none."""
        await self.one.open(self.listeners)
        self.other.seat.take()
        self.connect(TOLERATED + 1)
        await until(lambda: len(self.one.clients) == TOLERATED + 1)

    def close(self) -> None:
        self.one.close()
        self.other.close()
        for sock in self._socks:
            sock.close()


@contextlib.contextmanager
def listening(family: socket.AddressFamily, path: str) -> Iterator[socket.socket]:
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.bind(path if family == socket.AF_UNIX else ("127.0.0.1", 0))
        listener.listen(4096)
        listener.setblocking(False)
        yield listener


Family = socket.AddressFamily


def at_a_place(use: Callable[[Place], Awaitable[None]], families: Sequence[Family]) -> None:
    async def main(listeners: Sequence[socket.socket]) -> None:
        troubles: list[object] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: troubles.append(context)
        )
        place = Place(listeners)
        try:
            await use(place)
        finally:
            place.close()
            await asyncio.sleep(0.01)
        assert troubles == []

    path = f"\0fastproxy-test-doors-{os.getpid()}"
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(listening(family, path)) for family in families]
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        runner.run(main(listeners))


listening_on = pytest.mark.parametrize(
    "families",
    [[socket.AF_INET], [socket.AF_UNIX], [socket.AF_INET, socket.AF_UNIX]],
    ids=["tcp", "unix", "both"],
)


@listening_on
def test_who_is_ahead_leaves_clients_to_the_other(families: Sequence[Family]) -> None:
    async def use(place: Place) -> None:
        await place.one_is_ahead()
        await place.other.open(place.listeners)
        place.connect(3)
        await until(lambda: len(place.other.clients) == 3)
        assert len(place.one.clients) == TOLERATED + 1

    at_a_place(use, families)


@listening_on
@patch("fastproxy.front.doors._LONG_S", 0.0)
def test_several_are_let_in_a_turn(families: Sequence[Family]) -> None:
    async def use(place: Place) -> None:
        place.connect(64)
        await place.one.open(place.listeners)
        turns = 0
        while len(place.one.clients) < 64:
            turns += 1
            await asyncio.sleep(0)
        assert turns <= 32

    at_a_place(use, families)


@listening_on
@patch("fastproxy.front.doors._LONG_S", 0.0)
def test_whoever_was_let_in_is_in_when_all_has_settled(families: Sequence[Family]) -> None:
    async def use(place: Place) -> None:
        place.connect(12)
        await place.one.open(place.listeners)
        while not place.one.doors._entering:  # noqa: ASYNC110 -- turn by turn
            await asyncio.sleep(0)
        coming = len(place.one.clients) + len(place.one.doors._entering)
        place.one.doors.shut()
        await place.one.doors.settled()
        let_in = len(place.one.clients)
        assert let_in > coming  # the loop's own, too
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(place.one.clients) == let_in

    at_a_place(use, families)


@listening_on
def test_while_turns_are_short_the_loop_alone_lets_in(families: Sequence[Family]) -> None:
    async def use(place: Place) -> None:
        with (
            patch("fastproxy.front.doors._LONG_S", math.inf),
            patch.object(place.one.doors, "_let_in_more") as more,
        ):
            place.connect(64)
            await place.one.open(place.listeners)
            await until(lambda: len(place.one.clients) == 64)
        more.assert_not_called()

    at_a_place(use, families)


@listening_on
def test_a_crowd_that_comes_at_once_is_shared(families: Sequence[Family]) -> None:
    async def use(place: Place) -> None:
        await place.one.open(place.listeners)
        await place.other.open(place.listeners)
        place.connect(64)
        await until(lambda: len(place.one.clients) + len(place.other.clients) == 64)
        assert abs(len(place.one.clients) - len(place.other.clients)) <= 2 * TOLERATED

    at_a_place(use, families)


@listening_on
def test_who_has_fewer_again_takes_his_share(families: Sequence[Family]) -> None:
    async def use(place: Place) -> None:
        await place.one_is_ahead()
        for _ in range(TOLERATED + 1):
            place.other.seat.came()
        place.connect(3)
        await until(lambda: len(place.one.clients) == TOLERATED + 4)

    at_a_place(use, families)


@listening_on
def test_nobody_waits_for_a_worker_that_is_stuck(families: Sequence[Family]) -> None:
    async def use(place: Place) -> None:
        await place.one_is_ahead()
        place.connect(40)
        await until(lambda: len(place.one.clients) == TOLERATED + 41)

    at_a_place(use, families)


@listening_on
def test_the_longer_others_are_stuck_the_more_are_let_in_at_once(
    families: Sequence[Family],
) -> None:
    async def use(place: Place) -> None:
        await place.one_is_ahead()
        with patch.object(place.one.doors, "_reopen", wraps=place.one.doors._reopen) as reopened:
            place.connect(100)
            await until(lambda: len(place.one.clients) == TOLERATED + 101)
        assert reopened.call_count == 5  # for 4, 8, 16, 32 and 64

    at_a_place(use, families)


@listening_on
def test_who_waits_opens_as_soon_as_nobody_has_fewer(families: Sequence[Family]) -> None:
    async def use(place: Place) -> None:
        await place.one_is_ahead()
        place.connect(8)
        await until(lambda: place.one.doors._timer is not None)
        with patch("fastproxy.front.doors._LOOKS", math.inf):
            for _ in range(TOLERATED + 9):
                place.other.seat.came()
            await until(lambda: len(place.one.clients) == TOLERATED + 9)

    at_a_place(use, families)


@listening_on
def test_who_is_alone_again_has_his_doors_open(families: Sequence[Family]) -> None:
    async def use(place: Place) -> None:
        await place.one_is_ahead()
        place.other.seat.leave()
        with patch.object(place.one.doors, "_wait", wraps=place.one.doors._wait) as waited:
            place.connect(100)
            await until(lambda: len(place.one.clients) == TOLERATED + 101)
        waited.assert_not_called()

    at_a_place(use, families)


@listening_on
@pytest.mark.parametrize("moment", ["_hear", "_wait", "_reopen"])
def test_the_end_may_come_at_any_moment(families: Sequence[Family], moment: str) -> None:
    async def use(place: Place) -> None:
        await place.one_is_ahead()
        doors = place.one.doors
        doors._stop_hearing()
        getattr(doors, moment)()
        doors.shut()
        assert doors._timer is None or doors._timer.cancelled()
        await asyncio.sleep(0)
        assert doors._opening is None or doors._opening.cancelled()
        place.connect(1)
        await place.other.open(place.listeners)
        await until(lambda: len(place.other.clients) == 1)
        assert len(place.one.clients) == TOLERATED + 1

    at_a_place(use, families)


@listening_on
def test_without_a_free_descriptor_it_tries_again(families: Sequence[Family]) -> None:
    async def use(place: Place) -> None:
        await place.one_is_ahead()
        place.connect(1)
        with no_free_descriptor():
            with patch.object(place.one.doors, "_wait", wraps=place.one.doors._wait) as waited:
                await until(lambda: waited.call_count >= 12)
            assert len(place.one.clients) == TOLERATED + 1
        await until(lambda: len(place.one.clients) == TOLERATED + 2)

    at_a_place(use, families)


@contextlib.contextmanager
def no_free_descriptor() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
