"""A page that answers all of a route while its file is there: maintenance, migrations, deploys."""

import os
import time
from collections.abc import Callable
from typing import Final

from fastproxy.exchange import Exchange
from fastproxy.handlers.origin import origin_head
from fastproxy.handlers.static.error_pages import MAX_PAGE
from fastproxy.handlers.static.media_types import type_of
from fastproxy.message import Headers

LOOK_EVERY_S: Final = 1.0
_RETRY_S: Final = b"30"

Serve = Callable[[Exchange], None]


def make_deployed(serve: Serve, path: str, status: int) -> Serve:
    """`serve`, but for requests that the page at `path` answers with `status`."""
    return DeployPage(path, status).before(serve) if path else serve


class DeployPage:
    """See the module. Its file is looked for at most once a second, on a local disk."""

    def __init__(self, path: str, status: int) -> None:
        self._path = path
        self._status = status
        self._page: bytes | None = None
        self._version: tuple[int, int, int] | None = None
        self._next_look = 0.0
        self._fields: Headers = [
            (b"Content-Type", type_of(os.path.basename(path).encode())),
            (b"Cache-Control", b"no-cache, no-store, max-age=0"),
        ]
        if status in (429, 503):
            self._fields.append((b"Retry-After", _RETRY_S))

    def before(self, serve: Serve) -> Serve:
        """`serve`, while there is no page."""

        def judge(exchange: Exchange) -> None:
            page = self._current()
            if page is None:
                serve(exchange)
            else:
                head = origin_head(self._status, self._fields)
                exchange.answer(self._status, head.headers, page)

        return judge

    def _current(self) -> bytes | None:
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + LOOK_EVERY_S
            self._look()
        return self._page

    def _look(self) -> None:
        try:
            found = os.stat(self._path)
            version = (found.st_ino, found.st_mtime_ns, found.st_size)
            if version != self._version:
                with open(self._path, "rb") as file:
                    self._page = file.read(MAX_PAGE)
                self._version = version
        except OSError:
            self._page = self._version = None
