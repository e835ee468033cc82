"""A whole worker of fastproxy in this process, on uvloop and real sockets, before a witness."""

import asyncio
import itertools
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import uvloop

from fastproxy.config.schema import AnyRoute, Backend, Config, Duration, Limits, ProxyRoute
from fastproxy.observe.access_log import AccessLog
from fastproxy.observe.catalog import route_names
from fastproxy.observe.metrics import Board
from fastproxy.worker.app import App
from fastproxy.worker.context import WorkerContext
from tests.conformance.parsers import Message
from tests.conformance.witness import Answer, Witness, WitnessConnection, echo

T = TypeVar("T")
LIMITS = Limits(lingering_timeout=Duration(60), header_timeout=Duration(60))


class _Troubles(logging.Handler):
    """What the worker logged as its own error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[object] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(record.getMessage())


class Site:
    """A worker and its backends. `by_lane`: requests that were seen on the express lane."""

    def __init__(self, witnesses: dict[str, Witness]) -> None:
        self.witnesses = witnesses
        self.address = ("127.0.0.1", 0)
        self.by_lane = 0
        self.app: App | None = None

    @property
    def witness(self) -> Witness:
        """The backend that most requests go to."""
        return self.witnesses["default"]

    def watching(self, answer: Answer) -> Answer:
        """`answer`, and look for a request that has no exchange: it is on the lane."""

        def watched(connection: WitnessConnection, request: Message) -> bytes | None:
            assert self.app is not None
            clients: Any = self.app._front_context.connections
            self.by_lane += any(c.is_serving and c.exchange is None for c in clients)
            return answer(connection, request)

        return watched


def play_on_site(
    use: Callable[[Site], Awaitable[T]],
    routes: Sequence[AnyRoute] = (ProxyRoute(),),
    backends: Sequence[str] = ("default",),
    answer: Answer = echo,
    **tables: Any,
) -> T:
    """Run `use` with a worker that has `routes`; at its end nothing may have gone wrong inside."""

    async def main() -> T:
        async with _site(routes, backends, answer, tables) as site:
            return await use(site)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


@asynccontextmanager
async def _site(
    routes: Sequence[AnyRoute], backends: Sequence[str], answer: Answer, tables: dict[str, Any]
) -> AsyncIterator[Site]:
    loop = asyncio.get_running_loop()
    troubles = _Troubles()
    loop.set_exception_handler(lambda _, context: troubles.found.append(context))
    logging.getLogger("fastproxy").addHandler(troubles)
    site = Site({name: Witness() for name in backends})
    for witness in site.witnesses.values():
        witness.answer = site.watching(answer)
        await witness.start()
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        listener.setblocking(False)
        site.address = listener.getsockname()
        site.app = App(*_wiring(site, routes, listener, tables))
        await site.app.start()
        try:
            yield site
        finally:
            await site.app.stop()
            for witness in site.witnesses.values():
                await witness.stop()
            logging.getLogger("fastproxy").removeHandler(troubles)
    assert troubles.found == []


def _wiring(
    site: Site, routes: Sequence[AnyRoute], listener: socket.socket, tables: dict[str, Any]
) -> tuple[Config, WorkerContext]:
    addresses = {
        n: Backend(address=f"http://127.0.0.1:{w.port}") for n, w in site.witnesses.items()
    }
    config = Config(**{"limits": LIMITS, "route": tuple(routes), "backend": addresses, **tables})
    metrics = Board(route_names(config), 1, "test").worker(0)
    log = AccessLog("off", metrics.cell("fastproxy_access_log_dropped_total"))
    return config, WorkerContext(config, 0, 0, (listener,), metrics, log)


_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_NUMBERS = itertools.count()


def new_id() -> bytes:
    """Three letters, for a mark in a target must not change any length."""
    number = next(_NUMBERS)
    high, low = divmod(number, 36)
    return (_DIGITS[high // 36] + _DIGITS[high % 36] + _DIGITS[low]).encode()
