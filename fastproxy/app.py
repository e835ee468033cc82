"""Configuration to a running worker: wiring, no logic."""

import asyncio
import ipaddress
import logging
from collections.abc import Callable

from fastproxy.config.schema import Backend, Config, ProxyRoute
from fastproxy.context import WorkerContext
from fastproxy.deadlines import Deadlines
from fastproxy.errors import Bug, FastproxyError, MethodNotAllowed, NoRoute
from fastproxy.exchange import Exchange
from fastproxy.front.context import FrontContext
from fastproxy.front.server import FrontServer
from fastproxy.handlers.proxy_pass import ProxyPass, Target
from fastproxy.reactor import Reactor
from fastproxy.reporting import Reports
from fastproxy.routes import RouteTable
from fastproxy.upstream.origin import parse_origin, tls_context
from fastproxy.upstream.pool import Pool, PoolLimits
from fastproxy.wire.head import RequestHeadParser
from fastproxy.wire.scratch import Scratch

log = logging.getLogger("fastproxy")

Serve = Callable[[Exchange], None]


class App:
    """One worker's application."""

    def __init__(self, config: Config, context: WorkerContext) -> None:
        self._config = config
        self._context = context
        loop = asyncio.get_running_loop()
        self._reactor = Reactor(loop, Scratch(), Deadlines(loop))
        self._targets = {name: self._target(name, b) for name, b in config.backend.items()}
        self._table = RouteTable(config.route)
        self._handlers: list[Serve] = [self._handler(route) for route in config.route]
        limits = config.limits
        self._front_context = FrontContext(
            limits,
            self._reactor,
            RequestHeadParser(max_count=limits.header_count, max_target=limits.target_bytes),
            Reports(context),
            self._serve,
            tuple(ipaddress.ip_network(net) for net in config.server.trusted_proxies),
        )
        self._front = FrontServer(self._front_context, lambda exchange: False)

    async def start(self) -> None:
        self._reactor.deadlines.start()
        await self._front.start(self._context.listeners)

    async def drain(self, *, deadline_s: float, upload_deadline_s: float) -> None:
        await self._front.drain(deadline_s, upload_deadline_s)
        await self.stop()

    async def stop(self) -> None:
        self._front.cut()
        for target in self._targets.values():
            target.pool.close()
        self._reactor.deadlines.stop()

    def _target(self, name: str, backend: Backend) -> Target:
        origin = parse_origin(backend.address)
        limits = PoolLimits(
            backend.connect_timeout,
            backend.idle_timeout,
            backend.max_idle,
            backend.max_connections,
            backend.queue,
            backend.queue_timeout,
        )
        tls = tls_context(backend.ca_file) if origin.is_tls else None
        pool = Pool(origin, limits, self._reactor, tls)
        return Target(name, pool, backend.header_timeout, backend.body_timeout)

    def _serve(self, exchange: Exchange) -> None:
        head = exchange.head
        try:
            resolved = self._table.resolve(head.method, head.target, head.host)
            exchange.path = resolved.target.path
            row = resolved.route
            if row is None:
                raise (
                    MethodNotAllowed(exchange.path) if resolved.allowed else NoRoute(exchange.path)
                )
            exchange.route_index = row.index
            exchange.route_name = row.name
            self._handlers[row.index](exchange)
        except FastproxyError as fault:
            exchange.fail(fault)
        except Exception:
            log.exception("bug in a handler")
            exchange.fail(Bug())

    def _handler(self, route) -> Serve:
        if isinstance(route, ProxyRoute):
            target = self._targets[route.backend]

            def serve(exchange: Exchange) -> None:
                limit = self._config.limits.body if route.max_body is None else route.max_body
                exchange.admit_body(limit)
                ProxyPass(exchange, target, websocket=route.websocket).start()

            return serve
        raise NotImplementedError(route)
