"""WebSocket tunnels: opened only when asked for and allowed, closed from either side."""

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator

import websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from tests.support.client import Client
from tests.support.harness import Proxy, proxy, to_backend
from tests.support.origin import Peer, origin
from tests.support.waiting import eventually

UPGRADE = (
    b"GET /ws/a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: x\r\n\r\n"
)


async def echo_messages(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


@contextlib.asynccontextmanager
async def websocket_server() -> AsyncIterator[str]:
    async with serve(echo_messages, "127.0.0.1", 0, max_size=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"http://127.0.0.1:{port}"


def test_a_websocket_library_talks_to_another_through_the_proxy() -> None:
    async def talk(running: Proxy) -> None:
        uri = f"ws://127.0.0.1:{running.port}/ws/echo"
        async with connect(uri, max_size=None) as client:
            for size in (0, 1, 125, 126, 65536, 3 << 20):
                message = os.urandom(size)
                await client.send(message)
                assert await client.recv() == message
            await client.send("text é")
            assert await client.recv() == "text é"

    async def main() -> None:
        async with websocket_server() as address:
            with proxy(to_backend(address)) as running:
                await asyncio.gather(*[talk(running) for _ in range(10)])
                (line, *_) = await asyncio.to_thread(running.logged, 10)
                assert (line["end"], line["status"], line["route"]) == ("upgrade", 101, "sockets")
                with running.client() as client:
                    refused = await asyncio.to_thread(client.get, "/elsewhere")
                    assert refused.status == 426

    asyncio.run(main())


def test_a_route_without_websockets_does_not_pass_the_upgrade() -> None:
    async def main() -> None:
        async with websocket_server() as address:
            with proxy(to_backend(address)) as running:
                uri = f"ws://127.0.0.1:{running.port}/other"
                try:
                    async with connect(uri):
                        raise AssertionError("opened")
                except websockets.InvalidStatus as refused:
                    assert refused.response.status_code == 426  # noqa: PT017

    asyncio.run(main())


def tunnel(client: Client) -> None:
    client.send(UPGRADE)
    reply = client.head()
    assert reply.status == 101
    assert reply.header(b"upgrade") == b"websocket"
    assert (reply.header(b"connection") or b"").lower() == b"upgrade"
    assert reply.header(b"content-length") is None
    assert reply.header(b"transfer-encoding") is None


def test_bytes_sent_with_the_heads_are_not_lost() -> None:
    def script(peer: Peer) -> None:
        peer.head()
        peer.send(SWITCH + b"first")
        assert peer.take(5) == b"early"
        peer.send(b"second")
        peer.until_eof()

    with (
        origin(script) as backend,
        proxy(to_backend(backend.address)) as running,
        running.client() as client,
    ):
        client.send(UPGRADE + b"early")
        assert client.head().status == 101
        assert client.take(11) == b"firstsecond"


def test_a_client_that_half_closes_still_hears_the_backend() -> None:
    def script(peer: Peer) -> None:
        peer.head()
        peer.send(SWITCH)
        heard = peer.until_eof()
        peer.send(b"heard " + heard)

    with origin(script) as backend, proxy(to_backend(backend.address)) as running:
        with running.client() as client:
            tunnel(client)
            client.send(b"abc")
            client.send_eof()
            assert client.until_eof() == b"heard abc"
        assert running.logged(1)[0]["end"] == "upgrade"
        eventually(lambda: running.connections() == 0, "closed")


def test_a_client_that_half_closes_before_there_is_a_tunnel_is_heard_to_its_end() -> None:
    has_closed = threading.Event()

    def script(peer: Peer) -> None:
        peer.head()
        assert has_closed.wait(20)
        peer.send(SWITCH)
        peer.send(b"heard " + peer.until_eof())

    with (
        origin(script) as backend,
        proxy(to_backend(backend.address)) as running,
        running.client() as client,
    ):
        client.send(UPGRADE + b"early")
        client.send_eof()
        assert running.get("/a#b").status == 400  # so it has been read by now
        has_closed.set()
        assert client.head().status == 101
        assert client.until_eof() == b"heard early"


def test_a_backend_that_half_closes_still_hears_the_client() -> None:
    heard: list[bytes] = []

    def script(peer: Peer) -> None:
        peer.head()
        peer.send(SWITCH + b"bye")
        peer.send_eof()
        heard.append(peer.until_eof())

    with origin(script) as backend, proxy(to_backend(backend.address)) as running:
        with running.client() as client:
            tunnel(client)
            assert client.until_eof() == b"bye"
            client.send(b"x" * 1_000_000)
            client.send_eof()
            eventually(lambda: heard, "heard")
        assert heard == [b"x" * 1_000_000]
        eventually(lambda: running.connections() == 0, "closed")
        line = running.logged(1)[0]
        assert (line["end"], line["bytes_in"], line["bytes_out"]) == ("upgrade", 1_000_000, 3)


def test_a_half_closed_tunnel_lives_while_bytes_move_and_ends_when_none_do() -> None:
    stop = threading.Event()

    def script(peer: Peer) -> None:
        peer.head()
        peer.send(SWITCH)
        peer.until_eof()
        pause = threading.Event()
        for _ in range(20):
            peer.send(b".")
            pause.wait(0.1)
        stop.wait(20)

    limits = 'send_timeout = "700ms"'
    with (
        origin(script) as backend,
        proxy(to_backend(backend.address, limits=limits)) as running,
        running.client() as client,
    ):
        tunnel(client)
        client.send_eof()
        assert client.take(20) == b"." * 20
        assert client.is_at_eof()
        eventually(lambda: running.connections() == 0, "closed")
        stop.set()


def test_a_reset_of_either_side_ends_the_other() -> None:
    go = threading.Event()

    def script(peer: Peer) -> None:
        peer.head()
        peer.send(SWITCH)
        if peer.number:
            go.wait(20)
            peer.reset()
        else:
            peer.until_eof()

    with origin(script) as backend, proxy(to_backend(backend.address)) as running:
        with running.client() as client:
            tunnel(client)
            client.reset()
        eventually(lambda: not backend.threads[0].is_alive(), "the backend is told")
        with running.client() as client:
            tunnel(client)
            go.set()
            assert client.is_at_eof()
        eventually(lambda: running.connections() == 0, "closed")
        assert [line["end"] for line in running.logged(2)] == ["client", "backend"]


def test_tunnels_hold_both_sides_back() -> None:
    size = 60 << 20
    block = os.urandom(1 << 20)
    go = threading.Event()

    def script(peer: Peer) -> None:
        peer.head()
        peer.send(SWITCH)
        for _ in range(size >> 20):
            peer.send(block)
        go.set()
        while peer.take(1 << 20) == block:
            pass

    with (
        origin(script) as backend,
        proxy(to_backend(backend.address)) as running,
        running.client() as client,
    ):
        running.metric("fastproxy_connections")
        before = running.rss()
        tunnel(client)
        pause = threading.Event()
        assert not go.wait(0.5)
        assert running.rss() - before < 8 << 20
        for _ in range(size >> 20):
            assert client.take(1 << 20) == block
        for _ in range(10):
            client.send(block)
        pause.wait(0)
        assert running.rss() - before < 8 << 20
        client.send_eof()
        assert client.is_at_eof()
        assert backend.peers[0].received.endswith(block)


def test_upgrades_with_a_body_or_to_something_else_are_not_tunnels() -> None:
    def script(peer: Peer) -> None:
        while (request := peer.request()) is not None:
            assert request.header(b"upgrade") is None
            assert request.header(b"connection") is None
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with (
        origin(script) as backend,
        proxy(to_backend(backend.address)) as running,
        running.client() as client,
    ):
        h2c = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n"
        client.send(b"GET /ws/a HTTP/1.1\r\nHost: h\r\n" + h2c)
        assert client.reply().status == 200
        client.send(UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0\r\nConnection: keep-alive"))
        assert client.reply().status == 200
        client.send(UPGRADE[:-2] + b"Content-Length: 3\r\n\r\nabc")
        assert client.reply().status == 400


def test_a_refused_upgrade_is_an_ordinary_answer_and_the_connection_stays() -> None:
    def script(peer: Peer) -> None:
        while peer.request() is not None:
            peer.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")

    with (
        origin(script) as backend,
        proxy(to_backend(backend.address)) as running,
        running.client() as client,
    ):
        for _ in range(2):
            client.send(UPGRADE)
            reply = client.reply()
            assert (reply.status, reply.body) == (403, b"no")
        assert backend.connections == 1
