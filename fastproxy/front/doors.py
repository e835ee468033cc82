"""The listeners of a worker, which it shares with others.

    SHUT --open--> OPEN --another worker has fewer clients--> AJAR --a knock--> WAITING
    WAITING --another has taken him--> AJAR
    AJAR or WAITING --nobody has fewer, or nobody has taken him--> OPENING --> OPEN
    any --shut--> SHUT

A listener that is ajar accepts nothing, but hears when somebody knocks. Another worker with fewer
clients hears it, too, and takes him in. If nobody has within a grace, because the others are
stuck, we do, and a few more with him: each time twice as many, until the others are back.
"""

import asyncio
import select
import socket
from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial
from typing import Final

from fastproxy.front.client_counts import Seat

# Five looks are a grace: a worker that is alive turns its loop in less.
_LOOK_S: Final = 0.001
_LOOKS: Final = 5
# The loop lets in one client a turn, and turns get long when there is much to do: with 8,750
# uploads in one worker, whoever came waited for half a second. So many come at once, but only then:
# each of them takes a task, and 200 bytes more than one whom the loop lets in.
_A_TURN: Final = 16
_LONG_S: Final = 0.002
# Four at first, for a worker may only be busy; 64 in 5 ms are about all that one can accept.
_AT_FIRST: Final = 4
_AT_MOST: Final = 64


class _State(Enum):
    SHUT = "shut"
    OPEN = "open"
    AJAR = "ajar"
    WAITING = "waiting"
    OPENING = "opening"


_SHUT, _OPEN, _AJAR, _WAITING, _OPENING = _State


class Doors:
    """See the module. Needs a running event loop."""

    def __init__(self, make_protocol: Callable[[int], asyncio.BaseProtocol], seat: Seat) -> None:
        """`make_protocol` is told which listener the client has come to, counted from 0."""
        self._loop = asyncio.get_running_loop()
        self._make_protocol = make_protocol
        self._seat = seat
        self._state = _SHUT
        self._listeners: Sequence[socket.socket] = ()
        self._backlog = 0
        self._servers: list[asyncio.Server] = []
        self._timer: asyncio.TimerHandle | None = None  # when WAITING
        self._looks = 0  # so often have we looked whether he is still there
        self._opening: asyncio.Task[None] | None = None  # when OPENING
        self._at_once = _AT_FIRST
        self._let_in_at = 0.0
        self._entering: set[asyncio.Task[object]] = set()
        self._unjudged = 0  # clients still to be let in without a look at the others

    async def open(self, listeners: Sequence[socket.socket], backlog: int) -> None:
        """Begin to accept. The loop calls listen() again, so `backlog` must be that of the bind."""
        self._listeners = listeners
        self._backlog = backlog
        self._seat.take()
        await self._serve()

    def shut(self) -> None:
        """Leave new clients to the other workers for good."""
        self._seat.leave()
        self._stop_serving()
        self._stop_hearing()
        if self._timer is not None:
            self._timer.cancel()
        if self._opening is not None:
            self._opening.cancel()
        self._state = _SHUT
        for listener in self._listeners:
            listener.close()  # who still holds it keeps clients waiting in vain
        self._listeners = ()

    async def settled(self) -> None:
        """Whoever was let in has his connection."""
        await asyncio.gather(*self._entering, return_exceptions=True)
        await asyncio.sleep(0)  # the loop's own get theirs only then

    def step_back(self) -> None:
        """One more client has come in: leave the next to others who have fewer."""
        if self._unjudged:
            self._unjudged -= 1
        elif self._state is _OPEN and self._is_ahead:
            self._stop_serving()
            self._hear()

    @property
    def _is_ahead(self) -> bool:
        return self._seat.is_ahead(self._loop.time())

    def _let_in(self, index: int) -> asyncio.BaseProtocol:
        """The loop has accepted one, and may take a while before it accepts another."""
        before, self._let_in_at = self._let_in_at, self._loop.time()
        is_long = self._let_in_at - before >= _LONG_S  # the turn, or nobody has come
        if is_long and self._state is _OPEN and not self._entering:
            self._let_in_more(index)
        return self._make_protocol(index)

    def _let_in_more(self, index: int) -> None:
        make = partial(self._make_protocol, index)
        for coming in range(1, _A_TURN):
            if coming > self._unjudged and self._seat.is_ahead(self._loop.time(), coming):
                return
            try:
                client, _ = self._listeners[index].accept()
            except OSError:  # nobody is there; what else it may be, the loop meets, too
                return
            task = self._loop.create_task(self._loop.connect_accepted_socket(make, client))
            self._entering.add(task)
            task.add_done_callback(self._entering.discard)

    async def _serve(self) -> None:
        for index, listener in enumerate(self._listeners):
            make = partial(self._let_in, index)
            # The loop closes what it is given.
            server = await self._loop.create_server(
                make, sock=listener.dup(), backlog=self._backlog
            )
            self._servers.append(server)
        self._state = _OPEN

    def _stop_serving(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()

    # -- ajar ----------------------------------------------------------------------------------

    def _hear(self) -> None:
        self._state = _AJAR
        for listener in self._listeners:
            self._loop.add_reader(listener, self._on_knock)

    def _stop_hearing(self) -> None:
        """Also of what the loop has heard already and not told yet."""
        for listener in self._listeners:
            self._loop.remove_reader(listener)

    def _on_knock(self) -> None:
        self._stop_hearing()
        self._looks = 0
        if self._is_ahead:
            self._wait()
        else:
            self._reopen()

    def _wait(self) -> None:
        self._state = _WAITING
        self._timer = self._loop.call_later(_LOOK_S, self._look)

    def _look(self) -> None:
        self._looks += 1
        if not self._is_ahead:
            self._reopen()
        elif not self._has_queue():
            self._at_once = _AT_FIRST
            self._hear()
        elif self._looks < _LOOKS:
            self._wait()
        else:
            self._unjudged = self._at_once
            self._at_once = min(self._at_once * 2, _AT_MOST)
            self._reopen()

    def _has_queue(self) -> bool:
        queues = select.poll()
        for listener in self._listeners:
            queues.register(listener, select.POLLIN)
        return bool(queues.poll(0))

    def _reopen(self) -> None:
        self._state = _OPENING
        self._opening = self._loop.create_task(self._open_again())

    async def _open_again(self) -> None:
        try:
            await self._serve()
        except OSError:  # no descriptor is free, so nobody could be let in either
            self._stop_serving()
            self._looks = 0
            self._wait()
