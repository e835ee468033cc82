"""The router: a request to the handler of its route."""

import logging
from collections.abc import Callable, Sequence

from fastproxy.errors import Bug, FastproxyError, MethodNotAllowed, NoRoute
from fastproxy.exchange import Exchange
from fastproxy.message import Headers
from fastproxy.routes import RouteTable

log = logging.getLogger("fastproxy")


class Dispatch:
    """See the module. `handlers`: one for every row of the table, by its index."""

    def __init__(self, table: RouteTable, handlers: Sequence[Callable[[Exchange], None]]) -> None:
        self._table = table
        self._handlers = list(handlers)

    def serve(self, exchange: Exchange) -> None:
        """Route one request. Never raises."""
        head = exchange.head
        try:
            target, route, allowed = self._table.resolve(head.method, head.target, head.host)
            exchange.path = target.path
            if route is None:
                _refuse(exchange, allowed)
                return
            exchange.route_index = route.index
            exchange.route_name = route.name
            self._handlers[route.index](exchange)
        except FastproxyError as fault:
            exchange.fail(fault)
        except Exception:
            log.exception("bug in a handler", extra={"request_id": exchange.request_id})
            exchange.fail(Bug())


def _refuse(exchange: Exchange, allowed: tuple[bytes, ...]) -> None:
    """404, or 405 with the methods there are (RFC 9110 section 15.5.6)."""
    if not allowed:
        exchange.fail(NoRoute(exchange.path))
        return
    headers: Headers = [(b"Allow", b", ".join(allowed))]
    exchange.fail(MethodNotAllowed(exchange.path), headers)
