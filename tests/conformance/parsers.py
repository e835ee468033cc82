"""Four parsers that nobody here wrote, reading what one backend connection was sent.

Each gives a `Reading`: the whole requests it saw, in order, and how the stream ended. When two of
them differ, a backend could be made to believe something that was never asked.
"""

import io
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from http.server import BaseHTTPRequestHandler
from types import SimpleNamespace
from typing import Any, NamedTuple

import h11
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParserPy
from gunicorn.config import Config
from gunicorn.http.errors import ParseException
from gunicorn.http.parser import RequestParser

_LARGE = 1 << 24
NO_LOOP: Any = SimpleNamespace()  # nothing waits; None would make aiohttp ask for the current one


class Message(NamedTuple):
    """One whole request. `fields`: names in lower case, values without blanks around them."""

    method: bytes
    target: bytes
    framing: str  # "none", "length" or "chunked"
    body: bytes
    fields: tuple[tuple[bytes, bytes], ...]

    def all(self, name: bytes) -> list[bytes]:
        """The values of all fields of that name (lower case)."""
        return [value for key, value in self.fields if key == name]


class Reading(NamedTuple):
    """What a parser made of a stream. `end`: "clean", "incomplete", or why it gave up."""

    messages: tuple[Message, ...]
    end: str


def message(
    method: bytes, target: bytes, fields: list[tuple[bytes, bytes]], body: bytes
) -> Message:
    """With the framing that the fields declare."""
    lower = tuple((name.lower(), value.strip(b" \t")) for name, value in fields)
    names = {name for name, _ in lower}
    framing = "length" if b"content-length" in names else "none"
    if b"transfer-encoding" in names:
        framing = "chunked" if framing == "none" else "both"
    return Message(method, target, framing, body, lower)


# -- h11 ---------------------------------------------------------------------------------------


def by_h11(stream: bytes) -> Reading:
    """As uvicorn's and others' backends read."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_LARGE)
    connection.receive_data(stream)
    found: list[Message] = []
    try:
        for head, body in _h11_requests(connection):
            fields = [(bytes(name), bytes(value)) for name, value in head.headers]
            found.append(message(bytes(head.method), bytes(head.target), fields, body))
    except h11.RemoteProtocolError as error:
        return Reading(tuple(found), f"refused: {error}")
    rest = connection.trailing_data[0] or connection.their_state is h11.SEND_BODY
    return Reading(tuple(found), "incomplete" if rest else "clean")


def _h11_requests(connection: h11.Connection) -> Iterator[tuple[h11.Request, bytes]]:
    while isinstance(head := connection.next_event(), h11.Request):
        body = b""
        while isinstance(event := connection.next_event(), h11.Data):
            body += event.data
        if not isinstance(event, h11.EndOfMessage):
            return
        if event.headers:
            raise h11.RemoteProtocolError("trailers")
        yield head, body
        # No 200: to CONNECT it would begin a tunnel.
        connection.send(h11.Response(status_code=404, headers=[("Content-Length", "0")]))
        connection.send(h11.EndOfMessage())
        if connection.our_state is not h11.DONE:
            return
        connection.start_next_cycle()


# -- the standard library ----------------------------------------------------------------------


class Source(io.BytesIO):
    """What HTTPResponse must not close: it is not its own."""

    def close(self) -> None:
        pass


class _Handler(BaseHTTPRequestHandler):
    """Parses one request and answers nothing."""

    protocol_version = "HTTP/1.1"

    def __init__(self, stream: io.BytesIO) -> None:
        self.rfile = stream
        self.refusal = ""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        self.refusal = f"refused: {HTTPStatus(code)} {message}"

    def handle_expect_100(self) -> bool:
        return True


def by_stdlib(stream: bytes) -> Reading:
    """http.server for heads and http.client for chunks."""
    found: list[Message] = []
    source = Source(stream)
    while source.tell() < len(stream):
        handler = _Handler(source)
        handler.raw_requestline = source.readline(_LARGE)
        line = handler.raw_requestline.split(b" ")
        if not handler.parse_request():
            is_cut = source.tell() == len(stream)
            return Reading(tuple(found), "incomplete" if is_cut else handler.refusal)
        if not _has_end(source):
            return Reading(tuple(found), "incomplete")
        fields = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in handler.headers.items()]
        head = message(line[0], line[1], fields, b"")
        try:
            body = _stdlib_body(head, source)
        except HTTPException:
            return Reading(tuple(found), "incomplete")
        if head.framing == "chunked" and not _has_end(source):
            return Reading(tuple(found), "incomplete")
        found.append(head._replace(body=body))
    return Reading(tuple(found), "clean")


def _has_end(source: io.BytesIO) -> bool:
    """Whether an empty line was read last; the library takes the end of the stream for one."""
    return source.getvalue().endswith(b"\r\n\r\n", 0, source.tell())


def _stdlib_body(head: Message, source: io.BytesIO) -> bytes:
    """Raises HTTPException when it is not whole."""
    if head.framing == "none":
        return b""
    reader = HTTPResponse(SimpleNamespace(makefile=lambda mode: source))  # type: ignore[arg-type]
    reader.chunked = head.framing == "chunked"
    reader.chunk_left = None
    reader.length = None
    reader.will_close = False
    if not reader.chunked:
        reader.length = int(head.all(b"content-length")[0])
    return reader.read()


# -- aiohttp -----------------------------------------------------------------------------------


def by_aiohttp(stream: bytes) -> Reading:
    """aiohttp's parser in Python, not llhttp, which we use ourselves."""
    protocol = BaseProtocol(NO_LOOP)
    parser = HttpRequestParserPy(protocol, NO_LOOP, *[_LARGE] * 4, auto_decompress=False)
    found: list[Message] = []
    is_cut = False
    try:
        requests, _, rest = parser.feed_data(stream)
    except HttpProcessingError as error:
        return Reading((), f"refused: {error.message}")
    for head, payload in requests:
        assert payload.exception() is None
        if not payload.is_eof():
            is_cut = True
            break
        body = b"".join(getattr(payload, "_buffer", ()))
        fields = [*head.raw_headers]
        target = head.path.encode("utf-8", "surrogateescape")
        found.append(message(head.method.encode(), target, fields, body))
    is_cut = is_cut or bool(rest or parser._tail or parser._lines)
    return Reading(tuple(found), "incomplete" if is_cut else "clean")


