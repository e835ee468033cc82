"""What the handlers of one worker share: backends, stores, memory."""

import asyncio

from msgspec import Struct

from fastproxy.claims import version_line
from fastproxy.config.schema import AnyRoute, Backend, Config, ProxyRoute, UploadRoute
from fastproxy.config.worst_case import memory_reserve
from fastproxy.handlers.proxy.proxy_pass import Target
from fastproxy.loop.reactor import Reactor
from fastproxy.memory.arena import Arena
from fastproxy.observe.metrics import WorkerMetrics
from fastproxy.observe.upload_metrics import UploadMetrics
from fastproxy.protocol import DIALECTS
from fastproxy.upstream.origin import parse_origin, tls_context
from fastproxy.upstream.pool import Pool, PoolLimits
from fastproxy.worker.stores import Stores, open_stores


class Resources(Struct, frozen=True):
    """Opened at a worker's start, and closed when the last handler has ended."""

    reactor: Reactor
    metrics: WorkerMetrics
    upload_metrics: UploadMetrics
    targets: dict[str, Target]
    stores: Stores
    arena: Arena | None  # None when no route needs it

    async def close(self, undo_s: float) -> None:
        """Give back what is kept; aborts and removals that still run have `undo_s` seconds."""
        await self.stores.close(undo_s)
        if self.arena is not None:
            await self.arena.close()
        for target in self.targets.values():
            target.pool.close()


def open_resources(config: Config, reactor: Reactor, metrics: WorkerMetrics) -> Resources:
    """Blocking: local stores sweep their temporary files. Raises StorageFault, OwnFault."""
    upload_metrics = UploadMetrics(metrics)
    return Resources(
        reactor,
        metrics,
        upload_metrics,
        {name: make_target(name, backend, reactor) for name, backend in config.backend.items()},
        open_stores(config, reactor, upload_metrics),
        _make_arena(config, reactor.loop),
    )


def make_target(name: str, backend: Backend, reactor: Reactor) -> Target:
    """A backend as handlers see it."""
    origin = parse_origin(backend.address)
    limits = PoolLimits(
        backend.connect_timeout,
        backend.idle_timeout,
        backend.max_idle,
        backend.max_connections,
        backend.queue,
        backend.queue_timeout,
    )
    verify = backend.tls_verify
    tls = tls_context(backend.ca_file, verify=verify) if origin.is_tls else None
    pool = Pool(origin, limits, reactor, tls, backend.tls_server_name)
    dialect = DIALECTS[backend.dialect]
    hints = version_line(dialect)
    if backend.send is not None and backend.send.files:
        from fastproxy.senders.files import SENDS_FILES

        hints += SENDS_FILES
    return Target(name, pool, backend.header_timeout, backend.body_timeout, dialect, hints)


def _make_arena(config: Config, loop: asyncio.AbstractEventLoop) -> Arena | None:
    """The memory of uploads and shields; None when no route needs it."""
    if not any(_needs_memory(route) for route in config.route):
        return None
    return Arena(config.memory, reserve_bytes=memory_reserve(config), loop=loop)


def _needs_memory(route: AnyRoute) -> bool:
    return isinstance(route, UploadRoute) or (
        isinstance(route, ProxyRoute) and route.buffer != "none"
    )
