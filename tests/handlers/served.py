"""Handlers behind real sockets: the front of a worker on a loop in a thread, without routes."""

import asyncio
import logging
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Self

import h11
import uvloop

from fastproxy.config.schema import Limits
from fastproxy.errors import Bug, FastproxyError
from fastproxy.exchange import Exchange
from fastproxy.front.context import FrontContext
from fastproxy.front.server import FrontServer
from fastproxy.handlers.coroutine import Tasks
from fastproxy.loop.deadlines import Deadlines
from fastproxy.loop.reactor import Reactor
from fastproxy.routes import normalise_path
from fastproxy.wire.head import RequestHeadParser
from fastproxy.wire.scratch import Scratch

DEADLINE_S = 10.0
log = logging.getLogger("fastproxy")

Serve = Callable[[Exchange], None]


@dataclass
class Running:
    """A front whose requests all go to one handler."""

    port: int
    loop: asyncio.AbstractEventLoop
    tasks: Tasks
    context: FrontContext | None = None
    reports: list[Exchange] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def report(self, exchange: Exchange) -> None:
        with self.changed:
            self.reports.append(exchange)
            self.changed.notify_all()

    def reported(self, count: int = 1) -> list[Exchange]:
        """The finished exchanges, once there are `count`."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.reports) >= count, DEADLINE_S)
            return self.reports

    def call(self, coroutine):
        """Run a coroutine on the loop and give its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(DEADLINE_S)

    def unsent_bytes(self) -> int:
        """What lies in the write buffers of all connections. Call it on the loop."""
        assert self.context is not None
        return sum(connection._link.unsent for connection in self.context.connections)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), DEADLINE_S)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def _serving(serve: Serve) -> Serve:
    def routed(exchange: Exchange) -> None:
        try:
            exchange.path = normalise_path(exchange.head.target).path
            serve(exchange)
        except FastproxyError as fault:
            exchange.fail(fault)
        except Exception:
            log.exception("bug in a handler")
            exchange.fail(Bug())

    return routed


@contextmanager
def served(
    make: Callable[[Tasks], Serve], *, limits: Limits | None = None, trusted: str = ""
) -> Iterator[Running]:
    """Serve with the handler that `make` gives. Its `start` and `stop` are called, if it has any.

    At the end every task must have ended.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    ready, done = threading.Event(), asyncio.Event()
    box: list[Running] = []
    errors: list[BaseException] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        running = Running(listener.getsockname()[1], loop, Tasks())
        reactor = Reactor(loop, Scratch(), Deadlines(loop))
        handler = make(running.tasks)
        networks = (ip_network(trusted),) if trusted else ()
        chosen = limits or Limits()
        context = FrontContext(
            chosen, reactor, RequestHeadParser(), running, _serving(handler), networks
        )
        running.context = context
        front = FrontServer(context, lambda exchange: False)
        if hasattr(handler, "start"):
            await handler.start()
        reactor.deadlines.start()
        await front.start([listener])
        box.append(running)
        ready.set()
        await done.wait()
        front.cut()
        await running.tasks.stop()
        if hasattr(handler, "stop"):
            await handler.stop()
        reactor.deadlines.stop()
        assert len(running.tasks) == 0

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(main())
        except BaseException as error:
            errors.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    ready.wait(DEADLINE_S)
    try:
        if box:
            yield box[0]
    finally:
        if box and not errors:
            box[0].loop.call_soon_threadsafe(done.set)
        thread.join(DEADLINE_S)
        listener.close()
    if errors:
        raise errors[0]
    assert not thread.is_alive(), "the loop did not end"


@dataclass
class Reply:
    """One response as h11 reads it; `is_whole`: it had a proper end."""

    status: int
    headers: dict[str, str]
    body: bytes
    is_whole: bool
    interims: list[int]


class Client:
    """A client on one connection that sends raw bytes and reads as strictly as h11."""

    def __init__(self, running: Running) -> None:
        self._socket = running.connect()
        self._parser = h11.Connection(h11.CLIENT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def reset(self) -> None:
        """Leave in a way that cannot be taken for a half-closed client that still listens."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def receive_some(self, size: int = 65536) -> bytes:
        return self._socket.recv(size)

    def ask(
        self,
        target: str,
        method: str = "GET",
        headers: dict[str, str] | None = None,
        body: bytes = b"",
    ) -> Reply:
        self.begin(method)
        lines = {"Host": "test", **(headers or {})}
        if body:
            lines["Content-Length"] = str(len(body))
        fields = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.send(f"{method} {target} HTTP/1.1\r\n{fields}\r\n".encode("latin-1") + body)
        return self.read()

    def begin(self, method: str) -> None:
        """Tell the parser what was asked; the bytes go out by `send`."""
        if self._parser.our_state is h11.DONE:
            self._parser.start_next_cycle()
        self._parser.send(h11.Request(method=method, target="/", headers=[("Host", "test")]))
        self._parser.send(h11.EndOfMessage())

    def read(self, begun: bytes = b"") -> Reply:
        """The response, of which `begun` was already received."""
        if begun:
            self._parser.receive_data(begun)
        reply = Reply(0, {}, b"", False, [])
        while True:
            try:
                event = self._parser.next_event()
                if event is h11.NEED_DATA:
                    self._parser.receive_data(self._socket.recv(65536))
                    continue
            except (h11.RemoteProtocolError, ConnectionResetError):
                return reply
            if isinstance(event, h11.InformationalResponse):
                reply.interims.append(event.status_code)
            elif isinstance(event, h11.Response):
                reply.status = event.status_code
                reply.headers = {n.decode(): v.decode("latin-1") for n, v in event.headers}
            elif isinstance(event, h11.Data):
                reply.body += event.data
            elif isinstance(event, h11.EndOfMessage):
                reply.is_whole = True
                return reply
            else:
                return reply


def ask(running: Running, target: str = "/", method: str = "GET", **rest: object) -> Reply:
    """One request on a connection of its own."""
    with Client(running) as client:
        return client.ask(target, method, **rest)
