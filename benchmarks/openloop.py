"""Open-loop load: requests are due at times chosen beforehand, whatever the answers do.

Latency counts from the time a request was due, not from when it could be sent. So a server that
stalls pays for all the requests that had to wait meanwhile, which closed-loop generators forgive
("coordinated omission"). The times are those of independent visitors: exponential gaps, the same
for every peer.
"""

import gc
import math
import random
import select
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

PATIENCE = 3  # times the duration of the load
START = 0.1  # seconds before the first request is due: enough to compute when the others are
MANY = 1_000_000  # requests, more than any proxy answers while it is saturated
READ = 65536
STATUS = b"HTTP/1.1 200"


@dataclass(frozen=True, slots=True)
class Load:
    """`rate`: requests a second; `tail`: how each answer ends."""

    rate: float
    seconds: float
    connections: int
    request: bytes
    tail: bytes


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of `values` that at least `share` (0 to 1) of them do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def schedule(load: Load) -> list[float]:
    """When each request is due, in seconds from the beginning."""
    chance = random.Random(1)
    gaps = (chance.expovariate(load.rate) for _ in range(round(load.rate * load.seconds)))
    return list(accumulate(gaps))


def latencies(port: int, load: Load) -> list[float]:
    """Seconds from due to answered for every request.

    One that has no answer after PATIENCE counts as if it came then. Raises RuntimeError for an
    answer that is not 200, and when a connection is closed.
    """
    with _connected(port, load.connections) as connections, _undisturbed():
        return _Drive(connections, load, schedule(load), PATIENCE * load.seconds).run()


def saturation(port: int, load: Load) -> float:
    """Requests a second when every connection always has one, whatever the load's rate is.

    Some core is full then: the proxy's, or the load's. Raises what latencies() does.
    """
    with _connected(port, load.connections) as connections, _undisturbed():
        drive = _Drive(connections, load, [0.0] * MANY, load.seconds)
        drive.run()
        if not drive.found:
            raise RuntimeError("nothing was answered")
        return len(drive.found) / load.seconds


class _Drive:
    """One run over non-blocking connections, each of which carries one request at a time.

    `due` and `limit` are seconds from its beginning; at the limit it ends.
    """

    def __init__(
        self, connections: list[socket.socket], load: Load, due: list[float], limit: float
    ) -> None:
        self.load = load
        self.due = due
        self.limit = limit
        self.found: list[float] = []
        self.sent = 0
        self.free = deque(connections)
        self.sockets = {connection.fileno(): connection for connection in connections}
        self.waiting: dict[int, float] = {}  # descriptor -> when its request was due
        self.partial: dict[int, bytes] = {}
        self.epoll = select.epoll()
        for descriptor in self.sockets:
            self.epoll.register(descriptor, select.EPOLLIN)

    def run(self) -> list[float]:
        begin = time.perf_counter() + START
        self.due = [begin + each for each in self.due]
        self.limit += begin
        with self.epoll:
            while len(self.found) < len(self.due) and time.perf_counter() < self.limit:
                self.send()
                for descriptor, _ in self.epoll.poll(0) or self.sleep():
                    self.receive(descriptor)
        lost = [*self.waiting.values(), *self.due[self.sent :]]
        return self.found + [self.limit - due for due in lost]

    def send(self) -> None:
        """What is due, over the connections that have been free for longest."""
        now = time.perf_counter()
        while self.free and self.sent < len(self.due) and self.due[self.sent] <= now:
            connection = self.free.popleft()
            self.waiting[connection.fileno()] = self.due[self.sent]
            self.sent += 1
            connection.send(self.load.request)

    def sleep(self) -> list[tuple[int, int]]:
        """Until there is an answer or a request is due; the answers there are."""
        is_next = self.free and self.sent < len(self.due)
        rest = (self.due[self.sent] if is_next else self.limit) - time.perf_counter()
        # epoll itself counts in milliseconds.
        if rest > 0 and select.select([self.epoll], [], [], rest)[0]:
            return self.epoll.poll(0)
        return []

    def receive(self, descriptor: int) -> None:
        connection = self.sockets[descriptor]
        data = connection.recv(READ)
        answer = self.partial.pop(descriptor) + data if descriptor in self.partial else data
        is_good = descriptor in self.waiting and answer.startswith(STATUS[: len(answer)])
        if not data or not is_good:
            raise RuntimeError(f"{answer[:200]!r}" + ("" if data else ", then closed"))
        if answer.endswith(self.load.tail):
            self.found.append(time.perf_counter() - self.waiting.pop(descriptor))
            self.free.append(connection)
        else:
            self.partial[descriptor] = answer


@contextmanager
def _connected(port: int, count: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        connections = []
        for _ in range(count):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
            connection.setblocking(False)
            connections.append(connection)
        yield connections


@contextmanager
def _undisturbed() -> Iterator[None]:
    """No garbage collection, and timers that wake us within a microsecond instead of fifty."""
    slack = Path("/proc/self/timerslack_ns")
    before = slack.read_text()
    slack.write_text("1000")
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        slack.write_text(before)
