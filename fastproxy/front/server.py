"""The listeners of a worker, the set of its clients, and how they drain.

Drain modes: ordinary exchanges get until the first deadline, uploads until the second; idle
connections get a second for one more request; every response says that it is the last.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence

from fastproxy.exchange import Exchange
from fastproxy.front.connection import ClientConnection
from fastproxy.front.context import FrontContext
from fastproxy.front.doors import Doors
from fastproxy.front.entrance import Arrival, Entrance

_POLL_S = 0.05


class _ClientProtocol(ClientConnection, asyncio.BufferedProtocol):
    """What is compiled cannot inherit from a class of Python's; asyncio wants it to."""

    __slots__ = ()


class FrontServer:
    """Accepts on inherited listeners."""

    def __init__(
        self,
        context: FrontContext,
        is_upload: Callable[[Exchange], bool],
        entrances: Sequence[Entrance | None] = (),
    ) -> None:
        """`entrances`: of the listeners, in their order; None: there is nothing to pass."""
        self._context = context
        self._is_upload = is_upload
        self._entrances = entrances
        self._doors = Doors(self._make_protocol, context.seat)
        context.on_client = self._doors.step_back

    async def start(self, listeners: Sequence[socket.socket], backlog: int = 4096) -> None:
        """Begin to accept; `backlog` must be that of the bind."""
        await self._doors.open(listeners, backlog)

    def _make_protocol(self, index: int) -> asyncio.BaseProtocol:
        context = self._context
        entrance = self._entrances[index] if self._entrances else None
        if entrance is None:
            return _ClientProtocol(context)
        return Arrival(entrance, lambda guest: _ClientProtocol(context, guest))

    def stop_accepting(self) -> None:
        """Leave new connections to the other workers."""
        self._doors.shut()

    async def drain(self, deadline_s: float, upload_deadline_s: float) -> None:
        """Finish what is in flight, within its deadline, and close everything."""
        context = self._context
        self.stop_accepting()
        await self._doors.settled()
        context.drain()
        loop = context.reactor.loop
        started = loop.time()
        while context.connections and loop.time() < started + upload_deadline_s:
            if loop.time() >= started + deadline_s:
                self._cut_ordinary()
            await asyncio.sleep(_POLL_S)
        self.cut()

    def _cut_ordinary(self) -> None:
        for connection in list(self._context.connections):
            exchange = connection.exchange
            if exchange is None or not self._is_upload(exchange):
                connection.cut()

    def cut(self) -> None:
        """Close every connection now."""
        self.stop_accepting()
        for connection in list(self._context.connections):
            connection.cut()
