from collections.abc import Callable, Sequence
from typing import final

from fastproxy.exchange import Exchange
from fastproxy.front.context import FrontContext
from fastproxy.observe.access_log import AccessLog
from fastproxy.observe.metrics import RouteRequests
from fastproxy.routes import RouteTable
from fastproxy.shortcut import Shortcut

@final
class Lane(Shortcut):
    """The express lane of a worker: plain requests, and their answers, pass in C.

    `handlers`: by the index of their route; those that are a PlainProxy take part.
    """

    def __init__(
        self,
        context: FrontContext,
        table: RouteTable,
        handlers: Sequence[Callable[[Exchange], None]],
        requests_of: Callable[[str], RouteRequests],
        access_log: AccessLog,
    ) -> None: ...
