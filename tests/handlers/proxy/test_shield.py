"""What a shielded request that ends early still holds: nothing, and at once."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from fastproxy.config.schema import Memory, Size
from fastproxy.errors import ClientGone
from fastproxy.handlers.proxy.proxy_pass import Target
from fastproxy.handlers.proxy.shield import Shield, ShieldSettings
from fastproxy.loop.deadlines import Deadlines
from fastproxy.loop.reactor import Reactor
from fastproxy.memory.arena import Arena
from fastproxy.message import ResponseHead
from fastproxy.upstream.origin import parse_origin
from fastproxy.upstream.pool import Pool, PoolLimits
from fastproxy.wire.scratch import Scratch
from tests.handlers.memory_client import MemoryClient, exchange_of
from tests.support.collector import no_collections
from tests.support.waiting import until

MIB = 1 << 20


class Shielded:
    """A shielded request in this process, before a backend that accepts and reads nothing."""

    def __init__(self, deaf: socket.socket, settings: ShieldSettings) -> None:
        address = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        loop = asyncio.get_running_loop()
        reactor = Reactor(loop, Scratch(), Deadlines(loop))
        self.client = MemoryClient()
        self.arena = Arena(Memory(budget=Size(16 * MIB), spill_budget=Size(0)))
        self.pool = Pool(parse_origin(address), PoolLimits(), reactor)
        target = Target("b", self.pool, 60, 60)
        exchange = exchange_of(self.client, method=b"PUT", length=8 * MIB)
        self.shield = Shield(exchange, target, self.arena, settings)

    async def leave(self) -> None:
        """The client leaves; all memory is back, although nothing is collected."""
        assert self.arena.stats.slabs_used
        with no_collections():
            self.shield.client_failed(ClientGone("reset"))
            await until(lambda: not self.arena.stats.slabs_used, within=3)
        await self.close()

    async def close(self) -> None:
        self.pool.close()
        await self.arena.close()


def run(main: Callable[[socket.socket], Awaitable[None]]) -> None:
    async def bounded(deaf: socket.socket) -> None:
        deaf.setblocking(False)
        async with asyncio.timeout(20):
            await main(deaf)

    with (
        socket.create_server(("127.0.0.1", 0)) as deaf,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(bounded(deaf))


def test_a_request_whose_client_left_gives_its_memory_back_at_once() -> None:
    async def main(deaf: socket.socket) -> None:
        shielded = Shielded(deaf, ShieldSettings(request=True, response=False))
        shield = shielded.shield
        shield.start()
        shield.body_data([memoryview(bytes(8 * MIB))])
        shield.body_end()
        loop = asyncio.get_running_loop()
        peer, _ = await loop.sock_accept(deaf)
        with peer:
            while b"\0" not in await loop.sock_recv(peer, MIB):
                pass
            await until(lambda: not shield._gate.is_open)
            await shielded.leave()

    run(main)


@pytest.mark.parametrize("is_being_sent", [False, True])
def test_an_answer_whose_client_left_gives_its_memory_back_at_once(is_being_sent: bool) -> None:
    async def main(deaf: socket.socket) -> None:
        shielded = Shielded(deaf, ShieldSettings(request=False, response=True))
        shield, client = shielded.shield, shielded.client
        answer = shield._answer
        assert answer is not None
        answer.respond(ResponseHead(200, b"OK", []))
        shield.client_blocked()
        answer.write([bytes(4 * MIB)])
        if is_being_sent:
            client.written = b""
            client.on_write = shield.client_blocked
            shield.client_writable()
            await until(lambda: client.written)
        await shielded.leave()

    run(main)


def test_an_empty_body_is_forwarded_and_leaves_nothing_behind() -> None:
    async def main(deaf: socket.socket) -> None:
        shielded = Shielded(deaf, ShieldSettings(request=True, response=False))
        shielded.shield.start()
        shielded.shield.body_end()
        loop = asyncio.get_running_loop()
        peer, _ = await loop.sock_accept(deaf)
        with peer:
            assert await loop.sock_recv(peer, MIB)
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await until(lambda: shielded.client.status == 200)
            await until(lambda: not shielded.arena.stats.uploads, within=3)
        await shielded.close()

    run(main)


@pytest.mark.parametrize("is_answered", [False, True])
def test_a_backend_that_takes_no_whole_body_costs_no_memory(is_answered: bool) -> None:
    async def main(deaf: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        shielded = Shielded(deaf, ShieldSettings(request=True, response=False))
        shield = shielded.shield
        shield.start()
        shield.body_data([memoryview(bytes(8 * MIB))])
        shield.body_end()
        peer, _ = await loop.sock_accept(deaf)
        with peer:
            while b"\0" not in await loop.sock_recv(peer, MIB):
                pass
            await until(lambda: not shield._gate.is_open)
            if is_answered:
                peer.sendall(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await until(lambda: shielded.client.status == (413 if is_answered else 502))
        await until(lambda: not shielded.arena.stats.uploads, within=3)
        await shielded.close()

    run(main)


def test_a_backend_that_is_not_there_costs_no_memory() -> None:
    async def main(deaf: socket.socket) -> None:
        shielded = Shielded(deaf, ShieldSettings(request=True, response=False))
        shielded.shield.start()
        shielded.shield.body_data([memoryview(bytes(8 * MIB))])
        deaf.close()
        shielded.shield.body_end()
        await until(lambda: shielded.client.status == 502)
        await until(lambda: not shielded.arena.stats.uploads, within=3)
        await shielded.close()

    run(main)
