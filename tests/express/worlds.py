"""Two workers without a network, told the same story: one has the express lane, one has not.

Connections are the real ones, and so are their sockets, each one end of a pair. Only transports are
ours: what happens is a list of events, one after another, so the two can be compared byte for byte.
"""

import asyncio
import ipaddress
import json
import os
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from fastproxy.config.schema import AnyRoute, Config, Limits, ProxyRoute
from fastproxy.exchange import Exchange
from fastproxy.express.lane import Lane
from fastproxy.front.context import FrontContext
from fastproxy.front.server import _ClientProtocol
from fastproxy.handlers.proxy.proxy_pass import PlainProxy, Target
from fastproxy.loop.deadlines import Deadlines
from fastproxy.loop.reactor import Reactor
from fastproxy.observe.access_log import AccessLog
from fastproxy.observe.catalog import route_names
from fastproxy.observe.metrics import Board
from fastproxy.routes import RouteTable
from fastproxy.upstream.origin import parse_origin
from fastproxy.upstream.pool import Pool, PoolLimits
from fastproxy.wire.head import RequestHeadParser
from fastproxy.wire.scratch import Scratch
from fastproxy.worker.context import WorkerContext
from fastproxy.worker.dispatch import Dispatch
from fastproxy.worker.reporting import Reports
from tests.express.transports import MemoryLoop, Transport

STRANGER = "203.0.113.9"
TRUSTED = "10.0.0.1"
NAMED = "198.51.100.7"
_NEW_ID = re.compile(rb"X-Request-Id: [0-9a-f]{32}\r\n")
_DATE = re.compile(rb"Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n")
_TIMES = ("time", "duration_s", "backend_s")


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
    deaf_backend: bool = False  # the first connection's kernel takes nothing


def teapot(exchange: Exchange) -> None:
    """What is no plain proxy."""
    exchange.answer(418, [], b"elsewhere")


Event = Callable[["World"], None] | Callable[["World"], Awaitable[None]]


class World:
    """One worker, one client connection, one backend."""

    def __init__(self, setting: Setting, *, has_lane: bool) -> None:
        self.setting = setting
        self.loop = MemoryLoop()
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
        is_deaf = self.setting.deaf_backend and not self.backends
        is_narrow = self.setting.narrow_backend
        transport = Transport(self.loop, "127.0.0.1", narrow=is_narrow, deaf=is_deaf)
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
            "open": self._open(),
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

    def _open(self) -> list[int]:
        """What clients have open, where that is limited."""
        clients = self.context.clients
        return [clients.of(ip).open for ip in (STRANGER, NAMED)] if clients is not None else []

    def close(self) -> None:
        """Leave nothing behind."""
        self.pool.close()
        self.tell(lambda world: world.connection.cut())
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
