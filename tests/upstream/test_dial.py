"""A name with several addresses, of which some are dead: the others are connected to."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import trustme
import uvloop

from fastproxy.errors import BadCertificate, ConnectFailed
from fastproxy.loop.deadlines import Deadlines
from fastproxy.loop.reactor import Reactor
from fastproxy.upstream import dial
from fastproxy.upstream.connection import UpstreamConnection
from fastproxy.upstream.origin import Origin
from fastproxy.upstream.pool import Pool, PoolLimits
from fastproxy.wire.scratch import Scratch
from tests.support.descriptors import descriptors
from tests.support.waiting import until

PATIENCE_S = 20.0


class Taker:
    """Who waits for one connection."""

    def __init__(self) -> None:
        self.taken: asyncio.Future[UpstreamConnection] = asyncio.Future()

    def connected(self, connection: UpstreamConnection) -> None:
        self.taken.set_result(connection)

    def connect_failed(self, fault: Exception) -> None:
        if not self.taken.done():
            self.taken.set_exception(fault)


async def connected(addresses: Sequence[str], port: int, tls: ssl.SSLContext | None = None) -> str:
    """The address that a pool gets to, whose name leads to `addresses`."""

    async def resolve(host: str, port: int) -> Sequence[str]:
        return addresses

    loop = asyncio.get_running_loop()
    reactor = Reactor(loop, Scratch(), Deadlines(loop))
    origin, limits = Origin("several.invalid", port, tls is not None), PoolLimits(PATIENCE_S)
    pool, taker = Pool(origin, limits, reactor, tls, resolver=resolve), Taker()
    pool.acquire(taker)
    try:
        connection = await taker.taken
        connection.abort()
        await until(lambda: not pool.open_count)
    finally:
        pool.close()


def run(main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


@contextmanager
def listening(*addresses: str, backlog: int = 8) -> Iterator[tuple[int, list[socket.socket]]]:
    """Listeners at `addresses`, all on one port."""
    with ExitStack() as stack:
        made: list[socket.socket] = []
        for address in addresses:
            port = made[0].getsockname()[1] if made else 0
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            listener = socket.create_server((address, port), family=family, backlog=backlog)
            made.append(stack.enter_context(listener))
        yield made[0].getsockname()[1], made


@contextmanager
def deaf(address: str, port: int) -> Iterator[None]:
    """A listener whose queue is full, so that the kernel drops who comes."""
    with ExitStack() as stack:
        stack.enter_context(socket.create_server((address, port), backlog=0))
        for _ in range(8):
            caller = stack.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex((address, port))
        yield


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.2"],
        ["127.0.0.1", "127.0.0.2"],
        ["127.0.0.1", "127.0.0.3", "127.0.0.2"],
        ["::1", "127.0.0.2"],
        ["127.0.0.1", "127.0.0.3", "::1", "127.0.0.2"],
    ],
    ids=" ".join,
)
def test_the_next_address_is_tried_when_one_refuses(addresses: list[str]) -> None:
    with listening("127.0.0.2") as (port, _):
        run(connected(addresses, port))


def test_the_next_address_is_tried_when_one_is_silent() -> None:
    with listening("127.0.0.2") as (port, _), deaf("127.0.0.1", port):
        run(connected(["127.0.0.1", "127.0.0.2"], port))


def test_the_other_family_is_tried_before_more_of_the_same() -> None:
    """Each silent one costs a moment: a family without a way out must not cost all of them."""
    tried: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def note(sock: socket.socket, address: tuple[str, int]) -> None:
            tried.append(address[0])
            raise OSError("refused")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(asyncio, "get_running_loop", lambda: Noting(loop, note))
            with pytest.raises(OSError, match="refused"):
                await dial.connect(asyncio.Protocol, ["::1", "::2", "10.0.0.1"], 80, None, "")

    run(main())
    assert tried == ["::1", "10.0.0.1", "::2"]


class Noting:
    """A loop, but for its connecting."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock_connect: Callable[..., Any]) -> None:
        self._loop = loop
        self.sock_connect = sock_connect

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


def test_when_none_answers_each_is_told() -> None:
    with listening("127.0.0.2") as (port, [listener]):
        listener.close()
        with pytest.raises(ConnectFailed) as told:
            run(connected(["127.0.0.1", "127.0.0.2"], port))
    assert "127.0.0.1" in told.value.detail
    assert "127.0.0.2" in told.value.detail


def test_a_wrong_certificate_is_told_and_no_other_address_is_tried() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("other.invalid").configure_cert(context)

    async def main(port: int, listener: socket.socket) -> None:
        server = await asyncio.start_server(lambda *_: None, sock=listener, ssl=context)
        async with server:
            with pytest.raises(BadCertificate):
                await connected(["127.0.0.1", "127.0.0.2"], port, ssl.create_default_context())

    with listening("127.0.0.1", "127.0.0.2") as (port, [first, second]):
        run(main(port, first))
        second.setblocking(False)
        with pytest.raises(BlockingIOError):
            second.accept()


def sockets() -> set[tuple[str, str]]:
    """Without what uvloop opens by the way."""
    return {one for one in descriptors() if one[1].startswith("socket:")}


@pytest.mark.parametrize("tls", [None, ssl.create_default_context()], ids=["plain", "tls"])
def test_who_is_cancelled_closes_his_descriptor_and_no_other(tls: ssl.SSLContext | None) -> None:
    async def main(port: int) -> None:
        loop = asyncio.get_running_loop()
        taken: list[socket.socket] = []

        async def create_connection(*args: Any, sock: socket.socket, **options: Any) -> Any:
            taken.append(sock)
            task = asyncio.current_task()
            assert task is not None
            task.cancel()  # it is noticed when uvloop has the descriptor, and waits
            return await loop.create_connection(*args, sock=sock, **options)

        cancelling = Noting(loop, loop.sock_connect)
        cancelling.create_connection = create_connection  # type: ignore[attr-defined]
        before = sockets()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(asyncio, "get_running_loop", lambda: cancelling)
            dialing = loop.create_task(
                dial.connect(asyncio.Protocol, ["127.0.0.2", "127.0.0.1"], port, tls, "a.invalid")
            )
            await asyncio.wait([dialing])
        assert dialing.cancelled()
        [sock] = taken
        assert sock.fileno() == -1  # else it would close whoever has the number next
        await asyncio.sleep(0)
        assert sockets() <= before

    with listening("127.0.0.2") as (port, _):
        run(main(port))


def test_a_link_local_address_keeps_its_interface() -> None:
    assert dial._written(("fe80::1", 80, 0, 2)) == "fe80::1%2"
    assert dial._written(("2001:db8::1", 80, 0, 0)) == "2001:db8::1"
    assert dial._written(("127.0.0.1", 80)) == "127.0.0.1"


def test_an_address_is_resolved_to_itself() -> None:
    async def main() -> None:
        for address in ("127.0.0.1", "::1", "fe80::1%eth9"):
            assert await dial.resolve(address, 80) == [address]
        for name in ("localhost", "127.1"):  # the latter is as good as a name: the system reads it
            assert {"127.0.0.1", "::1"} >= set(await dial.resolve(name, 80)) > set()

    run(main())
