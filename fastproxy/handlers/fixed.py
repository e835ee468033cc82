"""One answer for all requests of a route."""

from collections.abc import Callable
from typing import Final

from fastproxy.config.schema import FixedRoute
from fastproxy.errors import FastproxyError
from fastproxy.exchange import Exchange
from fastproxy.handlers.origin import TEXT, origin_head
from fastproxy.message import Headers

# A body this small is read before the answer: cheaper than a new connection for the next request.
_READ_BYTES: Final = 64 * 1024


def make_fixed(route: FixedRoute) -> Callable[[Exchange], None]:
    """A handler that gives the route's answer. Raises ValueError for headers that are not valid."""
    body = route.body.encode()
    fields: Headers = [(n.encode("ascii"), v.encode("latin-1")) for n, v in route.headers.items()]
    if body and not any(name.lower() == b"content-type" for name, _ in fields):
        fields.append(TEXT)
    origin_head(route.status, fields)

    def answer(exchange: Exchange) -> None:
        head = origin_head(route.status, fields)
        # The length of a 304 would be that of the 200 (RFC 9110 section 8.6), which nobody knows.
        head.content_length = None if route.status == 304 else len(body)
        exchange.respond(head)
        exchange.write([body])
        exchange.end()

    def serve(exchange: Exchange) -> None:
        head = exchange.head
        if head.expects_continue or not 0 < (head.content_length or 0) <= _READ_BYTES:
            answer(exchange)
        else:
            exchange.sink = _AfterBody(exchange, answer)
            exchange.want_body()

    return serve


class _AfterBody:
    """Drops the body, then answers. The Sink."""

    def __init__(self, exchange: Exchange, answer: Callable[[Exchange], None]) -> None:
        self._exchange = exchange
        self._answer = answer

    def body_data(self, pieces: list[memoryview]) -> None:
        """See Sink."""

    def body_end(self) -> None:
        """See Sink."""
        self._answer(self._exchange)

    def client_failed(self, fault: FastproxyError) -> None:
        """See Sink."""

    def client_blocked(self) -> None:
        """See Sink."""

    def client_writable(self) -> None:
        """See Sink."""
