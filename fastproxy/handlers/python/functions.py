"""Python routes: `async def handler(request: Request) -> Response`.

The handler runs on the worker's event loop: what blocks belongs into `asyncio.to_thread`. When
the client leaves, the handler is cancelled.
"""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator, Mapping

from fastproxy.config.schema import PythonRoute
from fastproxy.exchange import Exchange
from fastproxy.handlers.coroutine import Dialogue, OnLeave, Tasks
from fastproxy.handlers.origin import origin_head, request_fields, request_path
from fastproxy.handlers.python.imported import import_callable
from fastproxy.message import Headers, ResponseHead


class RequestHeaders(Mapping[str, str]):
    """Fields of a request; names in any case. A field sent twice is one, joined by ", "."""

    def __init__(self, fields: Headers) -> None:
        self._values: dict[str, str] = {}
        for raw_name, raw_value in fields:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            joint = "; " if name == "cookie" else ", "
            earlier = self._values.get(name)
            self._values[name] = value if earlier is None else f"{earlier}{joint}{value}"

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class Request:
    """A request. `path` is decoded and normalised, `raw_path` and `query` are as received."""

    def __init__(self, dialogue: Dialogue) -> None:
        exchange = dialogue.exchange
        raw_path, _, query = exchange.head.target.partition(b"?")
        self.method = exchange.head.method.decode("ascii")
        self.path = request_path(exchange)
        self.raw_path = raw_path
        self.query = query.decode("ascii")
        self.headers = RequestHeaders(request_fields(exchange))
        self.remote_ip = exchange.remote_ip
        self.request_id = exchange.request_id
        self.scheme = exchange.scheme.decode("ascii")
        self._source = dialogue.body
        self._body: bytes | None = None
        self._is_streamed = False

    async def body(self) -> bytes:
        """The whole body; above `max_body` the client gets 413 and the handler is cancelled.

        Raises RuntimeError after `stream`.
        """
        if self._body is None:
            self._body = b"".join([piece async for piece in self.stream()])
        return self._body

    async def stream(self) -> AsyncIterator[bytes]:
        """The body as it comes. The client is paused while nothing is taken."""
        if self._body is not None:
            yield self._body
            return
        if self._is_streamed:
            raise RuntimeError("the body was already read as a stream")
        self._is_streamed = True
        while piece := await self._source.read():
            yield piece


class Response:
    """An answer. A `body` that is an async iterable is sent as it comes, with backpressure.

    Without Content-Length among `headers` a stream is sent in chunks. `content_type` is by default
    UTF-8 text for str and application/octet-stream for bytes. Raises ValueError for a status that
    is not final and for headers that are not valid.
    """

    def __init__(
        self,
        status: int = 200,
        body: bytes | str | AsyncIterable[bytes] = b"",
        headers: Mapping[str, str] | list[tuple[str, str]] | None = None,
        content_type: str | None = None,
    ) -> None:
        self.status = status
        self.body = body.encode() if isinstance(body, str) else body
        pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
        self.fields: Headers = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in pairs]
        has_type = any(name.lower() == b"content-type" for name, _ in self.fields)
        if not has_type and (content_type or body):
            default = "text/plain; charset=utf-8" if isinstance(body, str) else _BINARY
            self.fields.append((b"Content-Type", (content_type or default).encode("latin-1")))
        self.head()

    def head(self) -> ResponseHead:
        """The checked head."""
        head = origin_head(self.status, self.fields)
        # An empty body may stand for a longer one: in the answer to HEAD, and in a 304.
        is_open = head.content_length is None and self.status != 304
        if isinstance(self.body, bytes) and (self.body or is_open):
            head.content_length = len(self.body)
        return head


_BINARY = "application/octet-stream"

PythonHandler = Callable[[Request], Awaitable[Response]]


def make_python(route: PythonRoute, tasks: Tasks) -> Callable[[Exchange], None]:
    """A handler for one route. Raises what importing `route.handler` raises."""
    handler: PythonHandler = import_callable(route.handler)

    async def work(dialogue: Dialogue) -> None:
        response = await handler(Request(dialogue))
        if not isinstance(response, Response):
            raise TypeError(f"{route.handler} returned {type(response).__name__}, not a Response")
        await _send(dialogue, response)

    def serve(exchange: Exchange) -> None:
        exchange.admit_body(route.max_body)
        Dialogue(exchange, OnLeave.CANCEL).start(tasks, work)

    return serve


async def _send(dialogue: Dialogue, response: Response) -> None:
    dialogue.respond(response.head())
    if isinstance(response.body, bytes):
        dialogue.end(response.body)
        return
    close = getattr(response.body, "aclose", None)
    try:
        if dialogue.exchange.head.method != b"HEAD":
            async for piece in response.body:
                await dialogue.write(piece)
    finally:
        if close is not None:
            await close()  # now, not when the garbage collector comes by
    dialogue.end()
