"""A backend that permits channels, and WebSockets behind it: both of the library websockets."""

import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import Server, ServerConnection, serve

from tests.support.harness import Proxy, proxy

NATIVE = "application/vnd.fastproxy.authorize+json"


def echo(connection: ServerConnection) -> None:
    """Each message back, as it came."""
    with contextlib.suppress(ConnectionClosed):
        for message in connection:
            connection.send(message)


@dataclass
class Site:
    """Answers `.../authorize` with `permission`, or refuses; else it is a WebSocket."""

    permission: Any = field(default_factory=dict)
    status: int = 200
    kind: str = NATIVE
    handler: Callable[[ServerConnection], None] = echo
    asked: list[Request] = field(default_factory=list)
    opened: list[Request] = field(default_factory=list)
    closed: list[tuple[int | None, str | None]] = field(default_factory=list)
    port: int = 0

    def process(self, connection: ServerConnection, request: Request) -> Response | None:
        """See websockets: an answer instead of the handshake."""
        if not request.path.partition("?")[0].endswith("/authorize"):
            self.opened.append(request)
            return None
        self.asked.append(request)
        body = self.permission if isinstance(self.permission, bytes) else _json(self.permission)
        kind = self.kind if self.status == 200 else "text/plain"
        fields = [("Content-Type", kind), ("Content-Length", str(len(body)))]
        return Response(self.status, "said", Headers([*fields, ("Connection", "close")]), body)

    def serve(self, connection: ServerConnection) -> None:
        """One WebSocket."""
        try:
            self.handler(connection)
        finally:
            connection.close()
            self.closed.append((connection.close_code, connection.close_reason))


@dataclass
class SlowSite(Site):
    """Answers nothing before it is `released`; `reached`: it was asked."""

    reached: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def process(self, connection: ServerConnection, request: Request) -> Response | None:
        """See Site."""
        self.reached.set()
        self.released.wait(20)
        return super().process(connection, request)


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


@contextlib.contextmanager
def running(site: Site, tls: ssl.SSLContext | None = None, **options: Any) -> Iterator[Server]:
    """Serve it on a port of 127.0.0.1."""
    with serve(
        site.serve, "127.0.0.1", 0, process_request=site.process, ssl=tls, max_size=None, **options
    ) as server:
        site.port = server.socket.getsockname()[1]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(10)


def configuration(site: Site, secret: Path, route: str = "", backend: str = "") -> str:
    """A channel to the site, for everything."""
    secret.write_bytes(b"k" * 32)
    secret.chmod(0o600)
    return f"""
[auth]
secret_file = "{secret}"
[backend.default]
address = "http://127.0.0.1:{site.port}"
{backend}
[[route]]
action = "channel"
name = "terminal"
{route}
"""


@contextlib.contextmanager
def channels(
    home: Path, site: Site, route: str = "", *, server: str = "", **options: Any
) -> Iterator[Proxy]:
    """The site behind a proxy. `route`: lines of its route; `server`: of [server]."""
    with running(site, **options):
        text = configuration(site, home / "secret", route)
        with proxy(f"[server]\n{server}\n{text}") as front:
            yield front


def dial(
    port: int, path: str = "/terminal.ws", **options: Any
) -> AbstractContextManager[ClientConnection]:
    """A client of the library."""
    return connect(f"ws://127.0.0.1:{port}{path}", max_size=None, open_timeout=20, **options)
