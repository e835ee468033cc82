"""A scriptable backend for upload tests: permits, refuses, hangs up, and remembers every request.

`authorize` and `report` are functions from what was asked to what is said; each may block on an
event, raise HangUp, or return anything that is to be said, however wrong.
"""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import jwt

PERMISSION_TYPE = "application/vnd.fastproxy.authorize+json"
REPORT_TYPE = "application/vnd.fastproxy.upload+json"


class HangUp(Exception):
    """Close the connection without an answer."""


@dataclass
class Asked:
    """One request as it came; `fields` in order, with their spelling. `nth` of its connection."""

    method: str
    target: str
    fields: list[tuple[str, str]]
    body: bytes
    nth: int = 1

    def field(self, name: str) -> str | None:
        """The value of the only field of that name."""
        found = [value for key, value in self.fields if key.lower() == name.lower()]
        assert len(found) <= 1, found
        return found[0] if found else None

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def is_question(self) -> bool:
        """Is it a question for permission?"""
        return self.field("Fastproxy-Authorize") is not None

    @property
    def is_report(self) -> bool:
        return self.field("Fastproxy-Upload") is not None

    @property
    def upload(self) -> dict[str, Any]:
        """What a report says of the upload."""
        told: dict[str, Any] = json.loads(self.body)["upload"]
        return told


@dataclass
class Said:
    """An answer; `raw` replaces all of it."""

    status: int = 200
    body: bytes = b""
    fields: list[tuple[str, str]] = field(default_factory=list)
    raw: bytes = b""

    def encode(self) -> bytes:
        if self.raw:
            return self.raw
        lines = [f"HTTP/1.1 {self.status} Said", f"Content-Length: {len(self.body)}"]
        lines += [f"{name}: {value}" for name, value in self.fields]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


def permit(**permission: Any) -> Said:
    """A permission."""
    body = json.dumps(permission).encode()
    return Said(200, body, [("Content-Type", PERMISSION_TYPE)])


def accept(asked: Asked) -> Said:
    """201 with what was reported, so that a client can look at it."""
    return Said(201, asked.body, [("Content-Type", "application/json")])


Script = Callable[[Asked], Said]


class Withheld:
    """A Script whose answer waits until it is `released`; `reached`: somebody waits for it."""

    def __init__(self, said: Said) -> None:
        self.reached, self.released = threading.Event(), threading.Event()
        self._said = said

    def __call__(self, asked: Asked) -> Said:
        self.reached.set()
        self.released.wait(20)
        return self._said


class Monolith:
    """Listens on loopback with a thread for every connection."""

    def __init__(self, secret: bytes) -> None:
        self.secret = secret
        self.seen: list[Asked] = []
        self.authorize: Script = lambda asked: permit()
        self.report: Script = accept
        self.otherwise: Script = lambda asked: Said(200, b"plain\n")
        self._lock = threading.Lock()
        self._listen(0)
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def _listen(self, port: int) -> None:
        self._socket = socket.create_server(("127.0.0.1", port), backlog=1024)
        threading.Thread(target=self._accept, args=(self._socket,), daemon=True).start()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Nobody listens for a while; connections that exist go on."""
        port = self._socket.getsockname()[1]
        self.close()
        try:
            yield
        finally:
            self._listen(port)

    def claims(self, token: str, audience: str) -> dict[str, Any]:
        """A token's claims, verified as a backend would."""
        required = ["exp", "iat", "jti", "iss", "aud"]
        claims: dict[str, Any] = jwt.decode(
            token,
            self.secret,
            algorithms=["HS256"],
            audience=audience,
            issuer="fastproxy",
            options={"require": required},
        )
        return claims

    def questions(self, path: str) -> list[Asked]:
        """Questions for permission to upload to `path`."""
        return [a for a in self.about(path + "/authorize") if a.is_question]

    def reports(self, path: str) -> list[Asked]:
        return [a for a in self.about(path) if a.is_report]

    def about(self, path: str) -> list[Asked]:
        """All requests for exactly that path."""
        with self._lock:
            return [asked for asked in self.seen if asked.path == path]

    def forget(self) -> None:
        """Permit and accept again, and forget what was asked."""
        with self._lock:
            self.seen.clear()
        self.authorize = lambda asked: permit()
        self.report = accept

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                sock, _ = listener.accept()
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with sock, sock.makefile("rb") as stream, suppress(OSError, HangUp):
            nth = 0
            while (asked := _read(stream)) is not None:
                nth += 1
                asked.nth = nth
                with self._lock:
                    self.seen.append(asked)
                said = self._script(asked)(asked)
                sock.sendall(said.encode())
                if said.raw:
                    return

    def _script(self, asked: Asked) -> Script:
        if asked.is_question:
            return self.authorize
        if asked.is_report:
            return self.report
        return self.otherwise


def _read(stream: Any) -> Asked | None:
    line = stream.readline().decode("latin-1")
    if not line.endswith("\n") or not line.strip():
        return None
    method, target, _ = line.split(" ")
    fields = []
    while line := stream.readline().decode("latin-1"):
        if not line.strip():
            break
        name, _, value = line.partition(":")
        fields.append((name, value.strip()))
    if not line.endswith("\n"):
        raise HangUp("the client left within a head")
    asked = Asked(method, target, fields, b"")
    if asked.field("Transfer-Encoding"):
        asked.body = b"".join(_chunks(stream))
    else:
        length = int(asked.field("Content-Length") or 0)
        asked.body = stream.read(length)
        if len(asked.body) < length:
            raise HangUp("the client left within a body")
    return asked


def _chunks(stream: Any) -> Iterator[bytes]:
    while line := stream.readline():
        if not (size := int(line, 16)):
            break
        yield stream.read(size)
        stream.readline()
    if not stream.readline():
        raise HangUp("the client left within a body")


@contextmanager
def monolith(secret: bytes) -> Iterator[Monolith]:
    """A backend that is gone when the block ends."""
    server = Monolith(secret)
    try:
        yield server
    finally:
        server.close()
