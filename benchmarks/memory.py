"""What clients take of a proxy's memory while something of theirs is under way.

The terms of the formula in docs/tuning.md; an idle client's is in connections.py.
"""

import time
from contextlib import ExitStack

from benchmarks.accounting import private_bytes
from benchmarks.connections import BEGUN_BODY, SERVERS, connected
from benchmarks.peers import FASTPROXY
from benchmarks.question import Peer, Question

CLIENTS = 1000
READERS = 400
FIRST = 70  # more than there are large read buffers, which all share
STILL_S = 0.5
PATIENCE_S = 20.0
BEGUN_UPLOAD = (
    b"POST /uploads/x HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
)
SLOWLY_READ = b"GET /bytes/100000000 HTTP/1.1\r\nHost: b\r\n\r\n"


def held_by(peer: Peer, count: int, wire: bytes) -> float:
    """KiB that each of so many clients takes once it has sent `wire`, and reads nothing.

    The first ones take what all share; they are not counted.
    """
    with ExitStack() as stack:

        def come(clients: int) -> int:
            for _ in range(clients):
                stack.enter_context(connected(peer)).sendall(wire)
            return when_still(peer)

        before = come(FIRST)
        return (come(count) - before) / count / 1024


def when_still(peer: Peer) -> int:
    """Private bytes once they stay the same. Raises RuntimeError when they never do."""
    until = time.monotonic() + PATIENCE_S
    before = -1
    while (now := private_bytes(peer.pid)) != before:
        if time.monotonic() > until:
            raise RuntimeError(f"memory still changes: {before} to {now} bytes")
        before = now
        time.sleep(STILL_S)
    return now


def running_request(peer: Peer, scale: float) -> float:
    """A body has begun, and its head is with the backend."""
    return held_by(peer, max(50, int(CLIENTS * scale)), BEGUN_BODY)


def slow_reader(peer: Peer, scale: float) -> float:
    """The kernel's buffers are full of an answer that goes on."""
    return held_by(peer, max(20, int(READERS * scale)), SLOWLY_READ)


def begun_upload(peer: Peer, scale: float) -> float:
    """The backend has permitted it, and three bytes have come: one page of upload memory."""
    return held_by(peer, max(50, int(CLIENTS * scale)), BEGUN_UPLOAD)


QUESTIONS = (
    Question("request that runs", "KiB", running_request, SERVERS, rounds=1),
    Question("client that does not read its answer", "KiB", slow_reader, SERVERS, rounds=1),
    Question("upload that has begun", "KiB", begun_upload, (FASTPROXY,), rounds=1),
)
