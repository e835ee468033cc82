"""The connections of one process to one origin: kept alive, most recently used first.

LIFO keeps few connections warm and lets the rest grow old. A connection that is idle is read from,
so a backend that closes it is noticed at once and not on the next request.
"""

import asyncio
import ssl
from typing import Protocol, cast

from msgspec import Struct

from fastproxy.errors import (
    BackendBusy,
    BackendFault,
    BadCertificate,
    ConnectFailed,
    ConnectTimeout,
)
from fastproxy.loop.deadlines import Timed
from fastproxy.loop.reactor import Reactor
from fastproxy.upstream.connection import UpstreamConnection
from fastproxy.upstream.dial import Resolve, connect, resolve
from fastproxy.upstream.lines import Line, Lines
from fastproxy.upstream.origin import Origin


class Taker(Protocol):
    """Who waits for a connection: exactly one of the two is called, unless it was cancelled."""

    def connected(self, connection: UpstreamConnection) -> None:
        """Here is one, idle."""
        ...

    def connect_failed(self, fault: BackendFault) -> None:
        """There will be none."""
        ...


class PoolLimits(Struct, frozen=True):
    """Durations in seconds; `max_connections` 0: no limit. `queue`: how long each line may be."""

    connect_timeout_s: float = 5.0
    idle_timeout_s: float = 15.0
    max_idle: int = 128
    max_connections: int = 0
    queue: int = 1024
    queue_timeout_s: float = 30.0


class _Waiting(Timed):
    """One taker in the queue for a connection."""

    is_over = False

    def __init__(self, pool: "Pool", taker: Taker, deadline: float) -> None:
        super().__init__()
        self._pool = pool
        self.taker = taker
        self.deadline = deadline

    def on_deadline(self, now: float) -> None:
        """See Timed."""
        self._pool.cancel(self.taker)
        self.taker.connect_failed(BackendBusy("waited too long for a connection"))


class _UpstreamProtocol(UpstreamConnection, asyncio.BufferedProtocol):
    """What is compiled cannot inherit from a class of Python's; asyncio wants it to."""

    __slots__ = ()


