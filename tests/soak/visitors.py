"""Clients of all kinds, each a thread that does one thing over and over and checks the answer."""

import hashlib
import json
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from tests.flow.upload_site import body_of
from tests.support.client import Client, Reply

_TRIES = 20
_PATHS = 20


class Cut(Exception):
    """The connection ended before the answer was complete. `was_fresh`: it was its first use."""

    def __init__(self, why: object, *, was_fresh: bool) -> None:
        super().__init__(repr(why))
        self.was_fresh = was_fresh


class Gate:
    """Lets visitors through, or holds all of them between two visits."""

    def __init__(self) -> None:
        self._is_open = threading.Event()
        self._is_open.set()
        self.is_over = False

    def close(self) -> None:
        self._is_open.clear()

    def open(self) -> None:
        self._is_open.set()

    def end(self) -> None:
        self.is_over = True
        self.open()

    def wait(self, visitor: "Visitor") -> None:
        visitor.is_resting = True
        self._is_open.wait()
        visitor.is_resting = False


class Visitor(threading.Thread):
    """`visit` is one request on the connection it is given; it returns what is wrong, or "".

    `may_be_cut` judges a Cut: at the given time, was there a reason for it?
    """

    def __init__(
        self, port: int, gate: Gate, visit: "Visit", may_be_cut: Callable[[Cut, float], bool]
    ) -> None:
        super().__init__(daemon=True, name=visit.__name__)
        self._port = port
        self._gate = gate
        self._visit = visit
        self._may_be_cut = may_be_cut
        self._client: Client | None = None
        self.is_resting = False
        self.visits = 0
        self.cuts = 0
        self.faults: list[str] = []

    def run(self) -> None:
        number = 0
        while True:
            self._gate.wait(self)
            if self._gate.is_over:
                break
            number += 1
            # A worker remembers paths, some thousands: here it soon knows them all.
            self._succeed(f"{self.name}-{number % _PATHS}")
        self._leave()

    def _succeed(self, name: str) -> None:
        """Visit until it is answered. Who was cut tries again, on a connection of its own."""
        for _ in range(_TRIES):
            try:
                wrong = self._once(name)
            except Cut as cut:
                self.cuts += 1
                if not self._may_be_cut(cut, time.monotonic()):
                    self.faults.append(f"{name}: cut for no reason: {cut}")
                continue
            self.visits += 1
            if wrong:
                self.faults.append(f"{name}: {wrong}")
            return
        self.faults.append(f"{name}: cut {_TRIES} times")

    def _once(self, name: str) -> str:
        was_fresh = self._client is None
        try:
            client = self._client = self._client or Client(("127.0.0.1", self._port))
            if not self._visit(client, name):
                self._leave()
        except (OSError, EOFError) as error:
            self._leave()
            if isinstance(error, TimeoutError):
                return f"no answer: {error!r}"
            raise Cut(error, was_fresh=was_fresh) from error
        except Wrong as wrong:
            self._leave()
            return str(wrong)
        return ""

    def _leave(self) -> None:
        if self._client is not None:
            self._client.sock.close()
            self._client = None


class Wrong(Exception):
    """An answer that no fault excuses."""


# What a visitor does; whether it comes back on the same connection.
Visit = Callable[[Client, str], bool]


def _good(reply: Reply, body: bytes, status: int = 200) -> bool:
    if reply.status != status:
        raise Wrong(f"{reply.raw_head!r} {reply.body[:200]!r}")
    if not reply.is_complete:
        raise EOFError("an incomplete answer")
    if reply.body != body:
        raise Wrong(f"{len(reply.body)} bytes where {len(body)} are right")
    return reply.header(b"connection") != b"close"


def reads(client: Client, _: str) -> bool:
    """A plain request."""
    size = random.choice((0, 10, 1000, 10_000, 300_000))
    return _good(client.get(f"/bytes/{size}"), body_of(size))


def posts(client: Client, name: str) -> bool:
    """A body of known length, echoed."""
    body = body_of(random.choice((0, 3, 5000, 65_536, 200_000)))
    head = f"POST /{name} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n\r\n"
    client.send(head.encode() + body)
    return _good(client.reply(), body)


def posts_in_chunks(client: Client, name: str) -> bool:
    """A chunked body, echoed."""
    body = body_of(random.randrange(100_000))
    client.send(_chunked(f"POST /{name}", body))
    return _good(client.reply(), body)


def reads_slowly(client: Client, _: str) -> bool:
    """An answer of more than all buffers hold, read in sips."""
    client.send(b"GET /bytes/4000000 HTTP/1.1\r\nHost: h\r\n\r\n")
    for _ in range(20):
        client.more(10_000)
        time.sleep(0.02)
    return _good(client.reply(), body_of(4_000_000))


def drips(client: Client, _: str) -> bool:
    """A head that comes letter by letter."""
    for byte in b"GET /bytes/5 HTTP/1.1\r\nHost: h\r\n\r\n":
        client.send(bytes([byte]))
        time.sleep(0.01)
    return _good(client.reply(), body_of(5))


def uploads(client: Client, name: str) -> bool:
    """An upload of unknown length, which the backend reads from the store and compares."""
    body = body_of(random.choice((0, 1, 70_000, 70_000, 1_000_000, 6_000_000, 12_000_000)))
    client.send(_chunked(f"PUT /uploads/{name}", body))
    reply = client.reply()
    if reply.status != 201 or not reply.is_complete:
        return _good(reply, b"", 201)
    told = json.loads(reply.body)["upload"]
    if (told["size"], told["hashes"]["sha256"]) != (len(body), hashlib.sha256(body).hexdigest()):
        raise Wrong(f"told {told} of {len(body)} bytes")
    return reply.header(b"connection") != b"close"


def leaves(client: Client, name: str) -> bool:
    """Begins something and is gone."""
    body = body_of(random.choice((10, 100_000, 6_000_000)))
    what = random.choice((f"PUT /uploads/{name}", f"POST /{name}", "GET /bytes/1000000"))
    request = _chunked(what, body)
    with suppress(OSError):
        client.send(request[: random.randrange(len(request))])
        client.reset()
    return False


def _chunked(what: str, body: bytes) -> bytes:
    head = f"{what} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    pieces = (body[at : at + 60_000] for at in range(0, len(body), 60_000))
    return b"".join((head, *(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces), b"0\r\n\r\n"))


ALL: tuple[tuple[Visit, int], ...] = (
    (reads, 4), (posts, 3), (posts_in_chunks, 2), (reads_slowly, 2), (drips, 4), (uploads, 6),
    (leaves, 2),
)  # fmt: skip
