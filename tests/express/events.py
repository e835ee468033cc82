"""What can happen to a connection, one thing after another: the words of a story."""

import asyncio
import errno
import os

from tests.express.worlds import Event, World


def client_sends(data: bytes) -> Event:
    def happen(world: World) -> None:
        if not world.client.is_lost:
            world.client.inbox += data
            world.client.pump()

    return happen


def backend_sends(data: bytes) -> Event:
    """The answer of the backend that was asked."""

    def happen(world: World) -> None:
        backend = world.asked
        if not backend.is_lost:
            backend.inbox += data
            backend.pump()

    return happen


def client_half_closes(world: World) -> None:
    if not world.client.is_lost and not world.client.inbox:
        world.connection.eof_received()


def client_resets(world: World) -> None:
    world.client.end(ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)))


def backend_half_closes(world: World) -> None:
    backend = world.asked
    if not backend.is_lost and not backend.protocol.eof_received():
        backend.close()


def backend_resets(world: World) -> None:
    world.asked.end(ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)))


def backend_is_gone(world: World) -> None:
    """Its end of the kept connection is closed, which nobody has noticed yet."""
    world.asked.far.close()


def backend_speaks_unasked(world: World) -> None:
    """On the kept connection, and nobody has read it yet."""
    world.asked.far.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen")


def client_reads(world: World) -> None:
    world.client.read_far()


def backend_reads(world: World) -> None:
    for backend in world.backends:
        backend.read_far()


def drain(world: World) -> None:
    world.context.drain()


def cut(world: World) -> None:
    for connection in list(world.context.connections):
        connection.cut()


def passes(seconds: int) -> Event:
    """Time, second by second: what is due in one tick is told in no order."""

    async def happen(world: World) -> None:
        for _ in range(seconds):
            world.deadlines.check(world.deadlines.now + 1)
            await asyncio.sleep(0)

    return happen
