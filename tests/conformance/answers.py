"""Clients' parsers reading what the proxy answered: one whole answer, or visibly not one."""

from http.client import HTTPException, HTTPResponse
from types import SimpleNamespace
from typing import Final, NamedTuple

import h11
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpResponseParserPy

from tests.conformance.parsers import NO_LOOP, Source


class Answer(NamedTuple):
    """`end`: "whole", "incomplete", "more" (bytes are left) or why it was refused."""

    status: int
    body: bytes
    end: str


INCOMPLETE: Final = Answer(0, b"", "incomplete")


def by_h11(raw: bytes, method: str) -> Answer:
    """As httpx reads."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "h")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(raw)
    connection.receive_data(b"")
    status, body = 0, b""
    try:
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
    except h11.RemoteProtocolError as error:
        text = str(error)
        is_cut = "closed" in text or "incomplete" in text or "without sending" in text
        return INCOMPLETE if is_cut else Answer(status, b"", f"refused: {text}")
    return Answer(status, body, "more" if connection.trailing_data[0] else "whole")


def by_stdlib(raw: bytes, method: str) -> Answer:
    """As urllib and requests read."""
    while raw.startswith(b"HTTP/1.1 1"):  # of interim answers it knows only 100
        raw = raw.partition(b"\r\n\r\n")[2]
    source = Source(raw)
    response = HTTPResponse(SimpleNamespace(makefile=lambda mode: source), method=method)  # type: ignore[arg-type]
    try:
        response.begin()
        body = response.read()
    except (HTTPException, ConnectionError):
        return INCOMPLETE
    if response.chunked and not raw.endswith(b"\r\n\r\n"):
        return INCOMPLETE  # the library takes the end of the stream for an empty line
    return Answer(response.status, body, "whole" if source.tell() == len(raw) else "more")


def by_aiohttp(raw: bytes, method: str) -> Answer:
    """aiohttp's parser in Python."""
    parser = HttpResponseParserPy(
        BaseProtocol(NO_LOOP),
        NO_LOOP,
        1 << 24,
        method=method,
        read_until_eof=True,
        auto_decompress=False,
    )
    try:
        answers, _, rest = parser.feed_data(raw)
        finals = [(head, payload) for head, payload in answers if head.code >= 200]
        if not finals:
            return INCOMPLETE
        (head, payload), *others = finals
        if not payload.is_eof():
            return INCOMPLETE
    except HttpProcessingError as error:
        return Answer(0, b"", f"refused: {error.message}")
    body = b"".join(getattr(payload, "_buffer", ()))
    return Answer(head.code, body, "more" if rest or others or parser._tail else "whole")


CLIENTS = {"h11": by_h11, "http.client": by_stdlib, "aiohttp": by_aiohttp}
