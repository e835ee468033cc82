"""Two workers without a network, told the same story: one has the express lane, one has not.

Connections are the real ones, and so are their sockets, each one end of a pair. Only transports are
ours: what happens is a list of events, one after another, so the two can be compared byte for byte.
"""

import asyncio
import errno
import ipaddress
import json
import os
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastproxy.config.schema import AnyRoute, Config, Limits, ProxyRoute
from fastproxy.context import WorkerContext
from fastproxy.deadlines import Deadlines
from fastproxy.dispatch import Dispatch
from fastproxy.exchange import Exchange
from fastproxy.express.lane import Lane
from fastproxy.front.context import FrontContext
from fastproxy.front.server import _ClientProtocol
from fastproxy.handlers.proxy_pass import PlainProxy, Target
from fastproxy.observe.access_log import AccessLog
from fastproxy.observe.catalog import route_names
from fastproxy.observe.metrics import Board
from fastproxy.reactor import Reactor
from fastproxy.reporting import Reports
from fastproxy.routes import RouteTable
from fastproxy.upstream.origin import parse_origin
from fastproxy.upstream.pool import Pool, PoolLimits
from fastproxy.wire.head import RequestHeadParser
from fastproxy.wire.scratch import Scratch

STRANGER = "203.0.113.9"
TRUSTED = "10.0.0.1"
_NARROW = 4608  # the smallest send buffer there is
_NEW_ID = re.compile(rb"X-Request-Id: [0-9a-f]{32}\r\n")
_DATE = re.compile(rb"Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n")
_TIMES = ("time", "duration_s", "backend_s")


class Transport:
    """One end of a pair of sockets, as a loop would show it. `far` is the peer's end."""

    def __init__(self, loop: asyncio.AbstractEventLoop, peer: str, *, narrow: bool) -> None:
        self._loop = loop
        self._peer = peer
        self.sock, self.far = socket.socketpair()
        self.sock.setblocking(False)
        self.far.setblocking(False)
        if narrow:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _NARROW)
        self.protocol: Any = None
        self.received = bytearray()  # by the peer
        self.inbox = bytearray()  # sent by the peer, not yet read
        self.is_reading = True
        self.is_reset = False
        self._waiting = bytearray()
        self._is_closing = False
        self._is_paused = False
        self._wants_eof = False
        self.is_lost = False

    def connect(self, protocol: Any) -> None:
        self.protocol = protocol
        protocol.connection_made(self)

    # -- asyncio.Transport ---------------------------------------------------------------------

    def get_extra_info(self, name: str) -> Any:
        if name == "peername":
            return (self._peer, 4711) if self._peer else ""
        return self.sock if name == "socket" else None

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high == 0  # the lane relies on it

    def get_write_buffer_size(self) -> int:
        return len(self._waiting)

    def is_closing(self) -> bool:
        return self._is_closing

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def can_write_eof(self) -> bool:
        return True

    def write(self, data: bytes | memoryview) -> None:
        if self._is_closing:
            return
        self._waiting += data
        self.flush()
        if self._waiting and not self._is_paused:
            self._is_paused = True
            self.protocol.pause_writing()

    def writelines(self, pieces: Sequence[bytes | memoryview]) -> None:
        self.write(b"".join(pieces))

    def write_eof(self) -> None:
        self._wants_eof = True
        self.flush()

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self.is_reading = False
            self.flush()

    def abort(self) -> None:
        self._waiting.clear()
        self.end(None)

    # -- the network ---------------------------------------------------------------------------

    def flush(self) -> None:
        """Let the kernel take what it takes."""
        if self.is_lost:
            return
        try:
            while self._waiting:
                del self._waiting[: self.sock.send(self._waiting)]
        except BlockingIOError:
            return
        except OSError as error:
            self._waiting.clear()
            self.end(error)
            return
        if self._wants_eof:
            self.sock.shutdown(socket.SHUT_WR)
            self._wants_eof = False
        if self._is_closing:
            self.end(None)

    def writable(self) -> None:
        """The peer has read; tell the protocol when all is sent."""
        self.flush()
        if self._is_paused and not self._waiting and not self.is_lost:
            self._is_paused = False
            self.protocol.resume_writing()

    def end(self, error: Exception | None) -> None:
        """The connection is over; the protocol hears of it in the next turn of the loop."""
        if not self.is_lost:
            self.is_lost = self._is_closing = True
            self.is_reading = False
            self._loop.call_soon(self._tell, error)

    def _tell(self, error: Exception | None) -> None:
        linger = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER)
        self.is_reset = linger == 1
        self.protocol.connection_lost(error)
        self.sock.close()

    def pump(self) -> None:
        """Let the protocol read what the peer sent, as long as it reads."""
        while self.inbox and self.is_reading:
            room = self.protocol.get_buffer(-1)
            size = min(len(room), len(self.inbox))
            room[:size] = self.inbox[:size]
            del self.inbox[:size], room
            self.protocol.buffer_updated(size)

    def read_far(self) -> None:
        """The peer reads all there is."""
        try:
            while data := self.far.recv(1 << 20):
                self.received += data
                self.writable()
        except OSError:
            pass


