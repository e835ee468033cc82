"""Slow clients do not hold a backend: buffered requests and buffered answers."""

import hashlib
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.child import mortal
from tests.support.client import Client
from tests.support.harness import Proxy, proxy
from tests.support.origin import Peer, chunked, origin, response
from tests.support.waiting import eventually

MIB = 1 << 20
SLOW_CLIENTS = 500
USED_SLABS = 'fastproxy_slabs{state="used"}'


def shielded(address: str, buffer: str = "both", memory: str = "") -> str:
    """Everything is buffered, but for what lies under /open."""
    return f"""
[memory]
budget = "16MiB"
{memory}
[backend.default]
address = "{address}"
[[route]]
path = "/open/**"
action = "proxy"
[[route]]
path = "/**"
action = "proxy"
buffer = "{buffer}"
"""


def hasher(peer: Peer) -> None:
    """Answers with how it was told the length, and the body's hash."""
    while request := peer.request():
        length = request.header(b"content-length") or b"none"
        peer.send(response(length + b" " + hashlib.sha256(request.body).hexdigest().encode()))


HEAD = b"PUT /x HTTP/1.1\r\nHost: test\r\n"


@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
def test_the_backend_is_contacted_when_the_whole_request_is_in(is_chunked: bool) -> None:
    body = random.Random(1).randbytes(300_000)
    framing = b"Transfer-Encoding: chunked" if is_chunked else b"Content-Length: 300000"
    pieces = [body[at : at + 70_000] for at in range(0, len(body), 70_000)]
    wire = chunked(*pieces) if is_chunked else body
    with origin(hasher) as backend, proxy(shielded(backend.address)) as front:
        with front.client() as client:
            client.send(HEAD + framing + b"\r\n\r\n" + wire[:-1])
            eventually(lambda: front.metric(USED_SLABS) > 3, "most of the body is in memory")
            assert not backend.peers
            client.send(wire[-1:])
            expected = b"300000 " + hashlib.sha256(body).hexdigest().encode()
            assert client.reply().body == expected
        eventually(lambda: front.metric(USED_SLABS) == 0, "the memory is back")


