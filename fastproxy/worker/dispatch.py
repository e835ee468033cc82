"""The router: a request to the handler of its route."""

import logging
import re
from collections.abc import Callable, Sequence
from typing import Final

from fastproxy.errors import BadHead, Bug, FastproxyError, MethodNotAllowed, NoRoute
from fastproxy.exchange import Exchange
from fastproxy.message import Headers, RequestHead
from fastproxy.routes import RouteTable, TableRoute

_METHOD = re.compile(rb"[A-Z-]{1,32}\Z").match
_MOST_OVERRIDES: Final = 8
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
            if head.overrides:
                self._refuse_other_routes(head, route)
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

    def _refuse_other_routes(self, head: RequestHead, route: TableRoute | None) -> None:
        """Methods in whose place a backend may see another take part in routing.

        Else an upload would reach it by POST and "X-HTTP-Method-Override: PUT", past its route.
        Raises BadHead, also for more than anybody could mean: each is looked up in the table.
        """
        told = b",".join(head.overrides).split(b",", _MOST_OVERRIDES)
        if len(told) > _MOST_OVERRIDES:
            raise BadHead("too many method overrides")
        for method in told:
            meant = method.strip(b" \t").upper()
            if not _METHOD(meant):
                raise BadHead("method override")
            if self._table.resolve(meant, head.target, head.host).route is not route:
                raise BadHead("method override leads to another route")


def _refuse(exchange: Exchange, allowed: tuple[bytes, ...]) -> None:
    """404, or 405 with the methods there are (RFC 9110 section 15.5.6)."""
    if not allowed:
        exchange.fail(NoRoute(exchange.path))
        return
    headers: Headers = [(b"Allow", b", ".join(allowed))]
    exchange.fail(MethodNotAllowed(exchange.path), headers)
