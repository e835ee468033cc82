"""Routes of the configuration to handlers, and what those need: stores, memory, secrets."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fastproxy.claims import Signer, version_line
from fastproxy.config.schema import (
    AnyRoute,
    AnyStore,
    AsgiRoute,
    Backend,
    ChannelRoute,
    Config,
    FixedRoute,
    FormRoute,
    GitRoute,
    Images,
    ProxyRoute,
    PythonRoute,
    S3Store,
    Send,
    StaticRoute,
    UploadRoute,
)
from fastproxy.config.secrets import read_secret
from fastproxy.config.worst_case import FIELDS_SHARE, memory_reserve
from fastproxy.errors import StorageFault
from fastproxy.exchange import Exchange
from fastproxy.handlers.coroutine import Tasks
from fastproxy.handlers.deploy_page import make_deployed
from fastproxy.handlers.error_pages import ErrorPages, Review, make_pages
from fastproxy.handlers.fixed import make_fixed
from fastproxy.handlers.form_listing import Lister
from fastproxy.handlers.git_kit import GitRoom, git_kit
from fastproxy.handlers.polling import Polling
from fastproxy.handlers.proxy_pass import PlainProxy, Target
from fastproxy.handlers.queue import RequestQueue
from fastproxy.handlers.shield import Shield, ShieldSettings
from fastproxy.handlers.turns import Turns
from fastproxy.handlers.upload_body import make_upload
from fastproxy.handlers.upload_kit import UploadKit
from fastproxy.images.pool import Bounds, Scalers
from fastproxy.memory.arena import Arena
from fastproxy.observe.metrics import WorkerMetrics
from fastproxy.observe.takeover_metrics import TakeoverMetrics
from fastproxy.observe.upload_metrics import UploadMetrics
from fastproxy.protocol import DIALECTS, NATIVE, Dialect
from fastproxy.reactor import Reactor
from fastproxy.senders.files import SENDS_FILES
from fastproxy.senders.objects import Shelf
from fastproxy.senders.registry import SendingKit, make_senders
from fastproxy.senders.takeover import Takeover
from fastproxy.storage.journal import Journal
from fastproxy.storage.open import open_presigned, open_store
from fastproxy.storage.tracked import TrackedStore
from fastproxy.storage.undoing import Undoing
from fastproxy.uploads.form import Purse
from fastproxy.upstream.client import HttpClient
from fastproxy.upstream.origin import parse_origin, tls_context
from fastproxy.upstream.pinned import PinnedPools
from fastproxy.upstream.pool import Pool, PoolLimits

if TYPE_CHECKING:
    from fastproxy.handlers.asgi import AsgiApplication
    from fastproxy.handlers.channel_kit import ChannelKit

log = logging.getLogger(__name__)

Serve = Callable[[Exchange], None]

SHARED_CONNECTIONS: Final = 64  # to all hosts whose URLs backends sign


@dataclass(slots=True)
class Stores:
    """The configured stores, and the way to those that a backend names for one request."""

    undoing: Undoing
    client: HttpClient
    by_name: dict[str, TrackedStore]
    shelves: dict[str, Shelf]  # the same, for reading
    clients: list[HttpClient | PinnedPools]
    needs_authorities: bool  # the system's

    async def prepare(self) -> None:
        """Do what the first uploads would wait for: a client of S3 takes longer than all else."""
        if self.needs_authorities:
            await asyncio.to_thread(tls_context)
        for name, store in self.by_name.items():
            try:
                await store.prepare()
            except StorageFault as fault:  # uploads will try again
                log.warning('store "%s": %s', name, fault.detail)

    async def close(self, within_s: float) -> None:
        """Wait for what is being undone, then let go; what is not done is the next start's."""
        await self.undoing.close(within_s)
        for store in self.by_name.values():
            await store.close()
        for client in self.clients:
            client.close()
        self.undoing.journal.close()


def open_stores(config: Config, reactor: Reactor, metrics: UploadMetrics) -> Stores:
    """Blocking: local stores sweep their temporary files. Raises StorageFault, OwnFault."""
    undoing = Undoing(Journal(config.server.state_dir))
    shared = HttpClient(reactor, _store_limits(SHARED_CONNECTIONS))
    needs_authorities = any(map(_trusts_system, config.store.values()))
    stores = Stores(undoing, shared, {}, {}, [shared], needs_authorities)
    for name, store in config.store.items():
        client, tls = shared, None
        if isinstance(store, S3Store):
            own = bool(store.ca_file) or not store.tls_verify
            tls = tls_context(store.ca_file, verify=store.tls_verify) if own else None
            client = HttpClient(reactor, _store_limits(store.connections), tls)
        opened = open_store(name, store, client.request, undoing, metrics.count_retry)
        stores.by_name[name] = opened
        # A slow reader keeps its connection: it must not be one that uploads wait for.
        reading = HttpClient(reactor, PoolLimits(), tls)
        stores.shelves[name] = Shelf(opened, reading)
        stores.clients += [client, reading]
    return stores


