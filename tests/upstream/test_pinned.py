"""To which addresses a named host may lead us, however its name is resolved."""

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest
import uvloop

from fastproxy.errors import BadOrder, ConnectFailed, ConnectTimeout
from fastproxy.loop.deadlines import Deadlines
from fastproxy.loop.reactor import Reactor
from fastproxy.upstream import pinned
from fastproxy.upstream.dial import Resolve
from fastproxy.upstream.origin import Origin
from fastproxy.upstream.pinned import PinnedPools, may_connect
from fastproxy.upstream.pool import PoolLimits
from fastproxy.upstream.stream import Question, Stream
from fastproxy.wire.scratch import Scratch
from tests.support.origin import Peer, response

NOT_PUBLIC = (
    *("127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1"),
    *("169.254.169.254", "192.0.2.1", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1"),
    *("255.255.255.255", "::", "::1", "fc00::1", "fd12::1", "fe80::1", "fe80::1%eth0", "ff02::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1"),
    *("192.0.0.9", "192.88.99.1", "::7f00:1", "64:ff9b:1::7f00:1", "fec0::1", "3fff::1"),
    *("2001:1::1", "2001:3::1", "5f00::1", "::ffff:192.88.99.1"),
    *("64:ff9b::a00:1", "2002:7f00:1::", "2002:a9fe:a9fe::", "2001:db8::1"),
)
PUBLIC = ("8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808")


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_no_address_of_our_own_is_public(address: str) -> None:
    assert not may_connect(address, ())


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert may_connect(address, ())


def test_a_configured_network_may_be_connected_to() -> None:
    networks = [ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("fd00::/8")]
    assert may_connect("10.1.2.3", networks)
    assert may_connect("::ffff:10.1.2.3", networks)
    assert may_connect("fd12::1", networks)
    assert not may_connect("10.2.0.1", networks)
    assert not may_connect("127.0.0.1", networks)


def resolving(*answers: Sequence[str]) -> Resolve:
    """A name server that gives these answers, one after another."""
    left = list(answers)

    async def resolve(host: str, port: int) -> Sequence[str]:
        return left.pop(0)

    return resolve


async def with_pools(
    resolve: Resolve, networks: Sequence[str] = (), **limits: float
) -> PinnedPools:
    loop = asyncio.get_running_loop()
    reactor = Reactor(loop, Scratch(), Deadlines(loop))
    allowed = [ipaddress.ip_network(text) for text in networks]
    return PinnedPools(reactor, PoolLimits(**limits), allowed, resolve)  # type: ignore[arg-type]


def run(main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


async def asked(pools: PinnedPools, port: int, networks: Sequence[str] | None = None) -> bytes:
    """What a host answers whose name means nothing to the system."""
    where = Origin("rebound.invalid", port)
    allowed = None if networks is None else [ipaddress.ip_network(text) for text in networks]
    question = Question("GET", b"/", where.host_header, [], 5.0)
    stream = Stream(pools.pool(where, allowed), question)
    try:
        await stream.open()
        return b"".join([piece async for piece in stream.pieces()])
    finally:
        stream.close()


def test_a_host_at_private_addresses_alone_is_refused() -> None:
    async def main() -> None:
        pools = await with_pools(resolving(["127.0.0.1", "::1", "10.0.0.1"]))
        with pytest.raises(BadOrder):
            await asked(pools, 80)

    run(main())


@contextmanager
def answering(listener: socket.socket, count: int) -> Iterator[None]:
    """So many connections, each with one answer."""

    def accept() -> None:
        for _ in range(count):
            sock, _ = listener.accept()
            sock.settimeout(10)
            with sock:
                peer = Peer(sock, 0)
                if peer.request() is not None:
                    peer.send(response(b"judged", fields=b"Connection: close\r\n"))

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield
    thread.join(10)
    assert not thread.is_alive()


def test_what_was_judged_is_connected_to_though_the_name_leads_elsewhere_by_then() -> None:
    async def main() -> None:
        pools = await with_pools(resolving(["127.0.0.2"], ["10.9.9.9"]), ["127.0.0.2/32"])
        # The name means nothing to the system: only the judged address can have been used.
        assert await asked(pools, port) == b"judged"
        with pytest.raises(BadOrder):  # and the next answer is judged anew
            await asked(pools, port)
        pools.close()

    with socket.create_server(("127.0.0.2", 0)) as listener:
        port = listener.getsockname()[1]
        with answering(listener, 1):
            run(main())


def test_of_several_addresses_those_that_were_judged_are_tried_and_no_other() -> None:
    async def main() -> None:
        found = ["127.0.0.4", "127.0.0.3", "127.0.0.2"]  # refused by us, by nobody there, by none
        pools = await with_pools(resolving(found), ["127.0.0.2/31"])
        assert await asked(pools, port) == b"judged"
        pools.close()

    with socket.create_server(("127.0.0.2", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_server(("127.0.0.4", port)) as other:
            with answering(listener, 1):
                run(main())
            other.setblocking(False)
            with pytest.raises(BlockingIOError):
                other.accept()


def test_a_kept_connection_is_only_for_who_may_go_where_it_goes() -> None:
    async def main() -> None:
        pools = await with_pools(resolving(), ["127.0.0.0/8"])
        where = Origin("rebound.invalid", 80)
        assert pools.pool(where) is pools.pool(where, [ipaddress.ip_network("127.0.0.0/8")])
        assert pools.pool(where) is not pools.pool(where, [])

    run(main())


def test_a_name_server_that_does_not_know_or_does_not_answer_is_told_apart() -> None:
    async def fail(host: str, port: int) -> Sequence[str]:
        raise OSError("no such name")

    async def hang(host: str, port: int) -> Sequence[str]:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async def main() -> None:
        pools = await with_pools(fail)
        with pytest.raises(ConnectFailed):
            await asked(pools, 80)
        pools = await with_pools(hang, connect_timeout_s=0.01)
        with pytest.raises(ConnectTimeout):
            await asked(pools, 80)

    run(main())


def test_pools_are_bounded_and_idle_ones_let_go() -> None:
    async def main() -> None:
        pools = await with_pools(resolving())
        for number in range(3 * pinned._POOLS):
            pools.pool(Origin(f"h{number}", 80))
        assert len(pools._pools) == pinned._POOLS
        pools.close()

    run(main())


def test_more_hosts_than_are_kept_may_be_busy_and_go_when_they_are_idle() -> None:
    async def main() -> None:
        pools = await with_pools(resolving())
        closed: list[int] = []
        for number in range(pinned._POOLS):
            busy = SimpleNamespace(open_count=1, idle_count=0, close=partial(closed.append, number))
            pools._pools[Origin(f"h{number}", 80), ()] = cast("Any", busy)
        pools.pool(Origin("one-more", 80))
        assert len(pools._pools) == pinned._POOLS + 1
        for pool in list(pools._pools.values())[:3]:
            cast("Any", pool).idle_count = 1
        pools.pool(Origin("and-another", 80))
        assert closed == [0, 1]
        assert len(pools._pools) == pinned._POOLS

    run(main())
