"""To which addresses a named host may lead us, however its name is resolved."""

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest
import uvloop

from fastproxy.deadlines import Deadlines
from fastproxy.errors import BadOrder, ConnectFailed, ConnectTimeout
from fastproxy.reactor import Reactor
from fastproxy.upstream import pinned
from fastproxy.upstream.origin import Origin
from fastproxy.upstream.pinned import PinnedPools, Resolve, may_connect
from fastproxy.upstream.pool import PoolLimits
from fastproxy.upstream.stream import Stream
from fastproxy.wire.scratch import Scratch
from tests.support.origin import Peer, response

NOT_PUBLIC = (
    *("127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1"),
    *("169.254.169.254", "192.0.2.1", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1"),
    *("255.255.255.255", "::", "::1", "fc00::1", "fd12::1", "fe80::1", "fe80::1%eth0", "ff02::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1"),
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


def test_a_host_at_private_addresses_alone_is_refused() -> None:
    async def main() -> None:
        pools = await with_pools(resolving(["127.0.0.1", "::1", "10.0.0.1"]))
        with pytest.raises(BadOrder):
            await pools.pool(Origin("rebound.example", 80))

    run(main())


def test_what_was_judged_is_connected_to_though_the_name_leads_elsewhere_by_then() -> None:
    def script(peer: Peer) -> None:
        while peer.request() is not None:
            peer.send(response(b"judged"))

    async def main() -> None:
        pools = await with_pools(resolving(["127.0.0.2"], ["10.9.9.9"]), ["127.0.0.2/32"])
        # The name means nothing to the system: only the judged address can have been used.
        where = Origin("rebound.invalid", port)
        stream = Stream(await pools.pool(where), "GET", b"/", where.host_header, [], 5.0)
        await stream.open()
        assert b"".join([piece async for piece in stream.pieces()]) == b"judged"
        stream.close()
        with pytest.raises(BadOrder):  # and the next answer is judged anew
            await pools.pool(where)
        pools.close()

    with socket.create_server(("127.0.0.2", 0)) as listener:
        port = listener.getsockname()[1]

        def accept() -> None:
            sock, _ = listener.accept()
            sock.settimeout(10)
            with sock:
                script(Peer(sock, 0))

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        run(main())
        thread.join(10)


def test_a_name_server_that_does_not_know_or_does_not_answer_is_told_apart() -> None:
    async def fail(host: str, port: int) -> Sequence[str]:
        raise OSError("no such name")

    async def hang(host: str, port: int) -> Sequence[str]:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async def main() -> None:
        pools = await with_pools(fail)
        with pytest.raises(ConnectFailed):
            await pools.pool(Origin("a", 80))
        pools = await with_pools(hang, connect_timeout_s=0.01)
        with pytest.raises(ConnectTimeout):
            await pools.pool(Origin("a", 80))

    run(main())


def test_pools_are_bounded_and_idle_ones_let_go() -> None:
    async def everywhere(host: str, port: int) -> Sequence[str]:
        return ["8.8.8.8"]

    async def main() -> None:
        pools = await with_pools(everywhere)
        for number in range(3 * pinned._POOLS):
            await pools.pool(Origin(f"h{number}", 80))
        assert len(pools._pools) == pinned._POOLS
        pools.close()

    run(main())