def _trusts_system(store: AnyStore) -> bool:
    return (
        isinstance(store, S3Store)
        and not store.ca_file
        and store.tls_verify
        and not store.endpoint.startswith("http://")
    )


def _store_limits(connections: int) -> PoolLimits:
    # A part that waits for a connection is not late: its upload has a deadline of its own.
    return PoolLimits(max_connections=connections, queue=1 << 20, queue_timeout_s=3600.0)


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
        hints += SENDS_FILES
    return Target(name, pool, backend.header_timeout, backend.body_timeout, dialect, hints)


def _bounds(images: Images) -> Bounds:
    return Bounds(
        images.processes,
        images.queue,
        images.memory,
        images.max_source,
        images.max_pixels,
        images.timeout,
    )


def make_arena(config: Config, loop: asyncio.AbstractEventLoop) -> Arena | None:
    """The memory of uploads and shields; None when no route needs it."""
    if not any(_needs_memory(route) for route in config.route):
        return None
    return Arena(config.memory, reserve_bytes=memory_reserve(config), loop=loop)


def _needs_memory(route: AnyRoute) -> bool:
    return isinstance(route, UploadRoute) or (
        isinstance(route, ProxyRoute) and route.buffer != "none"
    )


class Handlers:
    """One handler for every route, by its index."""

    def __init__(
        self,
        config: Config,
        targets: dict[str, Target],
        stores: Stores,
        arena: Arena | None,
        metrics: WorkerMetrics,
        upload_metrics: UploadMetrics,
        reactor: Reactor,
    ) -> None:
        self._config = config
        self._reactor = reactor
        self._metrics = metrics
        self._targets = targets
        self._stores = stores
        self._arena = arena
        self._upload_metrics = upload_metrics
        self._signers = self._make_signers()
        self._purse = Purse(config.memory.budget // FIELDS_SHARE)
        self.tasks = Tasks()
        self.uploads = Tasks()
        self.scalers = Scalers(_bounds(config.images))
        self.git = GitRoom(config.git, metrics, self.uploads, config.memory.spill_dir)
        self.applications: list[AsgiApplication] = []
        self.channels: list[ChannelKit] = []
        self.polling = Polling(config.redis, reactor, metrics)
        self._takeovers = {
            name: self._make_takeover(name, backend.send)
            for name, backend in config.backend.items()
            if backend.send is not None
        }
        self.by_index: list[Serve] = [
            make_deployed(self._make_queued(route), route.deploy_page, route.deploy_status)
            for route in config.route
        ]

    def _make_signers(self) -> dict[Dialect, Signer]:
        """None without a secret. `auth.issuer` is for backends that can be told of it."""
        auth = self._config.auth
        if not auth.secret_file:
            return {}
        secret = read_secret(auth.secret_file)
        issuers = {each: each.issuer for each in DIALECTS.values()} | {NATIVE: auth.issuer}
        return {
            dialect: Signer(secret, issuer, auth.ttl, dialect=dialect)
            for dialect, issuer in issuers.items()
        }

    def _make_queued(self, route: AnyRoute) -> Serve:
        queue, name = None, route.name or route.path
        if route.queue is not None:
            queue = RequestQueue(route.queue, name, self._reactor, self._metrics)
        if isinstance(route, ProxyRoute) and route.poll is not None:
            return self.polling.make(route.poll, self._targets[route.backend], queue)
        # Without a queue the handler itself, so that the express lane knows it.
        serve = self._make(route)
        return serve if queue is None else queue.wrap(serve)

    # Handlers that most sites do not have are imported for the first route that needs one: all of
    # them were 15 ms of a start.

    def _make(self, route: AnyRoute) -> Serve:
        if isinstance(route, ProxyRoute):
            return self._make_proxy(route)
        if isinstance(route, FormRoute):
            return self._make_form(route)
        if isinstance(route, UploadRoute):
            return make_upload(self._upload_kit(route))
        if isinstance(route, GitRoute):
            return self._make_git(route)
        if isinstance(route, ChannelRoute):
            return self._make_channel(route)
        if isinstance(route, FixedRoute):
            return make_fixed(route)
        if isinstance(route, StaticRoute):
            from fastproxy.handlers.static_files import make_static

            return make_static(route, self.tasks)
        if isinstance(route, PythonRoute):
            from fastproxy.handlers.python_handler import make_python

            return make_python(route, self.tasks)
        return self._make_asgi(route)

    def _make_form(self, route: FormRoute) -> Serve:
        from fastproxy.handlers.form_kit import FormKit
        from fastproxy.handlers.form_upload import make_form

        target, limit = self._targets[route.backend], self._config.limits.body
        kit = FormKit(route, self._upload_kit(route), self._purse, self._lister(route))
        judge = self._review(route.backend)
        return make_form(kit, PlainProxy(target, limit, websocket=False, judge=judge))

    def _make_proxy(self, route: ProxyRoute) -> Serve:
        target = self._targets[route.backend]
        limit = self._config.limits.body if route.max_body is None else route.max_body
        settings = ShieldSettings(
            route.buffer in ("request", "both"),
            route.buffer in ("response", "both"),
            route.websocket,
            self._review(route.backend, make_pages(route)),
        )
        if route.buffer == "none":
            return PlainProxy(target, limit, websocket=route.websocket, judge=settings.judge)
        arena = self._arena

        def shield(exchange: Exchange) -> None:
            exchange.admit_body(limit)
            assert arena is not None  # noqa: S101 - made for this very route
            Shield(exchange, target, arena, settings).start()

        return shield

    def _review(self, backend: str, pages: ErrorPages | None = None) -> Review | None:
        take_over = self._takeovers.get(backend)
        return Review(take_over, pages) if take_over or pages else None

    def _make_takeover(self, name: str, send: Send) -> Takeover:
        dialect = self._targets[name].dialect
        kit = SendingKit(self._stores.shelves, self._reactor, dialect, self.git, self.scalers)
        senders, pools = make_senders(send, kit)
        self._stores.clients.append(pools)
        return Takeover(senders, dialect, self.tasks, TakeoverMetrics(self._metrics))

    def _lister(self, route: FormRoute) -> Lister | None:
        name = route.zip_metadata_store or route.store
        if not route.zip_metadata:
            return None
        store = self._stores.by_name[name]
        return Lister(route.zip_metadata, name, store, route.zip_members, route.zip_timeout)

    def _upload_kit(self, route: UploadRoute) -> UploadKit:
        stores, arena, target = self._stores, self._arena, self._targets[route.backend]
        assert arena is not None  # noqa: S101 - made for this very route
        configured = self._config.store
        names = [name for name in (route.store, *route.stores) if name in configured]
        places = {name: configured[name] for name in names}
        checks = any(getattr(place, "checksum", "none") != "none" for place in places.values())
        return UploadKit(
            route,
            target,
            stores.by_name.get(route.store),
            arena,
            self._signer(route, target),
            lambda target: open_presigned(target, stores.client.request, stores.undoing),
            self._upload_metrics,
            self.uploads,
            target.pool.reactor.deadlines,
            may_stream=not route.retain and not checks,
            others={name: stores.by_name[name] for name in route.stores},
            places=places,
            turns=Turns(getattr(places.get(route.store), "connections", SHARED_CONNECTIONS)),
        )

    def _make_git(self, route: GitRoute) -> Serve:
        from fastproxy.handlers.git_http import make_git

        target = self._targets[route.backend]
        signer = self._signer(route, target)
        limit, judge = self._config.limits.body, self._review(route.backend)
        elsewhere = PlainProxy(target, limit, websocket=False, judge=judge)
        return make_git(git_kit(self.git, route, target, signer, elsewhere))

    def _make_channel(self, route: ChannelRoute) -> Serve:
        from fastproxy.handlers.channel import make_channel
        from fastproxy.handlers.channel_kit import ChannelKit

        target = self._targets[route.backend]
        timeout_s = self._config.backend[route.backend].connect_timeout
        signer = self._signer(route, target)
        kit = ChannelKit(route, target, signer, timeout_s, self.tasks, self._metrics)
        self.channels.append(kit)
        return make_channel(kit)

    def drain(self, within_s: float) -> None:
        """Answer who waits for changes; channels end before `within_s` seconds are over."""
        self.polling.drain()
        for kit in self.channels:
            kit.drain(within_s)

    def _signer(self, route: AnyRoute, target: Target) -> Signer:
        signer = self._signers.get(target.dialect)
        if signer is None:
            raise ValueError(f"route {route.name or route.path}: needs [auth] secret_file")
        return signer

    def _make_asgi(self, route: AsgiRoute) -> Serve:
        from fastproxy.handlers.asgi import AsgiApplication

        application = AsgiApplication(route, self.tasks)
        self.applications.append(application)
        return application
