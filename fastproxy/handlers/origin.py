"""Messages of an origin server: what a handler is told of a request, and what it may answer."""

import re
from collections.abc import Iterable
from typing import Final

from fastproxy.exchange import Exchange
from fastproxy.handlers.forwarded import forwarded_lines
from fastproxy.message import Headers, ResponseHead
from fastproxy.wire.date import date_field
from fastproxy.wire.head import HOP_BY_HOP

TEXT: Final = (b"Content-Type", b"text/plain; charset=utf-8")

_is_token = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z").match  # RFC 9110 section 5.6.2
_unsent = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]").search
_is_length = re.compile(rb"[0-9]{1,18}\Z").match


def request_fields(exchange: Exchange) -> Headers:
    """The request's fields with lower-case names.

    They are those a backend would get, so that an endpoint can move here unchanged; how the body
    is framed is told by `content-length` or `transfer-encoding`.
    """
    head = exchange.head
    fields = [(b"host", head.host)] if head.host else []
    fields += [(name.lower(), value) for name, value in head.headers]
    if head.content_length is not None:
        fields.append((b"content-length", b"%d" % head.content_length))
    elif head.is_chunked:
        fields.append((b"transfer-encoding", b"chunked"))
    for line in forwarded_lines(exchange).split(b"\r\n")[:-1]:
        name, _, value = line.partition(b": ")
        fields.append((name.lower(), value))
    return fields


def request_path(exchange: Exchange) -> str:
    """The normalised path; what is not UTF-8 in it became U+FFFD."""
    path = exchange.path
    if path.isascii():
        return path
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def origin_head(status: int, fields: Iterable[tuple[bytes, bytes]]) -> ResponseHead:
    """A final response head of ours: checked, without hop-by-hop fields, with a Date.

    Content-Length becomes `content_length`. Raises ValueError for a status that is not final, a
    field that could start another line, and a Content-Length that is not one number.
    """
    if not 200 <= status <= 599:
        raise ValueError(f"{status} is not the status of a final response")
    head = ResponseHead(status, b"", [])
    has_date = False
    for name, value in fields:
        lower = name.lower()
        if not _is_token(name) or _unsent(value):
            raise ValueError(f"header {name!r} is not valid")
        if lower == b"content-length":
            if head.content_length is not None or not _is_length(value):
                raise ValueError("Content-Length is not one number")
            head.content_length = int(value)
        elif lower not in HOP_BY_HOP:
            has_date = has_date or lower == b"date"
            head.headers.append((name, value))
    if not has_date:
        head.headers.append(date_field())
    return head
