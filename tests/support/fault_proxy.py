"""A TCP proxy before a server that fails on demand: once for each fault, when its request passes.

A fault waits for `when` in what the client sends, lets bytes of this message or of its answer pass
up to some place, and acts. Every connection is two threads; bytes that no fault concerns pass
untouched.
"""

import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum


class Act(Enum):
    """What happens."""

    RESET = "reset"  # both get a reset
    CLOSE = "close"  # both get an end
    TRUNCATE = "truncate"  # who receives gets an end, the other way stays open
    STALL = "stall"  # nothing passes any more, both stay connected
    DELAY = "delay"  # everything waits for `seconds`, then passes
    SLICE = "slice"  # everything passes, the next 1000 bytes one by one
    ANSWER = "answer"  # the client gets `answer`; the server hears nothing of the request
    LOSE = "lose"  # the request passes whole, the answer is cut off after `keep` bytes


class Mark(Enum):
    """A place in a message, as its head tells."""

    START = "start"
    HEAD = "head"  # the first byte behind the head
    HALF = "half"
    END = "end"  # behind the last byte; without Content-Length, of what came in one read


@dataclass
class Fault:
    """One failure, `times` times; `after` counts from `mark`.

    `is_back`: in the answer instead of the request.
    """

    when: bytes
    act: Act
    after: int = 0
    times: int = 1
    mark: Mark = Mark.START
    is_back: bool = False
    seconds: float = 0.0
    answer: bytes = b""
    keep: int = 0
    met: int = 0


def _place(data: bytes, mark: Mark) -> int:
    """Where a mark is in a message of which `data` is the beginning."""
    head = data.find(b"\r\n\r\n") + 4
    length = re.search(rb"\r\nContent-Length: (\d+)", data[:head], re.IGNORECASE)
    end = head + int(length[1]) if length else len(data)
    return {Mark.START: 0, Mark.HEAD: head, Mark.HALF: end // 2, Mark.END: end}[mark]


def refusal(status: int, code: str) -> bytes:
    """An S3 error as a whole response that closes its connection."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code></Error>".encode()
    head = f"HTTP/1.1 {status} No\r\nConnection: close\r\nContent-Type: application/xml\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


@dataclass
class FaultProxy:
    """See the module. `is_down`: connections are closed as soon as they come."""

    target: tuple[str, int]
    faults: list[Fault] = field(default_factory=list)
    is_down: bool = False
    requests: list[bytes] = field(default_factory=list)  # first lines, where a read began with one

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._released = threading.Event()  # set when what stalls may end
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def expect(self, *faults: Fault) -> None:
        """From now on only these; what stalls ends."""
        with self._lock:
            self.faults[:] = faults
            self._released.set()
            self._released = threading.Event()

    def close(self) -> None:
        self._closing.set()
        self._released.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.is_down:
                    client.close()
                    continue
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), client, socket.create_connection(self.target) as server:
            link = _Link(self, client, server)
            back = threading.Thread(target=link.down, daemon=True)
            back.start()
            link.up()
            back.join()

    def take(self, data: bytes) -> Fault | None:
        """The fault that this data calls for, counted."""
        if data[:4] in (b"PUT ", b"POST", b"GET ", b"HEAD", b"DELE"):
            self.requests.append(data.partition(b"\r\n")[0])
        with self._lock:
            for fault in self.faults:
                if fault.met < fault.times and fault.when in data:
                    fault.met += 1
                    return fault
        return None

    def wait(self, seconds: float) -> None:
        self._closing.wait(seconds)

    def stall(self) -> None:
        self._released.wait(60)


class _Link:
    """One connection on its way through."""

    def __init__(self, proxy: FaultProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._awaited: Fault | None = None  # it concerns the answer

    def up(self) -> None:
        """From the client to the server, until one of them ends."""
        try:
            while data := self._client.recv(65536):
                fault = self._proxy.take(data)
                if fault is None:
                    self._server.sendall(data)
                elif fault.act is Act.LOSE or fault.is_back:
                    self._awaited = fault
                    self._server.sendall(data)
                elif not self._meet(fault, data, self._client, self._server):
                    return
            self._server.shutdown(socket.SHUT_WR)
        except OSError:
            self._end()

    def _meet(self, fault: Fault, data: bytes, source: socket.socket, sink: socket.socket) -> bool:
        """Do what the fault says; whether this way goes on."""
        if fault.act is Act.ANSWER:
            self._client.sendall(fault.answer)
            self._drop_request(data)
            self._end()
            return False
        count = fault.keep if fault.act is Act.LOSE else _place(data, fault.mark) + fault.after
        rest = _pass_some(data, count, source, sink)
        if fault.act is Act.DELAY:
            self._proxy.wait(fault.seconds)
        elif fault.act is Act.SLICE:
            sink.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for at in range(min(len(rest), 1000)):
                sink.sendall(rest[at : at + 1])
            rest = rest[1000:]
        elif fault.act is Act.TRUNCATE:
            sink.shutdown(socket.SHUT_WR)
            return False
        elif fault.act is Act.CLOSE:
            self._end()
            return False
        else:
            if fault.act is Act.STALL:
                self._proxy.stall()
            self._reset()
            return False
        sink.sendall(rest)
        return True

    def _drop_request(self, data: bytes) -> None:
        """Read on for a moment, so that the answer is not reset away."""
        self._client.shutdown(socket.SHUT_WR)
        self._client.settimeout(0.2)
        with suppress(OSError):
            deadline = time.monotonic() + 5
            while self._client.recv(65536) and time.monotonic() < deadline:
                pass

    def down(self) -> None:
        """From the server to the client."""
        try:
            while data := self._server.recv(65536):
                fault, self._awaited = self._awaited, None
                if fault is None:
                    self._client.sendall(data)
                elif not self._meet(fault, data, self._server, self._client):
                    return
            self._client.shutdown(socket.SHUT_WR)
        except OSError:
            self._reset()

    def _reset(self) -> None:
        """Whoever waits for one of them in the other thread must let go of it first."""
        for sock in (self._client, self._server):
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.shutdown(socket.SHUT_RD)
            sock.close()

    def _end(self) -> None:
        for sock in (self._client, self._server):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


def _pass_some(data: bytes, count: int, source: socket.socket, sink: socket.socket) -> bytes:
    """Let `count` bytes pass, of which `data` is the beginning; what is read beyond them."""
    while True:
        sink.sendall(data[:count])
        if len(data) >= count:
            return data[count:]
        count -= len(data)
        if not (data := source.recv(65536)):
            return b""


@contextmanager
def fault_proxy(host: str, port: int) -> Iterator[FaultProxy]:
    """A proxy that is gone when the block ends."""
    proxy = FaultProxy((host, port))
    try:
        yield proxy
    finally:
        proxy.close()
