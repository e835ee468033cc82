"""What a second worker brings, and whether it costs: as much CPU for each request as before?

With three cores the workers have two that the load does not use. With two, load and backend take
theirs of what the workers could have, and throughput says little: then capacity counts, what the
workers would answer on cores of their own. A worker is one thread, so that is the number of workers
by the CPU of a request, as long as they share no lock and no client waits for the fuller one: both
are asked, too.

Throughput and capacity are measured without a backend: the load is a few connections that send
hundreds of requests at once and let the kernel count the bytes of the answers.
"""

import os
import selectors
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.accounting import cpu_seconds, family
from benchmarks.connections import after_one_request, connected
from benchmarks.peers import nginx, ours
from benchmarks.processes import CORES, LOAD_CORE, PROXY_CORE
from benchmarks.question import Contestant, Peer, Question, Site, Target
from benchmarks.wrk import CONNECTIONS, WRK_NEED, cpu_per_request

SECONDS = 3.0
PIPELINES = 8
BATCH = 500
WORKERS = 2
_UNREAD = bytearray(1 << 20)
_OTHERS = [core for core in CORES if core != LOAD_CORE]
WORKER_CORES = set(_OTHERS[:WORKERS] if len(_OTHERS) >= WORKERS else (PROXY_CORE, LOAD_CORE))
FIXED = b"GET /fixed HTTP/1.1\r\nHost: b\r\n\r\n"


def on_two_cores(wanted: Contestant, name: str) -> Contestant:
    """The same, called `name`, with leave to use as many cores as there are workers."""

    @contextmanager
    def start(site: Site) -> Iterator[Peer]:
        with wanted.start(site) as peer:
            for pid in family(peer.pid):
                os.sched_setaffinity(pid, WORKER_CORES)
            yield replace(peer, name=name)

    return Contestant(name, start, wanted.needs)


ONE = "one worker"
TWO_WORKERS = on_two_cores(ours("scaling.toml", WORKERS="2"), "fastproxy")
ONE_WORKER = on_two_cores(ours("scaling.toml", WORKERS="1"), ONE)
NGINX = on_two_cores(nginx(WORKERS="2"), "nginx")


def pipelined(peer: Peer, scale: float) -> float:
    """Requests a second that are answered, asked in batches."""
    answered, seconds = _answered(peer, scale)
    return answered / seconds


def capacity(peer: Peer, scale: float) -> float:
    """Requests a second that all workers would answer on cores of their own."""
    before = cpu_seconds(peer.pid)
    answered, _ = _answered(peer, scale)
    workers = 1 if peer.name == ONE else WORKERS
    return workers * answered / (cpu_seconds(peer.pid) - before)


def _answered(peer: Peer, scale: float) -> tuple[float, float]:
    """Requests, and in how many seconds."""
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        answer = _size_of_an_answer(peer)
        for _ in range(PIPELINES):
            connection = stack.enter_context(connected(peer))
            connection.sendall(FIXED * BATCH)
            selector.register(connection, selectors.EVENT_READ, [0])
        started = time.monotonic()
        until, received = started + SECONDS * scale, 0
        while time.monotonic() < until:
            received += _take_and_ask(selector, answer * BATCH)
        return received / answer, time.monotonic() - started


def _size_of_an_answer(peer: Peer) -> int:
    with connected(peer) as connection:
        connection.sendall(FIXED)
        return len(connection.recv(4096))


def _take_and_ask(selector: selectors.BaseSelector, whole: int) -> int:
    """Bytes of answers that came; who has all `whole` bytes of a batch asks for another."""
    total = 0
    for key, _ in selector.select(1.0):
        connection, taken = key.fileobj, key.data
        assert isinstance(connection, socket.socket)
        count = connection.recv_into(_UNREAD, 0, socket.MSG_TRUNC)  # counts, copies nothing
        if not count:
            raise RuntimeError("closed")
        total += count
        taken[0] += count
        if taken[0] == whole:
            taken[0] = 0
            connection.sendall(FIXED * BATCH)
    return total


def fuller_worker(peer: Peer, scale: float) -> float:
    """Clients of the fullest worker as a multiple of the mean, when 64 come at once."""
    with ExitStack() as stack:
        for _ in range(CONNECTIONS):
            stack.enter_context(connected(peer))
        after_one_request(peer).close()  # behind all of them
        counts = [_clients(pid, peer.port) for pid in family(peer.pid)]
    workers = [count for count in counts if count]
    if sum(workers) < CONNECTIONS:
        raise RuntimeError(f"{counts} of {CONNECTIONS} were let in")
    return max(workers) / (sum(workers) / WORKERS)


_ESTABLISHED = "01"


def _clients(pid: int, port: int) -> int:
    """Established connections of a process to its `port`."""
    descriptors = Path(f"/proc/{pid}/fd").iterdir()
    links = {os.readlink(each) for each in descriptors}
    lines = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    fields = [line.split() for line in lines]
    return sum(
        int(each[1].split(":")[1], 16) == port
        and each[3] == _ESTABLISHED
        and f"socket:[{each[9]}]" in links
        for each in fields
    )


QUESTIONS = (
    Question(
        "two workers, 64 connections",
        "CPU us/request",
        lambda peer, scale: cpu_per_request(peer, "/", SECONDS * scale),
        (TWO_WORKERS, ONE_WORKER),
        (Target(1.1, ONE),),
        (WRK_NEED,),
    ),
    Question(
        "two workers, batches of requests",
        "requests/s",
        pipelined,
        (TWO_WORKERS, ONE_WORKER),
        () if LOAD_CORE in WORKER_CORES else (Target(1.8, ONE, at_least=True),),
    ),
    Question(
        "two workers, batches of requests: capacity by CPU",
        "requests/s",
        capacity,
        (TWO_WORKERS, ONE_WORKER),
        (Target(1.8, ONE, at_least=True),),
    ),
    Question(
        "fuller one of two workers, 64 clients at once",
        "x mean",
        fuller_worker,
        (TWO_WORKERS, NGINX),
        (Target(1.25),),
    ),
)