# -- gunicorn ----------------------------------------------------------------------------------


def _gunicorn_config() -> Config:
    config = Config()
    config.set("limit_request_line", 0)
    config.set("limit_request_fields", 32768)
    config.set("limit_request_field_size", 1 << 16)
    config.set("header_map", "refuse")
    config.set("permit_unconventional_http_method", True)
    return config


_CONFIG = _gunicorn_config()


def by_gunicorn(stream: bytes) -> Reading:
    """As the demo's backend and half of Python's world reads."""
    found: list[Message] = []
    parser = RequestParser(_CONFIG, iter([stream]), ("127.0.0.1", 1))
    try:
        for request in parser:
            body = request.body.read()
            fields = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in request.headers]
            method, target = request.method.encode("latin-1"), request.uri.encode("latin-1")
            whole = message(method, target, fields, body)
            if whole.framing == "length" and len(body) < int(whole.all(b"content-length")[0]):
                return Reading(tuple(found), "incomplete")  # gunicorn's application would notice
            found.append(whole)
    except (ParseException, OSError) as error:
        cut = type(error).__name__ in ("NoMoreData", "ChunkMissingTerminator")
        return Reading(tuple(found), "incomplete" if cut else f"refused: {error!r}")
    return Reading(tuple(found), "clean")


PARSERS: dict[str, Callable[[bytes], Reading]] = {
    "h11": by_h11,
    "http.server": by_stdlib,
    "aiohttp": by_aiohttp,
    "gunicorn": by_gunicorn,
}


def read_by(parser: str, stream: bytes) -> Reading:
    """What a parser makes of any bytes; one that breaks on them refuses them, too."""
    try:
        return PARSERS[parser](stream)
    except Exception as error:
        return Reading((), f"broke: {error!r}")


def differences(stream: bytes, expected: Reading) -> dict[str, Reading]:
    """The parsers that do not read `stream` as `expected`, and what they read."""
    readings = {name: read_by(name, stream) for name in PARSERS}
    return {name: reading for name, reading in readings.items() if reading != expected}
