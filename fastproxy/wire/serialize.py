"""Heads to bytes. Names and values come from parsed fields or from us; both are checked."""

import re
from typing import Final

from fastproxy.message import Headers, ResponseHead

STATUS_TEXT: Final = {
    100: b"Continue", 101: b"Switching Protocols", 103: b"Early Hints",
    200: b"OK", 201: b"Created", 202: b"Accepted", 204: b"No Content", 206: b"Partial Content",
    301: b"Moved Permanently", 302: b"Found", 303: b"See Other", 304: b"Not Modified",
    307: b"Temporary Redirect", 308: b"Permanent Redirect",
    400: b"Bad Request", 401: b"Unauthorized", 403: b"Forbidden", 404: b"Not Found",
    405: b"Method Not Allowed", 408: b"Request Timeout", 409: b"Conflict", 410: b"Gone",
    411: b"Length Required", 412: b"Precondition Failed", 413: b"Content Too Large",
    414: b"URI Too Long", 415: b"Unsupported Media Type", 416: b"Range Not Satisfiable",
    417: b"Expectation Failed", 422: b"Unprocessable Content", 426: b"Upgrade Required",
    429: b"Too Many Requests", 431: b"Request Header Fields Too Large",
    500: b"Internal Server Error", 501: b"Not Implemented", 502: b"Bad Gateway",
    503: b"Service Unavailable", 504: b"Gateway Timeout", 507: b"Insufficient Storage",
}  # fmt: skip

_STATUS_LINES: Final = {
    status: b"HTTP/1.1 %d %b\r\n" % (status, text) for status, text in STATUS_TEXT.items()
}
_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z").match
_NOT_A_VALUE: Final = re.compile(rb"[\r\n\0]").search

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


def safe_fields(headers: Headers) -> Headers:
    """`headers` unchanged; ValueError if one could start another line (response splitting)."""
    for name, value in headers:
        if _NOT_A_VALUE(value) or not _TOKEN(name):
            raise ValueError(f"header {name!r} holds a line break or is no token")
    return headers


def add_fields(parts: list[bytes], headers: Headers) -> None:
    """Append the lines of a field section to what will be joined."""
    for name, value in headers:
        parts.append(name)
        parts.append(b": ")
        parts.append(value)
        parts.append(b"\r\n")


def field_lines(headers: Headers) -> bytes:
    """The lines of a field section, without the empty line that ends it."""
    parts: list[bytes] = []
    add_fields(parts, headers)
    return b"".join(parts)


def status_line(status: int, reason: bytes = b"") -> bytes:
    """A status line. We speak 1.1 whatever the peer speaks (RFC 9110 section 2.5)."""
    text = STATUS_TEXT.get(status, b"")
    if text and (not reason or reason == text):
        return _STATUS_LINES[status]
    return b"HTTP/1.1 %d %b\r\n" % (status, reason)


def response_head(head: ResponseHead, framing: bytes) -> bytes:
    """A whole response head; `framing` holds the lines of this hop (length, coding, connection)."""
    parts = [status_line(head.status, head.reason)]
    add_fields(parts, head.headers)
    parts.append(framing)
    parts.append(b"\r\n")
    return b"".join(parts)


def request_head(method: bytes, target: bytes, lines: bytes) -> bytes:
    """A whole request head; `lines` are complete field lines."""
    return b"".join((method, b" ", target, b" HTTP/1.1\r\n", lines, b"\r\n"))
