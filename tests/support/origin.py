"""A backend that does what a script says and remembers every byte it was sent.

A script is a function that gets a `Peer` and talks to it, one thread a connection:

    def script(peer: Peer) -> None:
        while request := peer.request():
            peer.send(response(request.body))

    with origin(script) as backend: ...   # backend.address is for the configuration
"""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

_RESET = struct.pack("ii", 1, 0)


@dataclass
class Request:
    """One request as the backend saw it. `raw_head` has no empty line at its end."""

    raw_head: bytes
    body: bytes = b""
    is_chunked: bool = False

    @property
    def line(self) -> bytes:
        """The request line."""
        return self.raw_head.split(b"\r\n", 1)[0]

    @property
    def method(self) -> bytes:
        """The method."""
        return self.line.split(b" ")[0]

    @property
    def target(self) -> bytes:
        """The request target."""
        return self.line.split(b" ")[1]

    def all(self, name: bytes) -> list[bytes]:
        """All values of the fields called `name` (lower case)."""
        fields = (line.split(b":", 1) for line in self.raw_head.split(b"\r\n")[1:])
        return [value.strip() for key, value in fields if key.lower() == name]

    def header(self, name: bytes) -> bytes | None:
        """The first of them."""
        return next(iter(self.all(name)), None)


class Peer:
    """One connection that the backend accepted."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.sock = sock
        self.number = number  # of this connection, from 0
        self.received = bytearray()  # every byte, in order
        self.requests: list[Request] = []
        self._buffer = bytearray()

    def read_some(self, size: int = 65536) -> bytes:
        """What came; empty at EOF."""
        data = self.sock.recv(size)
        self.received += data
        return data

    def _more(self) -> bool:
        data = self.read_some()
        self._buffer += data
        return bool(data)

    def take(self, size: int) -> bytes:
        """Exactly `size` bytes, fewer at EOF."""
        while len(self._buffer) < size and self._more():
            pass
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def head(self) -> Request | None:
        """The next request's head; None at EOF."""
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if not self._more():
                return None
        request = Request(bytes(self._buffer[:end]))
        del self._buffer[: end + 4]
        self.requests.append(request)
        return request

    def request(self) -> Request | None:
        """The next whole request; None at EOF, also in the middle of one."""
        request = self.head()
        if request is None:
            return None
        if request.header(b"transfer-encoding") == b"chunked":
            request.is_chunked = True
            return request if self._chunks(request) else None
        length = int(request.header(b"content-length") or 0)
        request.body = self.take(length)
        return request if len(request.body) == length else None

    def _chunks(self, request: Request) -> bool:
        body = bytearray()
        while True:
            while (end := self._buffer.find(b"\r\n")) < 0:
                if not self._more():
                    return False
            size = int(self._buffer[:end], 16)
            del self._buffer[: end + 2]
            chunk = self.take(size + 2)
            if len(chunk) < size + 2 or chunk[size:] != b"\r\n":
                return False
            body += chunk[:size]
            if not size:
                request.body = bytes(body)
                return True

    def until_eof(self) -> bytes:
        """Everything that still comes."""
        while self._more():
            pass
        rest, self._buffer = bytes(self._buffer), bytearray()
        return rest

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.sock.sendall(data)

    def drip(self, data: bytes, size: int, pause_s: float = 0.0) -> None:
        """Send in pieces of `size`, each a packet of its own."""
        for at in range(0, len(data), size):
            self.sock.sendall(data[at : at + size])
            time.sleep(pause_s)

    def send_eof(self) -> None:
        """Half-close."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.sock.close()

    def close(self) -> None:
        """Close: FIN, or RST if something is unread."""
        self.sock.close()


Script = Callable[[Peer], None]


def response(
    body: bytes = b"", *, status: bytes = b"200 OK", fields: bytes = b"", length: bool = True
) -> bytes:
    """A whole response; `fields` are complete lines."""
    lines = b"Content-Length: %d\r\n" % len(body) if length else b""
    return b"HTTP/1.1 %b\r\n%b%b\r\n%b" % (status, lines, fields, body)


def chunked(*pieces: bytes, trailers: bytes = b"") -> bytes:
    """A chunked body; empty pieces are left out."""
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece)
    return chunks + b"0\r\n" + trailers + b"\r\n"


def echo(peer: Peer) -> None:
    """Answer every request with its own body."""
    while (request := peer.request()) is not None:
        peer.send(response(request.body if request.method != b"HEAD" else b""))


@dataclass
class Origin:
    """A running backend."""

    listener: socket.socket
    script: Script
    peers: list[Peer] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)
    is_closing: bool = False

    @property
    def address(self) -> str:
        """As the configuration wants it."""
        name = self.listener.getsockname()
        return f"unix:{name}" if isinstance(name, str) else f"http://127.0.0.1:{name[1]}"

    @property
    def connections(self) -> int:
        """How many were ever accepted."""
        return len(self.peers)

    @property
    def requests(self) -> list[Request]:
        """All requests, connection by connection."""
        return [request for peer in list(self.peers) for request in list(peer.requests)]

    @property
    def received(self) -> int:
        """Bytes of all connections."""
        return sum(len(peer.received) for peer in list(self.peers))

    def accept_for_ever(self) -> None:
        """The accepting thread."""
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            sock.settimeout(60)
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer = Peer(sock, len(self.peers))
            self.peers.append(peer)
            thread = threading.Thread(target=self._talk, args=(peer,), daemon=True)
            self.threads.append(thread)
            thread.start()

    def _talk(self, peer: Peer) -> None:
        try:
            self.script(peer)
        except (OSError, ValueError):
            pass  # the proxy closed, or the test is over
        except BaseException as error:
            self.failures.append(error)
        finally:
            peer.sock.close()

    def close(self) -> None:
        """Stop, and fail if a script failed."""
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for peer in self.peers:
            with contextlib.suppress(OSError):
                peer.sock.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(10)
        if self.failures:
            raise self.failures[0]


@contextlib.contextmanager
def origin(
    script: Script = echo, *, path: Path | None = None, rcvbuf: int = 0, port: int = 0
) -> Iterator[Origin]:
    """A backend on a free port of 127.0.0.1, or on a unix socket."""
    listener = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
    if rcvbuf:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
    if path is None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(str(path) if path else ("127.0.0.1", port))
    listener.listen(1024)
    running = Origin(listener, script)
    thread = threading.Thread(target=running.accept_for_ever, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        running.close()
        thread.join(10)


def unused_port() -> int:
    """A port of 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
