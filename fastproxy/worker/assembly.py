"""Routes of the configuration to their handlers, and those given what they need."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from fastproxy.claims import Signer
from fastproxy.config.schema import (
    AnyRoute,
    AsgiRoute,
    ChannelRoute,
    Config,
    FixedRoute,
    FormRoute,
    GitRoute,
    Images,
    ProxyRoute,
    PythonRoute,
    Send,
    StaticRoute,
    UploadRoute,
)
from fastproxy.config.secrets import read_secret
from fastproxy.config.worst_case import FIELDS_SHARE
from fastproxy.exchange import Exchange
from fastproxy.handlers.coroutine import Tasks
from fastproxy.handlers.fixed import make_fixed
from fastproxy.handlers.git.kit import GitRoom, git_kit
from fastproxy.handlers.proxy.proxy_pass import PlainProxy, Target
from fastproxy.handlers.proxy.shield import Shield, ShieldSettings
from fastproxy.handlers.static.error_pages import ErrorPages, Review, make_pages
from fastproxy.handlers.uploads.body import make_upload
from fastproxy.handlers.uploads.kit import UploadKit
from fastproxy.handlers.uploads.semaphore import CallbackSemaphore
from fastproxy.handlers.waiting.polling import Polling
from fastproxy.handlers.waiting.queue import RequestQueue
from fastproxy.images.pool import Bounds, Scalers
from fastproxy.protocol import DIALECTS, NATIVE, Dialect
from fastproxy.storage.open import open_presigned
from fastproxy.uploads.form import FieldBudget
from fastproxy.worker.resources import Resources
from fastproxy.worker.stores import SHARED_CONNECTIONS

if TYPE_CHECKING:
    from fastproxy.handlers.channels.kit import ChannelKit
    from fastproxy.handlers.forms.listing import Lister
    from fastproxy.handlers.python.asgi import AsgiApplication
    from fastproxy.senders.takeover import Takeover

Serve = Callable[[Exchange], None]


class Handlers:
    """One handler for every route, by its index."""

    def __init__(self, config: Config, resources: Resources) -> None:
        self._config = config
        self._reactor = resources.reactor
        self._metrics = resources.metrics
        self._targets = resources.targets
        self._stores = resources.stores
        self._arena = resources.arena
        self._upload_metrics = resources.upload_metrics
        self._signers = self._make_signers()
        self._field_budget = FieldBudget(config.memory.budget // FIELDS_SHARE)
        self.tasks = Tasks()
        self.uploads = Tasks()
        self.scalers = Scalers(_bounds(config.images))
        self.git = GitRoom(config.git, self._metrics, self.uploads, config.memory.spill_dir)
        self.applications: list[AsgiApplication] = []
        self.channels: list[ChannelKit] = []
        self.polling = Polling(config.redis, self._reactor, self._metrics)
        self._takeovers = {
            name: self._make_takeover(name, backend.send)
            for name, backend in config.backend.items()
            if backend.send is not None
        }
        self.by_index: list[Serve] = [self._make_deployed(route) for route in config.route]

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

    # What most sites do not have is imported for the first route or backend that needs it: all that
    # was 15 ms of a start, and 2 MiB of each process.

    def _make_deployed(self, route: AnyRoute) -> Serve:
        serve = self._make_queued(route)
        if not route.deploy_page:
            return serve
        from fastproxy.handlers.static.deploy_page import make_deployed

        return make_deployed(serve, route.deploy_page, route.deploy_status)

    def _make_queued(self, route: AnyRoute) -> Serve:
        queue, name = None, route.name or route.path
        if route.queue is not None:
            queue = RequestQueue(route.queue, name, self._reactor, self._metrics)
        if isinstance(route, ProxyRoute) and route.poll is not None:
            return self.polling.make(route.poll, self._targets[route.backend], queue)
        # Without a queue the handler itself, so that the express lane knows it.
        serve = self._make(route)
        return serve if queue is None else queue.wrap(serve)

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
            from fastproxy.handlers.static.files import make_static

            return make_static(route, self.tasks)
        if isinstance(route, PythonRoute):
            from fastproxy.handlers.python.functions import make_python

            return make_python(route, self.tasks)
        return self._make_asgi(route)

    def _make_form(self, route: FormRoute) -> Serve:
        from fastproxy.handlers.forms.kit import FormKit
        from fastproxy.handlers.forms.upload import make_form

        target, limit = self._targets[route.backend], self._config.limits.body
        kit = FormKit(route, self._upload_kit(route), self._field_budget, self._lister(route))
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

    def _make_takeover(self, name: str, send: Send) -> "Takeover":
        from fastproxy.observe.takeover_metrics import TakeoverMetrics
        from fastproxy.senders.registry import SendingKit, make_senders
        from fastproxy.senders.takeover import Takeover

        dialect = self._targets[name].dialect
        kit = SendingKit(self._stores.store_clients, self._reactor, dialect, self.git, self.scalers)
        senders, pools = make_senders(send, kit)
        self._stores.clients.append(pools)
        return Takeover(senders, dialect, self.tasks, TakeoverMetrics(self._metrics))

    def _lister(self, route: FormRoute) -> "Lister | None":
        name = route.zip_metadata_store or route.store
        if not route.zip_metadata:
            return None
        from fastproxy.handlers.forms.listing import Lister

        dialect = self._targets[route.backend].dialect
        return Lister(route, name, self._stores.by_name[name], dialect)

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
            storing=CallbackSemaphore(
                getattr(places.get(route.store), "connections", SHARED_CONNECTIONS)
            ),
        )

    def _make_git(self, route: GitRoute) -> Serve:
        from fastproxy.handlers.git.http import make_git

        target = self._targets[route.backend]
        signer = self._signer(route, target)
        limit, judge = self._config.limits.body, self._review(route.backend)
        elsewhere = PlainProxy(target, limit, websocket=False, judge=judge)
        return make_git(git_kit(self.git, route, target, signer, elsewhere))

    def _make_channel(self, route: ChannelRoute) -> Serve:
        from fastproxy.handlers.channels.channel import make_channel
        from fastproxy.handlers.channels.kit import ChannelKit

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
        from fastproxy.handlers.python.asgi import AsgiApplication

        application = AsgiApplication(route, self.tasks)
        self.applications.append(application)
        return application


def _bounds(images: Images) -> Bounds:
    return Bounds(
        images.processes,
        images.queue,
        images.memory,
        images.max_source,
        images.max_pixels,
        images.timeout,
    )
