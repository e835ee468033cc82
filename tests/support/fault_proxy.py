"""A TCP proxy before a server that fails on demand: once for each fault, when its request passes.

A fault waits for `when` in what the client sends, lets `after` more bytes pass, and acts. Every
connection is two threads; bytes that no fault concerns pass untouched.
"""

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

    RESET = "reset"  # the client gets a reset, the server an end
    STALL = "stall"  # nothing passes any more, both stay connected
    DELAY = "delay"  # everything waits for `seconds`, then passes
    ANSWER = "answer"  # the client gets `answer`; the server hears nothing of the request
    LOSE = "lose"  # the request passes whole, the answer is cut off after `keep` bytes


@dataclass
class Fault:
    """One failure, `times` times."""

    when: bytes
    act: Act
    after: int = 0
    times: int = 1
    seconds: float = 0.0
    answer: bytes = b""
    keep: int = 0
    met: int = 0


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
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def expect(self, *faults: Fault) -> None:
        """From now on only these."""
        with self._lock:
            self.faults[:] = faults

    def close(self) -> None:
        self._closing.set()
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


class _Link:
    """One connection on its way through."""

    def __init__(self, proxy: FaultProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._losing: Fault | None = None

    def up(self) -> None:
        """From the client to the server, until one of them ends."""
        try:
            while data := self._client.recv(65536):
                fault = self._proxy.take(data)
                if fault is None:
                    self._server.sendall(data)
                elif not self._meet(fault, data):
                    return
            self._server.shutdown(socket.SHUT_WR)
        except OSError:
            self._end()

    def _meet(self, fault: Fault, data: bytes) -> bool:
        """Do what the fault says; whether the connection goes on."""
        if fault.act is Act.ANSWER:
            self._client.sendall(fault.answer)
            self._drop_request(data)
            self._end()
            return False
        if fault.act is Act.LOSE:
            self._losing = fault
            self._server.sendall(data)
            return True
        self._pass_some(data, fault.after)
        if fault.act is Act.DELAY:
            self._proxy.wait(fault.seconds)
            self._server.sendall(data[fault.after :])
            return True
        if fault.act is Act.STALL:
            self._proxy.wait(60)
        self._reset()
        return False

    def _pass_some(self, data: bytes, count: int) -> None:
        while True:
            self._server.sendall(data[:count])
            count -= len(data)
            if count <= 0 or not (data := self._client.recv(65536)):
                return

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
        with suppress(OSError):
            while data := self._server.recv(65536):
                if self._losing is not None:
                    self._client.sendall(data[: self._losing.keep])
                    self._reset()
                    return
                self._client.sendall(data)
            self._client.shutdown(socket.SHUT_WR)

    def _reset(self) -> None:
        linger = struct.pack("ii", 1, 0)
        self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._end()

    def _end(self) -> None:
        for sock in (self._client, self._server):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


@contextmanager
def fault_proxy(host: str, port: int) -> Iterator[FaultProxy]:
    """A proxy that is gone when the block ends."""
    proxy = FaultProxy((host, port))
    try:
        yield proxy
    finally:
        proxy.close()
