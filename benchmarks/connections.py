"""Connections that wait, that vanish, and that all come at once.

    python -m benchmarks.connections

shows how memory goes over 100,000 connections that their clients reset, 20,000 at a time.
"""

import os
import selectors
import socket
import struct
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from benchmarks.accounting import cpu_seconds, family, private_bytes
from benchmarks.peers import CADDY, FASTPROXY, HAPROXY, NGINX
from benchmarks.processes import LOAD_CORE, end_on_sigterm, free_port, running, wait_for
from benchmarks.question import Peer, Question, Site, Target

IDLE = 5000
RESETS = 100_000
RESETS_A_STEP = 20_000
RECONNECTS = 4000  # fewer than fit into a backlog of 4096: nobody has to knock twice
TIMEOUT_S = 30.0

REQUEST = b"GET / HTTP/1.1\r\nHost: b\r\n\r\n"
HALF_A_HEAD = b"GET / HTTP/1.1\r\nHost: b\r\nUser-Ag"
LARGE = b"GET /bytes/300000 HTTP/1.1\r\nHost: b\r\n\r\n"
BEGUN_BODY = b"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 1000\r\n\r\nabc"
BEGUN_CHUNKS = b"POST / HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"

# What a client does before it resets its connection: sends this, and reads so much of the answer.
LAST_ACTS: tuple[tuple[bytes, int], ...] = (
    (b"", 0),
    (HALF_A_HEAD, 0),
    (BEGUN_BODY, 0),
    (BEGUN_CHUNKS, 0),
    (LARGE, 4096),  # half of the answer
    (REQUEST, 0),
    (REQUEST, 4096),  # all of it
)
_RESET = struct.pack("ii", 1, 0)


def connected(peer: Peer) -> socket.socket:
    """A connection. Closed, it is reset: so it leaves no TIME_WAIT that keeps its port."""
    connection = socket.create_connection(("127.0.0.1", peer.port), TIMEOUT_S)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    return connection


def after_one_request(peer: Peer) -> socket.socket:
    """A connection that has had one answer and stays open."""
    connection = connected(peer)
    connection.sendall(REQUEST)
    answer = b""
    while not answer.endswith(b"Hello world\n"):
        piece = connection.recv(4096)
        if not piece:
            raise RuntimeError(f"closed after {answer!r}")
        answer += piece
    return connection


def idle_connection(peer: Peer, scale: float) -> float:
    """KiB of private memory for a connection that made one request and waits for the next.

    The first takes what it takes; that is not counted.
    """
    count = max(200, int(IDLE * scale))
    connections = [after_one_request(peer)]
    before = private_bytes(peer.pid)
    connections += [after_one_request(peer) for _ in range(count)]
    grown = private_bytes(peer.pid) - before
    for connection in connections:
        connection.close()
    return grown / count / 1024


def reset(peer: Peer, count: int) -> None:
    """So many clients, one after the other, each of which vanishes at some point."""
    for number in range(count):
        wire, wanted = LAST_ACTS[number % len(LAST_ACTS)]
        with connected(peer) as connection, suppress(OSError):
            connection.sendall(wire)
            if wanted:
                connection.recv(wanted)
    after_one_request(peer).close()  # it has come to the end of them


def growth_by_resets(peer: Peer, scale: float) -> float:
    """KiB that the memory has grown by all but the first fifth of the resets."""
    step = int(RESETS_A_STEP * scale)
    reset(peer, step)
    before = private_bytes(peer.pid)
    reset(peer, int(RESETS * scale) - step)
    return (private_bytes(peer.pid) - before) / 1024


def connection_cpu(peer: Peer, scale: float) -> float:
    """CPU microseconds for a client that connects, asks once and leaves."""
    count = max(200, int(RECONNECTS * scale))
    before = cpu_seconds(peer.pid)
    for _ in range(count):
        after_one_request(peer).close()
    return (cpu_seconds(peer.pid) - before) / count * 1e6


def reconnect_seconds(peer: Peer, scale: float) -> float:
    """Seconds until all of many clients that come in the same instant have their answers.

    Raises RuntimeError when one has none in time.
    """
    count = max(200, int(RECONNECTS * scale))
    started = time.monotonic()
    with selectors.DefaultSelector() as selector:
        for _ in range(count):
            connection = socket.socket()
            connection.setblocking(False)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            connection.connect_ex(("127.0.0.1", peer.port))
            selector.register(connection, selectors.EVENT_WRITE)
        try:
            _ask_all(selector, started + TIMEOUT_S)
        finally:
            took = time.monotonic() - started
            for key in list(selector.get_map().values()):
                key.fileobj.close()  # type: ignore[union-attr]
    return took


def _ask_all(selector: selectors.BaseSelector, until: float) -> None:
    """Each connection of `selector` asks once it is connected, and is closed with its answer."""
    while selector.get_map():
        if time.monotonic() > until:
            raise RuntimeError(f"{len(selector.get_map())} clients have no answer")
        for key, events in selector.select(1.0):
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            if events & selectors.EVENT_WRITE:
                connection.sendall(REQUEST)
                selector.modify(connection, selectors.EVENT_READ)
            elif not connection.recv(4096):
                raise RuntimeError("closed without an answer")
            else:
                selector.unregister(connection)
                connection.close()


SERVERS = (FASTPROXY, NGINX, HAPROXY, CADDY)

QUESTIONS = (
    Question(
        "idle connection after one request",
        "KiB",
        idle_connection,
        SERVERS,
        (Target(3.0),),
        rounds=1,  # the next ones would find the memory there
        known="Workhorse 28.9",
    ),
    Question(
        "growth by 80,000 resets after 20,000",
        "KiB",
        growth_by_resets,
        SERVERS,
        (Target(512.0),),
        rounds=1,
    ),
    Question("connection with one request", "CPU us", connection_cpu, SERVERS),
    Question("4,000 clients connect at once", "s until answered", reconnect_seconds, SERVERS),
)


def show_resets() -> None:
    """How memory and descriptors of our processes go, step by step."""
    with tempfile.TemporaryDirectory(prefix="fastproxy-bench-") as name:
        directory, origin = Path(name), free_port()
        log = directory / "origin.log"
        with running([sys.executable, "-m", "benchmarks.origin", str(origin)], LOAD_CORE, log):
            wait_for(origin, log)
            with FASTPROXY.start(Site(directory, origin)) as peer:
                print(f"{0:7} resets {_state(peer)}", flush=True)
                for done in range(RESETS_A_STEP, RESETS + 1, RESETS_A_STEP):
                    reset(peer, RESETS_A_STEP)
                    print(f"{done:7} resets {_state(peer)}", flush=True)


def _state(peer: Peer) -> str:
    descriptors = sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in family(peer.pid))
    return f"{private_bytes(peer.pid) // 1024:8} KiB {descriptors:6} descriptors"


if __name__ == "__main__":
    os.sched_setaffinity(0, {LOAD_CORE})
    end_on_sigterm()
    show_resets()
