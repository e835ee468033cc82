"""Pages in place of a backend's errors, and of ours: HTML from a directory, JSON or text.

They are read when a worker starts: a reload brings new ones, and a disk in trouble none of them.
"""

import json
import os
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final, Literal

from msgspec import Struct

from fastproxy.config.schema import ProxyRoute
from fastproxy.exchange import Exchange
from fastproxy.handlers.origin import TEXT
from fastproxy.handlers.reply import Dropping, Reply
from fastproxy.message import Headers, ResponseHead

Kind = Literal["html", "json", "text"]

MAX_PAGE: Final = 1 << 20  # bytes
_ERRORS: Final = range(400, 600)
# Of the body that is replaced, or said anew.
_REPLACED: Final = frozenset({
    b"content-type", b"content-encoding", b"content-language", b"content-disposition", b"etag",
    b"content-range", b"accept-ranges", b"last-modified", b"cache-control", b"expires", b"pragma",
})  # fmt: skip
_FRESH: Final = (b"Cache-Control", b"no-cache")
_HTML: Final = (b"Content-Type", b"text/html; charset=utf-8")
_JSON: Final = (b"Content-Type", b"application/json")


class ErrorPages:
    """It replaces errors of the backend that are not meant for the client's eyes. Pages."""

    def __init__(self, kind: Kind, pages: Mapping[int, bytes], least: int = 400) -> None:
        """`pages`: those of HTML, by their status; `least`: the status from which on."""
        self._kind = kind
        self._pages = pages
        self._least = least

    def __call__(self, exchange: Exchange, head: ResponseHead) -> Reply | None:
        """As a Judge."""
        if head.status not in _ERRORS or _is_meant(head) or not self._has(head):
            return None
        kept = [field for field in head.headers if field[0].lower() not in _REPLACED]
        field, body = self._page(head.status)
        exchange.answer(head.status, [*kept, field, _FRESH], body)
        return Dropping()

    def page(self, status: int) -> tuple[Headers, bytes] | None:
        """See Pages."""
        if self._kind == "html" and status not in self._pages:
            return None
        field, body = self._page(status)
        return [field, _FRESH], body

    def _has(self, head: ResponseHead) -> bool:
        if head.status < self._least:
            return False
        if self._kind != "html":
            return True
        is_json = (head.header(b"content-type") or b"").lower().startswith(b"application/json")
        return head.status in self._pages and not is_json

    def _page(self, status: int) -> tuple[tuple[bytes, bytes], bytes]:
        if self._kind == "html":
            return _HTML, self._pages[status]
        text = _phrase(status)
        if self._kind == "json":
            return _JSON, json.dumps({"error": text, "status": status}).encode()
        return TEXT, f"{text}\n".encode()


class Review(Struct, frozen=True):
    """The Judge of one route: who takes answers over, then who replaces errors."""

    take_over: Callable[[Exchange, Reply, ResponseHead], Reply | None] | None
    pages: ErrorPages | None

    def __call__(self, exchange: Exchange, reply: Reply, head: ResponseHead) -> Reply | None:
        """See Judge."""
        other = self.take_over(exchange, reply, head) if self.take_over is not None else None
        if other is None and self.pages is not None:
            return self.pages(exchange, head)
        return other


def _is_meant(head: ResponseHead) -> bool:
    """Whether the backend says that its own page is to be shown."""
    if any(name == b"fastproxy-custom-error" for name, _ in head.controls):
        return True
    return head.header(b"x-gitlab-custom-error") is not None


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"Error {status}"


def make_pages(route: ProxyRoute) -> ErrorPages | None:
    """Those of a route, if it has any. Raises OSError, ValueError when they cannot be read."""
    if route.errors == "pass":
        return None
    pages = _read_pages(route.error_pages) if route.errors == "html" else {}
    return ErrorPages(route.errors, pages, route.errors_from)


def _read_pages(directory: str) -> dict[int, bytes]:
    """The files `STATUS.html` of a directory. Raises OSError, ValueError for one over MAX_PAGE."""
    pages = {}
    for status in _ERRORS:
        path = os.path.join(directory, f"{status}.html")
        try:
            with open(path, "rb") as file:
                page = file.read(MAX_PAGE + 1)
        except (FileNotFoundError, IsADirectoryError):
            continue
        if len(page) > MAX_PAGE:
            raise ValueError(f"{path} has more than {MAX_PAGE} bytes")
        pages[status] = page
    return pages
