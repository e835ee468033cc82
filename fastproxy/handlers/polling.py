"""All routes of a worker that hold requests, and the one link that tells them what changes."""

from typing import TYPE_CHECKING

from fastproxy.config.schema import Poll, Redis
from fastproxy.handlers.poll import PollRoute
from fastproxy.handlers.proxy_pass import Target
from fastproxy.handlers.queue import RequestQueue
from fastproxy.observe.metrics import WorkerMetrics
from fastproxy.polls.watch import Watch
from fastproxy.reactor import Reactor

if TYPE_CHECKING:
    from fastproxy.polls.redis_link import RedisLink


class Polling:
    """See the module. Without such a route there is no link, and nothing of Redis is loaded."""

    def __init__(self, settings: Redis, reactor: Reactor, metrics: WorkerMetrics) -> None:
        self._settings = settings
        self._deadlines = reactor.deadlines
        self._metrics = metrics
        each = settings.channels == "each"
        self._watch = Watch(lambda: reactor.deadlines.now, each_has_channel=each)
        self._routes: list[PollRoute] = []
        self._link: RedisLink | None = None

    def make(self, settings: Poll, target: Target, queue: RequestQueue | None) -> PollRoute:
        """The handler of one route. Raises ValueError for settings that are not valid."""
        route = PollRoute(settings, target, self._watch, queue, self._deadlines, self._metrics)
        self._routes.append(route)
        return route

    def start(self) -> None:
        """Begin to listen, if there is anybody to tell. Raises BadSecret, OSError."""
        if self._routes:
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
