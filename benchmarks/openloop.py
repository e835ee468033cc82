"""Open-loop load: requests are due at times chosen beforehand, whatever the answers do.

Latency counts from the time a request was due, not from when it could be sent. So a server that
stalls pays for all the requests that had to wait meanwhile, which closed-loop generators forgive
("coordinated omission"). The times are those of independent visitors: exponential gaps, the same
for every peer.
"""

import gc
import math
import random
import socket
from array import array
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from benchmarks.question import Need

PATIENCE = 3  # times the duration of the load
START = 0.1  # seconds before the first request is due
MANY = 1_000_000  # requests, more than any proxy answers while it is saturated
DRIVE_NEED = Need("benchmarks.drive", command="scripts/setup test")


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


def schedule(load: Load) -> "array[float]":
    """When each request is due, in seconds from the beginning."""
    chance = random.Random(1)
    gaps = (chance.expovariate(load.rate) for _ in range(round(load.rate * load.seconds)))
    return array("d", accumulate(gaps))


def latencies(port: int, load: Load) -> list[float]:
    """Seconds from due to answered for every request.

    One that has no answer after PATIENCE counts as if it came then. Raises RuntimeError for an
    answer that is not 200, and when a connection is closed.
    """
    found, lost = _drive(port, load, schedule(load), PATIENCE * load.seconds)
    return found + lost


def saturation(port: int, load: Load) -> float:
    """Requests a second when every connection always has one, whatever the load's rate is.

    Some core is full then: the proxy's, or the load's. Raises what latencies() does.
    """
    found, _ = _drive(port, load, array("d", bytes(8 * MANY)), load.seconds)
    if not found:
        raise RuntimeError("nothing was answered")
    return len(found) / load.seconds


def _drive(
    port: int, load: Load, due: "array[float]", limit: float
) -> tuple[list[float], list[float]]:
    """The latencies of what was answered, and how long the rest had waited at the limit.

    `due` and `limit` are seconds from the beginning.
    """
    from benchmarks.drive import Drive  # DRIVE_NEED: all other questions work without it

    with _connected(port, load.connections) as connections, _undisturbed():
        drive = Drive([each.fileno() for each in connections], load.request, load.tail)
        waiting, sent = drive.run(due, START, limit)
    return drive.found, [limit - each for each in (*waiting, *due[sent:])]


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