def test_continue_is_answered_by_the_shield() -> None:
    with origin(hasher) as backend, proxy(shielded(backend.address)) as front:
        with front.client() as client:
            client.send(HEAD + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n")
            assert client.head().status == 100
            assert not backend.peers
            client.send(b"abc")
            assert client.reply().status == 200
        assert backend.peers[0].requests[0].header(b"expect") is None


def test_a_request_larger_than_memory_goes_through_the_spill_file() -> None:
    body = random.Random(2).randbytes(40 * MIB)
    with origin(hasher) as backend, proxy(shielded(backend.address)) as front:
        with front.client() as client:
            client.send(HEAD + b"Content-Length: %d\r\n\r\n" % len(body))
            client.send(body[:-1])
            eventually(lambda: front.metric("fastproxy_spilled_bytes") > 0, "something is on disk")
            client.send(body[-1:])
            assert hashlib.sha256(body).hexdigest().encode() in client.reply().body
        eventually(lambda: front.metric("fastproxy_spilled_bytes") == 0, "the disk is back")
        assert front.metric(USED_SLABS) == 0


def test_an_empty_chunked_request_arrives() -> None:
    with (
        origin(hasher) as backend,
        proxy(shielded(backend.address)) as front,
        front.client() as client,
    ):
        client.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        assert client.reply().body.startswith(b"0 ")


def test_a_client_that_leaves_costs_the_backend_nothing() -> None:
    with origin(hasher) as backend, proxy(shielded(backend.address)) as front:
        client = front.client()
        client.send(HEAD + b"Content-Length: 200000\r\n\r\n" + bytes(150_000))
        eventually(lambda: front.metric(USED_SLABS) > 0, "something is in memory")
        client.reset()
        eventually(lambda: front.metric(USED_SLABS) == 0, "the memory is back")
        assert not backend.peers


def test_the_backend_is_released_before_the_client_has_read() -> None:
    answer = random.Random(3).randbytes(30 * MIB)
    is_sent = threading.Event()

    def generous(peer: Peer) -> None:
        while peer.request():
            peer.send(response(answer))
            is_sent.set()

    with origin(generous) as backend, proxy(shielded(backend.address, "response")) as front:
        with front.client(rcvbuf=65536) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
            assert is_sent.wait(20), "the backend could not get rid of its answer"
            idle = 'fastproxy_backend_connections{state="idle"}'
            eventually(lambda: front.metric(idle) == 1, "its connection is free again")
            assert client.reply().body == answer
        eventually(lambda: front.metric(USED_SLABS) == 0, "the memory is back")


def test_an_answer_that_comes_slowly_is_not_held_back() -> None:
    go_on = threading.Event()

    def slow(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
        go_on.wait(20)
        peer.send(b"def")

    with (
        origin(slow) as backend,
        proxy(shielded(backend.address)) as front,
        front.client() as client,
    ):
        client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        client.head()
        assert client.take(3) == b"abc"
        go_on.set()
        assert client.take(3) == b"def"


APPLICATION = """
def application(environ, start_response):
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body = b"%d" % len(environ["wsgi.input"].read(length))
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


@contextmanager
def two_sync_workers(home: Path) -> Iterator[str]:
    """A monolith: gunicorn with two workers that serve one request at a time each."""
    (home / "monolith.py").write_text(APPLICATION)
    address = f"unix:{home}/monolith.sock"
    command = [sys.executable, "-m", "gunicorn", "--workers", "2", "--bind", address]
    log = (home / "gunicorn.log").open("wb")
    process = subprocess.Popen(
        mortal([*command, "--chdir", str(home), "monolith"]), stdout=log, stderr=log
    )
    try:
        eventually((home / "monolith.sock").exists, "gunicorn listens", within=20)
        yield address
    finally:
        process.terminate()
        process.wait(20)
        log.close()


def trickling(front: Proxy, count: int, size: int) -> list[Client]:
    """`count` clients that each sent all but the last byte of a body of `size`, bit by bit."""
    clients = [front.client() for _ in range(count)]
    head = b"POST /slow HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n" % size
    for client in clients:
        client.send(head)
    for _ in range(4):
        for client in clients:
            client.send(b"x" * (size // 4 - 1))
    for client in clients:
        client.send(b"x" * (size - 4 * (size // 4 - 1) - 1))
    return clients


def test_500_slow_clients_do_not_slow_a_fast_one(tmp_path: Path) -> None:
    """A fast client is served 100 times while 500 slow requests wait for their last byte."""
    with two_sync_workers(tmp_path) as address, proxy(shielded(address)) as front:
        eventually(lambda: front.get("/fast").status == 200, "the monolith answers")
        clients = trickling(front, SLOW_CLIENTS, 4096)
        eventually(lambda: front.connections() >= SLOW_CLIENTS, "all slow clients are here")
        with front.client(timeout_s=20) as fast:
            assert all(fast.get("/fast").status == 200 for _ in range(100))
        for client in clients:
            client.send(b"x")
        assert all(client.reply().body == b"4096" for client in clients)
        for client in clients:
            client.sock.close()


def test_without_the_shield_two_slow_clients_hold_both_workers(tmp_path: Path) -> None:
    """The control: it is the shield that makes the difference."""
    with two_sync_workers(tmp_path) as address, proxy(shielded(address)) as front:
        eventually(lambda: front.get("/open/fast").status == 200, "the monolith answers")
        head = b"POST /open/slow HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nx"
        slow = [front.client() for _ in range(2)]
        for client in slow:
            client.send(head)
        busy = 'fastproxy_backend_connections{state="active"}'
        eventually(lambda: front.metric(busy) == 2, "both are at the backend")
        with front.client(timeout_s=1) as fast, pytest.raises(TimeoutError):
            fast.get("/open/fast")
        for client in slow:
            client.send(b"x" * 9)
            assert client.reply().body == b"10"
            client.sock.close()