class Pool:
    """See the module."""

    def __init__(
        self,
        origin: Origin,
        limits: PoolLimits,
        reactor: Reactor,
        tls: ssl.SSLContext | None = None,
        server_name: str = "",
        resolver: Resolve = resolve,
    ) -> None:
        """`server_name`: which a certificate must be for, instead of the origin's host.

        `resolver` is asked for every connection, and may raise BackendFault.
        """
        self.origin = origin
        self._limits = limits
        self._max_idle = limits.max_idle
        self.reactor = reactor
        self._tls = tls
        self._server_name = server_name or origin.host
        self._resolver = resolver
        self._idle: list[UpstreamConnection] = []
        self._open: set[UpstreamConnection] = set()
        self._waiting: Lines[Taker, _Waiting] = Lines()
        self._connecting: dict[asyncio.Task[None], Taker | None] = {}
        self._dialing: dict[Taker, asyncio.Task[None]] = {}  # the same, by who wants it
        self._is_closed = False

    def __repr__(self) -> str:
        return (
            f"<Pool {self.origin} open={len(self._open)} idle={len(self._idle)} "
            f"waiting={self._waiting.count}>"
        )

    @property
    def open_count(self) -> int:
        """Connections open or being opened."""
        return len(self._open) + len(self._connecting)

    @property
    def idle_count(self) -> int:
        """Connections kept for later."""
        return len(self._idle)

    def acquire(self, taker: Taker, fresh: bool = False, line: Line = Line.REQUESTS) -> None:
        """Get `taker` a connection, at once or later; if he must wait, in `line`.

        `fresh`: not a pooled one, which its peer may be about to close, but one in its place.
        """
        if self._idle and fresh:
            self._idle[0].abort()
        if not fresh and self.has_idle():
            taker.connected(self._idle.pop())
        elif not self._limits.max_connections or self.open_count < self._limits.max_connections:
            self._connect(taker)
        elif self._waiting.length(line) >= self._limits.queue:
            taker.connect_failed(BackendBusy("queue for connections is full"))
        else:
            deadline = self.reactor.deadlines.now + self._limits.queue_timeout_s
            waiting = _Waiting(self, taker, deadline)
            self._waiting.join(line, taker, waiting)
            self.reactor.deadlines.watch(waiting)

    def has_idle(self) -> bool:
        """Whether there is a kept connection; one whose peer has spoken out of turn is none."""
        while self._idle:
            last = self._idle[-1]
            if last.is_silent():
                return True
            last.abort()
        return False

    def take_idle(self) -> UpstreamConnection | None:
        """A kept connection, if there is one. Ask `has_idle` first."""
        return self._idle.pop() if self._idle else None

    def cancel(self, taker: Taker) -> None:
        """`taker` wants no connection any more."""
        waiting = self._waiting.leave(taker)
        if waiting is not None:
            waiting.is_over = True
            self.reactor.deadlines.forget(waiting)
        task = self._dialing.pop(taker, None)
        if task is not None:
            self._connecting[task] = None  # the connection may still serve the next request

    def close(self) -> None:
        """Close what is idle and keep nothing from now on."""
        self._is_closed = True
        for connection in list(self._idle):
            connection.abort()
        for task in self._connecting:
            task.cancel()

    # -- Home of connections -------------------------------------------------------------------

    def give_back(self, connection: UpstreamConnection) -> None:
        """See Home."""
        if self._waiting.count:
            if connection.is_silent() and (taker := self._next_taker()) is not None:
                taker.connected(connection)
            else:
                connection.abort()
        elif self._is_closed or len(self._idle) >= self._max_idle:
            connection.abort()
        else:
            self._idle.append(connection)

    def lost(self, connection: UpstreamConnection) -> None:
        """See Home."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._connect_next()

    def _connect_next(self) -> None:
        """There is room for a connection: for whoever waits."""
        if not self._is_closed and (taker := self._next_taker()) is not None:
            self._connect(taker)

    def _next_taker(self) -> Taker | None:
        found = self._waiting.next()
        if found is None:
            return None
        taker, waiting = found
        waiting.is_over = True
        self.reactor.deadlines.forget(waiting)
        return taker

    # -- connecting ----------------------------------------------------------------------------

    def _connect(self, taker: Taker) -> None:
        task = self.reactor.loop.create_task(self._open_connection())
        self._connecting[task] = taker
        self._dialing[taker] = task
        task.add_done_callback(self._on_connect_done)

    def _on_connect_done(self, task: asyncio.Task[None]) -> None:
        # The task tells its taker itself; here only a cancelled one (the pool closes) is left.
        taker = self._dialed(task)
        if taker is not None:
            taker.connect_failed(ConnectFailed("pool closed"))

    def _dialed(self, task: "asyncio.Task[None]") -> Taker | None:
        """Who still wants what this one has, or has not, connected."""
        taker = self._connecting.pop(task, None)
        if taker is not None:
            del self._dialing[taker]
        return taker

    async def _open_connection(self) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        try:
            connection = await asyncio.wait_for(self._dial(), self._limits.connect_timeout_s)
        except (TimeoutError, OSError, UnicodeError, BackendFault) as error:
            taker = self._dialed(task)
            if taker is not None:
                taker.connect_failed(_connect_fault(self.origin, error))
            self._connect_next()
            return
        self._open.add(connection)
        taker = self._dialed(task)
        if taker is not None:
            taker.connected(connection)
        else:
            connection.rest()
            self.give_back(connection)

    async def _dial(self) -> UpstreamConnection:
        origin, reactor = self.origin, self.reactor

        def make() -> _UpstreamProtocol:
            copies = self._tls is not None
            connection = _UpstreamProtocol(self, reactor.scratch, reactor.deadlines, copies=copies)
            connection.idle_timeout_s = self._limits.idle_timeout_s
            return connection

        if origin.path:
            path = "\0" + origin.path[1:] if origin.path.startswith("@") else origin.path
            _, connection = await reactor.loop.create_unix_connection(make, path)
        else:
            addresses = await self._resolver(origin.host, origin.port)
            connection = await connect(make, addresses, origin.port, self._tls, self._server_name)
        return connection


def _connect_fault(origin: Origin, error: Exception) -> BackendFault:
    if isinstance(error, BackendFault):
        return error
    if isinstance(error, TimeoutError):
        return ConnectTimeout(f"{origin}: connect timeout")
    if isinstance(error, ssl.SSLCertVerificationError):
        return BadCertificate(f"{origin}: {error.verify_message}")
    return ConnectFailed(f"{origin}: {error}")
