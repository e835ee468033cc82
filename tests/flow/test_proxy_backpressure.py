"""Nobody's slowness becomes our memory, and shared buffers never mix up bytes."""

import contextlib
import hashlib
import random
import selectors
import threading
from collections.abc import Iterator
from functools import partial

import pytest

from benchmarks.accounting import peak_of, resident_bytes
from tests.support.client import Client
from tests.support.harness import Proxy, proxy, to_backend
from tests.support.origin import Peer, origin, response
from tests.support.waiting import eventually, settled

HUGE = 200 << 20
GROWTH = 8 << 20  # of the worker: allocator noise and some blocked reads
_BLOCK = random.Random(7).randbytes(1 << 20)


def stream(seed: int, size: int) -> Iterator[bytes]:
    """Bytes that differ for every seed and at every place."""
    at = 0
    while at < size:
        start = (seed * 7919 + at // 3) % (len(_BLOCK) // 2)
        piece = _BLOCK[start : start + min(100_000, size - at)]
        yield piece
        at += len(piece)


def digest(pieces: Iterator[bytes]) -> str:
    sha = hashlib.sha1(usedforsecurity=False)
    for piece in pieces:
        sha.update(piece)
    return sha.hexdigest()


@contextlib.contextmanager
def no_growth(running: Proxy) -> Iterator[None]:
    """The worker's resident memory stays about what it is, all the time."""
    running.get()
    before = running.rss()
    with peak_of(partial(resident_bytes, running.worker)) as peak:
        yield
    assert peak.value - before < GROWTH, f"grew by {(peak.value - before) >> 20} MiB"


def serve_streams(peer: Peer) -> None:
    """`/SEED/SIZE/FRAMING`: that stream. A POST is read slowly first, and its digest told."""
    while (request := peer.head()) is not None:
        if request.target == b"/":
            peer.send(response())
            continue
        _, seed, size, framing = request.target.split(b"/")
        if framing == b"length":
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %b\r\n\r\n" % size)
            for piece in stream(int(seed), int(size)):
                peer.send(piece)
        else:
            peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for piece in stream(int(seed), int(size)):
                peer.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            peer.send(b"0\r\n\r\n")


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_slow_reader_holds_the_backend_back(framing: str) -> None:
    with origin(serve_streams) as backend, proxy(to_backend(backend.address)) as running:
        with no_growth(running), running.client(rcvbuf=65536) as client:
            client.send(f"GET /1/{HUGE}/{framing} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            client.take(1)
            pause = threading.Event()
            pause.wait(0.5)  # long enough for the backend to send all, if it were let
            reply = client_reply(client)
        assert reply == digest(stream(1, HUGE))


def client_reply(client: Client) -> str:
    """The digest of the body; a byte of the head was taken already."""
    client._buffer[:0] = b"H"
    reply = client.head()
    if reply.header(b"transfer-encoding"):
        return digest(client.chunks(reply))
    left = int(reply.header(b"content-length") or 0)

    def pieces() -> Iterator[bytes]:
        nonlocal left
        while left:
            piece = client.take(min(left, 1 << 18))
            assert piece
            left -= len(piece)
            yield piece

    return digest(pieces())


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_slow_backend_holds_the_client_back(is_chunked: bool) -> None:
    seen: list[str] = []
    sent = [0]

    def script(peer: Peer) -> None:
        while (request := peer.head()) is not None:
            if request.method == b"GET":
                peer.send(response())
                continue
            # What the client could send while nobody reads is bounded by kernel buffers.
            eventually(lambda: sent[0] > 1 << 20, "the client sends")
            assert settled(lambda: sent[0]) < HUGE // 2
            sha = hashlib.sha1(usedforsecurity=False)
            left = HUGE
            while left:
                if is_chunked:
                    size = int(bytes(peer.take(2)) + line(peer), 16)
                    piece = peer.take(size)
                    peer.take(2)
                else:
                    piece = peer.take(min(left, 1 << 18))
                peer.received.clear()
                assert piece
                sha.update(piece)
                left -= len(piece)
            if is_chunked:
                assert peer.take(5) == b"0\r\n\r\n"
            seen.append(sha.hexdigest())
            peer.send(response(b"ok"))

    with origin(script, rcvbuf=65536) as backend, proxy(to_backend(backend.address)) as running:
        with no_growth(running), running.client() as client:
            framing = "Transfer-Encoding: chunked" if is_chunked else f"Content-Length: {HUGE}"
            client.send(f"PUT /2 HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n".encode())
            for piece in stream(2, HUGE):
                client.send(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)
                sent[0] += len(piece)
            if is_chunked:
                client.send(b"0\r\n\r\n")
            assert client.reply().body == b"ok"
        assert seen == [digest(stream(2, HUGE))]


def line(peer: Peer) -> bytes:
    """The rest of a chunk-size line, without its CRLF."""
    text = b""
    while not text.endswith(b"\r\n"):
        text += peer.take(1)
    return text[:-2]


class Reading:
    """One of many clients that read a little at a time."""

    def __init__(self, running: Proxy, seed: int, size: int, framing: str) -> None:
        self.client = running.client(rcvbuf=8192)
        self.seed, self.size, self.is_chunked = seed, size, framing == "chunked"
        self.client.send(f"GET /{seed}/{size}/{framing} HTTP/1.1\r\nHost: h\r\n\r\n".encode())

    def verify(self) -> None:
        """The answer is complete and right."""
        with self.client as client:
            reply = client.reply()
        assert reply.is_complete
        assert len(reply.body) == self.size
        assert reply.body == b"".join(stream(self.seed, self.size))


def test_many_slow_readers_get_their_own_bytes() -> None:
    size = 10_000_000  # more than the kernel takes, so that much waits in views of the scratch
    with origin(serve_streams) as backend, proxy(to_backend(backend.address)) as running:
        readings = [
            Reading(running, seed, size, "chunked" if seed % 2 else "length") for seed in range(20)
        ]
        selector = selectors.DefaultSelector()
        for reading in readings:
            selector.register(reading.client.sock, selectors.EVENT_READ, reading)
        rng = random.Random(1)
        for _ in range(3000):  # sips in random order, so that writes are cut at any place
            ready = selector.select(20)
            assert ready
            rng.choice(ready)[0].data.client.more(rng.choice([1, 100, 5000, 9000]))
        selector.close()
        for reading in readings:
            reading.verify()


def test_many_slow_backends_get_their_own_bytes() -> None:
    size, count = 10_000_000, 12
    sent = [0] * count
    go = threading.Event()

    def script(peer: Peer) -> None:
        request = peer.head()
        assert request is not None
        assert go.wait(60)  # until all uploads are stuck, each with views of the scratch
        sha = hashlib.sha1(usedforsecurity=False)
        left = size
        while left:
            piece = peer.take(min(left, 60_000))
            peer.received.clear()
            assert piece
            sha.update(piece)
            left -= len(piece)
        same = sha.hexdigest() == digest(stream(int(request.target[1:]), size))
        peer.send(response(b"same" if same else b"mixed up"))

    with (
        origin(script, rcvbuf=65536) as backend,
        proxy(to_backend(backend.address)) as running,
    ):

        def upload(seed: int) -> None:
            with running.client() as client:
                client.send(b"PUT /%d HTTP/1.1\r\nHost: h\r\n" % seed)
                client.send(b"Content-Length: %d\r\n\r\n" % size)
                for piece in stream(seed, size):
                    client.send(piece)
                    sent[seed] += len(piece)
                answers.append(client.reply().body)

        answers: list[bytes] = []
        threads = [
            threading.Thread(target=upload, args=(seed,), daemon=True) for seed in range(count)
        ]
        for thread in threads:
            thread.start()
        eventually(lambda: all(sent), "all have begun")
        assert settled(lambda: sum(sent)) < count * size
        go.set()
        for thread in threads:
            thread.join(60)
        assert answers == [b"same"] * count
