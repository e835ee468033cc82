"""All routes of a worker that hold requests, and the one link that tells them what changes."""

from typing import TYPE_CHECKING

from fastproxy.config.schema import Poll, Redis
from fastproxy.handlers.proxy.proxy_pass import Target
from fastproxy.handlers.waiting.queue import RequestQueue
from fastproxy.loop.batches import CallBatches
from fastproxy.loop.reactor import Reactor
from fastproxy.observe.metrics import WorkerMetrics

if TYPE_CHECKING:
    from fastproxy.handlers.waiting.poll import PollRoute
    from fastproxy.polls.redis_link import RedisLink
    from fastproxy.polls.watch import Watch


class Polling:
    """See the module. Without such a route there is no link, and nothing of this is loaded."""

    def __init__(self, settings: Redis, reactor: Reactor, metrics: WorkerMetrics) -> None:
        self._settings = settings
        self._deadlines = reactor.deadlines
        self._batches = CallBatches(reactor.loop)
        self._metrics = metrics
        self._watch: Watch | None = None
        self._routes: list[PollRoute] = []
        self._link: RedisLink | None = None

    def make(self, settings: Poll, target: Target, queue: RequestQueue | None) -> "PollRoute":
        """The handler of one route. Raises ValueError for settings that are not valid."""
        from fastproxy.handlers.waiting.poll import PollRoute
        from fastproxy.polls.watch import Watch

        if self._watch is None:
            deadlines, each = self._deadlines, self._settings.channels == "each"
            self._watch = Watch(lambda: deadlines.now, each_has_channel=each)
        route = PollRoute(
            settings, target, self._watch, queue, self._deadlines, self._batches, self._metrics
        )
        self._routes.append(route)
        return route

    def start(self) -> None:
        """Begin to listen, if there is anybody to tell. Raises BadSecret, OSError."""
        if self._watch is not None:
            from fastproxy.polls.redis_link import RedisLink  # takes longer to load than all of us

            self._link = RedisLink(self._settings, self._watch, self._metrics)
            self._link.start()

    def drain(self) -> None:
        """Hold nobody any longer."""
        for route in self._routes:
            route.drain()

    async def stop(self) -> None:
        """Let go of Redis."""
        if self._link is not None:
            await self._link.stop()