class _Loop(asyncio.SelectorEventLoop):
    """Connects to nothing but a new Transport of its world. Its clock stands."""

    connect: Callable[[], Transport]

    def time(self) -> float:
        return 1000.0

    async def create_connection(self, make: Any, *_: Any, **__: Any) -> Any:
        transport = self.connect()
        protocol = make()
        transport.connect(protocol)
        return transport, protocol


@dataclass(frozen=True)
class Setting:
    """What both worlds have in common."""

    peer: str = STRANGER
    trusted: tuple[str, ...] = ("10.0.0.0/8",)
    limits: Limits = field(default_factory=Limits)
    pool: PoolLimits = field(default_factory=PoolLimits)
    routes: tuple[AnyRoute, ...] = (ProxyRoute(name="all"),)
    max_body: int = 1 << 20
    idle: int = 1  # kept connections at the start
    narrow_client: bool = False
    narrow_backend: bool = False


def teapot(exchange: Exchange) -> None:
    """What is no plain proxy."""
    exchange.answer(418, [], b"elsewhere")


class World:
    """One worker, one client connection, one backend."""

    def __init__(self, setting: Setting, *, has_lane: bool) -> None:
        self.setting = setting
        self.loop = _Loop()
        self.loop.connect = self._connect
        reactor = Reactor(self.loop, Scratch(), Deadlines(self.loop))
        self.deadlines = reactor.deadlines
        self.pool = Pool(parse_origin("http://127.0.0.1:1"), setting.pool, reactor)
        target = Target("default", self.pool, 300.0, 60.0)
        plain = PlainProxy(target, setting.max_body, websocket=False)
        handlers = [plain if isinstance(r, ProxyRoute) else teapot for r in setting.routes]
        config = Config(route=setting.routes, limits=setting.limits)
        self.board = Board(route_names(config), 1, "test")
        metrics = self.board.worker(0)
        self._log_fd = os.memfd_create("access.log")
        dropped = metrics.cell("fastproxy_access_log_dropped_total")
        self.access_log = AccessLog(f"/proc/self/fd/{self._log_fd}", dropped)
        worker: Any = WorkerContext(config, 0, 0, (), metrics, self.access_log)  # type: ignore[arg-type]
        table = RouteTable(setting.routes)
        limits = setting.limits
        self.context = FrontContext(
            limits,
            reactor,
            RequestHeadParser(max_count=limits.header_count, max_target=limits.target_bytes),
            Reports(worker),
            Dispatch(table, handlers).serve,
            tuple(map(ipaddress.ip_network, setting.trusted)),
        )
        if has_lane:
            lane = Lane(self.context, table, handlers, worker.metrics.requests, worker.access_log)
            self.context.shortcut = lane
        self.took_lane = False
        self.backends: list[Transport] = []
        self._warm_up()
        self.client = Transport(self.loop, setting.peer, narrow=setting.narrow_client)
        self.connection = _ClientProtocol(self.context)
        self.client.connect(self.connection)

    def _connect(self) -> Transport:
        transport = Transport(self.loop, "127.0.0.1", narrow=self.setting.narrow_backend)
        self.backends.append(transport)
        return transport

    def _warm_up(self) -> None:
        """Connections whose taker has left are kept."""
        takers = [_Nobody() for _ in range(self.setting.idle)]
        for taker in takers:
            self.pool.acquire(taker)
            self.pool.cancel(taker)
        self.settle()
        assert self.pool.idle_count == self.setting.idle
        for backend in self.backends:
            backend.protocol.uses = 1  # so that what was sent may be sent again

    @property
    def is_on_lane(self) -> bool:
        """Whether a request is on its way by the express lane."""
        return self.connection.is_serving and self.connection.exchange is None

    @property
    def asked(self) -> Transport:
        """The backend connection that has to answer; without one, the one used last."""
        return max(
            self.backends,
            key=lambda b: (
                b.protocol.phase.value in ("head", "body"),
                b.protocol.uses,
                -self.backends.index(b),
            ),
        )

    def tell(self, event: "Event") -> None:
        """Let it happen, in a turn of the loop, and what is due then."""

        async def turn() -> None:
            more = event(self)
            self.took_lane |= self.is_on_lane
            if more is not None:
                await more

        self.loop.run_until_complete(turn())
        self.settle()

    def lines(self) -> list[bytes]:
        """The access log."""
        self.access_log.flush()
        return os.pread(self._log_fd, 1 << 24, 0).splitlines()

    def settle(self) -> None:
        """Let everything happen that is due."""
        for _ in range(6):
            self.loop.run_until_complete(self._turn())

    async def _turn(self) -> None:
        await asyncio.sleep(0)
        for transport in self.transports:
            transport.pump()

    @property
    def transports(self) -> list[Transport]:
        return [*self.backends, *([self.client] if hasattr(self, "client") else [])]

    def read_all(self) -> None:
        """Both peers read all there is."""
        for transport in self.transports:
            transport.read_far()

    # -- what the world saw --------------------------------------------------------------------

    def story(self) -> dict[str, Any]:
        """All that can be told from outside, and where the connections stand."""
        for _ in range(2):
            self.tell(World.read_all)
        return {
            "client": _same(self.client.received),
            "backends": [_same(backend.received) for backend in self.backends],
            "client state": self._client_state(),
            "backend states": [self._backend_state(backend) for backend in self.backends],
            "pool": (self.pool.idle_count, self.pool.open_count),
            "log": [_record(line) for line in self.lines()],
            "counts": self._counts(),
            "scratch": len(self.context.scratch.view),
        }

    def _client_state(self) -> dict[str, Any]:
        connection, transport = self.connection, self.client
        return {
            "over": connection.is_over,
            "idle": connection.is_idle,
            "serving": connection.is_serving,
            "reading": transport.is_reading,
            "lost": transport.is_lost,
            "reset": transport.is_reset,
            "unread": bytes(transport.inbox),
            "deadline": connection.deadline,
        }

    def _backend_state(self, transport: Transport) -> dict[str, Any]:
        connection = transport.protocol
        return {
            "phase": connection.phase,
            "uses": connection.uses,
            "sent": connection.is_request_sent,
            "blocked": connection.is_blocked,
            "answered": connection.has_answered,
            "lost": transport.is_lost,
            "reading": transport.is_reading,
            "idle timeout": connection.idle_timeout_s,
            "deadline": connection.deadline,
        }

    def _counts(self) -> dict[Any, float]:
        """Every series that is not zero; of durations, how many."""
        found = {}
        for series, cells in self.board.totals().items():
            count = sum(cells[:-1]) if "duration" in series[0] else cells[0]
            if count:
                found[series] = count
        return found

    def close(self) -> None:
        """Leave nothing behind."""
        self.pool.close()
        if hasattr(self, "connection"):
            self.tell(cut)
        for transport in self.transports:
            transport.abort()
        self.settle()
        self.access_log.close()
        os.close(self._log_fd)
        for transport in self.transports:
            transport.far.close()
            transport.sock.close()
        self.context.shortcut = None
        self.loop.close()


class _Nobody:
    """A Taker that has left."""

    def connected(self, connection: object) -> None:
        raise AssertionError

    def connect_failed(self, fault: Exception) -> None:
        raise AssertionError(fault)


def _same(received: bytes | bytearray) -> bytes:
    """Without what differs from run to run: new request ids and the date."""
    return _DATE.sub(b"Date: now\r\n", _NEW_ID.sub(b"X-Request-Id: new\r\n", bytes(received)))


def _record(line: bytes) -> list[tuple[str, Any]]:
    """A line of the access log in its order, without what differs from run to run."""
    pairs: list[tuple[str, Any]] = json.loads(line, object_pairs_hook=list)
    return [(key, _known(key, value)) for key, value in pairs]


def _known(key: str, value: Any) -> Any:
    if key in _TIMES:
        return type(value)
    if key == "request_id" and re.fullmatch("[0-9a-f]{32}", value):
        return "new"
    return value


# -- events ------------------------------------------------------------------------------------

Event = Callable[[World], None] | Callable[[World], Awaitable[None]]


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


def client_reads(world: World) -> None:
    world.client.read_far()


def backend_reads(world: World) -> None:
    for backend in world.backends:
        backend.read_far()


def drain(world: World) -> None:
    world.context.is_draining = True
    for connection in list(world.context.connections):
        connection.drain()


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


def play(setting: Setting, *events: Event) -> tuple[dict[str, Any], bool]:
    """Both worlds, the same events: what came of them, and whether the lane took part."""
    lane, general = World(setting, has_lane=True), World(setting, has_lane=False)
    took_part = False
    try:
        for event in events:
            for world in (lane, general):
                world.tell(event)
                took_part |= world.took_lane
        seen, expected = lane.story(), general.story()
        for what, value in expected.items():
            assert seen[what] == value, what
        return seen, took_part
    finally:
        lane.close()
        general.close()
